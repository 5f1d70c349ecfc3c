"""The page: well-formed, complete, honest about what is absent, and nothing in it comes from
elsewhere or runs.
"""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest

from recsys_assets.lib.evaluation import html, views
from recsys_assets.lib.evaluation import summary as evaluation_summary
from recsys_assets.lib.evaluation.query_slices import slice_order
from recsys_assets_tests.lib.evaluation.test_summary import summarised
from recsys_assets_tests.support import small_evaluation as small

VOID = {"meta", "br", "line", "rect", "circle", "polyline", "polygon"}


class Page(HTMLParser):
    """Collects tags, attributes and text; fails on a tag that is not closed in its place."""

    def __init__(self, text: str):
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open and self.open.pop() == tag, tag

    def handle_data(self, data):
        self.texts.append(data)

    def of(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def test_the_page_is_whole():
    page = Page(html.page(summarised()))
    assert page.of("html") == [{"lang": "en"}] and {
        "name": "viewport",
        "content": "width=device-width, initial-scale=1",
    } in page.of("meta")
    assert len(page.of("h1")) == 1 and len(page.of("table")) == 8 and len(page.of("svg")) == 7
    text = " ".join(page.texts)
    for words in (
        "Targets: 6 of 6 met",
        "recent popularity",
        "iALS",
        "nDCG@10",
        "no content",
        "0.150 to 0.170",
        "the oracle ranks",
        "expected clicks a list",
        "withheld, no texts and pictures",
        "How far the clicks of a session move the list",
        "5 outside",
        "fewer than 20 queries",
    ):
        assert words in text, words


def test_figures_and_tables_can_be_heard_and_reached():
    page = Page(html.page(summarised()))
    assert all(svg["role"] == "img" and svg["aria-label"] for svg in page.of("svg"))
    assert all(region["aria-label"] and region["tabindex"] == "0" for region in page.of("div"))
    assert len(page.of("caption")) == len(page.of("table")) and all(
        head.get("scope") in {"row", "col"} for head in page.of("th")
    )


def test_nothing_is_loaded_from_elsewhere_and_nothing_runs():
    text = html.page(summarised())
    page = Page(text)
    assert not {tag for tag, _ in page.tags} & {
        "script",
        "link",
        "img",
        "iframe",
        "object",
        "base",
        "form",
    }
    assert not re.search(r"https?:|//|url\(|@import", text)
    assert not [
        name
        for _, attributes in page.tags
        for name in attributes
        if name.startswith("on") or name in {"href", "src"}
    ]
    assert any(one.get("http-equiv") == "Content-Security-Policy" for one in page.of("meta"))


def test_texts_of_the_data_are_escaped():
    nasty = '<img src=x onerror="alert(1)">&\'Hüte'
    offline, baselines = small.offline(), small.baselines()
    offline["slices"][f"category:{nasty}"] = offline["slices"].pop("weekend")
    offline["beyond_accuracy"]["served"][nasty] = 1.0
    baselines[nasty] = small.list_metrics(0.1)
    ablations = {nasty: {"served": small.list_metrics(0.1)}, **small.ablations()}
    text = html.page(
        summarised(
            offline=offline,
            baselines=baselines,
            ablations=ablations,
            notes=[nasty],
            differences={nasty: small.estimate(0.1)},
        )
    )
    page = Page(text)
    assert page.of("img") == [] and "<img" not in text and any(nasty in part for part in page.texts)


def test_an_ingested_log_says_that_nobody_knows_the_truth():
    page = Page(
        html.page(summarised(oracle={"available": False}, ablations=None, click_rates=None))
    )
    text = " ".join(page.texts)
    assert (
        "This log was not simulated" in text
        and "Targets: 2 of 6 met" in text
        and "not measured" in text
    )
    assert "oracle" not in [part for part in page.texts] and "Ablations" not in text
    assert "expected clicks" not in text and "share of the oracle's" not in page.texts


def test_expected_clicks_are_those_of_ten_places_beside_the_oracles():
    table = views.tables(summarised())["systems"]
    rows = {row[0]: row for row in table.rows}
    assert table.columns[-2:] == ("expected clicks a list", "share of the oracle's")
    assert rows["served"][-2] == {
        "value": pytest.approx(2.7),
        "low": pytest.approx(2.6),
        "high": pytest.approx(2.8),
    }
    assert rows["served"][-1] == pytest.approx(0.9) and rows["oracle"][-1] == 1.0


def test_withheld_items_stand_beside_chance_and_what_was_learnt():
    table = views.tables(summarised())["cold_items"]
    shown = {row[0]: views.value_of(row[1]) for row in table.rows}
    assert shown == {
        "withheld": pytest.approx(0.24),
        "withheld, no texts and pictures": pytest.approx(0.12),
        "in a random order": 0.07,
        "learnt, as all others": pytest.approx(0.33),
    }


def test_what_is_not_finite_or_absent_leaves_a_gap_only():
    offline, baselines = small.offline(), small.baselines()
    nothing = {"value": float("nan"), "low": float("nan"), "high": float("nan")}
    offline["slices"] = {"known_users": {"ndcg@10": nothing}}
    offline["ranker"] = {"auc": 0.7, "log_loss": float("inf")}
    offline["beyond_accuracy"] = offline["session_moves"] = {}
    baselines["ials"] = {"ndcg@10": nothing}
    summary = summarised(
        offline=offline,
        baselines=baselines,
        baseline_slices=None,
        differences=None,
        queries=None,
        ablations={"no_content": small.ablations()["no_content"]},
        click_rates={"served": nothing},
    )
    page = Page(html.page(summary))
    assert "nan" not in " ".join(page.texts).lower().split() and "–" in page.texts
    assert set(views.figures(summary)) == {"ndcg@10", "recall_curve", "ablations"}
    assert "iALS" in views.tables(summary)["systems"].rows[-1][0]


@pytest.mark.parametrize(
    ("cell", "text"),
    [
        ({"value": 0.5, "low": 0.4, "high": 0.6}, "0.500 [0.400 to 0.600]"),
        ({"value": 0.5, "low": 0.5, "high": 0.5}, "0.500"),
        ({"value": None, "low": None, "high": None}, "–"),
        (None, "–"),
        (-0.0001, "0.000"),
        (-0.02, "−0.020"),
        (57_600, "57,600"),
        ("x", "x"),
    ],
)
def test_cells(cell, text):
    assert views.cell_text(cell) == text


def test_slices_stand_in_an_order_that_can_be_read():
    ordered = [
        "known_users",
        "cold_users",
        "activity:low",
        "device:mobile",
        "device:tablet",
        "hour:night",
        "weekend",
        "zeta",
    ]
    assert slice_order(sorted(ordered)) == ordered
    assert evaluation_summary.label("hour:night") == "hour: night"

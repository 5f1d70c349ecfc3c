"""The share of lists that hold an item which their visitor dismisses later, and its queries."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from recsys_assets import columns as c
from recsys_assets.artifacts import ArtifactStore
from recsys_assets.lib.evaluation import dismissals, list_metrics, views
from recsys_assets.lib.evaluation.item_sets import ItemSets
from recsys_assets.lib.evaluation.list_metrics import Lists
from recsys_assets.lib.evaluation.measures import DISMISSED_AT, PRIMARY
from recsys_assets.lib.evaluation.queries import LATER, Queries
from recsys_assets.lib.evaluation.seen_filter import dropped
from recsys_assets.lib.features.seen import DEFAULT_RULE, NEVER
from recsys_assets.local_time import UTC
from recsys_assets_tests.lib.evaluation.test_summary import summarised
from recsys_assets_tests.support import small_evaluation, small_queries

NOON = 1_790_000_000 // 86_400 * 86_400 + 43_200
DAY = 86_400
ITEMS = [f"i{n}" for n in range(6)]
CATALOGUE = pl.DataFrame({c.ITEM_ID: ITEMS}).with_row_index("item").cast({"item": pl.Int32})


def sets(*of_query: list[int]) -> ItemSets:
    start = np.cumsum([0, *map(len, of_query)]).astype(np.int64)
    return ItemSets(start, np.array([item for own in of_query for item in own], np.int32))


def lists(*top: list[int]) -> Lists:
    rows = np.full((len(top), list_metrics.SHOWN), -1, np.int32)
    for row, items in zip(rows, top, strict=True):
        row[: len(items)] = items
    return Lists(np.ones(len(top), np.int32), rows)


def test_the_figure_is_a_share_of_lists_per_visitor_that_dismisses() -> None:
    """Ann: one of two lists holds what she dismisses; Bob: his only one; Cy dismisses nothing."""
    asked = replace(
        small_queries.queries([0] * 5, 6, users=["ann", "ann", "bob", "cy", "cy"]),
        later=sets([3, 4], [3], [5], [], []),
    )
    top = lists([1, 4], [1, 2], [5, 3], [3, 4], [5])
    found = dismissals.judge(top, asked)
    assert found[DISMISSED_AT]["value"] == pytest.approx((0.5 + 1.0) / 2)
    assert found[PRIMARY] == list_metrics.judge(top.ranks, asked)[PRIMARY]
    better = dismissals.judge(lists([1, 2], [1, 2], [0, 3], [3, 4], [5]), asked)
    assert better[DISMISSED_AT]["value"] == 0


def test_there_is_no_figure_where_nobody_dismisses_an_item() -> None:
    asked = small_queries.queries([0, 1], 6)
    assert DISMISSED_AT not in dismissals.judge(lists([1], [2]), asked)
    none_left = replace(asked, later=sets([], []))
    assert DISMISSED_AT not in dismissals.judge(lists([1], [2]), none_left)
    simulated = replace(
        small_queries.queries([0, 1], 6, simulated=[False, True]), later=sets([], [2])
    )
    assert DISMISSED_AT not in dismissals.judge(lists([1], [2]), simulated)


def log(store: ArtifactStore, rows: list[tuple[str, str, int, str]]) -> list:
    frame = pl.DataFrame(
        [
            (f"e{n}", user, item, at, "mobile", kind, int(kind in c.INTEREST_EVENTS))
            for n, (user, item, at, kind) in enumerate(rows)
        ],
        schema={name: getattr(pl, kind) for name, kind in c.RAW_INTERACTIONS.items()},
        orient="row",
    )
    with store.stage("raw/interactions", "2026-09-21") as staged:
        frame.write_parquet(staged.path / "interactions.parquet")
        return [staged.publish()]


def test_what_is_dismissed_before_a_query_is_hidden_and_what_follows_is_asked(
    tmp_path: Path,
) -> None:
    days = log(
        ArtifactStore(tmp_path),
        [
            ("ann", "i0", NOON - 60, "Dismiss"),
            ("ann", "i1", NOON - 6 * DAY, "Dismiss"),
            ("ann", "i2", NOON - 7 * DAY, "Dismiss"),  # too old: shown again
            ("ann", "i3", NOON, "Dismiss"),  # at the query: after it
            ("ann", "i4", NOON + DAY, "Dismiss"),
            ("ann", "i0", NOON + DAY, "Dismiss"),  # hidden already
            ("ann", "i5", NOON - 60, "View"),
            ("bob", "i1", NOON - 60, "Dismiss"),  # another visitor's
            (c.MISSING, "i2", NOON - 60, "Dismiss"),  # nobody's
        ],
    )
    asked = pl.DataFrame(
        {"query": [0, 1], c.USER_ID: ["ann", c.MISSING], c.TIMESTAMP: [NOON, NOON]}
    )
    seen, hidden, later = dropped(asked, days, CATALOGUE, DEFAULT_RULE, UTC)
    assert seen.rows() == [(0, 5)]
    assert hidden.rows() == [(0, 0), (0, 1), (0, 5)]
    assert later.rows() == [(0, 3), (0, 4)]
    _, of_never, _ = dropped(asked, days, CATALOGUE, NEVER, UTC)
    assert of_never.rows() == [(0, 0), (0, 1)]


def test_queries_keep_what_is_dismissed_later(tmp_path: Path) -> None:
    plain = small_queries.queries([0, 1, 2], 6, frame=None)
    store, read = ArtifactStore(tmp_path), {}
    for name, later in (("none", None), ("some", sets([3], [], [4, 5]))):
        with store.stage("evaluation/queries", f"2026-01-0{1 + len(read)}") as staged:
            replace(plain, later=later).write(staged.path)
            artifact = staged.publish()
        read[name] = Queries.read(artifact)
        assert (LATER in artifact.manifest["files"]) == (later is not None)
    assert read["none"].later is None
    kept = read["some"].subset(np.array([2, 1])).later
    assert kept is not None and kept.start.tolist() == [0, 2, 2] and kept.items.tolist() == [4, 5]


def test_the_report_has_the_figure_of_each_system_only_where_there_is_one() -> None:
    plain = views.tables(summarised())["systems"]
    assert "dismissed" not in " ".join(plain.columns) + plain.note
    figures = small_evaluation.offline()
    figures["served"][DISMISSED_AT] = small_evaluation.estimate(0.25)
    table = views.tables(summarised(offline=figures))["systems"]
    assert len(table.columns) == len(plain.columns) + 1 and "the lower the better" in table.note
    place = table.columns.index("dismissed@10")
    assert views.cell_text(table.rows[0][place]).startswith("0.250")
    assert {row[place] for row in table.rows[1:]} == {None}

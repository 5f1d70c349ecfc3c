"""Test every shop: it is the same each time, small, and `recsys ingest` takes it whole."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
from typer.testing import CliRunner

from recsys_assets.bench.shops.all_shops import SHOPS
from recsys_assets.cli import main
from recsys_assets.settings import get_settings
from recsys_assets_tests.bench.shops.conftest import BY_NAME, DRAWN, REAL, Shop, read

LARGEST_LOG, MOST_TEXTS = 60_000, 300


@pytest.fixture
def report(
    request: pytest.FixtureRequest,
    written: Callable[[str], Shop],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> dict:
    """Return what `recsys ingest` reports, typed as the shop says, in the folder of its files."""
    shop = BY_NAME[request.param]
    monkeypatch.setenv("RECSYS_HOME", str(tmp_path))
    monkeypatch.delenv("RECSYS_START_DAY", raising=False)  # the calendar follows the log
    monkeypatch.chdir(written(shop.name)[0])
    get_settings.cache_clear()
    done = CliRunner().invoke(main.app, ["ingest", *shop.arguments], env={"COLUMNS": "200"})
    get_settings.cache_clear()
    assert done.exit_code == 0, done.output
    return {"name": shop.name, **json.loads((tmp_path / "landing" / "ingested.json").read_text())}


def test_the_set_has_every_kind_of_shop():
    assert len(SHOPS) >= 10 and len(BY_NAME) == len(SHOPS)
    assert {"clicks_only", "retailrocket", "mind", "hm", "groceries", "tiny", "week"} < set(BY_NAME)
    assert {"two_days", "sundays_and_sale", "zones", *REAL} < set(BY_NAME)


@pytest.mark.parametrize("name", DRAWN)
def test_a_shop_is_the_same_each_time(
    written: Callable[[str], Shop], name: str, tmp_path: Path
) -> None:
    folder, first = written(name)
    assert BY_NAME[name].write(tmp_path, tmp_path, 0) == first
    files = sorted(path.name for path in folder.iterdir())
    assert files == sorted(path.name for path in tmp_path.iterdir())
    for file in files:
        assert (folder / file).read_bytes() == (tmp_path / file).read_bytes(), file


@pytest.mark.parametrize("name", DRAWN)
def test_another_draw_has_the_same_form_and_other_visitors(
    written: Callable[[str], Shop], name: str, tmp_path: Path
) -> None:
    folder, first = written(name)
    other = BY_NAME[name].write(tmp_path, tmp_path, 1)
    files = sorted(path.name for path in folder.iterdir())
    assert files == sorted(path.name for path in tmp_path.iterdir())
    assert any((folder / file).read_bytes() != (tmp_path / file).read_bytes() for file in files)
    assert other.rows == pytest.approx(first.rows, rel=0.05)


@pytest.mark.parametrize("name", DRAWN)
def test_a_shop_is_small_and_described_rightly(written: Callable[[str], Shop], name: str) -> None:
    folder, described = written(name)
    arguments = BY_NAME[name].arguments
    log = read(folder / arguments[0])
    assert log.height == described.rows <= LARGEST_LOG
    columns = dict(pair.split("=") for pair in arguments if pair.startswith(("user_", "item_")))
    users = log[columns.get("user_id", "user_id")].cast(pl.String)
    items = log[columns.get("item_id", "item_id")].cast(pl.String)
    assert described.visitor in users and set(items) <= described.items
    assert "--catalogue" not in arguments or len(described.items) <= MOST_TEXTS


@pytest.mark.parametrize("report", DRAWN, indirect=True)
def test_ingest_takes_every_row_that_it_should(
    report: dict, written: Callable[[str], Shop]
) -> None:
    shop, described = BY_NAME[report["name"]], written(report["name"])[1]
    sources = {source["table"]: source for source in report["sources"]}
    log = sources["interactions"]
    assert log["rows_read"] == described.rows
    assert set(log["rejected"]) == shop.rejected
    assert log["accepted"] == log["rows_read"] - sum(log["rejected"].values())
    assert log["accepted"] > 0.85 * log["rows_read"]
    assert bool(log["remedies"]) == bool(shop.rejected)
    assert report["items"]["rows"] == len(described.items)
    if "--catalogue" in shop.arguments:
        assert sources["items"]["rejected"] == {} and report["items"]["derived"] == 0
    assert sum(report["days"].values()) == log["accepted"]


@pytest.mark.parametrize(
    ("report", "events"),
    [
        ("clicks_only", {"View"}),
        ("latent", {"View", "Impression"}),
        ("retailrocket", {"View", "AddToCart", "Purchase"}),
        ("mind", {"View", "Impression"}),
        ("groceries", {"View"}),
        ("sundays_and_sale", {"Impression", "View", "AddToCart", "Purchase"}),
    ],
    indirect=["report"],
)
def test_events_are_what_the_form_means(report: dict, events: set[str]) -> None:
    log = next(one for one in report["sources"] if one["table"] == "interactions")
    assert set(log["events"]) == events


@pytest.mark.parametrize(
    ("report", "said"),
    [
        ("clicks_only", "positives only"),
        ("hm", "no time of day"),
        ("retailrocket", "no catalogue"),
        ("mind", "no device_type"),
    ],
    indirect=["report"],
)
def test_the_report_says_what_the_form_lacks(report: dict, said: str) -> None:
    lacks = [
        *report["left_out"],
        *(t for one in report["sources"] for t in one.get("left_out", [])),
    ]
    assert any(text.startswith(said) for text in lacks), lacks

"""Test the raw day of a shop that logs its answers: from the stream to the impressions."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
import pytest

from recsys_assets import columns as c
from recsys_assets.lib.landing.content import LandingContent
from recsys_assets.lib.raw.changes import changed_days
from recsys_assets.lib.simulator import shop as simulator
from recsys_assets.orchestration.resources import Platform
from recsys_assets.partitions import day_bounds
from recsys_assets.serving.events.events import Event
from recsys_assets.serving.events.landing import LandingBuffer
from recsys_assets.serving.events.log_stream import pack
from recsys_assets.serving.events.served_consumer import ServedConsumer
from recsys_assets.serving.events.served_log import SERVED
from recsys_assets.settings import Settings
from recsys_assets_tests.support.daily_home import DAYS, Home

DAY = DAYS[1]
START = day_bounds(DAY)[0]


@pytest.fixture(scope="module")
def clicks_only(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a shop without impressions, whose first day was read."""
    folder = tmp_path_factory.mktemp("clicks-only")
    simulator.simulate(folder / "landing", "tiny", DAYS, seed=3)
    home = Home(tmp_path_factory.mktemp("read"), folder)
    for day in DAYS:
        home.rewrite(day, lambda rows: rows.filter(pl.col(c.EVENT_TYPE) != c.IMPRESSION))
    assert home.run("users").success and home.run("items").success
    assert home.run("interactions", DAYS[0]).success
    return home.settings.home


@pytest.fixture
def home(tmp_path: Path, clicks_only: Path, valkey: Any) -> Home:
    made = Home(tmp_path, clicks_only)
    change(made, valkey_host=valkey.host, valkey_port=valkey.port, served_log="on")
    return made


def change(home: Home, **settings: Any) -> None:
    """Change settings of a home and of its assets."""
    changed = home.settings = home.settings.model_copy(update=settings)

    class Changed(Platform):
        @property
        def settings(self) -> Settings:
            return changed

    home.platform = Changed()


def items_of(home: Home) -> list[str]:
    return pl.read_parquet(home.store.current("raw/items").path("items.parquet"))[
        c.ITEM_ID
    ].to_list()


def serve(home: Home, valkey: Any, moments: Iterable[int], first: int = 0) -> None:
    """Log ten items per answer of visitors, as gateway and consumer do."""
    items = items_of(home)
    answers = [
        {
            "answer_id": f"ab-{n:x}",
            "request_id": f"request-{n}",
            "user_id": f"visitor-{n}",
            "at": at,
            "device_type": "mobile",
            "top_k": 10,
            "item_ids": [items[(n + k) % len(items)] for k in range(10)],
            "scores": [1 - k / 10 for k in range(10)],
            "release": 3,
            "query_release": 2,
            **({} if n % 3 else {"arm": "new-page"}),
        }
        for n, at in enumerate(moments, first)
    ]
    with valkey.client(1) as client:
        client.xadd(SERVED.name, {SERVED.field: pack(answers)})
    consumer = ServedConsumer(home.settings, "consumer-0", threading.Event())
    consumer.recover()
    consumer.step()
    consumer.land()


def raw(done: dg.ExecuteInProcessResult) -> dict[str, Any]:
    """Return the metadata of the materialisation."""
    assert done.success
    (event,) = [e for e in done.all_events if e.event_type_value == "ASSET_MATERIALIZATION"]
    return {
        name: value.value
        for name, value in event.step_materialization_data.materialization.metadata.items()
    }


def test_a_shop_of_clicks_has_impressions_from_its_second_day(home: Home, valkey: Any) -> None:
    items = items_of(home)
    serve(home, valkey, range(START + 60, START + 460))
    buffer = LandingBuffer(home.settings.landing)
    clicks = [(0, 3, "request-0"), (5, 1, None), (5, 2, "request-7")]  # the last names another
    for n, (visitor, position, request) in enumerate(clicks):
        event = Event(
            event_id=f"click-{n}",
            user_id=f"visitor-{visitor}",
            item_id=items[visitor + position - 1],
            timestamp=START + 900,
            request_id=request,
        )
        buffer.add(f"{(START + 900) * 1000}-{n}", event)
    buffer.write()
    before = pl.read_parquet(home.landing(DAY) / "simulated.parquet")

    done = home.run("interactions", DAY)
    metadata = raw(done)
    artifact = home.store.current("raw/interactions", DAY)
    rows = pl.read_parquet(artifact.path("interactions.parquet"))
    assert rows.schema == {name: getattr(pl, kind) for name, kind in c.ARRIVED_INTERACTIONS.items()}
    assert rows[c.EVENT_ID].n_unique() == rows.height == before.height + 3 + 4_000 - 2
    made = rows.filter(pl.col(c.EVENT_TYPE) == c.IMPRESSION)
    assert made.height == 3_998 and made[c.CLICK].sum() == 0
    assert made[c.TIMESTAMP].is_between(START + 60, START + 460).all()

    shown = pl.read_parquet(artifact.path("served.parquet"))
    assert (
        shown.height == 4_000 and shown["position"].value_counts()["count"].to_list() == [400] * 10
    )
    clicked = shown.filter("clicked").select("request_id", "position", "event_id").sort("event_id")
    assert clicked.rows() == [("request-0", 3, "click-0"), ("request-5", 1, "click-1")]
    assert shown.group_by("arm").len().sort("arm").rows() == [(None, 2_660), ("new-page", 1_340)]
    # each shown item has its row, and its position is in the id of its impression
    both = shown.join(rows, on=["event_id", "user_id", "item_id"], how="inner")
    assert both.height == 4_000
    positions = made[c.EVENT_ID].str.slice(-3).cast(pl.Int16)
    assert set(positions) == set(range(1, 11))

    assert metadata["served answers"] == 400 and metadata["served impressions"] == 3_998
    assert metadata["served clicks_joined"] == 2
    assert metadata["served clicks_joined_by_request"] == 1
    views = rows.filter(pl.col(c.EVENT_TYPE) == c.VIEW).height
    assert metadata["served share_joined"] == pytest.approx(2 / views)

    # a hundred times the clicks of the days before is no unusual volume: the log is new
    checks = {one.check_name: one.passed for one in done.get_asset_check_evaluations()}
    assert checks == {"contract": True, "volume": True}
    for name in ("features", "masked"):
        assert home.run("features", DAYS[0]).success and home.run("masked", DAYS[0]).success
        assert home.run(name, DAY).success
    features = pl.read_parquet(
        home.store.current("features/interactions", DAY).path("features.parquet")
    )
    assert features[c.CLICK].value_counts().sort(c.CLICK)["count"].to_list() == [3_998, views]

    again = raw(home.run("interactions", DAY))
    assert again["reused"] and again["digest"] == metadata["digest"]
    forced = raw(home.run("interactions", DAY, force=True))
    assert not forced["reused"] and forced["digest"] == metadata["digest"]
    served = home.store.current("raw/interactions", DAY).path("served.parquet")
    assert pl.read_parquet(served).equals(shown)


def test_answers_that_land_late_are_a_correction(home: Home, valkey: Any) -> None:
    def changed() -> Any:
        content = LandingContent(home.settings.landing, home.settings.home / "cache")
        return changed_days(content, home.store, [DAY]).get(DAY)

    serve(home, valkey, [START + 60])
    assert raw(home.run("interactions", DAY))["served impressions"] == 10
    assert changed() is None
    serve(home, valkey, [START + 90], first=1)
    found = changed()
    assert found.read and found.only_late_events and "served/served-" in str(found)
    assert raw(home.run("interactions", DAY))["served impressions"] == 20
    assert changed() is None


def test_a_day_is_as_it_was_without_a_log(home: Home, valkey: Any) -> None:
    serve(home, valkey, [day_bounds(DAYS[2])[0] + 5])
    metadata = raw(home.run("interactions", DAY))
    assert not [name for name in metadata if name.startswith("served")]
    manifest = home.store.manifest("raw/interactions", DAY)
    assert manifest is not None and set(manifest["params"]) == {"time_zone"}
    assert "served.parquet" not in manifest["files"]


def test_the_shop_s_own_impressions_win(home: Home, valkey: Any) -> None:
    serve(home, valkey, [START + 60, START + 61])
    buffer = LandingBuffer(home.settings.landing)
    own = Event(
        event_id="own",
        user_id="visitor-0",
        item_id=items_of(home)[0],
        timestamp=START + 62,
        event_type="Impression",
    )
    buffer.add(f"{(START + 62) * 1000}-0", own)
    buffer.write()

    def impressions(rule: str) -> int:
        change(home, served_impressions=rule)
        assert home.run("interactions", DAY).success
        rows = pl.read_parquet(
            home.store.current("raw/interactions", DAY).path("interactions.parquet")
        )
        return rows.filter(pl.col(c.EVENT_TYPE) == c.IMPRESSION).height

    assert {rule: impressions(rule) for rule in ("own", "none", "both")} == {
        "own": 1,
        "none": 1,
        "both": 20,
    }


def test_a_broken_file_fails_by_name(home: Home, valkey: Any) -> None:
    folder = Path(home.settings.landing) / "served" / DAY
    folder.mkdir(parents=True)
    (folder / "served-1-0.parquet").write_bytes(b"half")
    done = home.run("interactions", DAY)
    assert not done.success
    failed = next(one for one in done.get_asset_check_evaluations() if one.check_name == "contract")
    assert not failed.passed
    assert f"served/{DAY}/served-1-0.parquet" in str(failed.metadata["failures"].value)

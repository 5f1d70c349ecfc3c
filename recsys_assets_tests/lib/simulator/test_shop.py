"""Test the simulated landing zone: contract, determinism, replacement, signal."""

import dataclasses

import polars as pl
import pytest

from recsys_assets.columns import ARRIVED, EVENT_TYPES, RAW_INTERACTIONS, RAW_ITEMS, RAW_USERS
from recsys_assets.lib.features.point_in_time import interaction_features
from recsys_assets.lib.landing.zone import IMAGES_FILE, ITEMS_FILE, USERS_FILE
from recsys_assets.lib.quality.contracts import check_table
from recsys_assets.lib.quality.landing_day import read_landing_day
from recsys_assets.lib.simulator.exposures import POSITION
from recsys_assets.lib.simulator.shop import (
    SCALES,
    Scale,
    SimulationError,
    landing_summary,
    load_truth,
    simulate,
)
from recsys_assets.lib.simulator.truth import TruthError

DAYS = ["2026-11-18", "2026-11-19", "2026-11-20"]  # Wednesday to Friday
TINY = SCALES["tiny"]
CATALOGUE = """\
- {id: a-1, name: Red Bag, category: accessories, style: bag, description: A red bag., price: 9.99}
- {id: b-2, name: Oak Table, category: furniture, style: tables, description: A table., price: 500}
- {id: c-3, name: Fern, category: floral, style: plant, description: A green fern., price: 19.5}
"""


@pytest.fixture(scope="module")
def landing(tmp_path_factory):
    folder = tmp_path_factory.mktemp("landing")
    simulate(folder, "tiny", DAYS, 7)
    return folder


def _bytes(folder) -> dict[str, bytes]:
    return {
        p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*.parquet"))
    }


def test_the_landing_zone_keeps_its_contract(landing):
    for file, schema in ((ITEMS_FILE, RAW_ITEMS), (USERS_FILE, RAW_USERS)):
        check_table(landing / file, schema).raise_if_failed()
    items, images = pl.read_parquet(landing / ITEMS_FILE), pl.read_parquet(landing / IMAGES_FILE)
    assert items["image"].to_list() == images["image"].to_list()
    for day in DAYS:
        frame = read_landing_day(landing, day).frame
        assert set(frame["item_id"]) <= set(items["item_id"])
        assert set(frame["event_type"]) <= set(EVENT_TYPES)
        assert (frame.filter(pl.col("event_type") == "Impression")["click"] == 0).all()
        assert (frame.filter(pl.col("event_type") != "Impression")["click"] == 1).all()
        raw = pl.read_parquet(landing / "interactions" / day / "simulated.parquet")
        # beside the contract's columns; no file says that an event arrived late
        assert raw.columns == [*RAW_INTERACTIONS, POSITION] and frame[ARRIVED].is_null().all()
        assert raw[POSITION].min() == 1


def test_the_summary(landing):
    summary = landing_summary(landing)
    assert (summary["users"], summary["items"], summary["images"]) == (300, 120, 120)
    assert list(summary["days"]) == DAYS
    assert summary["rows"] == sum(read_landing_day(landing, day).frame.height for day in DAYS)
    for day in summary["days"].values():
        assert day["exposures"] == round(900 * 0.96)
        assert 0.12 < day["click_rate"] < 0.28
    assert summary["parameters"]["seed"] == 7


def test_any_day_can_be_made_again_alone_to_equal_bytes(landing, tmp_path):
    simulate(tmp_path, "tiny", [DAYS[2]], 7, start=DAYS[0])
    again, before = _bytes(tmp_path), _bytes(landing)
    assert set(again) < set(before)
    assert all(before[name] == content for name, content in again.items())
    simulate(tmp_path, "tiny", [DAYS[0]], 7)
    assert (
        _bytes(tmp_path)[f"interactions/{DAYS[0]}/simulated.parquet"]
        == before[f"interactions/{DAYS[0]}/simulated.parquet"]
    )


def test_the_fortnight_starts_where_it_is_told_or_with_the_first_day(tmp_path):
    simulate(tmp_path, "tiny", DAYS[:1], 7)
    later = simulate(tmp_path, "tiny", ["2026-12-01"], 7)  # day 13 of the same fortnight
    assert (later["kept"], later["parameters"]["start"]) == (["catalogue"], DAYS[0])
    other = simulate(
        tmp_path, "tiny", ["2026-12-02"], 7
    )  # another fortnight: a shop with launches of its own
    assert (other["written"], other["parameters"]["start"]) == (
        ["catalogue", "2026-12-02"],
        "2026-12-02",
    )
    assert list(other["days"]) == ["2026-12-02"]
    truth = load_truth(tmp_path)
    assert truth.launch_day.max() == truth.launch_day[truth.launch_day > 0].min() + 12
    told = simulate(tmp_path, "tiny", ["2026-12-02"], 7, start="2026-11-30")
    assert told["written"] == ["catalogue", "2026-12-02"]
    with pytest.raises(SimulationError, match="no days"):
        simulate(tmp_path, "tiny", [], 7)


def test_the_summary_counts_visitors_events_beside_the_simulated(tmp_path):
    before = simulate(tmp_path, "tiny", DAYS[:1], 7)["days"][DAYS[0]]
    events = read_landing_day(tmp_path, DAYS[0]).frame.filter(event_type="View").head(3)
    events.write_parquet(
        tmp_path / "interactions" / DAYS[0] / "events-1.parquet"
    )  # without a position
    after = landing_summary(tmp_path)["days"][DAYS[0]]
    assert [after[name] - before[name] for name in ("rows", "exposures", "clicks")] == [3, 3, 3]


def test_what_is_there_is_kept_and_progress_told(tmp_path):
    steps = []
    first = simulate(tmp_path, "tiny", DAYS[:1], 7, progress=lambda *step: steps.append(step))
    assert (first["written"], first["kept"]) == (["catalogue", DAYS[0]], [])
    assert steps == [("catalogue, images, users", 1, 2), (f"interactions of {DAYS[0]}", 2, 2)]
    times = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*") if p.is_file()}
    second = simulate(tmp_path, "tiny", DAYS[:2], 7)
    assert (second["written"], second["kept"]) == ([DAYS[1]], ["catalogue", DAYS[0]])
    assert all(p.stat().st_mtime_ns == t for p, t in times.items())
    assert not [p for p in tmp_path.rglob(".*")]  # no temporary file is left


def test_other_parameters_replace_the_shop_and_set_visitors_events_aside(tmp_path):
    simulate(tmp_path, "tiny", DAYS[:2], 7)
    before = _bytes(tmp_path)
    events = tmp_path / "interactions" / DAYS[1] / "events-1.parquet"
    events.write_bytes(b"a visitor's")
    served = tmp_path / "served" / DAYS[1] / "served-1.parquet"
    served.parent.mkdir(parents=True)
    served.write_bytes(b"answers")
    summary = simulate(tmp_path, "tiny", DAYS[:1], 8)
    assert summary["written"] == ["catalogue", DAYS[0]]
    assert summary["superseded"] == 2
    assert list(summary["days"]) == DAYS[:1]  # the other day was of the old shop
    [aside] = tmp_path.glob(f"superseded/*/{DAYS[1]}/events-1.parquet")
    assert aside.read_bytes() == b"a visitor's"
    [aside] = tmp_path.glob(f"superseded/*/served/{DAYS[1]}/served-1.parquet")
    assert aside.read_bytes() == b"answers" and not served.exists()
    after = _bytes(tmp_path)
    assert all(after[name] != before[name] for name in (ITEMS_FILE, IMAGES_FILE, USERS_FILE))


def test_a_real_catalogue(tmp_path):
    path = tmp_path / "products.yaml"
    path.write_text(CATALOGUE)
    simulate(
        tmp_path / "landing", dataclasses.replace(TINY, exposures_per_day=100), DAYS[:1], 7, path
    )
    items = pl.read_parquet(tmp_path / "landing" / ITEMS_FILE)
    assert items.select("item_id", "image").rows() == [
        (i, f"{i}.png") for i in ("a-1", "b-2", "c-3")
    ]
    assert set(read_landing_day(tmp_path / "landing", DAYS[0]).frame["item_id"]) <= {
        "a-1",
        "b-2",
        "c-3",
    }
    path.write_text("\n".join(CATALOGUE.splitlines()[:2]))
    with pytest.raises(TruthError, match="category_l1: the catalogue has 2 categories"):
        simulate(tmp_path / "other", "tiny", DAYS[:1], 7, path)


def test_refusals_name_the_remedy(tmp_path):
    with pytest.raises(
        SimulationError, match="unknown scale 'huge': choose one of tiny, demo, seed"
    ):
        simulate(tmp_path, "huge", DAYS, 7)
    (tmp_path / "users").mkdir()
    (tmp_path / USERS_FILE).write_bytes(b"somebody's own")
    with pytest.raises(SimulationError, match="no simulator wrote"):
        simulate(tmp_path, "tiny", DAYS, 7)
    assert (tmp_path / USERS_FILE).read_bytes() == b"somebody's own"


def test_top_category_of_the_last_day_is_informative(landing):
    """The 24-hour feature separates clicks that the item's category alone does not."""
    items, users = pl.read_parquet(landing / ITEMS_FILE), pl.read_parquet(landing / USERS_FILE)
    yesterday, today = (read_landing_day(landing, day).frame for day in DAYS[1:])
    features, _, _ = interaction_features(today, yesterday, users, items, DAYS[2], look_back_days=7)
    known = features.filter(pl.col("top_category") != "-1")
    assert known.height > 0.5 * features.height
    same = known["top_category"] == known["category_l1"]
    assert known.filter(same)["click"].mean() > 1.8 * known.filter(~same)["click"].mean()


def test_the_scales():
    assert {s.name: (s.users, s.items) for s in SCALES.values()} == {
        "tiny": (300, 120),
        "demo": (5_000, 600),
        "seed": (300_000, 2_465),
    }
    assert isinstance(TINY, Scale)
    # a view is followed by .08 + .05 + .02 + .01 events, and one exposure in five is a view
    assert 13e6 < SCALES["seed"].exposures_per_day * 14 * (1 + 0.20 * 0.16) < 13.3e6

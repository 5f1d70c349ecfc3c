"""The simulated shop: determinism, the landing zone's contract, and a signal that can be learnt."""

import dataclasses
import json

import numpy as np
import polars as pl
import pytest
from sklearn.metrics import roc_auc_score

from recsys_assets.columns import EVENT_TYPES, RAW_ITEMS, RAW_USERS
from recsys_assets.lib.contracts import IMAGES_FILE, ITEMS_FILE, USERS_FILE, check_table, read_landing_day
from recsys_assets.lib.exposures import calibrated, simulate_day
from recsys_assets.lib.features import interaction_features
from recsys_assets.lib.simulator import SCALES, Scale, SimulationError, landing_summary, load_truth, simulate
from recsys_assets.lib.truth import PERSONA_WEIGHTS, Truth, TruthError, make_truth
from recsys_assets.partitions import day_bounds

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


@pytest.fixture(scope="module")
def truth(landing) -> Truth:
    return load_truth(landing)


@pytest.fixture(scope="module")
def large_day(truth) -> pl.DataFrame:
    """Many exposures of the tiny shop, for statistics."""
    return simulate_day(truth, 40_000, DAYS[0])


def _bytes(folder) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*.parquet"))}


def _odds(truth: Truth, frame: pl.DataFrame) -> np.ndarray:
    return truth.click_probability(truth.user_index(frame["user_id"]), truth.item_index(frame["item_id"]),
                                   truth.device_index(frame["device_type"]), frame["timestamp"].to_numpy())


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
    simulate(tmp_path, "tiny", [DAYS[2]], 7)
    again, before = _bytes(tmp_path), _bytes(landing)
    assert set(again) < set(before)
    assert all(before[name] == content for name, content in again.items())
    simulate(tmp_path, "tiny", [DAYS[0]], 7)
    assert _bytes(tmp_path)[f"interactions/{DAYS[0]}/simulated.parquet"] == before[
        f"interactions/{DAYS[0]}/simulated.parquet"]


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
    summary = simulate(tmp_path, "tiny", DAYS[:1], 8)
    assert summary["written"] == ["catalogue", DAYS[0]]
    assert summary["superseded"] == 1
    assert list(summary["days"]) == DAYS[:1]  # the other day was of the old shop
    [aside] = tmp_path.glob(f"superseded/*/{DAYS[1]}/events-1.parquet")
    assert aside.read_bytes() == b"a visitor's"
    after = _bytes(tmp_path)
    assert all(after[name] != before[name] for name in (ITEMS_FILE, IMAGES_FILE, USERS_FILE))


def test_a_real_catalogue(tmp_path):
    path = tmp_path / "products.yaml"
    path.write_text(CATALOGUE)
    simulate(tmp_path / "landing", dataclasses.replace(TINY, exposures_per_day=100), DAYS[:1], 7, path)
    items = pl.read_parquet(tmp_path / "landing" / ITEMS_FILE)
    assert items.select("item_id", "image").rows() == [(i, f"{i}.png") for i in ("a-1", "b-2", "c-3")]
    assert set(read_landing_day(tmp_path / "landing", DAYS[0]).frame["item_id"]) <= {"a-1", "b-2", "c-3"}
    path.write_text("\n".join(CATALOGUE.splitlines()[:2]))
    with pytest.raises(TruthError, match="category_l1: the catalogue has 2 categories"):
        simulate(tmp_path / "other", "tiny", DAYS[:1], 7, path)


def test_refusals_name_the_remedy(tmp_path):
    with pytest.raises(SimulationError, match="unknown scale 'huge': choose one of tiny, demo, seed"):
        simulate(tmp_path, "huge", DAYS, 7)
    (tmp_path / "users").mkdir()
    (tmp_path / USERS_FILE).write_bytes(b"somebody's own")
    with pytest.raises(SimulationError, match="no simulator wrote"):
        simulate(tmp_path, "tiny", DAYS, 7)
    assert (tmp_path / USERS_FILE).read_bytes() == b"somebody's own"


def test_truth_survives_storage_without_pickle(truth, landing, tmp_path):
    truth.save(tmp_path)
    again = Truth.read(tmp_path)
    for field in dataclasses.fields(Truth):
        assert np.array_equal(getattr(truth, field.name), getattr(again, field.name)), field.name
    meta = json.loads((tmp_path / "truth.json").read_text())
    (tmp_path / "truth.json").write_text(json.dumps({**meta, "version": 0}))
    with pytest.raises(TruthError, match="another version"):
        Truth.read(tmp_path)
    with pytest.raises(FileNotFoundError):
        load_truth(tmp_path / "nowhere")


def test_click_probability_golden_and_broadcast(truth):
    """The formula, spelled out for single triples."""
    start = day_bounds(DAYS[0])[0]
    users, items = np.arange(5), np.arange(40)
    # from Wednesday on: Wednesday, Friday, Saturday, Sunday, Monday
    for device, hour, days, weekend in ((0, 9, 0, 0), (1, 0, 2, 0), (2, 23, 3, 1), (0, 12, 4, 1), (1, 13, 5, 0)):
        at = start + days * 86_400 + hour * 3_600
        odds = truth.click_probability(users[:, None], items[None, :], device, at)
        assert odds.shape == (5, 40)
        for u in users:
            intent = int(truth.intent(np.array([u]), np.array([at]))[0])
            for i in items:
                category = int(truth.item_category[i])
                rank = list(truth.persona[u]).index(category) if category in truth.persona[u] else None
                logit = (truth.bias + truth.quality[i] + truth.device_effect[device, category]
                         + truth.hour_effect[hour, category] + (truth.weekend_effect[category] if weekend else 0)
                         + ({0: 1.9, 1: 1.5, 2: 1.1}[rank] if rank is not None else 0)
                         + (1.2 if category == intent else 0)
                         - (1.5 if truth.item_gender[i] not in (2, truth.user_gender[u]) else 0)
                         + 0.35 * truth.price_taste[u] * truth.price_level[i])
                assert odds[u, i] == pytest.approx(1 / (1 + np.exp(-logit)), rel=1e-5)


def test_indices_name_what_is_unknown(truth):
    assert truth.user_ids[truth.user_index(["12", "3", "12"])].tolist() == ["12", "3", "12"]
    assert truth.device_index(["tablet", "mobile"]).tolist() == [2, 0]
    with pytest.raises(TruthError, match="user_id: 2 values are unknown to the simulator, for example 'nobody'"):
        truth.user_index(["1", "nobody", "0"])
    with pytest.raises(TruthError, match="device_type: 1 values"):
        truth.device_index(["-1"])


def test_intent_follows_the_persona_and_changes_by_day(truth):
    users = np.arange(300)
    days = day_bounds(DAYS[0])[0] + 86_400 * np.arange(60)
    intent = truth.intent(users[:, None], days[None, :])
    shares = [(intent == truth.persona[:, None, rank]).mean() for rank in range(3)]
    assert shares == pytest.approx(PERSONA_WEIGHTS, abs=0.02)
    assert (truth.intent(users, days[0]) == truth.intent(users, days[0] + 86_399)).all()
    assert 0.3 < (intent[:, 1:] != intent[:, :-1]).mean() < 0.8


def test_volume_rates_and_hours(large_day):
    exposures = large_day.filter(pl.col("event_type").is_in(["Impression", "View"]))
    assert exposures.height == round(40_000 * 0.96)
    clicks = exposures["click"].sum()
    assert 0.15 < clicks / exposures.height < 0.25
    counts = dict(large_day["event_type"].value_counts().iter_rows())
    for name, rate in (("AddToCart", 0.08), ("ViewCart", 0.05), ("StartCheckout", 0.02), ("Purchase", 0.01)):
        assert counts[name] / clicks == pytest.approx(rate, abs=4 * np.sqrt(rate / clicks)), name
    by_hour = np.bincount((large_day["timestamp"].to_numpy() // 3_600) % 24, minlength=24) / large_day.height
    assert by_hour[:6].max() < 0.02
    assert by_hour[12:15].min() > 0.09
    assert by_hour[15] > by_hour[16] > by_hour[18]


def test_the_truth_explains_the_clicks(truth, large_day):
    exposures = large_day.filter(pl.col("event_type").is_in(["Impression", "View"]))
    odds = _odds(truth, exposures)
    assert roc_auc_score(exposures["click"], odds) >= 0.72
    assert odds.mean() == pytest.approx(exposures["click"].mean(), abs=0.01)  # calibrated
    for low, high in ((0.0, 0.1), (0.3, 0.5), (0.6, 0.9)):
        inside = (odds >= low) & (odds < high)
        assert exposures["click"].to_numpy()[inside].mean() == pytest.approx(odds[inside].mean(), abs=0.03)


def test_a_cold_visitors_best_list_changes_with_device_and_hour(truth):
    items, start = np.arange(120), day_bounds(DAYS[0])[0]

    def best(device: int, hour: int) -> set[int]:
        return set(np.argsort(-truth.cold_click_probability(items, device, start + hour * 3_600))[:20])

    base = best(0, 9)
    assert base == best(0, 9)
    assert len(base & best(1, 9)) <= 15
    assert len(base & best(0, 21)) <= 15


def test_top_category_of_the_last_day_is_informative(landing):
    """Within its 24-hour window the feature separates clicks that the item's category alone does not."""
    items, users = pl.read_parquet(landing / ITEMS_FILE), pl.read_parquet(landing / USERS_FILE)
    yesterday, today = (read_landing_day(landing, day).frame for day in DAYS[1:])
    features, _ = interaction_features(today, yesterday, users, items, DAYS[2])
    known = features.filter(pl.col("top_category") != "-1")
    assert known.height > 0.5 * features.height
    same = known["top_category"] == known["category_l1"]
    assert known.filter(same)["click"].mean() > 1.8 * known.filter(~same)["click"].mean()


def test_every_seed_is_another_shop_with_the_same_click_rate(truth):
    other = calibrated(make_truth(pl.DataFrame({
        "item_id": [str(n) for n in range(40)], "category_l1": [f"c{n % 5}" for n in range(40)],
        "item_gender": ["F", "M", "Any", "Any"] * 10, "price": [float(n + 1) for n in range(40)], "promoted": False,
    }), 50, seed=3))
    assert other.bias != truth.bias
    day = simulate_day(other, 20_000, DAYS[0])
    assert 0.17 < day.filter(pl.col("event_type") == "View").height / round(20_000 * 0.96) < 0.23


def test_the_scales():
    assert {s.name: (s.users, s.items) for s in SCALES.values()} == {
        "tiny": (300, 120), "demo": (5_000, 600), "seed": (300_000, 2_465)}
    assert isinstance(TINY, Scale)
    assert 12.5e6 < SCALES["seed"].exposures_per_day * 14 * 1.03 < 13.5e6

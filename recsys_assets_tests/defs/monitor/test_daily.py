"""Test the monitor's assets on landed answers and their clicks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import polars as pl
import pytest

from recsys_assets import columns as c
from recsys_assets import partitions
from recsys_assets.artifacts import Artifact
from recsys_assets.files import write_json
from recsys_assets.lib.drift import quality
from recsys_assets.lib.drift.answers import RELEASES_FILE
from recsys_assets.lib.landing.served_answers import folder_of
from recsys_assets.lib.release.releases import RELEASE
from recsys_assets.lib.simulator import answers
from recsys_assets.lib.simulator import shop as simulator
from recsys_assets.orchestration.resources import Platform
from recsys_assets.release_files import RELEASE_FILE, SAMPLING, model_file
from recsys_assets.settings import Settings, get_settings
from recsys_assets_tests.support.bare_releases import serve, write_release
from recsys_assets_tests.support.daily_home import Home

DAYS = partitions.history_days(get_settings())[:6]
SHIFTED, LAST = DAYS[4], DAYS[5]
RELEASE_NUMBER, SHOP = 5, simulator.Scale("small", 300, 120, 900)
MONITOR = ["served", "quality", "inputs"]


def land(home: Path, day: str, log: pl.DataFrame, clicks: pl.DataFrame) -> None:
    """Write a day into the landing zone, as the consumer does."""
    landing = home / "landing"
    for folder, name, frame in (
        (landing / folder_of(day), "served-1.parquet", log),
        (landing / "interactions" / day, "events-1.parquet", clicks),
    ):
        folder.mkdir(parents=True, exist_ok=True)
        frame.write_parquet(folder / name)


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a home with six ingested days of answers; interests shift before the last two."""
    folder = tmp_path_factory.mktemp("answers")
    simulator.simulate(folder / "landing", SHOP, DAYS[:1], seed=3)
    world = answers.shifted(answers.steady(simulator.load_truth(folder / "landing")), SHIFTED)
    model = answers.taste_model(world, DAYS[0])
    (folder / "landing" / "interactions" / DAYS[0] / "simulated.parquet").unlink()
    for day in DAYS:
        land(folder, day, *answers.simulate_answers(world, model, day, 250, RELEASE_NUMBER))
    home = Home(tmp_path_factory.mktemp("ingested"), folder)
    assert home.run("users").success and home.run("items").success
    done = home.run_all(["interactions", "features", "masked"], DAYS[0], until=DAYS[-1])
    assert done.success
    released(home, 0.0)
    return home.settings.home


def released(home: Home, weight: float) -> None:
    """Put a release into service that was trained on the first two days."""
    store, settings = home.store, home.settings
    train = store.require("features/interactions", DAYS[:2])
    with store.stage("features/workflows", DAYS[1], inputs={"train": train}) as staged:
        (staged.path / "a").write_text("w")
        workflows = staged.publish({})
    bare = write_release(store, settings, RELEASE_NUMBER, DAYS[1], inputs={"workflows": workflows})
    with store.stage(
        RELEASE, f"{RELEASE_NUMBER:06d}", inputs={"workflows": workflows}, params={"w": weight}
    ) as staged:
        (staged.path / RELEASE_FILE).write_text(bare.path(RELEASE_FILE).read_text())
        path = staged.path / model_file("softmax_sampling", SAMPLING)
        path.parent.mkdir(parents=True)
        write_json(path, {"retrieval_weight": weight})
        staged.publish({})
    serve(settings, RELEASE_NUMBER, at=partitions.day_bounds(DAYS[1])[1] - 60)


@pytest.fixture
def home(shop: Path, tmp_path: Path) -> Home:
    made = Home(tmp_path, shop)
    changed = made.settings = made.settings.model_copy(
        update={"drift_reference_days": 2, "drift_min_rows": 300}
    )

    class Changed(Platform):
        @property
        def settings(self) -> Settings:
            return changed

    made.platform = Changed()
    return made


def checks(done: dg.ExecuteInProcessResult) -> dict[str, dg.AssetCheckEvaluation]:
    """Return the checks of a run of one day by name."""
    return {one.check_name: one for one in done.get_asset_check_evaluations()}


def content(home: Home, name: str, day: str) -> Artifact:
    return home.store.current(f"monitor/{name}", day).verify()


def test_a_shift_fails_the_checks_of_its_day_and_names_the_evidence(home: Home) -> None:
    assert home.run_all(MONITOR, DAYS[0], until=DAYS[3]).success
    before = content(home, "quality", DAYS[3]).metrics
    assert before["judged"] and before["drifted"] == []
    done = home.run_all(MONITOR, SHIFTED)
    assert done.success  # drift is a warning, not a failed run
    found = checks(done)
    assert {*found} == {"auc", "ndcg", "calibration", "features", "vocabulary"}
    assert not found["auc"].passed and found["auc"].severity == dg.AssetCheckSeverity.WARN
    assert "from the reference; drift is surely beyond 0.02" in str(found["auc"].description)
    metadata: Any = {name: one.value for name, one in found["auc"].metadata.items()}
    assert metadata["days"] == [SHIFTED] and metadata["reference_days"] == DAYS[:2]
    assert metadata["value"] < -0.02
    after = content(home, "quality", SHIFTED)
    assert set(after.metrics["drifted"]) >= {"auc", "calibration"}
    [made] = [
        one
        for one in done.get_asset_materialization_events()
        if one.asset_key == dg.AssetKey(["monitor", "quality"])
    ]
    figure = made.materialization.metadata["by day"]
    assert isinstance(figure, dg.MarkdownMetadataValue)
    assert "data:image/svg+xml" in str(figure.value)


def test_the_measures_are_those_of_the_joined_log(home: Home) -> None:
    assert home.run("served", DAYS[2]).success
    one = content(home, "served", DAYS[2])
    shown = pl.read_parquet(home.store.current("raw/interactions", DAYS[2]).path("served.parquet"))
    end = partitions.day_bounds(DAYS[2])[1]
    closed = shown.filter(pl.col("at") <= end - 3_600)
    [line] = pl.read_parquet(one.path(RELEASES_FILE)).to_dicts()
    assert line["rows"] == closed.height and line["clicks"] == closed["clicked"].sum()
    assert (
        one.metrics["open_answers"]
        == shown.filter(pl.col("at") > end - 3_600)["answer_id"].n_unique()
    )
    assert line["calibration"] == pytest.approx(
        closed["clicked"].sum() / closed["score"].sum(), rel=1e-9
    )


def test_a_range_makes_the_same_artifacts_as_day_by_day(home: Home) -> None:
    assert home.run_all(MONITOR, DAYS[0], until=DAYS[3]).success
    digests = {(name, day): content(home, name, day).digest for name in MONITOR for day in DAYS[:4]}
    for day in DAYS[:4]:
        for name in MONITOR:
            assert home.run(name, day, force=True).success
    assert digests == {
        (name, day): content(home, name, day).digest for name in MONITOR for day in DAYS[:4]
    }


def test_scores_that_only_order_have_no_calibration(home: Home) -> None:
    released(home, 6.0)
    assert home.run_all(MONITOR, DAYS[0], until=LAST).success
    metrics = content(home, "quality", LAST).metrics
    assert metrics["verdicts"]["calibration"]["drifted"] is None
    assert "auc" in metrics["drifted"]


def test_inputs_are_compared_from_the_first_day_in_service_on(home: Home) -> None:
    assert home.run_all(["inputs"], DAYS[0], until=DAYS[2]).success
    early, first = (content(home, "inputs", day).metrics for day in (DAYS[0], DAYS[2]))
    assert not early["judged"] and "no training day has a profile" in early["reason"]
    assert not first["judged"] and "0 of the first 2 days in service" in first["reason"]
    assert home.run_all(["inputs"], DAYS[4]).success
    later = content(home, "inputs", DAYS[4]).metrics
    assert later["judged"] and later["drifted"] == [] and later["vocabularies"] == []
    assert c.CATEGORY_L1 in later["divergence"]


def test_a_changed_unit_of_prices_fails_the_check_of_the_features(home: Home) -> None:
    items = home.settings.home / "landing" / "catalogue" / "items.parquet"
    frame = pl.read_parquet(items)
    frame.with_columns(pl.col(c.PRICE) * 100).write_parquet(items)
    assert home.run("items").success
    assert home.run_all(["features"], DAYS[4]).success
    found = checks(home.run_all(["inputs"], DAYS[4]))
    assert not found["features"].passed and found["vocabulary"].passed
    assert content(home, "inputs", DAYS[4]).metrics["drifted"] == [c.PRICE]


def test_a_shop_that_logs_nothing_has_inputs_alone(home: Home) -> None:
    landing = home.settings.home / "landing" / folder_of(DAYS[2]) / "served-1.parquet"
    landing.unlink()
    assert home.run_all(["interactions", "features"], DAYS[2]).success
    done = home.run_all(MONITOR, DAYS[2])
    assert done.success and checks(done)["auc"].passed
    assert "has no measured answer" in str(checks(done)["auc"].description)
    assert content(home, "served", DAYS[2]).metrics["answers"] == 0
    verdicts = json.loads(content(home, "quality", DAYS[2]).path(quality.QUALITY_FILE).read_text())
    assert {one["drifted"] for one in verdicts.values()} == {None}


def test_a_day_that_was_not_ingested_is_named(home: Home) -> None:
    missing = (np.datetime64(LAST) + 1).astype(str)
    done = home.run_all(["served"], missing)
    assert not done.success
    [failure] = [one for one in done.all_events if one.is_step_failure]
    assert missing in str(failure.event_specific_data)

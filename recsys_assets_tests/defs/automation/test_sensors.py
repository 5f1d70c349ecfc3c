"""Test the sensors on an ephemeral instance: each day is processed exactly once."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from pathlib import Path
from types import SimpleNamespace

import dagster as dg
import polars as pl
import pytest

from recsys_assets import partitions
from recsys_assets.artifacts import ArtifactStore
from recsys_assets.definitions import defs
from recsys_assets.defs.automation import sensors
from recsys_assets.lib.fine_tune import fine_tuning
from recsys_assets.lib.quality import landing_day
from recsys_assets.lib.release.rung import OLDER
from recsys_assets.lib.simulator import shop as simulator
from recsys_assets.orchestration.resources import Platform
from recsys_assets.settings import Settings, get_settings
from recsys_assets_tests.support.daily_home import DAYS as SHOP_DAYS
from recsys_assets_tests.support.daily_home import Home

DAYS = partitions.history_days(get_settings())
#: A release that has learned nothing.
NEW_RELEASE = SimpleNamespace(manifest={"kind": "serving/release", "inputs": {}})


@pytest.fixture
def home(tmp_path: Path) -> Settings:
    """Return settings of a new home."""
    return Settings(home=tmp_path, start_day=partitions.calendar_start(get_settings()))


@pytest.fixture
def platform(home: Settings) -> Platform:
    """Return the platform resource of the home."""

    class HomePlatform(Platform):
        @property
        def settings(self) -> Settings:
            return home

    return HomePlatform()


def publish(home: Settings, kind: str, day: str, text: str = "x", **metrics: object) -> None:
    """Publish an artifact of a day."""
    with ArtifactStore(home.artifacts).stage(kind, day) as staged:
        (staged.path / "a").write_text(text)
        staged.publish(metrics)


def evaluate(
    sensor: dg.SensorDefinition,
    platform: Platform,
    instance: dg.DagsterInstance,
    cursor: str | None = None,
):
    """Evaluate a sensor."""
    with dg.build_sensor_context(
        instance=instance, cursor=cursor, resources={"platform": platform}
    ) as context:
        return sensor(context)


def test_landed_closed_days_are_ingested_in_order_and_once(
    home: Settings, platform: Platform
) -> None:
    today = partitions.today(get_settings()).isoformat()
    folders = {day: Path(home.landing) / "interactions" / day for day in [*DAYS[:3], today]}
    for folder in folders.values():
        folder.mkdir(parents=True)
        (folder / "simulated.parquet").touch()
    publish(home, "raw/interactions", DAYS[0], files={"simulated.parquet": 5})
    publish(home, "features/masked_train", DAYS[0])
    with dg.DagsterInstance.ephemeral() as instance:
        # not the ingested one, not the open one; one run takes the others
        [request] = evaluate(sensors.new_day, platform, instance)
        assert days_of(request) == (DAYS[1], DAYS[2])
        [again] = evaluate(sensors.new_day, platform, instance)
        assert again.run_key == request.run_key  # Dagster starts a run key once
        # landed after that day was ingested while it was open
        (folders[DAYS[0]] / "events-1.parquet").touch()
        other, late = evaluate(sensors.new_day, platform, instance)
        assert other.run_key == request.run_key and days_of(late) == (DAYS[0], DAYS[0])


def days_of(request: dg.RunRequest) -> tuple[str, str]:
    """Return the first and the last day of a run."""
    if request.partition_key:
        return request.partition_key, request.partition_key
    taken = request.partition_key_range
    assert taken is not None
    return taken.start, taken.end


def test_days_that_a_failed_run_left_out_are_taken_up_again(
    home: Settings, platform: Platform
) -> None:
    for day in (DAYS[0], DAYS[1], DAYS[3]):
        folder = Path(home.landing) / "interactions" / day
        folder.mkdir(parents=True)
        (folder / "simulated.parquet").touch()
        publish(home, "raw/interactions", day, files={"simulated.parquet": 5})
    publish(home, "raw/interactions", DAYS[2], files={})
    for day in (DAYS[0], DAYS[2]):
        publish(home, "features/masked_train", day)
    with dg.DagsterInstance.ephemeral() as instance:
        requests = evaluate(sensors.new_day, platform, instance)
        assert [days_of(one) for one in requests] == [(DAYS[1],) * 2, (DAYS[3],) * 2]
        publish(home, "raw/interactions", DAYS[1], "repaired", files={"simulated.parquet": 5})
        after = evaluate(sensors.new_day, platform, instance)
        assert not {one.run_key for one in after} & {one.run_key for one in requests}
        job = defs().resolve_job_def(sensors.daily_ingest.name)
        instance.create_run_for_job(job, status=dg.DagsterRunStatus.STARTED)
        assert isinstance(evaluate(sensors.new_day, platform, instance), dg.SkipReason)


def test_a_day_without_files_is_ingested_once_a_later_day_has_landed(
    home: Settings, platform: Platform
) -> None:
    landing = Path(home.landing) / "interactions"
    for day in (DAYS[0], DAYS[3]):
        (landing / day).mkdir(parents=True)
        (landing / day / "events-1.parquet").touch()
    with dg.DagsterInstance.ephemeral() as instance:
        [request] = evaluate(sensors.new_day, platform, instance)
        assert days_of(request) == (DAYS[0], DAYS[3])
        for day in DAYS[:4]:
            files = {path.name: 1 for path in (landing / day).glob("*")}
            publish(home, "raw/interactions", day, files=files)
            publish(home, "features/masked_train", day)
        assert isinstance(evaluate(sensors.new_day, platform, instance), dg.SkipReason)
        (landing / DAYS[1]).mkdir()
        (landing / DAYS[1] / "events-2.parquet").touch()  # it has landed after all
        [late] = evaluate(sensors.new_day, platform, instance)
        assert days_of(late) == (DAYS[1], DAYS[1]) and late.run_key != request.run_key


def in_force(monkeypatch: pytest.MonkeyPatch, **other: object) -> None:
    """Let a release serve that has learnt DAYS[11]; other: its fields that differ."""
    champion = SimpleNamespace(
        **{"day": DAYS[11], "rung": OLDER, "number": 1, "artifact": NEW_RELEASE, **other}
    )
    monkeypatch.setattr(fine_tuning, "champion_release", lambda *_: champion)


def test_a_day_without_rows_is_not_fine_tuned(
    home: Settings, platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_force(monkeypatch)
    with dg.DagsterInstance.ephemeral() as instance:
        publish(home, "features/masked_train", DAYS[12], rows=0)
        report(instance, DAYS[12])
        result = evaluate(sensors.ingested_day, platform, instance)
        assert [r.job_name for r in result.run_requests] == ["feature_store_refresh"]


def test_nothing_landed_is_a_skip(home: Settings, platform: Platform) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        assert isinstance(evaluate(sensors.new_day, platform, instance), dg.SkipReason)


def report(instance: dg.DagsterInstance, day: str) -> None:
    """Report a materialisation of the masked train set."""
    instance.report_runless_asset_event(dg.AssetMaterialization(sensors.MASKED, partition=day))


def test_several_days_at_once_are_all_fine_tuned(
    home: Settings, platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_force(monkeypatch)
    with dg.DagsterInstance.ephemeral() as instance:
        for day in DAYS[10:14]:
            publish(home, "features/masked_train", day, rows=5)
            report(instance, day)
        result = evaluate(sensors.ingested_day, platform, instance)
        tuned = [r.partition_key for r in result.run_requests if r.job_name == "fine_tune"]
        assert tuned == DAYS[12:14]
        again = evaluate(sensors.ingested_day, platform, instance, cursor=result.cursor)
        assert isinstance(again, dg.SkipReason)
        report(
            instance, DAYS[13]
        )  # an identical rewrite: the same run key, which Dagster starts once
        rewritten = evaluate(sensors.ingested_day, platform, instance, cursor=result.cursor)
        assert {r.run_key for r in rewritten.run_requests} <= {
            r.run_key for r in result.run_requests
        }
        publish(home, "features/masked_train", DAYS[13], "other rows", rows=5)
        report(instance, DAYS[13])
        changed = evaluate(sensors.ingested_day, platform, instance, cursor=rewritten.cursor)
        assert {r.run_key for r in changed.run_requests}.isdisjoint(
            {r.run_key for r in result.run_requests}
        )


def test_a_day_that_was_ingested_before_its_end_is_fine_tuned_when_it_is_over(
    home: Settings, platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_force(monkeypatch)
    with dg.DagsterInstance.ephemeral() as instance:
        for day in DAYS[12:14]:
            publish(home, "features/masked_train", day, rows=5)
            report(instance, day)
        monkeypatch.setattr(partitions, "today", lambda *_: date.fromisoformat(DAYS[13]))
        result = evaluate(sensors.ingested_day, platform, instance)
        assert {r.partition_key for r in result.run_requests} == {DAYS[12]}
        waits = evaluate(sensors.ingested_day, platform, instance, cursor=result.cursor)
        assert isinstance(waits, dg.SkipReason) and "is over" in str(waits.skip_message)
        monkeypatch.undo()
        in_force(monkeypatch)
        over = evaluate(sensors.ingested_day, platform, instance, cursor=result.cursor)
        assert {r.partition_key for r in over.run_requests} == {DAYS[13]}


def test_without_a_champion_the_days_stay_to_be_done(home: Settings, platform: Platform) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        publish(home, "features/masked_train", DAYS[12], rows=5)
        report(instance, DAYS[12])
        result = evaluate(sensors.ingested_day, platform, instance)
        assert isinstance(result, dg.SkipReason) and "no champion" in result.skip_message


def test_a_simple_champion_is_refreshed_and_not_fine_tuned(
    home: Settings, platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    rung = {"name": "item_to_item", "why": "tried", "next": None}
    in_force(monkeypatch, rung=rung)
    with dg.DagsterInstance.ephemeral() as instance:
        publish(home, "features/masked_train", DAYS[12])
        report(instance, DAYS[12])
        result = evaluate(sensors.ingested_day, platform, instance)
        assert [r.job_name for r in result.run_requests] == ["feature_store_refresh"]


def test_a_champion_of_the_fusion_is_refreshed_and_fine_tuned(
    home: Settings, platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_force(monkeypatch, rung={"name": "fusion", "why": "tried", "next": None})
    with dg.DagsterInstance.ephemeral() as instance:
        publish(home, "features/masked_train", DAYS[12], rows=5)
        report(instance, DAYS[12])
        result = evaluate(sensors.ingested_day, platform, instance)
        jobs = [request.job_name for request in result.run_requests]
        assert jobs == ["feature_store_refresh", "fine_tune"]


# --- corrections, on landed files and real runs
@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a home with three simulated days."""
    folder = tmp_path_factory.mktemp("shop")
    simulator.simulate(folder / "landing", "tiny", SHOP_DAYS, seed=3)
    return folder


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    """Return an instance that the runs and the sensor of a test share."""
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


@pytest.fixture
def ingested(tmp_path: Path, shop: Path, instance: dg.DagsterInstance) -> Home:
    """Return a home whose three days were ingested."""
    home = Home(tmp_path, shop)
    assert home.run_all(["users", "items"], instance=instance).success
    assert home.run_all(ALL, SHOP_DAYS[0], instance, until=SHOP_DAYS[-1]).success
    return home


ALL = ["interactions", "features", "masked"]


def look(home: Home, instance: dg.DagsterInstance) -> list[dg.RunRequest]:
    """Return the runs that new_day wants."""
    found = evaluate(sensors.new_day, home.platform, instance)
    return found if isinstance(found, list) else []


def taken(home: Home, instance: dg.DagsterInstance, request: dg.RunRequest) -> bool:
    """Run what the sensor asks for; return whether it succeeded."""
    first, last = days_of(request)
    names = ALL if request.job_name == "daily_ingest" else ALL[1:]
    return home.run_all(names, first, instance, until=None if first == last else last).success


def versions(home: Home, kind: str) -> list[str | None]:
    """Return the version of each day."""
    return [home.store.version(kind, day) for day in SHOP_DAYS]


def without_first_row(rows: pl.DataFrame) -> pl.DataFrame:
    """Remove one row."""
    return rows.slice(1)


def test_a_corrected_day_is_read_again_and_the_days_after_it_follow(
    ingested: Home, instance: dg.DagsterInstance
) -> None:
    assert look(ingested, instance) == []
    ingested.rewrite(SHOP_DAYS[1], lambda rows: rows)  # the same content
    assert look(ingested, instance) == []
    raw, features = (
        versions(ingested, "raw/interactions"),
        versions(ingested, "features/interactions"),
    )
    ingested.rewrite(SHOP_DAYS[1], lambda rows: rows.filter(pl.col("event_type") != "View"))
    [request] = look(ingested, instance)
    assert (request.job_name, days_of(request)) == ("daily_ingest", (SHOP_DAYS[1],) * 2)
    said = request.tags[sensors.CHANGED]
    assert said.startswith(f"{SHOP_DAYS[1]}: written again simulated.parquet (") and "now)" in said
    [again] = look(ingested, instance)
    assert again.run_key == request.run_key  # started once
    assert taken(ingested, instance, request)
    assert [a == b for a, b in zip(raw, versions(ingested, "raw/interactions"), strict=True)] == [
        True,
        False,
        True,
    ]
    # the day after reads its clicks; the day before does not
    [follow] = look(ingested, instance)
    assert (follow.job_name, days_of(follow)) == ("daily_features", (SHOP_DAYS[2],) * 2)
    assert taken(ingested, instance, follow) and look(ingested, instance) == []
    now = versions(ingested, "features/interactions")
    assert [a == b for a, b in zip(features, now, strict=True)] == [True, False, False]


def test_content_that_comes_and_goes_starts_a_run_each_time(
    ingested: Home, instance: dg.DagsterInstance
) -> None:
    file = ingested.landing(SHOP_DAYS[2]) / "simulated.parquet"
    one = file.read_bytes()
    pl.read_parquet(file).slice(1).write_parquet(file)
    other, keys = file.read_bytes(), set()
    for content in (other, one, other, one):
        file.write_bytes(content)
        [request] = look(ingested, instance)
        keys.add(request.run_key)
        assert taken(ingested, instance, request)
        assert look(ingested, instance) == []
    assert len(keys) == 4


def test_a_half_written_file_fails_by_name_and_what_was_read_stays(
    ingested: Home, instance: dg.DagsterInstance
) -> None:
    file, before = (
        ingested.landing(SHOP_DAYS[0]) / "simulated.parquet",
        versions(ingested, "raw/interactions"),
    )
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2])
    ingested.rewrite(SHOP_DAYS[1], without_first_row)
    [request] = look(ingested, instance)  # one run for both days
    assert days_of(request) == (SHOP_DAYS[0], SHOP_DAYS[1])
    assert "not readable now" in request.tags[sensors.CHANGED]
    assert not taken(ingested, instance, request)
    assert versions(ingested, "raw/interactions")[0] == before[0]
    # the other day was kept: the features that read it follow, without the broken file
    [broken, follow] = look(ingested, instance)
    assert (broken.job_name, days_of(broken)) == ("daily_ingest", (SHOP_DAYS[0],) * 2)
    assert (follow.job_name, days_of(follow)) == ("daily_features", (SHOP_DAYS[1], SHOP_DAYS[2]))
    assert taken(ingested, instance, follow)
    assert [one.run_key for one in look(ingested, instance)] == [broken.run_key]
    file.write_bytes(whole)
    assert look(ingested, instance) == []


def test_a_renamed_file_builds_nothing_new(ingested: Home, instance: dg.DagsterInstance) -> None:
    before = versions(ingested, "features/interactions")
    file = ingested.landing(SHOP_DAYS[0]) / "simulated.parquet"
    file.rename(file.with_name("log.parquet"))
    [request] = look(ingested, instance)
    assert "renamed simulated.parquet to log.parquet" in request.tags[sensors.CHANGED]
    assert taken(ingested, instance, request)
    assert look(ingested, instance) == []
    assert versions(ingested, "features/interactions") == before


def test_a_day_whose_files_are_gone_stays_as_it_was_read(
    ingested: Home, instance: dg.DagsterInstance
) -> None:
    (ingested.landing(SHOP_DAYS[0]) / "simulated.parquet").unlink()
    assert look(ingested, instance) == []


def test_a_correction_waits_for_a_run_that_reads(
    ingested: Home, instance: dg.DagsterInstance
) -> None:
    ingested.rewrite(SHOP_DAYS[0], without_first_row)
    job = defs().resolve_job_def(sensors.daily_features.name)
    run = instance.create_run_for_job(job, status=dg.DagsterRunStatus.STARTED)
    assert look(ingested, instance) == []
    instance.report_run_failed(run)
    assert len(look(ingested, instance)) == 1


def champion_of(home: Home, monkeypatch: pytest.MonkeyPatch, day: str) -> None:
    """Make a release in force that has learned the days up to ``day``."""
    store = home.store
    learned = store.require("features/interactions", [one for one in SHOP_DAYS if one <= day])
    with store.stage("features/workflows", day, inputs={"train": learned}) as staged:
        (staged.path / "a").write_text(str([one.digest for one in learned]))
        workflows = staged.publish()
    with store.stage("serving/release", "000001", inputs={"workflows": workflows}) as staged:
        (staged.path / "a").write_text(workflows.digest)
        release = staged.publish()
    in_force(monkeypatch, day=day, artifact=release)


def test_a_learned_day_that_is_corrected_warns_and_is_not_learned_twice(
    ingested: Home, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    champion_of(ingested, monkeypatch, SHOP_DAYS[1])
    before = evaluate(sensors.ingested_day, ingested.platform, instance)
    assert [one.partition_key for one in before.run_requests] == [SHOP_DAYS[2]] * 2
    [check] = before.asset_events  # days were read for the first time
    assert check.passed and check.check_name == "learned_days"
    ingested.rewrite(SHOP_DAYS[0], lambda rows: rows.filter(pl.col("event_type") != "View"))
    [request] = look(ingested, instance)
    assert taken(ingested, instance, request)
    # the new day waits: its replayed days still read the day as it was
    waits = evaluate(sensors.ingested_day, ingested.platform, instance)
    assert isinstance(waits, dg.SkipReason) and f"{SHOP_DAYS[1]}, {SHOP_DAYS[2]} follow" in (
        waits.skip_message
    )
    [follow] = look(ingested, instance)
    assert taken(ingested, instance, follow)
    after = evaluate(sensors.ingested_day, ingested.platform, instance, before.cursor)
    # the last day is not learned yet: its features have changed, and it is tuned on once more
    assert {one.partition_key for one in after.run_requests} == {SHOP_DAYS[2]}
    [check] = after.asset_events
    assert not check.passed and check.severity == dg.AssetCheckSeverity.WARN
    assert check.metadata["value"].value == [SHOP_DAYS[0]]
    champion_of(ingested, monkeypatch, SHOP_DAYS[1])  # trained again
    again = evaluate(sensors.ingested_day, ingested.platform, instance, before.cursor)
    assert again.asset_events[0].passed


def test_a_file_that_changes_while_it_is_read_is_read_again(
    ingested: Home, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = landing_day.read_landing_day

    def then_rewritten(*arguments: object, **known: object) -> landing_day.LandingDay:
        found = read(*arguments, **known)  # type: ignore[arg-type]
        ingested.rewrite(SHOP_DAYS[2], without_first_row)
        return found

    ingested.rewrite(SHOP_DAYS[2], without_first_row)
    [first] = look(ingested, instance)
    with monkeypatch.context() as patched:
        patched.setattr(landing_day, "read_landing_day", then_rewritten)
        assert taken(ingested, instance, first)
    [second] = look(ingested, instance)
    assert second.run_key != first.run_key and taken(ingested, instance, second)
    assert look(ingested, instance) == []
    rows = ingested.store.current("raw/interactions", SHOP_DAYS[2]).metrics["rows"]
    file = ingested.landing(SHOP_DAYS[2]) / "simulated.parquet"
    assert rows == pl.read_parquet(file).height

"""`recsys bench serving` on the tiny shop: every part real, every key there, every system with the
same lists; no time is judged.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from typer.testing import CliRunner

from recsys_assets import columns as c
from recsys_assets.artifacts import ArtifactStore
from recsys_assets.bench.harness import requests as serving_requests
from recsys_assets.bench.harness.part import BenchFailed, run_training_part
from recsys_assets.bench.harness.workers import WorkerLoad, Workers
from recsys_assets.bench.serving import loops, run
from recsys_assets.bench.serving import report as serving_report
from recsys_assets.bench.serving.catalogue import noisy
from recsys_assets.bench.serving.load import TritonLoad
from recsys_assets.bench.serving.measured import ServingBenchPlan
from recsys_assets.bench.serving.source_times import TOGETHER
from recsys_assets.bench.serving.without_sources import COMPARED, publish_without_sources
from recsys_assets.cli import bench
from recsys_assets.files import write_json
from recsys_assets.lib.release.releases import RELEASE, open_release
from recsys_assets.lib.sources.stored import read_blend
from recsys_assets.release_files import CANDIDATE_SOURCES, MODELS, SOURCES
from recsys_assets.serving.stages.registry import STAGES
from recsys_assets.settings import Settings, get_settings
from recsys_assets_tests.support import tiny_payload, tiny_store
from recsys_assets_tests.support.tiny_release import content, publish, settings_for

SYSTEMS = ("reference", "ensemble", "fused", "floor", "gateway")
PLAN = ServingBenchPlan(requests=24, rounds=1, concurrencies=(1, 2), seconds=0.3, items=3_000)


def rows() -> pl.DataFrame:
    """Feature rows of every visitor with every item, for the workflows to be fitted on."""
    users = pl.DataFrame(
        [
            {c.USER_ID: user, c.AGE: row["age"], c.GENDER: row["gender"]}
            for user, row in tiny_payload.USERS.items()
        ]
    )
    items = pl.DataFrame([{c.ITEM_ID: item, **row} for item, row in tiny_payload.items().items()])
    table = (
        users.join(items, how="cross")
        .with_row_index("n")
        .with_columns(
            pl.format("e{}", "n").alias(c.EVENT_ID),
            (tiny_store.AS_OF + pl.col("n").cast(pl.Int64)).alias(c.TIMESTAMP),
            pl.Series([c.DEVICES[n % 3] for n in range(len(users) * len(items))]).alias(
                c.DEVICE_TYPE
            ),
            pl.col(c.CATEGORY_L1).alias(c.TOP_CATEGORY),
            (pl.col("n") % 2).alias(c.CLICK),
            *(
                pl.lit(1.0).alias(name)
                for name in (
                    c.CLICKS_24H,
                    c.HOURS_SINCE_CLICK,
                    c.CLICKS_LOOK_BACK,
                    c.CATEGORY_CLICKS_LOOK_BACK,
                    c.CATEGORY_CLICKS_24H,
                )
            ),
        )
    )
    return table.cast(
        {name: getattr(pl, kind) for name, kind in c.INTERACTION_FEATURES.items()}
    ).select(list(c.INTERACTION_FEATURES))


def write_home(settings: Settings, folder: Path) -> None:
    """A home as `make demo` leaves it, as far as the bench reads it: workflows, a release that
    passed, Feast's offline tables.
    """
    tiny_store.apply_views(settings)
    for name, table in (
        ("train", rows()),
        ("items", rows().unique(c.ITEM_ID, keep="first", maintain_order=True)),
    ):
        (folder / name).mkdir()
        table.write_parquet(
            folder / name / ("features.parquet" if name == "train" else "items.parquet")
        )
    store = ArtifactStore(settings.artifacts)
    with store.stage("features/workflows", "2025-10-09") as staged:
        run_training_part(
            "recsys_assets.training.features.fit_workflows",
            {"train": [str(folder / "train")], "items": str(folder / "items")},
            staged.path,
            {},
            folder,
            settings,
        )
        workflows = staged.publish()
    publish(store, settings, workflows=workflows)


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], list[str], Path]:
    """The report, what was said, and the home."""
    folder = tmp_path_factory.mktemp("serving")
    settings = settings_for(folder / "home")
    if not settings.training_python.exists():
        pytest.skip(f"no training environment at {settings.training_python}: run `make setup`")
    write_home(settings, folder)
    said: list[str] = []
    run.bench_serving(settings, said.append, PLAN)
    return json.loads((settings.home / "bench" / "serving.json").read_text()), said, settings.home


@pytest.mark.services
@pytest.mark.training
def test_every_system_has_its_figures(measured: tuple[dict[str, Any], list[str], Path]):
    report, _, _ = measured
    for name in SYSTEMS:
        system = report[name]
        assert 0 < system["p50_ms"] <= system["p95_ms"] <= system["p99_ms"], name
        assert set(system["throughput"]) == {"1", "2"} and all(
            rate > 0 for rate in system["throughput"].values()
        ), name
        assert system["samples"] == PLAN.requests and all(
            stage.endswith("_ms") for stage in system["stages"]
        ), name
    assert set(report["floor"]["stages"]) == {f"{stage}_ms" for stage in STAGES}
    for name in ("ensemble", "fused"):
        assert set(report["floor"]["stages"]) < set(report[name]["stages"]), name
    own = {f"{part}_ms" for part in loops.REFERENCE_PARTS}
    assert own < set(report["reference"]["stages"]) and not {
        f"{name}_ms" for name in loops.REPLACED
    } & set(report["reference"]["stages"])
    assert (
        report["reference"]["p50_ms"] > sum(report["reference"]["stages"][part] for part in own) / 2
    )


@pytest.mark.services
@pytest.mark.training
def test_all_gave_the_same_lists_and_the_run_says_what_it_measured(
    measured: tuple[dict[str, Any], list[str], Path],
):
    report, said, home = measured
    assert report["same_answers"] is True and report["gateway_degraded"] == 0
    assert report["candidates"] == 20  # of 40; the others were seen
    assert report["top_k"] == serving_requests.TOP_K and report["requests"] == PLAN.requests
    assert (
        report["cpu_count"] >= 1
        and len(report["load_average"]) == 3
        and report["client"] in ("perf_analyzer", "tritonclient")
    )
    assert (
        set(report["nvtabular_trial_ms"]) == {"frame", "dataset"}
        and report["online_keys"] > 0
        and said
    )
    assert [path.name for path in (home / "bench").iterdir()] == [
        "serving.json"
    ]  # its own home is gone
    assert sorted(path.name for path in home.iterdir()) == [
        "artifacts",
        "bench",
        "feast",
    ]  # nothing of the real home was touched


@pytest.mark.services
@pytest.mark.training
def test_a_large_catalogue_is_served_and_judged(measured: tuple[dict[str, Any], list[str], Path]):
    report, _, _ = measured
    million = report["million_items"]
    assert (
        million["items"] == 3_000
        and million["recall@300"] > 0.99
        and million["index"]["kind"] == "flat"
    )  # below the exact limit
    assert (
        0 < million["p50_ms"] <= million["p99_ms"]
        and million["small_p50_ms"] > 0
        and million["memory_gib"] > 0
    )
    assert million["ratio"] == pytest.approx(million["p50_ms"] / million["small_p50_ms"], rel=0.01)
    assert (
        set(million["stages"]) == {f"{stage}_ms" for stage in STAGES} and million["queries"] == 16
    )


@pytest.mark.services
@pytest.mark.training
def test_every_source_has_its_time_and_size(measured: tuple[dict[str, Any], list[str], Path]):
    report, _, _ = measured
    expected = {*(source.name for source in tiny_payload.sources()), TOGETHER}
    for sources in (report["sources"], report["million_items"]["sources"]):
        assert set(sources) == expected  # iALS serves 3,000 items
        assert all(one["p50_ms"] > 0 and one["mib"] >= 0 for one in sources.values())
    assert report["million_items"]["sources_memory_gib"] > 0
    assert {row[0] for row in serving_report.source_rows(report)} == expected


@pytest.mark.services
@pytest.mark.training
def test_the_release_without_sources_answers_beside_it(
    measured: tuple[dict[str, Any], list[str], Path],
):
    report, said, _ = measured
    assert set(report["without_sources"]) == set(COMPARED)
    for name, one in report["without_sources"].items():
        assert one["p50_ms"] > 0 and one["without_p50_ms"] > 0, name
        assert one["ratio"] == pytest.approx(one["p50_ms"] / one["without_p50_ms"], abs=0.01)
        assert report["ratios"][f"{name} p50 / without sources"]["bar"] == 1.3
    assert "the release without sources was measured" in said


@pytest.mark.services
@pytest.mark.training
def test_the_large_catalogue_is_served_without_sources_too(
    measured: tuple[dict[str, Any], list[str], Path],
):
    report, said, _ = measured
    million = report["million_items"]
    without = million["without_sources"]
    for one in (million, without):
        assert one["p50_ms"] > 0 and one["private_mib"] > 0 and one["mapped_mib"] > 0
    assert million["sources_memory_gib"] > without["sources_memory_gib"] == 0
    more = sum(million[name] - without[name] for name in ("private_mib", "mapped_mib"))
    assert million["sources_gib"] == pytest.approx(more / 1024, abs=0.001)
    assert report["ratios"][serving_report.SOURCES_GIB]["value"] == million["sources_gib"]
    # without the embedding table, which another model serves too
    assert million["sources_files_mib"] == pytest.approx(
        million["sources"][TOGETHER]["mib"], abs=0.1
    )
    assert len(serving_report.memory_rows(report)) == 4
    assert "3,000 items without sources were measured" in said


def test_a_release_without_sources_differs_in_nothing_else(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path / "home", artifacts_uri=None)
    store = ArtifactStore(settings.artifacts)
    with store.stage(RELEASE, "000003") as staged:
        tiny_payload.write_models(staged.path, settings, by_sources=True)
        write_json(staged.path / "release.json", content(3))
        staged.publish()
    release = open_release(store, 3)
    publish_without_sources(release, tmp_path / "without")
    other = open_release(ArtifactStore(str(tmp_path / "without" / "artifacts")), 3).artifact
    folder = f"{MODELS}/{CANDIDATE_SOURCES}"
    assert read_blend(release.artifact.local / folder) is not None
    assert read_blend(other.local / folder) is None
    files, others = (one.manifest["files"] for one in (release.artifact, other))
    differing = {name for name in files if files[name] != others.get(name)}
    assert differing == {f"{folder}/{SOURCES}"} and set(files) == set(others)


@pytest.mark.services
@pytest.mark.training
def test_ratios_are_of_the_figures(measured: tuple[dict[str, Any], list[str], Path]):
    report, _, _ = measured
    expected = set(serving_report.BARS) - {
        "throughput of 4, fused / reference"
    }  # not measured at 4
    assert set(report["ratios"]) == expected and len(serving_report.ratio_rows(report)) == len(
        expected
    )
    for ratio in report["ratios"].values():
        assert ratio["met"] == (
            ratio["value"] <= ratio["bar"]
            if ratio["at"] == "most"
            else ratio["value"] >= ratio["bar"]
        )
    assert [row[0] for row in serving_report.table_rows(report)] == [
        "reference",
        "ensemble",
        "fused",
        "gateway",
        "floor",
    ]
    assert {row[0] for row in serving_report.stage_rows(report)} > set(STAGES)


def test_a_home_without_a_release_is_told_what_to_run(tmp_path: Path):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RECSYS_HOME", str(tmp_path))
        get_settings.cache_clear()
        result = CliRunner().invoke(bench.app, ["serving"], env={"COLUMNS": "300"})
    get_settings.cache_clear()
    assert (
        result.exit_code == 1
        and "has no release to measure" in result.output
        and "`make demo`" in result.output
    )


def test_a_release_of_an_older_form_is_refused(tmp_path: Path):
    settings = Settings(home=tmp_path)
    with ArtifactStore(settings.artifacts).stage(RELEASE, "000001") as staged:
        write_json(
            staged.path / "release.json",
            {
                "release": 1,
                "kind": "full",
                "day": "d",
                "generation": 1,
                "versions": {},
                "metrics": {},
                "gate": {"passed": True, "checks": []},
                "known_user": None,
                "form": "1",
            },
        )
        staged.publish()
    with pytest.raises(BenchFailed, match=r"built by an older version.*make demo"):
        run.bench_serving(settings, print)


def test_requests_are_real_visitors_and_unknown_ones():
    given = {"vocabulary": {c.USER_ID: [f"u{n}" for n in range(50)]}}
    requests = serving_requests.choose(given, 40, tiny_store.AS_OF, seed=1)
    known = serving_requests.known_visitors(requests)
    assert (
        len(requests) == 40
        and len(known) == 36
        and set(known) < set(given["vocabulary"][c.USER_ID])
    )
    assert all(
        tiny_store.AS_OF - 86_400 < request["timestamp"] <= tiny_store.AS_OF for request in requests
    )
    assert requests == serving_requests.choose(given, 40, tiny_store.AS_OF, seed=1)
    assert (
        len(
            serving_requests.known_visitors(
                serving_requests.choose(given, 400, tiny_store.AS_OF, seed=1)
            )
        )
        == 50
    )  # each several times


def test_rates_of_clients_side_by_side_add_up():
    answers = [
        {"laps": [0.1] * 10, "elapsed": 1.0, "parts": {"a": [0.05] * 10}},
        {"laps": [0.2] * 10, "elapsed": 2.0, "parts": {"a": [0.1] * 10}},
    ]
    load = WorkerLoad.of(answers)
    assert (
        load.rate == 15 and len(load.laps) == 20 and load.parts == {"a": [0.05] * 10 + [0.1] * 10}
    )


def test_noise_is_relative_to_each_rows_length():
    random = np.random.default_rng(2)
    given = np.repeat(np.array([[1.0], [100.0]], np.float32), 64, axis=1)
    apart = np.array(
        [np.linalg.norm(noisy(given, 0.5, random) - given, axis=1) for _ in range(200)]
    ).mean(axis=0)
    assert apart == pytest.approx(0.5 * np.linalg.norm(given, axis=1), rel=0.1)


def test_a_worker_that_fails_says_why(tmp_path: Path):
    with (
        Workers(
            "own",
            sys.executable,
            "recsys_assets.bench.harness.client",
            {"address": "127.0.0.1:1", "requests": []},
            1,
            {"PATH": "/usr/bin"},
            tmp_path,
        ) as workers,
        pytest.raises(BenchFailed, match=r"(?s)own ended with code 1.*refused"),
    ):
        workers.ready()


def test_the_other_client_goes_through_the_same_requests(tmp_path: Path):
    """Without perf_analyzer, tritonclient's processes; here against nothing that answers."""
    with pytest.raises(
        BenchFailed, match=r"(?s)client-recommender-1 ended with code 1.*failed to connect"
    ):
        load = TritonLoad(
            "127.0.0.1:1",
            "recommender",
            None,
            serving_requests.choose({"vocabulary": {c.USER_ID: ["a"]}}, 4, tiny_store.AS_OF, 1),
            Settings(home=tmp_path),
            1,
            tmp_path,
        )
        try:
            load.run(1, 1)
        finally:
            load.close()

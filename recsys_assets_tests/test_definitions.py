"""Test the asset graph: data flows one way, and every asset has a description."""

from __future__ import annotations

import json
import re
from graphlib import TopologicalSorter

import dagster as dg
import pytest

from recsys_assets.orchestration import compute

STAGES = {
    "ads_ctr",
    "raw",
    "features",
    "embeddings",
    "feature_store",
    "retrieval",
    "ranking",
    "exports",
    "evaluation",
    "fine_tune",
    "ladder",
    "monitor",
    "serving",
    "sources",
}
HEAVY = [
    "features/workflows",
    "features/datasets",
    "embeddings/text",
    "embeddings/image_encoder",
    "embeddings/image",
    "retrieval/two_tower",
    "ranking/dlrm",
    "fine_tune/query_tower",
    "fine_tune/dlrm",
]


@pytest.fixture(scope="module")
def definitions(tmp_path_factory: pytest.TempPathFactory) -> dg.Definitions:
    """Return the definitions of the code location."""
    from recsys_assets.definitions import defs

    return defs()


@pytest.fixture(scope="module")
def graph(definitions: dg.Definitions):
    """Return the asset graph."""
    return definitions.resolve_asset_graph()


def test_every_asset_is_in_its_stage_and_has_a_description(graph) -> None:
    """A description begins with a verb in the third person, such as "Builds …"."""
    keys = graph.get_all_asset_keys()
    assert len(keys) >= 25
    for key in keys:
        node = graph.get(key)
        assert key.path[0] in STAGES and node.group_name == key.path[0], key
        assert len(node.description or "") >= 40 and "In:" not in node.description, key
        assert re.match(r"[A-Z][a-z-]+s ", node.description), key
        assert node.description.endswith("."), key
        assert node.owners, key
        assert 1 <= len(node.kinds) <= 3, key


def test_data_flows_one_way(graph) -> None:
    """Every stage reads from earlier stages."""
    for earlier, later in [
        ("raw/interactions", "features/interactions"),
        ("features/interactions", "features/masked_train"),
        ("features/masked_train", "features/datasets"),
        ("features/workflows", "features/datasets"),
        ("features/datasets", "retrieval/two_tower"),
        ("embeddings/aligned", "retrieval/two_tower"),
        ("retrieval/two_tower", "retrieval/item_vectors"),
        ("retrieval/item_vectors", "retrieval/faiss_index"),
        ("features/datasets", "ranking/dlrm"),
        ("ranking/dlrm", "exports/onnx"),
        ("evaluation/queries", "evaluation/offline"),
        ("evaluation/queries", "evaluation/oracle"),
        ("exports/onnx", "evaluation/offline"),
        ("evaluation/offline", "serving/release"),
        ("exports/onnx", "serving/release"),
        ("serving/release", "serving/champion"),
        ("fine_tune/rows", "fine_tune/dlrm"),
        ("fine_tune/release", "serving/champion"),
        ("raw/interactions", "monitor/served"),
        ("monitor/served", "monitor/quality"),
        ("features/interactions", "monitor/inputs"),
    ]:
        assert (
            dg.AssetKey.from_user_string(earlier)
            in graph.get(dg.AssetKey.from_user_string(later)).parent_keys
        ), (earlier, later)
    assert graph.toposorted_asset_keys_by_level  # raises on a cycle


def test_the_groups_flow_one_way(graph) -> None:
    """Lineage by group has no circle: the UI draws the stages from left to right."""
    above = {stage: set() for stage in STAGES - {"ads_ctr"}}
    for key in graph.get_all_asset_keys():
        stage = graph.get(key).group_name
        if stage == "ads_ctr":  # a graph of its own
            neighbours = graph.get(key).parent_keys | graph.get(key).child_keys
            assert {graph.get(one).group_name for one in neighbours} <= {stage}
            continue
        above[stage] |= {graph.get(parent).group_name for parent in graph.get(key).parent_keys} - {
            stage
        }
    order = [*TopologicalSorter(above).static_order()]  # raises CycleError and names the circle
    assert order[0] == "raw" and order[-1] == "serving"


def test_the_as_of_window_maps_to_exactly_its_days(graph) -> None:
    from recsys_assets import partitions
    from recsys_assets.settings import get_settings

    as_of = partitions.first_as_of(get_settings())
    for key, days in [
        ("features/workflows", partitions.train_days(as_of)),
        ("features/datasets", partitions.window_days(as_of)),
    ]:
        asset = dg.AssetKey.from_user_string(key)
        mapping = graph.get_partition_mapping(asset, dg.AssetKey(["features", "interactions"]))
        found = mapping.get_upstream_mapped_partitions_result_for_partitions(
            partitions.as_of().subset_with_partition_keys([as_of]),
            partitions.as_of(),
            partitions.daily(),
        )
        assert sorted(found.partitions_subset.get_partition_keys()) == days, key


def test_heavy_assets_carry_their_compute_profile_and_a_pool(definitions: dg.Definitions) -> None:
    for name in HEAVY:
        op = definitions.resolve_assets_def(dg.AssetKey.from_user_string(name)).op
        assert op.tags.get(compute.PROFILE) and compute.K8S_CONFIG in op.tags, name
        assert op.pool, name


def limits(op: dg.OpDefinition) -> dict[str, str]:
    """Return the limits of the step pod of an op."""
    return json.loads(op.tags[compute.K8S_CONFIG])["container_config"]["resources"]["limits"]


@pytest.fixture(scope="module")
def ops(definitions: dg.Definitions) -> dict[str, dg.OpDefinition]:
    """Return name → op, for every op of every job, asset or not."""
    return {
        node.definition.name: node.definition
        for job in definitions.resolve_all_job_defs()
        for node in job.graph.nodes
    }


def test_every_step_has_a_compute_profile(ops: dict[str, dg.OpDefinition]) -> None:
    """A step without a profile gets the run pod's 2 GiB, whatever it does."""
    assert {"raw__interactions", "serving__champion", "train_trial", "propose_dlrm"} <= ops.keys()
    lacking = [
        name
        for name, op in ops.items()
        if op.tags.get(compute.PROFILE) not in compute.PROFILES or compute.K8S_CONFIG not in op.tags
    ]
    assert lacking == []


@pytest.mark.parametrize(
    ("profile", "memory", "steps"),
    [
        # tables of a few rows
        ("CPU_SMALL", "2Gi", ["evaluation__report", "feature_store__definitions"]),
        # measured: 0.5 GiB to simulate a day, 1.15 GiB for its features (docs/benchmarks.md)
        ("CPU_MEDIUM", "6Gi", ["raw__interactions", "features__interactions", "monitor__served"]),
        # vectors of the whole catalogue, trials of an index, all queries
        ("CPU_LARGE", "12Gi", ["embeddings__items", "retrieval__faiss_index", "sources__ease"]),
    ],
)
def test_a_step_gets_the_memory_that_it_needs(
    ops: dict[str, dg.OpDefinition], profile: str, memory: str, steps: list[str]
) -> None:
    for name in steps:
        assert (ops[name].tags[compute.PROFILE], limits(ops[name])) == (
            profile,
            {"memory": memory},
        ), name


def test_only_training_rents_a_gpu(ops: dict[str, dg.OpDefinition]) -> None:
    """Encoders run on the CPU, and a step pod that waits for its training pod needs no GPU."""
    assert [name for name, op in ops.items() if "nvidia.com/gpu" in limits(op)] == []
    trains = {name for name, op in ops.items() if "GPU" in op.tags[compute.PROFILE]}
    assert trains == {
        "retrieval__two_tower",
        "ranking__dlrm",
        "fine_tune__query_tower",
        "fine_tune__dlrm",
        "train_trial",
        "ads_ctr__dcn",
        "ads_ctr__tuned_dcn",
    }


def test_jobs_and_sensors(definitions: dg.Definitions) -> None:
    jobs = {job.name for job in definitions.resolve_all_job_defs() if not job.name.startswith("__")}
    assert jobs == {
        "ads_incremental",
        "ads_ingest",
        "ads_monitor",
        "ads_promote",
        "ads_training",
        "catalogue",
        "daily_features",
        "daily_ingest",
        "feature_store_refresh",
        "full_training",
        "monitor",
        "promote",
        "fine_tune",
        "evaluation",
        "evaluation_ablations",
        "evaluation_report",
        "backtest",
        "search_two_tower",
        "search_dlrm",
        "search_trial",
    }
    assert {sensor.name for sensor in definitions.sensors} == {
        "ads_drift",
        "new_day",
        "ingested_day",
        "passed_release",
        "drift",
    }


def test_every_schedule_is_off_has_a_description_and_a_tag(definitions: dg.Definitions) -> None:
    schedules = {one.name: one for one in definitions.schedules or ()}
    assert {name: one.job_name for name, one in schedules.items()} == {
        "catalogue_daily": "catalogue",
        "ingest_daily": "daily_ingest",
        "refresh_daily": "feature_store_refresh",
        "fine_tune_daily": "fine_tune",
        "train_weekly": "full_training",
        "evaluate_weekly": "evaluation",
    }
    for one in schedules.values():
        assert one.default_status == dg.DefaultScheduleStatus.STOPPED, one.name
        assert one.execution_timezone == "UTC" and one.tags, one.name
        assert re.match(r"[A-Z][a-z-]+s .+\. At .+, UTC\.$", one.description or ""), one.name


def test_every_sensor_has_a_description(definitions: dg.Definitions) -> None:
    for one in definitions.sensors or ():
        assert re.match(r"Starts `[a-z_]+` .+\.", one.description or ""), one.name


def test_full_training_judges_what_it_trains(definitions: dg.Definitions) -> None:
    keys = {
        key.to_user_string()
        for key in definitions.resolve_job_def("full_training").asset_layer.executable_asset_keys
    }
    assert {
        "evaluation/queries",
        "evaluation/oracle",
        "evaluation/offline",
        "serving/release",
    } <= keys


def test_gates_block(graph) -> None:
    blocking = {
        (key.asset_key.to_user_string(), key.name)
        for key in graph.asset_check_keys
        if graph.get_check_spec(key).blocking
    }
    assert blocking >= {
        ("raw/interactions", "contract"),
        ("features/datasets", "parity"),
        ("exports/onnx", "parity"),
        ("serving/release", "gate"),
        ("fine_tune/release", "gate"),
    }
    # figures of models and evaluations warn; the verdict decides on the release
    assert not {asset for asset, _ in blocking if asset.startswith(("ranking/", "ladder/"))}
    assert not {asset for asset, _ in blocking if asset.startswith(("evaluation/", "monitor/"))}

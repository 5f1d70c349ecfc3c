"""Test evaluation/ablations and evaluation/backtest on a simulated window.

A training step is a stand-in that writes linear models. The tests of the steps cover the data that
real steps read.
"""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import dagster as dg
import numpy as np
import polars as pl
import pytest

from recsys_assets import columns as c
from recsys_assets import partitions
from recsys_assets.artifacts import ArtifactStore
from recsys_assets.lib.evaluation.ablation_variants import VARIANTS
from recsys_assets.lib.evaluation.generation import Generation
from recsys_assets.lib.exports import session
from recsys_assets.orchestration.pipes import Reported, TrainingClient
from recsys_assets.orchestration.resources import Platform
from recsys_assets.settings import Settings, get_settings
from recsys_assets_tests.support import linear_onnx, small_models, small_window
from recsys_assets_tests.support.seen import publish_rule

AS_OF = partitions.first_as_of(get_settings())
FILES = {"two_tower": ("query_tower.onnx", "item_tower.onnx"), "dlrm": ("dlrm.onnx",)}
PARTS = ("dlrm_items.onnx", "dlrm_lists.onnx")
BASE_PARAMS = {
    "two_tower": {"seed": 5, "epochs": 3, "logq_correction": True},
    "dlrm": {"seed": 5, "epochs": 2},
}


@pytest.fixture(scope="module")
def linear(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return linear models with a parity sample each, as training steps write them."""
    folder = tmp_path_factory.mktemp("linear")
    linear_onnx.write_models(folder)
    rng = np.random.default_rng(0)
    for model, files in FILES.items():
        sample = {}
        for name in files:
            widths, output, _, _ = linear_onnx.MODELS[name]
            inputs = {
                key: (
                    rng.integers(0, 5, (4, n)).astype(np.int32)
                    if key == "cat"
                    else rng.random((4, n), np.float32)
                )
                for key, n in widths.items()
            }
            prefix = f"{name.removesuffix('_tower.onnx')}_" if "tower" in name else ""
            answer = session.run_model(session.open_model(folder / name), inputs)
            sample |= {
                f"{prefix}{key}": values for key, values in {**inputs, output: answer}.items()
            }
        np.savez(folder / f"{model}.parity.npz", **sample)
    return folder


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, linear: Path) -> SimpleNamespace:
    """Return a home with a simulated window, linear models and a stand-in for training."""
    settings = Settings(
        home=tmp_path_factory.mktemp("home"),
        start_day=partitions.calendar_start(get_settings()),
        seed=5,
        retrieval_topk=30,
        ranking_topk=10,
    )
    calls: list[SimpleNamespace] = []

    class HomePlatform(Platform):
        @property
        def settings(self) -> Settings:
            return settings

    class Stand(TrainingClient):
        """Records the calls of training steps and writes their files."""

        @property
        def settings(self) -> Settings:
            return settings

        def run(self, context, module, *, inputs, output, params=None, profile=None):
            calls.append(
                SimpleNamespace(
                    module=module, inputs=dict(inputs), params=dict(params), profile=profile
                )
            )
            if module == "features.make_datasets":
                frame = pl.concat(
                    [
                        pl.read_parquet(Path(folder) / params["train_name"])
                        for folder in inputs["train"]
                    ]
                )
                write_datasets(store, Path(output), frame)
                return Reported({"train_rows": frame.height}, {})
            return Reported(train(linear, model=module.split(".")[1], target=Path(output)), {})

    store = small_window.write_window(settings, AS_OF)
    small_window.write_generation(store, AS_OF)
    publish_training(store, linear)
    return SimpleNamespace(
        settings=settings, store=store, platform=HomePlatform(), training=Stand(), calls=calls
    )


def train(linear: Path, model: str, target: Path) -> dict[str, int]:
    """Write a linear model as a training step does."""
    for name in (*FILES[model], *(PARTS if model == "dlrm" else ())):
        (target / name).write_bytes((linear / name).read_bytes())
    (target / "parity.npz").write_bytes((linear / f"{model}.parity.npz").read_bytes())
    return {"rows": 1}


def write_datasets(store: ArtifactStore, target: Path, rows: pl.DataFrame) -> None:
    """Write data sets as a training step does."""
    (target / "train").mkdir()
    workflows = store.current("features/workflows", AS_OF)
    made = Generation.of_training(
        models=store.current("exports/onnx", AS_OF),
        workflows=workflows,
        aligned=store.current("embeddings/aligned", AS_OF),
        vectors=store.current("retrieval/item_vectors", AS_OF),
        days_before=store.require("features/interactions", [partitions.previous_day(AS_OF)]),
        retrieval_weight=0.0,
    )
    packed = made.transform.transform_frame(rows)
    packed.with_columns(rows[c.CLICK].cast(pl.Int32), rows[c.TIMESTAMP]).write_parquet(
        target / "train" / "part_0.parquet"
    )


def publish_training(store: ArtifactStore, linear: Path) -> None:
    """Publish data sets, both models and their export, with the inputs in the manifests."""
    days = partitions.train_days(AS_OF)
    inputs = {
        "workflows": store.current("features/workflows", AS_OF),
        "items": store.current("raw/items"),
        "train": store.require("features/interactions", days[:2]),
    }
    with store.stage("features/datasets", AS_OF, inputs=inputs) as staged:
        write_datasets(
            store,
            staged.path,
            pl.concat([pl.read_parquet(a.path("features.parquet")) for a in inputs["train"]]),
        )
        datasets = staged.publish()
    aligned, models = store.current("embeddings/aligned", AS_OF), {}
    for kind, model in (("retrieval/two_tower", "two_tower"), ("ranking/dlrm", "dlrm")):
        of_model = {
            "datasets": datasets,
            "workflows": inputs["workflows"],
            "embeddings": aligned,
            "item_inputs": aligned,
        }
        with store.stage(kind, AS_OF, inputs=of_model, params=BASE_PARAMS[model]) as staged:
            train(linear, model, staged.path)
            models[model] = staged.publish()
    with store.stage("exports/onnx", AS_OF, inputs=models) as staged:
        for name in (*linear_onnx.MODELS, *PARTS):
            (staged.path / name).write_bytes((linear / name).read_bytes())
        staged.publish()


def run(
    home: SimpleNamespace,
    *assets: dg.AssetsDefinition,
    partition: str | None = AS_OF,
    **config: object,
) -> dg.ExecuteInProcessResult:
    """Materialise assets."""
    with dg.DagsterInstance.ephemeral() as instance:
        return dg.materialize(
            list(assets),
            resources={"platform": home.platform, "training": home.training},
            partition_key=partition,
            instance=instance,
            raise_on_error=False,
            run_config={"ops": {assets[-1].op.name: {"config": config}}} if config else None,
        )


def ablate(
    home: SimpleNamespace, *variants: str, **config: object
) -> tuple[dict, list[SimpleNamespace]]:
    """Return the metadata of a run of these variants, and the steps that it needed."""
    from recsys_assets.defs.evaluation import ablations

    home.calls.clear()
    result = run(
        home, ablations.ablations, **({"variants": list(variants)} if variants else {}), **config
    )
    assert result.success
    [event] = result.get_asset_materialization_events()
    return {name: value.value for name, value in event.materialization.metadata.items()}, list(
        home.calls
    )


@pytest.fixture(scope="module")
def evaluated(home: SimpleNamespace) -> SimpleNamespace:
    """Return the home with queries and the base's evaluation."""
    from recsys_assets.defs.evaluation import offline, queries

    publish_rule(home.store, AS_OF)
    run(home, queries.queries)
    small_models.publish_plain_blends(home.store, AS_OF, 1)
    run(home, offline.offline)  # models that learnt nothing: warned of, and judged all the same
    return home


def test_every_variant_is_trained_as_its_base_and_judged_on_its_queries(
    evaluated: SimpleNamespace,
) -> None:
    shown, calls = ablate(evaluated)
    artifact = evaluated.store.current("evaluation/ablations", AS_OF)
    assert list(artifact.metrics) == sorted(VARIANTS) and artifact.manifest["params"][
        "variants"
    ] == list(VARIANTS)
    assert (
        artifact.manifest["inputs"]["queries"]["digest"]
        == evaluated.store.current("evaluation/queries", AS_OF).digest
    )
    assert (
        shown["no_text served ndcg@10"] == artifact.metrics["no_text"]["served"]["ndcg@10"]["value"]
        and "ablations table" in shown
    )
    # both models of each variant, but no DLRM without logQ: its data are the base's
    assert [call.module for call in calls].count("retrieval.two_tower") == len(VARIANTS)
    assert [call.module for call in calls].count("ranking.dlrm") == len(VARIANTS) - 1
    for name in VARIANTS:
        tower = evaluated.store.current(f"ablation/{name}/two_tower", AS_OF)
        assert tower.manifest["params"] == {**BASE_PARAMS["two_tower"], **VARIANTS[name].two_tower}
    assert not evaluated.store.exists("ablation/no_logq/dlrm", AS_OF)
    assert {call.profile for call in calls if call.module.split(".")[1] in FILES} == {"GPU_TRAIN"}
    # what the graph reads is what it was
    assert (
        evaluated.store.current("retrieval/two_tower", AS_OF).manifest["params"]
        == BASE_PARAMS["two_tower"]
    )


def test_each_variant_differs_from_its_base_in_what_it_names_alone(
    evaluated: SimpleNamespace,
) -> None:
    ablate(evaluated)
    store = evaluated.store
    base = store.current("retrieval/two_tower", AS_OF).manifest["inputs"]
    changed = {
        name: {
            role
            for role, used in store.current(f"ablation/{name}/two_tower", AS_OF)
            .manifest["inputs"]
            .items()
            if used["digest"] != base[role]["digest"]
        }
        for name in VARIANTS
    }
    assert changed == {
        "no_text": {"embeddings", "item_inputs"},
        "no_image": {"embeddings", "item_inputs"},
        "no_content": {"embeddings", "item_inputs"},
        "no_context": {"datasets"},
        "no_masking": {"datasets"},
        "no_logq": set(),
        "cold_items": {"datasets", "embeddings", "item_inputs"},
        "cold_items_no_content": {"datasets", "embeddings", "item_inputs"},
    }
    unmasked = store.current("ablation/no_masking/datasets", AS_OF).manifest
    assert [one["partition"] for one in unmasked["inputs"]["train"]] == partitions.train_days(AS_OF)
    assert unmasked["params"]["train_name"] == "features.parquet"
    assert (
        unmasked["inputs"]["items"]
        == store.current("features/datasets", AS_OF).manifest["inputs"]["items"]
    )
    withheld = pl.read_parquet(store.current("ablation/withheld", AS_OF).path("withheld.parquet"))[
        "index"
    ].to_list()
    rows = pl.read_parquet(
        store.current("ablation/cold_items/datasets", AS_OF).path("train/part_0.parquet")
    )
    known = np.load(
        store.current("ablation/cold_items/known_items", AS_OF).path("item_tower_inputs.npz")
    )["index"]
    assert (
        withheld
        and not rows[c.ITEM_ID].is_in(withheld).any()
        and not np.isin(known, withheld).any()
    )
    # judged over the whole catalogue all the same
    vectors = np.load(
        store.current("ablation/cold_items/item_vectors", AS_OF).path("item_index.npy")
    )
    assert np.isin(withheld, vectors).all()


def test_what_was_trained_is_trained_once(evaluated: SimpleNamespace) -> None:
    ablate(evaluated)
    shown, calls = ablate(evaluated)
    assert shown["reused"] and not calls
    shown, calls = ablate(evaluated, "no_text", "cold_items")
    assert not calls and not shown["reused"]
    assert set(evaluated.store.current("evaluation/ablations", AS_OF).metrics) == {
        "no_text",
        "cold_items",
    }
    _, calls = ablate(evaluated, "no_logq", force=True)
    assert [call.module for call in calls] == ["retrieval.two_tower"]


def test_an_unknown_variant_fails_before_anything_is_trained(evaluated: SimpleNamespace) -> None:
    from recsys_assets.defs.evaluation import ablations

    evaluated.calls.clear()
    assert (
        not run(evaluated, ablations.ablations, variants=["no_text", "no_price"]).success
        and not evaluated.calls
    )


def test_the_backtest_reads_every_day_that_was_evaluated(evaluated: SimpleNamespace) -> None:
    from recsys_assets.defs.evaluation import backtest

    result = run(evaluated, backtest.backtest, partition=None)
    assert result.success
    artifact = evaluated.store.current("evaluation/backtest")
    assert artifact.metrics["days"] == [AS_OF]
    offline = evaluated.store.current("evaluation/offline", AS_OF)
    assert artifact.metrics["served"]["ndcg@10"] == offline.metrics["served"]["ndcg@10"]
    assert [one["digest"] for one in artifact.manifest["inputs"]["reports"]] == [offline.digest]


def test_the_job_trains_and_judges_a_day_without_releasing_it() -> None:
    from recsys_assets.definitions import defs

    job = defs().resolve_job_def("backtest")
    keys = {key.to_user_string() for key in job.asset_layer.executable_asset_keys}
    assert {
        "retrieval/two_tower",
        "ranking/dlrm",
        "evaluation/offline",
        "evaluation/backtest",
    } <= keys
    assert not [key for key in keys if key.startswith(("serving/release", "serving/champion"))]
    assert job.partitions_def == partitions.as_of()
    graph = defs().resolve_asset_graph()
    mapping = graph.get_partition_mapping(
        dg.AssetKey(["evaluation", "backtest"]), dg.AssetKey(["evaluation", "offline"])
    )
    assert isinstance(mapping, dg.AllPartitionMapping)

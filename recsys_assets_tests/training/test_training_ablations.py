"""Real training steps on what ablations hand them, and the figures by which a search judges real
trainings.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from recsys_assets import columns as c
from recsys_assets.artifacts import Artifact, ArtifactStore
from recsys_assets.lib.automation.search import SEARCHES
from recsys_assets.lib.evaluation import ablations
from recsys_assets.lib.evaluation.ablation_variants import VARIANTS
from recsys_assets_tests.support.tiny_shop import ITEMS, Shop, StepRun, run_step

pytestmark = pytest.mark.training

EVERYTHING = dataclasses.replace(
    VARIANTS["no_context"], name="everything", without=("text", "image"), withheld=True
)


@pytest.fixture(scope="module")
def withheld_items() -> list[str]:
    return [f"item-{n}" for n in range(0, ITEMS, 5)]


@pytest.fixture(scope="module")
def changed(
    shop: Shop, model_inputs: dict[str, Path], withheld_items: list[str], tmp_path_factory
) -> dict[str, Path]:
    """Inputs of the models with everything away that data can take away."""
    store, folder = (
        ArtifactStore(tmp_path_factory.mktemp("artifacts")),
        tmp_path_factory.mktemp("changed"),
    )

    def publish(kind: str, source: Path) -> Artifact:
        with store.stage(kind) as staged:
            for path in (path for path in source.rglob("*") if path.is_file()):
                (staged.path / path.relative_to(source)).parent.mkdir(parents=True, exist_ok=True)
                (staged.path / path.relative_to(source)).write_bytes(path.read_bytes())
            return staged.publish()

    words = json.loads((model_inputs["workflows"] / "transforms.json").read_text())["vocabulary"][
        c.ITEM_ID
    ]
    index = [c.VOCABULARY_START + words.index(item) for item in withheld_items]
    with store.stage("withheld") as staged:
        pl.DataFrame(
            {c.ITEM_ID: withheld_items, "index": pl.Series(index, dtype=pl.Int32)}
        ).write_parquet(staged.path / "withheld.parquet")
        withheld = staged.publish()
    aligned = publish("aligned", model_inputs["embeddings"])
    targets = {name: folder / name for name in ("aligned", "known", "datasets")}
    for target in targets.values():
        target.mkdir()
    ablations.write_aligned(aligned, targets["aligned"], EVERYTHING.without, withheld)
    ablations.write_known_items(aligned, withheld, targets["known"])
    ablations.write_datasets(
        publish("datasets", model_inputs["datasets"]),
        targets["datasets"],
        EVERYTHING.context,
        withheld,
    )
    return {
        **model_inputs,
        "datasets": targets["datasets"],
        "embeddings": targets["aligned"],
        "item_inputs": targets["known"],
    }


def test_the_towers_train_on_what_is_left(
    changed: dict[str, Path], withheld_items: list[str], tmp_path: Path
):
    trained = run_step(
        "retrieval.two_tower", tmp_path, changed, {"epochs": 1, "seed": 11, **EVERYTHING.two_tower}
    )
    rows = pl.read_parquet(changed["datasets"] / "train" / "*.parquet")
    assert trained.metrics["rows"] + trained.metrics["held_out_clicks"] == rows[c.CLICK].sum()
    assert trained.metrics["items"] == ITEMS - len(withheld_items)
    assert (trained.output / "query_tower.onnx").exists()
    # whoever asks, when and from what device: a query tower without context does not look
    sample = np.load(trained.output / "parity.npz")
    assert set(sample["query_cat"][:, -1]) == {c.OOV_INDEX}


def test_the_ranker_trains_on_what_is_left(changed: dict[str, Path], tmp_path: Path):
    trained = run_step(
        "ranking.dlrm", tmp_path, changed, {"epochs": 1, "batch_size": 512, "seed": 11}
    )
    rows = pl.read_parquet(changed["datasets"] / "train" / "*.parquet")
    assert trained.metrics["rows"] + trained.metrics["held_out_rows"] == len(rows)


def test_a_search_finds_its_figure_in_what_trainings_report(two_tower: StepRun, dlrm: StepRun):
    assert 0 < SEARCHES["two_tower"].objective(two_tower.metrics) <= 1
    assert 0.1 < SEARCHES["dlrm"].objective(dlrm.metrics) < 0.8

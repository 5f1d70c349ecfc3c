"""The query tower of items on a real ONNX file, against numpy."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from recsys_assets.files import FileCorrupt
from recsys_assets.lib.exports.session import open_session
from recsys_assets.lib.features.transforms import Transforms
from recsys_assets.serving.stages.onnx_models import QueryTower
from recsys_assets.serving.stages.stage import StageInputInvalid
from recsys_assets.serving.stages.tabular import NvtUserTransform
from recsys_assets.settings import Settings
from recsys_assets_tests.support import items_tower, tiny_payload
from recsys_assets_tests.support.stage_runs import run

ITEMS = len(tiny_payload.ITEM_IDS)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("tower")
    items_tower.write_items_tower(made / "model.onnx", ITEMS, tiny_payload.WIDTH)
    (made / "history.json").write_text('{"width": 14}')
    return made


@pytest.fixture(scope="module")
def tower(folder: Path) -> QueryTower:
    return QueryTower.open(folder, Settings(), version=9)


def visitors(count: int, seed: int = 1) -> dict[str, np.ndarray]:
    """Visitors with 0 to 50 clicks each."""
    random = np.random.default_rng(seed)
    absent = np.arange(50) >= random.integers(0, 51, (count, 1))
    items = random.integers(2, 3 + ITEMS, (count, 50)).astype(np.int32)
    ages = random.uniform(0, 168, (count, 50)).astype(np.float32)
    return {
        "user_cat": np.full((count, 4), 3, np.int32),
        "user_cont": random.normal(size=(count, 4)).astype(np.float32),
        "user_history": random.random((count, 14)).astype(np.float32),
        "user_items": np.where(absent, 0, items).astype(np.int32),
        "user_ages": np.where(absent, 0, ages).astype(np.float32),
        "context_cat": np.full((count, 1), 4, np.int32),
        "context_cont": random.normal(size=(count, 4)).astype(np.float32),
    }


def test_the_answer_is_the_sum_over_the_clicks(tower: QueryTower) -> None:
    given = visitors(20)
    given["user_items"][0], given["user_ages"][0] = 0, 0  # nobody clicked
    given["user_items"][1] = 2  # all unknown
    found = run(tower, **given)
    made = items_tower.arrays(ITEMS)
    expected = items_tower.answer(made, given["user_items"], given["user_ages"])
    np.testing.assert_allclose(found["query_embedding"], expected, atol=1e-5)
    np.testing.assert_array_equal(found["query_embedding"][:2], [made["constant"]] * 2)
    assert np.abs(expected - made["constant"]).max() > 1 and found["query_release"].tolist() == [9]


def test_visitors_of_a_batch_get_their_own_embeddings_to_the_bit(tower: QueryTower) -> None:
    given = visitors(17, seed=2)
    found = run(tower, **given)["query_embedding"]
    for row in range(17):
        alone = run(tower, **{name: values[row : row + 1] for name, values in given.items()})
        assert alone["query_embedding"].tobytes() == found[row : row + 1].tobytes()


def test_the_transform_gives_the_tower_the_latest_items(tower: QueryTower) -> None:
    """The stages together: the newest 50 of 60 clicks count, each by its age."""
    transform = NvtUserTransform(Transforms.from_dict(tiny_payload.transforms()))
    clicked = [n % ITEMS for n in range(60)]
    ages = np.linspace(160, 1, 60).astype(np.float32)
    user = run(
        transform,
        user_raw=np.array([["nobody", "-1", "-1"]], object),
        user_numbers=np.array([[30, 5, 1, 60]], np.float32),
        user_history_raw=np.array(["books"] * 60, object),
        user_items_raw=np.array([tiny_payload.ITEM_IDS[n] for n in clicked], object),
        user_ages_raw=ages,
    )
    context = {name: values for name, values in visitors(1).items() if name.startswith("context")}
    found = run(tower, **user, **context)["query_embedding"]
    items = np.array([[3 + n for n in clicked[10:]]])
    expected = items_tower.answer(items_tower.arrays(ITEMS), items, ages[None, 10:])
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_a_history_of_another_generation_is_refused(tower: QueryTower) -> None:
    given = {**visitors(1), "user_history": np.zeros((1, 16), np.float32)}
    with pytest.raises(StageInputInvalid, match=r"user_history must be FP32\[B, 14\]"):
        run(tower, **given)


@pytest.mark.parametrize("name", ["user_items", "user_ages"])
def test_fewer_items_than_declared_are_refused(tower: QueryTower, name: str) -> None:
    given = visitors(2)
    given[name] = given[name][:, :49]
    with pytest.raises(StageInputInvalid, match=name):
        run(tower, **given)


def test_a_model_must_take_all_further_inputs_or_none(folder: Path) -> None:
    model = folder / "model.onnx"
    takes = ("cat", "cont", "history")
    assert len(open_session(model, takes, ("items", "age_hours")).get_inputs()) == 5
    for further in ((), ("items",), ("items", "age_hours", "more")):
        with pytest.raises(FileCorrupt, match=r"takes .*'age_hours'.*'items'"):
            open_session(model, takes, further)

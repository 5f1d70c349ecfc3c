"""Test that the writer, the promotion and the stages share one layout of a release."""

from __future__ import annotations

import ast

import pytest

from recsys_assets import release_files
from recsys_assets.lib.release.releases import COMPONENTS
from recsys_assets.release_files import MODEL_FILES, RANKER, RANKER_PARTS, model_file, models_with
from recsys_assets.serving.stages.registry import STAGES, stage_class
from recsys_assets.settings import PROJECT_ROOT

NAMES = {
    value
    for name, value in vars(release_files).items()
    if name.isupper() and isinstance(value, str) and "." in value
}
#: Also names of other files: the catalogue's pictures, the ids beside embeddings, a scratch file of
#: a bench, and the figures of `recsys bench files`.
SHARED = {
    release_files.IMAGES_FILE,
    release_files.ITEM_IDS_FILE,
    release_files.SNAPSHOT,
    release_files.FILES,
}


def test_every_model_of_a_release_is_a_stage_in_the_order_of_an_answer() -> None:
    assert list(MODEL_FILES) == list(STAGES) == list(COMPONENTS)


@pytest.mark.parametrize("model", STAGES)
def test_a_stage_opens_the_declared_files(model: str) -> None:
    assert stage_class(model).files == MODEL_FILES[model] and set(MODEL_FILES[model]) <= NAMES


def test_paths_inside_a_release() -> None:
    assert model_file(RANKER, release_files.ITEMS) == "models/dlrm_ranking/items.onnx"
    assert models_with(release_files.TRANSFORMS) == [
        "nvt_user_transform",
        "nvt_context_transform",
        "feast_item_lookup",
        "nvt_item_transform",
    ]
    assert models_with("nothing") == [] and tuple(RANKER_PARTS) == MODEL_FILES[RANKER]


def test_no_file_of_the_layout_is_named_anywhere_else() -> None:
    named = {
        (str(path.relative_to(PROJECT_ROOT)), node.value)
        for path in sorted((PROJECT_ROOT / "recsys_assets").rglob("*.py"))
        if path.name != "release_files.py"
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant) and node.value in NAMES - SHARED
    }
    assert len(NAMES) > 20 and named == set()


def test_no_path_into_a_release_is_written_by_hand() -> None:
    models = tuple(f"{release_files.MODELS}/{model}" for model in MODEL_FILES)
    written = {
        str(path.relative_to(PROJECT_ROOT))
        for path in sorted((PROJECT_ROOT / "recsys_assets").rglob("*.py"))
        if path.name != "release_files.py"
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and node.value.startswith(models)
    }
    assert written == set()

"""A changed byte in any file of a release, and pickles in any disguise: refused by name, and what
served goes on.
"""

from __future__ import annotations

import ast
import json
import pickle
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from tritonclient.utils import InferenceServerException

from recsys_assets.serving.published.similar import SimilarMissing, read_similar, similar_path
from recsys_assets.serving.stages.registry import STAGES, stage_class
from recsys_assets.serving.stages.stage import FIT_FOR_CLIENTS
from recsys_assets.serving.triton.fused_model import read_parts
from recsys_assets.settings import PROJECT_ROOT, Settings
from recsys_assets_tests.support import tiny_payload
from recsys_assets_tests.support.stack import RELEASE, VERSIONS, Stack, faults

#: One stage for every kind of file, and two where the same one is read by other code.
FILES = [(model, name) for model in STAGES for name in stage_class(model).files]


class Bomb:
    """Unpickled, it leaves a mark."""

    def __init__(self, mark: Path):
        self._mark = mark

    def __reduce__(self) -> tuple:
        return (Path.touch, (self._mark,))


@pytest.fixture(scope="module")
def payload(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("payload")
    tiny_payload.write_models(folder, Settings(home=folder), by_sources=True)
    return folder / "models"


@pytest.fixture
def version(payload: Path, tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """The version directory of the model that the test is of."""
    folder = tmp_path / "3"
    shutil.copytree(payload / request.node.callspec.params["model"], folder)
    tiny_payload.write_files_json(folder)
    return folder


def load(model: str, folder: Path) -> None:
    stage_class(model).load(folder, Settings(home=folder.parent, valkey_port=1), 3)


def flip(path: Path) -> None:
    """One bit of the byte in the middle."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(("model", "name"), FILES)
def test_a_changed_byte_is_refused_by_name(model: str, name: str, version: Path) -> None:
    flip(version / name)
    with pytest.raises(FIT_FOR_CLIENTS, match=rf"{name} differs from its digest"):
        load(model, version)


@pytest.mark.parametrize(("model", "name"), FILES)
def test_a_pickle_under_an_allowed_name_and_with_its_digest_is_not_read(
    model: str, name: str, version: Path, tmp_path: Path
) -> None:
    """As somebody would smuggle it in who may write digests too."""
    for disguise in (
        pickle.dumps(Bomb(tmp_path / "mark")),
        _object_array(Bomb(tmp_path / "mark"), tmp_path),
    ):
        (version / "files.json").unlink()
        (version / name).write_bytes(disguise)
        tiny_payload.write_files_json(version)
        # not every library's own error is the project's, but none comes from unpickling
        with pytest.raises(Exception) as caught:
            load(model, version)
        assert not (tmp_path / "mark").exists() and not isinstance(caught.value, pickle.PickleError)


def _object_array(bomb: Bomb, folder: Path) -> bytes:
    np.save(folder / "bomb.npy", np.array([bomb], object), allow_pickle=True)
    return (folder / "bomb.npy").read_bytes()


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("multimodal_embedding_lookup", "embedding_table.npy"),
        ("faiss_retrieval", "index.faiss"),
        ("dlrm_ranking", "items.onnx"),
        ("dlrm_ranking", "lists.onnx"),
    ],
)
def test_the_refusal_of_a_pickle_names_the_file(
    model: str, name: str, version: Path, tmp_path: Path
) -> None:
    (version / "files.json").unlink()
    (version / name).write_bytes(pickle.dumps({"weights": [1, 2, 3]}))
    tiny_payload.write_files_json(version)
    with pytest.raises(Exception, match=name) as caught:
        load(model, version)
    assert isinstance(caught.value, FIT_FOR_CLIENTS), type(caught.value)


@pytest.mark.parametrize("model", ["item_id_decoder", "unroll_features"])
@pytest.mark.parametrize("name", ["extra.pkl", "sitecustomize.py", "weights.npy"])
def test_a_file_that_no_release_has_is_refused_by_name(
    model: str, name: str, version: Path
) -> None:
    (version / name).write_bytes(b"anything")
    with pytest.raises(FIT_FOR_CLIENTS, match=rf"{name} is not listed"):
        load(model, version)


def test_parts_of_a_release_that_were_changed(tmp_path: Path) -> None:
    (tmp_path / "parts.json").write_text(json.dumps({"versions": VERSIONS}))
    tiny_payload.write_files_json(tmp_path)
    assert read_parts(tmp_path) == VERSIONS
    flip(tmp_path / "parts.json")
    with pytest.raises(FIT_FOR_CLIENTS, match=r"parts\.json differs from its digest"):
        read_parts(tmp_path)


def modules() -> Iterator[tuple[Path, ast.AST]]:
    """Everything that runs while serving, and what it shares with the rest."""
    paths = [
        *(PROJECT_ROOT / "recsys_assets" / "serving").rglob("*.py"),
        *(PROJECT_ROOT / "triton_repo").rglob("*.py"),
        *(PROJECT_ROOT / "recsys_assets" / "lib").glob("*.py"),
    ]
    assert len(paths) > 40
    for path in paths:
        yield path, ast.parse(path.read_text())


def called(node: ast.AST) -> str:
    return ast.unparse(node.func) if isinstance(node, ast.Call) else ""


def test_no_loader_takes_pickles() -> None:
    """Every np.load says so itself; whatever else unpickles is not there at all."""
    found = []
    for path, tree in modules():
        for node in ast.walk(tree):
            name = called(node)
            if name in ("np.load", "numpy.load"):
                said = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
                if said.get("allow_pickle") != "False":
                    found.append(f"{path.name}:{node.lineno} {name}")
            if name.rsplit(".", 1)[-1] in ("read_pickle", "from_pickle", "Unpickler") or name in (
                "torch.load",
                "eval",
                "exec",
            ):
                found.append(f"{path.name}:{node.lineno} {name}")
            if isinstance(node, (ast.Import, ast.ImportFrom)):
                names = [alias.name for alias in node.names] + [getattr(node, "module", None) or ""]
                if {one.split(".")[0] for one in names} & {
                    "pickle",
                    "cPickle",
                    "dill",
                    "cloudpickle",
                    "joblib",
                    "marshal",
                    "shelve",
                }:
                    found.append(f"{path.name}:{node.lineno} imports {names}")
    assert found == []


# --- on the running Triton


@pytest.mark.services
def test_triton_refuses_a_release_with_a_changed_byte_and_the_old_one_serves(stack: Stack) -> None:
    repository, before = (
        stack.settings.model_repository,
        stack.ids("user-3", timestamp=1_760_000_000),
    )
    part, fused = (
        repository / "item_id_decoder" / "4",
        repository / "fused_model" / str(RELEASE + 1),
    )
    shutil.copytree(repository / "item_id_decoder" / "3", part)
    shutil.copytree(repository / "fused_model" / str(RELEASE), fused)
    (fused / "files.json").unlink()
    (fused / "parts.json").write_text(json.dumps({"versions": {**VERSIONS, "item_id_decoder": 4}}))
    code = (fused / "model.py").read_bytes()
    (fused / "model.py").unlink()
    (fused / "__pycache__").unlink()
    tiny_payload.write_files_json(fused)
    (fused / "model.py").write_bytes(code)
    (fused / "__pycache__").touch()
    flip(part / "item_ids.json")
    try:
        with stack.triton() as client:
            with pytest.raises(
                InferenceServerException, match=r"item_ids\.json differs from its digest"
            ) as caught:
                client.load_model("fused_model", headers=stack.control, client_timeout=120)
            assert "Traceback" not in caught.value.message()
            assert client.is_model_ready("fused_model", str(RELEASE))
        assert faults(stack.many(20)) == []
        assert stack.ids("user-3", timestamp=1_760_000_000) == before
        assert stack.normal("user-3").body["release"] == {
            "query": 7,
            "ranker": RELEASE,
            "rung": "full",
            "hides": None,  # as an older version promoted
            "learnt_to": None,
        }
    finally:
        shutil.rmtree(part)
        shutil.rmtree(fused)


@pytest.mark.services
def test_what_is_published_for_the_gateway_takes_no_pickles_either(
    stack: Stack, tmp_path: Path
) -> None:
    path = similar_path(stack.settings)
    good = path.read_bytes()
    np.savez(
        tmp_path / "bad.npz",
        release=np.int64(1),
        item_ids=np.array([Bomb(tmp_path / "mark")], object),
        neighbours=np.array([Bomb(tmp_path / "mark")], object),
    )
    for bad in (
        pickle.dumps(Bomb(tmp_path / "mark")),
        (tmp_path / "bad.npz").read_bytes(),
        good[: len(good) // 2],
    ):
        (tmp_path / "similar.npz").write_bytes(bad)
        with pytest.raises(SimilarMissing, match=r"similar\.npz"):
            read_similar(tmp_path / "similar.npz")
        assert not (tmp_path / "mark").exists()
    assert stack.http.get("/similar/item-01").status_code == 200

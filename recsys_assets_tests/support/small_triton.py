"""A real Triton on three small Python models, their fused one, and the ensembles of both, with the
tensors of the real ones.

Every answered id carries the versions that made it (``<query tower>.<index>.<ranker>:<position>``),
so that an answer mixed from two releases is seen in the answer itself. A payload file that holds
``broken`` fails to load, one that holds ``hangs`` never does, one that holds ``empty`` answers
nothing, ``twice`` answers every id twice; ``fused breaks`` and ``fused differs`` concern the fused
model alone. A visitor called ``slow:<path>`` waits a second for the ranker; the file is made when
work on the request has begun.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import polars as pl

from recsys_assets import release_files
from recsys_assets.artifacts import Artifact, ArtifactStore
from recsys_assets.files import write_json
from recsys_assets.lib.features.seen import DEFAULT_RULE
from recsys_assets.lib.release import releases
from recsys_assets.lib.release.releases import RELEASE
from recsys_assets.serving.promotion import promotion
from recsys_assets.serving.stages.answer import ANSWER, REQUEST
from recsys_assets.serving.stages.stage import TensorSpec
from recsys_assets.settings import Settings
from recsys_assets_tests.conftest import free_port

MODEL = '''
import json
import os
import time
import numpy as np
import triton_python_backend_utils as pb_utils


def answer(query, index, ranker, user, content):
    """[ordered_ids, ordered_scores, ordered_propensities, answer_info] of one visitor."""
    places = [] if "empty" in content else [0, 0] if "twice" in content else [0, 1, 2]
    ids = [f"{query}.{index}.{ranker}:{(user + p) % 10}".encode() for p in places]
    return [pb_utils.Tensor("ordered_ids", np.array(ids, object)),
            pb_utils.Tensor("ordered_scores", np.linspace(1, 0, len(ids), dtype=np.float32)),
            pb_utils.Tensor("ordered_propensities", np.zeros(len(ids), np.float32)),
            pb_utils.Tensor("answer_info", np.array([[len(ids), query, ranker, 0]], np.int64))]


def begin(user):
    """Seconds that the visitor is to wait."""
    if not user.startswith(b"slow:"):
        return 0
    open(user[5:], "w").close()
    return 1


def read(path):
    with open(path) as stream:
        content = stream.read()
    while "hangs" in content:
        time.sleep(1)
    if "broken" in content:
        raise ValueError(f"{os.path.basename(path)} is broken on purpose")
    return content


class TritonPythonModel:
    def initialize(self, args):
        self.version = int(args["model_version"])
        self.folder = os.path.join(args["model_repository"], args["model_version"])
        self.open()

    def execute(self, requests):
        return [pb_utils.InferenceResponse(self.answer(
            lambda name: pb_utils.get_input_tensor_by_name(request, name).as_numpy())) for request in requests]

'''
COMPONENT = """
    def open(self):
        self.content = read(os.path.join(self.folder, "FILE"))

"""
ANSWERS = {
    "query_tower": (
        "model.onnx",
        """
    def answer(self, tensor):
        user = tensor("user_id")[0]
        return [pb_utils.Tensor("query_embedding", np.array([sum(user), begin(user), self.version], np.float32))]
""",
    ),
    "faiss_retrieval": (
        "index.faiss",
        """
    def answer(self, tensor):
        user, slow, query = tensor("query_embedding")
        return [pb_utils.Tensor("candidates", np.array([query, self.version, user, slow], np.int32))]
""",
    ),
    "dlrm_ranking": (
        "model.onnx",
        """
    def answer(self, tensor):
        query, index, user, slow = tensor("candidates").tolist()
        time.sleep(slow)
        return answer(query, index, self.version, user, self.content)
""",
    ),
}
FUSED = """
    def open(self):
        with open(os.path.join(self.folder, "parts.json")) as stream:
            self.versions = json.load(stream)["versions"]
        root = os.path.dirname(os.path.dirname(self.folder))
        files = {"query_tower": "model.onnx", "faiss_retrieval": "index.faiss", "dlrm_ranking": "model.onnx"}
        self.contents = {model: read(os.path.join(root, model, str(self.versions[model]), file)) for model, file in files.items()}
        if any("fused breaks" in content for content in self.contents.values()):
            raise ValueError("the fused model breaks on purpose")

    def answer(self, tensor):
        user = tensor("user_id")[0]
        time.sleep(begin(user))
        moved = any("fused differs" in content for content in self.contents.values())
        return answer(*(self.versions[m] for m in ("query_tower", "faiss_retrieval", "dlrm_ranking")), sum(user) + moved,
                      self.contents["dlrm_ranking"])
"""
#: Inputs and outputs of the components.
TENSORS: dict[str, tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]]] = {
    "query_tower": (REQUEST, (TensorSpec("query_embedding", "FP32", (3,)),)),
    "faiss_retrieval": (
        (TensorSpec("query_embedding", "FP32", (3,)),),
        (TensorSpec("candidates", "INT32", (4,)),),
    ),
    "dlrm_ranking": ((TensorSpec("candidates", "INT32", (4,)),), ANSWER),
}


def _tensors(direction: str, specs: tuple[TensorSpec, ...]) -> str:
    return "".join(
        f'{direction} {{ name: "{spec.name}" data_type: TYPE_{spec.dtype} dims: {list(spec.shape)}'
        f"{' optional: true' if spec.optional else ''} }}\n"
        for spec in specs
    )


def _write_model(
    folder: Path,
    name: str,
    inputs: tuple[TensorSpec, ...],
    outputs: tuple[TensorSpec, ...],
    code: str,
) -> None:
    (folder / name).mkdir(parents=True)
    (folder / name / "model.py").write_text(MODEL + code)
    (folder / name / "config.pbtxt").write_text(
        f'name: "{name}"\nbackend: "python"\nmax_batch_size: 0\nversion_policy {{ all {{}} }}\n'
        + _tensors("input", inputs)
        + _tensors("output", outputs)
    )


def _write_ensemble(
    folder: Path,
    name: str,
    steps: Mapping[str, tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]]],
) -> None:
    written = "".join(
        f'step {{ model_name: "{model}" model_version: -1\n'
        + "".join(f'input_map {{ key: "{spec.name}" value: "{spec.name}" }}\n' for spec in inputs)
        + "".join(f'output_map {{ key: "{spec.name}" value: "{spec.name}" }}\n' for spec in outputs)
        + "}\n"
        for model, (inputs, outputs) in steps.items()
    )
    (folder / name).mkdir()
    (folder / name / "config.pbtxt").write_text(
        f'name: "{name}"\nplatform: "ensemble"\nmax_batch_size: 0\n'
        + _tensors("input", REQUEST)
        + _tensors("output", ANSWER)
        + "ensemble_scheduling {\n"
        + written
        + "}\n"
    )


def write_templates(folder: Path) -> Path:
    """The small counterpart of ``triton_repo/``."""
    for model, (file, answer) in ANSWERS.items():
        _write_model(folder, model, *TENSORS[model], COMPONENT.replace("FILE", file) + answer)
    _write_model(folder, "fused_model", REQUEST, ANSWER, FUSED)
    _write_ensemble(folder, "ensemble_model", TENSORS)
    _write_ensemble(folder, "recommender", {"fused_model": (REQUEST, ANSWER)})
    return folder


def write_version(
    templates: Path, repository: Path, model: str, version: int, content: str = "fine"
) -> Path:
    """A version directory written by hand, without the project's own publishing."""
    target = repository / model / str(version)
    target.mkdir(parents=True)
    shutil.copy(templates / model / "config.pbtxt", repository / model / "config.pbtxt")
    shutil.copy(templates / model / "model.py", target / "model.py")
    (target / "__pycache__").touch()
    (target / ANSWERS[model][0]).write_text(content)
    return target


def settings_for(home: Path, **values: object) -> Settings:
    """Settings of a temporary home on free ports."""
    names = (
        "triton_http_port",
        "triton_grpc_port",
        "triton_metrics_port",
        "valkey_port",
        "gateway_port",
        "dagster_port",
        "code_server_port",
    )
    ports: Mapping[str, int] = {name: free_port() for name in names}
    return Settings(home=home, scale="tiny", **{**ports, **values})


def small_release(
    store: ArtifactStore,
    number: int,
    *,
    generation: int | None = None,
    passed: bool | None = True,
    **content: str,
) -> Artifact:
    """A release of the small models: full, or a fine-tune of ``generation``; content: model → what
    its file holds.
    """
    base = generation or number
    versions = {"query_tower": number, "faiss_retrieval": base, "dlrm_ranking": number}
    ids = [f"{number}.{base}.{number}:{position}" for position in range(10)]
    check = {"name": "auc", "value": 0.7 if passed else 0.4, "threshold": 0.6, "passed": passed}
    gate = None if passed is None else {"passed": passed, "checks": [check]}
    with store.stage(RELEASE, f"{number:06d}", params={"n": number}) as staged:
        for model, (file, _) in ANSWERS.items():
            (staged.path / "models" / model).mkdir(parents=True)
            (staged.path / "models" / model / file).write_text(
                content.get(model, f"fine {versions[model]}")
            )
        rule = staged.path / release_files.model_file("filter_seen_items", release_files.SEEN_RULE)
        rule.parent.mkdir(parents=True, exist_ok=True)
        write_json(rule, DEFAULT_RULE.as_json())
        write_json(
            staged.path / "display.json",
            {"release": number, "items": {item: {"title": item} for item in ids}},
        )
        pl.DataFrame({"image": [f"{number}.png"], "content": [b"png"]}).write_parquet(
            staged.path / "images.parquet"
        )
        write_json(staged.path / release_files.ITEM_IDS_FILE, ids)
        np.save(
            staged.path / release_files.SIMILAR_FILE,
            np.array([[3 + (row + 1) % 10, -1] for row in range(10)], np.int32),
        )
        write_json(
            staged.path / "release.json",
            {
                "form": releases.CODE_VERSION,
                "release": number,
                "kind": "full" if generation is None else "fine_tune",
                "day": "2026-01-01",
                "generation": base,
                "versions": versions,
                "gate": gate,
                "metrics": {},
                "known_user": "ann",
                "artifacts": {},
            },
        )
        return staged.publish()


def quiet(line: str) -> None:
    """Swallows a log."""


def promote_and_die(settings: Settings, templates: Path, release: int, step: str) -> None:
    """Promote, and end without a word just after ``step`` was written to the journal."""

    def on_step(reached: str) -> None:
        if reached == step:
            os._exit(9)

    promotion.promote(settings, release, log=quiet, templates=templates, on_step=on_step)

"""A real Triton on three small Python models and their ensemble, with the outputs of the real one.

Every answered id carries the versions that made it (``<query tower>.<index>.<ranker>:<position>``), so that an answer
mixed from two releases is seen in the answer itself. A payload file that holds ``broken`` fails to load, one that
holds ``empty`` answers nothing, ``twice`` answers every id twice.
"""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Mapping
from pathlib import Path

import polars as pl

from recsys_assets.artifacts import Artifact, ArtifactStore, write_json
from recsys_assets.lib.releases import RELEASE
from recsys_assets.serving import promotion
from recsys_assets.settings import Settings

MODEL = '''
import os
import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def initialize(self, args):
        self.version = int(args["model_version"])
        folder = os.path.join(args["model_repository"], args["model_version"])
        with open(os.path.join(folder, "FILE")) as stream:
            self.content = stream.read()
        if "broken" in self.content:
            raise ValueError("FILE is broken on purpose")

    def execute(self, requests):
        return [pb_utils.InferenceResponse(self.answer(
            lambda name: pb_utils.get_input_tensor_by_name(request, name).as_numpy())) for request in requests]

'''
ANSWERS = {
    "query_tower": ("model.onnx", '''
    def answer(self, tensor):
        user = sum(tensor("user_id")[0])
        return [pb_utils.Tensor("query_embedding", np.array([user, self.version], np.float32)),
                pb_utils.Tensor("query_release", np.array([self.version], np.int64))]
'''),
    "faiss_retrieval": ("index.faiss", '''
    def answer(self, tensor):
        user, query = tensor("query_embedding")
        return [pb_utils.Tensor("candidates", np.array([query, self.version, user], np.int32))]
'''),
    "dlrm_ranking": ("model.onnx", '''
    def answer(self, tensor):
        query, index, user = tensor("candidates")
        places = [] if "empty" in self.content else [0, 0] if "twice" in self.content else [0, 1, 2]
        ids = [f"{query}.{index}.{self.version}:{(user + p) % 10}".encode() for p in places]
        return [pb_utils.Tensor("ordered_ids", np.array(ids, object)),
                pb_utils.Tensor("ordered_scores", np.linspace(1, 0, len(ids), dtype=np.float32)),
                pb_utils.Tensor("ranker_release", np.array([self.version], np.int64)),
                pb_utils.Tensor("degraded", np.zeros(1, np.int32))]
'''),
}
TENSORS = {
    "query_tower": ([("user_id", "STRING", 1)], [("query_embedding", "FP32", 2), ("query_release", "INT64", 1)]),
    "faiss_retrieval": ([("query_embedding", "FP32", 2)], [("candidates", "INT32", 3)]),
    "dlrm_ranking": ([("candidates", "INT32", 3)], [("ordered_ids", "STRING", -1), ("ordered_scores", "FP32", -1),
                                                    ("ranker_release", "INT64", 1), ("degraded", "INT32", 1)]),
}
ENSEMBLE_OUTPUTS = [("ordered_ids", "STRING", -1), ("ordered_scores", "FP32", -1), ("query_release", "INT64", 1),
                    ("ranker_release", "INT64", 1), ("user_degraded", "INT32", 1)]


def _tensors(direction: str, tensors: list[tuple[str, str, int]]) -> str:
    return "".join(f'{direction} {{ name: "{name}" data_type: TYPE_{kind} dims: {dims} }}\n'
                   for name, kind, dims in tensors)


def write_templates(folder: Path) -> Path:
    """The small counterpart of ``triton_repo/``."""
    for model, (file, answer) in ANSWERS.items():
        inputs, outputs = TENSORS[model]
        (folder / model).mkdir(parents=True)
        (folder / model / "model.py").write_text(MODEL.replace("FILE", file) + answer)
        (folder / model / "config.pbtxt").write_text(
            f'name: "{model}"\nbackend: "python"\nmax_batch_size: 0\nversion_policy {{ all {{}} }}\n'
            + _tensors("input", inputs) + _tensors("output", outputs))
    steps = "".join(
        f'step {{ model_name: "{model}" model_version: -1\n'
        + "".join(f'input_map {{ key: "{name}" value: "{name}" }}\n' for name, _, _ in inputs)
        + "".join(f'output_map {{ key: "{name}" value: "{"user_degraded" if name == "degraded" else name}" }}\n'
                  for name, _, _ in outputs) + "}\n"
        for model, (inputs, outputs) in TENSORS.items())
    (folder / "ensemble_model").mkdir()
    (folder / "ensemble_model" / "config.pbtxt").write_text(
        'name: "ensemble_model"\nplatform: "ensemble"\nmax_batch_size: 0\n'
        + _tensors("input", [("user_id", "STRING", 1)]) + _tensors("output", ENSEMBLE_OUTPUTS)
        + "ensemble_scheduling {\n" + steps + "}\n")
    return folder


def write_version(templates: Path, repository: Path, model: str, version: int, content: str = "fine") -> Path:
    """A version directory written by hand, without the project's own publishing."""
    target = repository / model / str(version)
    target.mkdir(parents=True)
    shutil.copy(templates / model / "config.pbtxt", repository / model / "config.pbtxt")
    shutil.copy(templates / model / "model.py", target / "model.py")
    (target / "__pycache__").touch()
    (target / ANSWERS[model][0]).write_text(content)
    return target


def free_ports(count: int) -> list[int]:
    """Ports that were free a moment ago."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()


def settings_for(home: Path, **values: object) -> Settings:
    """Settings of a temporary home on free ports."""
    names = ("triton_http_port", "triton_grpc_port", "triton_metrics_port", "valkey_port", "gateway_port",
             "dagster_port", "code_server_port")
    ports: Mapping[str, int] = dict(zip(names, free_ports(len(names)), strict=True))
    return Settings(home=home, scale="tiny", **{**ports, **values})


def small_release(store: ArtifactStore, number: int, *, generation: int | None = None, passed: bool | None = True,
                  **content: str) -> Artifact:
    """A release of the small models: full, or a fine-tune of ``generation``; content: model → what its file holds."""
    base = generation or number
    versions = {"query_tower": number, "faiss_retrieval": base, "dlrm_ranking": number}
    ids = [f"{number}.{base}.{number}:{position}" for position in range(10)]
    check = {"name": "auc", "value": 0.7 if passed else 0.4, "threshold": 0.6, "passed": passed}
    gate = None if passed is None else {"passed": passed, "checks": [check]}
    with store.stage(RELEASE, f"{number:06d}", params={"n": number}) as staged:
        for model, (file, _) in ANSWERS.items():
            (staged.path / "models" / model).mkdir(parents=True)
            (staged.path / "models" / model / file).write_text(content.get(model, f"fine {versions[model]}"))
        write_json(staged.path / "display.json",
                   {"release": number, "items": {item: {"title": item} for item in ids}})
        pl.DataFrame({"image": [f"{number}.png"], "content": [b"png"]}).write_parquet(staged.path / "images.parquet")
        write_json(staged.path / "release.json", {
            "release": number, "kind": "full" if generation is None else "fine_tune", "day": "2026-01-01",
            "generation": base, "versions": versions, "gate": gate, "metrics": {}, "known_user": "ann",
            "artifacts": {}})
        return staged.publish()


def quiet(line: str) -> None:
    """Swallows a log."""


def promote_and_die(settings: Settings, templates: Path, release: int, step: str) -> None:
    """Promote, and end without a word just after ``step`` was written to the journal."""

    def on_step(reached: str) -> None:
        if reached == step:
            os._exit(9)

    promotion.promote(settings, release, log=quiet, templates=templates, on_step=on_step)

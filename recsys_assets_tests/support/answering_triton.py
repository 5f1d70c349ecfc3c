"""A real Triton with a ``recommender`` and a ``fused_model`` that answer as REQUEST and ANSWER say,
out of a short list.

What is asked of them is in the visitor's id, parts apart by ``:``: ``slow:<ms>`` answers late,
``bits:<n>`` is degraded, ``echo`` is answered with what was asked, ``nan``, ``short`` and ``error``
with what no answer may be.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from recsys_assets.operations.triton_server import TritonServer
from recsys_assets.serving.stages.answer import ANSWER, REQUEST, TRACE
from recsys_assets.settings import Settings

RELEASE = 3  # versions: query tower 2, ranker and both models 3
MODELS = ("recommender", "fused_model")
MODEL = """
import json
import os
import time
import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def initialize(self, args):
        self.folder = os.path.join(args["model_repository"], args["model_version"])
        with open(os.path.join(self.folder, "items.json")) as stream:
            self.items = json.load(stream)

    def execute(self, requests):
        return [self.answer(request) for request in requests]

    def answer(self, request):
        def given(name):
            tensor = pb_utils.get_input_tensor_by_name(request, name)
            return None if tensor is None else tensor.as_numpy()

        users = [user.decode() for user in given("user_id")]
        top_k = given("top_k")
        ids, scores, info = [], [], []
        for row, user in enumerate(users):
            kind, _, number = user.partition(":")
            if kind == "error":
                return pb_utils.InferenceResponse(error=pb_utils.TritonError("on purpose"))
            if kind == "slow":
                time.sleep(int(number) / 1000)
            listed = list(self.items)
            if kind == "echo":
                names = ("device_type", "timestamp", "seed")
                listed = ["%s=%s" % (name, None if given(name) is None else given(name)[row]) for name in names]
            listed = listed[: top_k[row] if top_k is not None and top_k[row] >= 0 else None]
            ids += [item.encode() for item in listed]
            values = np.linspace(1, 0.5, len(listed), dtype=np.float32)
            scores += (values * np.nan if kind == "nan" else values).tolist()
            info.append([len(listed) - (kind == "short"), 2, 3, int(number) if kind == "bits" else 0])
        tensors = [pb_utils.Tensor("ordered_ids", np.array(ids, object)),
                   pb_utils.Tensor("ordered_scores", np.array(scores, np.float32)),
                   pb_utils.Tensor("ordered_propensities", np.full(len(ids), 0.25, np.float32)),
                   pb_utils.Tensor("answer_info", np.array(info, np.int64).reshape(-1, 4))]
        if "trace" in request.requested_output_names():
            tensors.append(pb_utils.Tensor("trace", np.fromfile(os.path.join(self.folder, "trace.bin"), np.uint8)))
        return pb_utils.InferenceResponse(tensors)
"""


def write_answering(
    repository: Path, items: Sequence[str], trace: np.ndarray, *, instances: int = 1
) -> None:
    """Both models, version RELEASE, which answer ``items``; trace: uint8, of every explanation."""
    for name in MODELS:
        version = repository / name / str(RELEASE)
        version.mkdir(parents=True)
        (version / "model.py").write_text(MODEL)
        (version / "items.json").write_text(json.dumps(list(items)))
        (version / "trace.bin").write_bytes(trace.tobytes())
        tensors = "".join(
            f'input {{ name: "{spec.name}" data_type: TYPE_{spec.dtype} dims: -1 optional: '
            f"{str(spec.optional).lower()} }}\n"
            for spec in REQUEST
        )
        tensors += "".join(
            f'output {{ name: "{spec.name}" data_type: TYPE_{spec.dtype} dims: {list(spec.shape)} '
            "}\n"
            for spec in ANSWER
        )
        if name == "fused_model":
            tensors += f'output {{ name: "{TRACE}" data_type: TYPE_UINT8 dims: -1 }}\n'
        (repository / name / "config.pbtxt").write_text(
            f'name: "{name}"\nbackend: "python"\nmax_batch_size: 0\nversion_policy {{ all {{}} }}\n'
            f"instance_group [ {{ kind: KIND_CPU, count: {instances} }} ]\n" + tensors
        )


@contextmanager
def answering(settings: Settings) -> Iterator[TritonServer]:
    """The server on what ``write_answering`` wrote into ``settings.model_repository``."""
    server = TritonServer(settings)
    server.start()
    try:
        yield server
    finally:
        server.stop()

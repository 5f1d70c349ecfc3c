"""The two learned models, as ONNX on onnxruntime."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from recsys_assets.columns import EMBEDDING_DIM, RANKER_CATEGORICAL, RANKER_CONTINUOUS
from recsys_assets.serving.stage import (
    Stage,
    StageError,
    StageFileCorrupt,
    StageInputInvalid,
    Tensors,
    TensorSpec,
    read_json,
)
from recsys_assets.serving.stages.tabular import CONTEXT_CAT, CONTEXT_CONT, USER_CAT, USER_CONT, USER_HISTORY
from recsys_assets.settings import Settings

if TYPE_CHECKING:
    import onnxruntime

MODEL = "model.onnx"
HISTORY = "history.json"


class ModelOutputInvalid(StageError):
    """A model gave a value that is not finite, or of another shape; the message says which."""


def open_session(path: Path, inputs: tuple[str, ...]) -> onnxruntime.InferenceSession:
    """One session with one thread (two were slower under load); raises StageFileCorrupt naming file and inputs."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    found = tuple(sorted(tensor.name for tensor in session.get_inputs()))
    if found != tuple(sorted(inputs)):
        raise StageFileCorrupt(f"{path} takes {found}, not {tuple(sorted(inputs))}; export the model again")
    return session


class _OnnxStage(Stage):
    files = (MODEL,)
    arguments: tuple[str, ...]  # the ONNX model's own input names

    def __init__(self, session: onnxruntime.InferenceSession, version: int):
        self._session = session
        self._release = np.array([version], dtype=np.int64)

    @classmethod
    def open(cls, directory: Path, settings: Settings, version: int) -> _OnnxStage:
        return cls(open_session(directory / MODEL, cls.arguments), version)

    def _predict(self, output: str, size: int, **arguments: np.ndarray) -> np.ndarray:
        """One finite float32 vector [size]; raises ModelOutputInvalid."""
        values = self._session.run([output], arguments)[0].reshape(-1)
        if len(values) != size or not np.isfinite(values).all():
            raise ModelOutputInvalid(f"{self.name}: {output} must be {size} finite values, got {len(values)} values, "
                                     f"{int((~np.isfinite(values)).sum())} of them not finite")
        return values


class QueryTower(_OnnxStage):
    """Visitor and context → query embedding [64].

    Args:
        width: 2·K of the generation's transforms, of ``history.json``: the clicks by category that the model takes.
    """

    name = "query_tower"
    inputs = (USER_CAT, USER_CONT, USER_HISTORY, CONTEXT_CAT, CONTEXT_CONT)
    outputs = (TensorSpec("query_embedding", "FP32", (EMBEDDING_DIM,)), TensorSpec("query_release", "INT64", (1,)))
    files = (MODEL, HISTORY)
    arguments = ("cat", "cont", "history")

    def __init__(self, session: onnxruntime.InferenceSession, version: int, width: int):
        super().__init__(session, version)
        self._width = width

    @classmethod
    def open(cls, directory: Path, settings: Settings, version: int) -> QueryTower:
        session = open_session(directory / MODEL, cls.arguments)
        given = read_json(directory / HISTORY)
        width = given.get("width") if isinstance(given, dict) else None
        if not isinstance(width, int) or width < 2 or width % 2:
            raise StageFileCorrupt(f"{directory / HISTORY} needs an even width ≥ 2, got {given}; build the release again")
        # the model's own width is None or a name where it was exported as one that varies
        declared = next(tensor.shape for tensor in session.get_inputs() if tensor.name == "history")[-1]
        if isinstance(declared, int) and declared != width:
            raise StageFileCorrupt(f"{directory / MODEL} takes a history of {declared} counts, but the transforms give "
                                   f"{width}; train the query tower on this generation again")
        return cls(session, version, width)

    def run(self, inputs: Tensors) -> Tensors:
        history = inputs["user_history"]
        if len(history) != self._width:
            raise StageInputInvalid(f"user_history must be FP32[{self._width}], got {list(history.shape)}; "
                                    f"nvt_user_transform and {self.name} must be of one generation")
        cat = np.concatenate([inputs["user_cat"], inputs["context_cat"]])[None]
        cont = np.concatenate([inputs["user_cont"], inputs["context_cont"]])[None]
        embedding = self._predict("embedding", EMBEDDING_DIM, cat=cat, cont=cont, history=history[None])
        return {"query_embedding": embedding, "query_release": self._release}


class DlrmRanking(_OnnxStage):
    """N candidates → N click probabilities."""

    name = "dlrm_ranking"
    inputs = (TensorSpec("ranker_cat", "INT32", (-1, len(RANKER_CATEGORICAL))),
              TensorSpec("ranker_cont", "FP32", (-1, len(RANKER_CONTINUOUS))),
              TensorSpec("item_embeddings", "FP32", (-1, 2 * EMBEDDING_DIM)))
    outputs = (TensorSpec("scores", "FP32", (-1,)), TensorSpec("ranker_release", "INT64", (1,)))
    arguments = ("cat", "cont", "embeddings")

    def run(self, inputs: Tensors) -> Tensors:
        scores = self._predict("score", len(inputs["ranker_cat"]), cat=inputs["ranker_cat"],
                               cont=inputs["ranker_cont"], embeddings=inputs["item_embeddings"])
        return {"scores": scores, "ranker_release": self._release}

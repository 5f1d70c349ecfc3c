"""The two learned models, as ONNX on onnxruntime."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from recsys_assets.columns import EMBEDDING_DIM
from recsys_assets.serving.stage import (
    Stage,
    StageError,
    StageFileCorrupt,
    StageInputInvalid,
    Tensors,
    TensorSpec,
    read_json,
)
from recsys_assets.serving.stages.candidates import (
    ITEM_EMBEDDINGS,
    KEPT_COUNTS,
    RANKER_CAT,
    RANKER_CONT,
    parts,
    require_counts,
)
from recsys_assets.serving.stages.retrieval import QUERY_EMBEDDING
from recsys_assets.serving.stages.tabular import CONTEXT_CAT, CONTEXT_CONT, USER_CAT, USER_CONT, USER_HISTORY
from recsys_assets.settings import Settings

if TYPE_CHECKING:
    import onnxruntime

MODEL = "model.onnx"
HISTORY = "history.json"
SCORES = TensorSpec("scores", "FP32", (-1,))


class ModelOutputInvalid(StageError):
    """A model gave a value that is not finite, or of another shape; the message says which."""


def open_session(path: Path, inputs: tuple[str, ...]) -> onnxruntime.InferenceSession:
    """One session with one thread (two were slower under load); raises StageFileCorrupt naming file and inputs."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's own have no common base
        raise StageFileCorrupt(f"{path} is no ONNX model ({error}); export the model again") from error
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

    def gauges(self) -> dict[str, tuple[str, float]]:
        return {f"recsys_release_{self.name}": ("Version of the model that answers.", float(self._release[0]))}

    def _predict(self, output: str, shape: tuple[int, ...], **arguments: np.ndarray) -> np.ndarray:
        """Finite float32 values; raises ModelOutputInvalid."""
        values = self._session.run([output], arguments)[0].reshape(-1)
        if values.size != math.prod(shape) or not np.isfinite(values).all():
            raise ModelOutputInvalid(f"{self.name}: {output} must be {math.prod(shape)} finite values, got {values.size} values, "
                                     f"{int((~np.isfinite(values)).sum())} of them not finite")
        return values.reshape(shape)


class QueryTower(_OnnxStage):
    """Visitors and contexts → query embeddings [B, 64].

    Args:
        width: 2·K of the generation's transforms, of ``history.json``: the clicks by category that the model takes.
    """

    name = "query_tower"
    inputs = (USER_CAT, USER_CONT, USER_HISTORY, CONTEXT_CAT, CONTEXT_CONT)
    outputs = (QUERY_EMBEDDING, TensorSpec("query_release", "INT64", (1,)))
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
        if history.shape[1] != self._width:
            raise StageInputInvalid(f"user_history must be FP32[B, {self._width}], got {list(history.shape)}; "
                                    f"nvt_user_transform and {self.name} must be of one generation")
        cat = np.concatenate([inputs["user_cat"], inputs["context_cat"]], axis=1)
        cont = np.concatenate([inputs["user_cont"], inputs["context_cont"]], axis=1)
        rows = [self._predict("embedding", (1, EMBEDDING_DIM), cat=cat[row], cont=cont[row], history=history[row])
                for row in (slice(n, n + 1) for n in range(len(cat)))]
        return {"query_embedding": rows[0] if len(rows) == 1 else np.concatenate(rows), "query_release": self._release}


class DlrmRanking(_OnnxStage):
    """Each visitor's candidates → their click probabilities."""

    name = "dlrm_ranking"
    inputs = (RANKER_CAT, RANKER_CONT, ITEM_EMBEDDINGS, KEPT_COUNTS)
    outputs = (SCORES, TensorSpec("ranker_release", "INT64", (1,)))
    arguments = ("cat", "cont", "embeddings")

    def run(self, inputs: Tensors) -> Tensors:
        cat, cont, embeddings = inputs["ranker_cat"], inputs["ranker_cont"], inputs["item_embeddings"]
        require_counts("kept_counts", inputs["kept_counts"], len(cat))
        scores = np.empty(len(cat), np.float32)
        for part in parts(inputs["kept_counts"]):
            if part.stop > part.start:
                scores[part] = self._predict("score", (part.stop - part.start,), cat=cat[part], cont=cont[part],
                                             embeddings=embeddings[part])
        return {"scores": scores, "ranker_release": self._release}

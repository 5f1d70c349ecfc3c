"""Run the two learned models, as ONNX on onnxruntime."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from recsys_assets.columns import EMBEDDING_DIM, QUERY_OF_ITEMS
from recsys_assets.files import FileCorrupt, read_json
from recsys_assets.lib.exports.session import open_session
from recsys_assets.release_files import HISTORY, ITEMS, LISTS, MODEL, MODEL_FILES
from recsys_assets.serving.stages import tensors as t
from recsys_assets.serving.stages.candidates import parts, require_counts
from recsys_assets.serving.stages.stage import Stage, StageError, StageInputInvalid, Tensors
from recsys_assets.settings import Settings

if TYPE_CHECKING:
    import onnxruntime

#: Items whose part is cached, 2 KiB each.
KNOWN_ITEMS = 1 << 16


class ModelOutputInvalid(StageError):
    """A model gave a value that is not finite, or another shape.

    The message names the model and the output.
    """


class _OnnxStage(Stage):
    """A stage that runs one ONNX model and reports its version."""

    arguments: ClassVar[tuple[str, ...]]  # the ONNX model's own input names

    def __init__(self, session: onnxruntime.InferenceSession, version: int) -> None:
        self._session = session
        self._release = np.array([version], dtype=np.int64)

    @classmethod
    def open(cls, directory: Path, settings: Settings, version: int) -> _OnnxStage:
        """Open the ONNX model."""
        return cls(open_session(directory / MODEL, cls.arguments), version)

    def gauges(self) -> dict[str, tuple[str, float]]:
        """Return the version of the model."""
        return {
            f"recsys_release_{self.name}": (
                "Version of the model that answers.",
                float(self._release[0]),
            )
        }

    def _predict(self, output: str, shape: tuple[int, ...], **arguments: np.ndarray) -> np.ndarray:
        """Run the model and return finite float32 values of a shape.

        Raises:
            ModelOutputInvalid: a value is not finite, or the shape differs.
        """
        values: np.ndarray = self._session.run([output], arguments)[0].reshape(-1)
        if values.size != math.prod(shape) or not np.isfinite(values).all():
            raise ModelOutputInvalid(
                f"{self.name}: {output} must be {math.prod(shape)} finite values, got "
                f"{values.size} values, {int((~np.isfinite(values)).sum())} of them not finite"
            )
        return values.reshape(shape)


class QueryTower(_OnnxStage):
    """Turns visitors and contexts into query embeddings [B, 64].

    Args:
        session: of the model.
        version: of the model.
        width: 2·K of the generation's transforms, from ``history.json``: the counts of clicks per
            category that the model takes.
    """

    name = "query_tower"
    inputs = (
        t.USER_CAT,
        t.USER_CONT,
        t.USER_HISTORY,
        t.USER_ITEMS,
        t.USER_AGES,
        t.CONTEXT_CAT,
        t.CONTEXT_CONT,
    )
    outputs = (t.QUERY_EMBEDDING, t.QUERY_RELEASE)
    files = MODEL_FILES[name]
    arguments = ("cat", "cont", "history")
    #: Inputs that only a query tower of items takes.
    further = QUERY_OF_ITEMS

    def __init__(self, session: onnxruntime.InferenceSession, version: int, width: int) -> None:
        super().__init__(session, version)
        self._width = width
        self._takes_items = any(tensor.name in self.further for tensor in session.get_inputs())

    @classmethod
    def open(cls, directory: Path, settings: Settings, version: int) -> QueryTower:
        """Open the query tower.

        Raises:
            FileCorrupt: the width of the history is missing, or is not the model's.
        """
        session = open_session(directory / MODEL, cls.arguments, cls.further)
        given = read_json(directory / HISTORY)
        width = given.get("width") if isinstance(given, dict) else None
        if not isinstance(width, int) or width < 2 or width % 2:
            raise FileCorrupt(
                f"{directory / HISTORY} needs an even width ≥ 2, got {given}; build the release "
                "again"
            )
        # None or a name if the model was exported with a width that varies
        declared = next(
            tensor.shape for tensor in session.get_inputs() if tensor.name == "history"
        )[-1]
        if isinstance(declared, int) and declared != width:
            raise FileCorrupt(
                f"{directory / MODEL} takes a history of {declared} counts, but the transforms "
                f"give {width}; train the query tower on this generation again"
            )
        return cls(session, version, width)

    def run(self, inputs: Tensors) -> Tensors:
        """Return the query embeddings and the model's version."""
        history = inputs[t.USER_HISTORY.name]
        if history.shape[1] != self._width:
            raise StageInputInvalid(
                f"user_history must be FP32[B, {self._width}], got {list(history.shape)}; "
                f"nvt_user_transform and {self.name} must be of one generation"
            )
        cat = np.concatenate([inputs[t.USER_CAT.name], inputs[t.CONTEXT_CAT.name]], axis=1)
        cont = np.concatenate([inputs[t.USER_CONT.name], inputs[t.CONTEXT_CONT.name]], axis=1)
        given = {"cat": cat, "cont": cont, "history": history}
        if self._takes_items:
            latest = inputs[t.USER_ITEMS.name], inputs[t.USER_AGES.name]
            given |= dict(zip(self.further, latest, strict=True))
        if len(cat) == 1:
            found = self._predict("embedding", (1, EMBEDDING_DIM), **given)
        else:  # one at a time: for several rows onnxruntime may add in another order
            found = np.concatenate(
                [
                    self._predict(
                        "embedding",
                        (1, EMBEDDING_DIM),
                        **{name: values[n : n + 1] for name, values in given.items()},
                    )
                    for n in range(len(cat))
                ]
            )
        return {t.QUERY_EMBEDDING.name: found, t.QUERY_RELEASE.name: self._release}


class KnownItems:
    """Caches the part of the ranker that depends on items alone, across requests.

    A table of fixed size: item i is in row i modulo the number of rows, a power of two. Memory is
    used as items come, up to that size. An item is looked up by its index and its categorical
    values, because an update of the online store may change these values. Its embeddings cannot
    change while the release serves.

    Args:
        session: cat [N, 4], embeddings [N, 128] → known [N, H], vectors [N, F, D]; a row does not
            depend on the other rows.
        rows: of the table.
    """

    def __init__(self, session: onnxruntime.InferenceSession, rows: int = KNOWN_ITEMS) -> None:
        self._session, self._rows = session, rows
        shapes = {tensor.name: tensor.shape[1:] for tensor in session.get_outputs()}
        self._keys = np.full((rows, t.ITEM_CAT.shape[1]), -1, np.int32)
        self._known, self._vectors = (
            np.zeros((rows, *shapes[name]), np.float32) for name in ("known", "vectors")
        )
        # reused memory for results: allocating 600 KiB per call costs as much as filling them
        self._answer = [
            np.empty((0, *table.shape[1:]), table.dtype)
            for table in (self._keys, self._known, self._vectors)
        ]

    def of(
        self, items: np.ndarray, cat: np.ndarray, embeddings: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return known [N, H] and vectors [N, F, D] of N items.

        The next call overwrites them.

        Args:
            items: int32 [N], indices of the catalogue. The models know none of the items that
                fine-tunes added, so that several have equal values in ``cat``.
            cat: int32 [N, 4].
            embeddings: float32 [N, 128].
        """
        rows, count = items & (self._rows - 1), len(cat)
        key = np.concatenate([items[:, None], cat[:, 1:]], axis=1)
        if count > len(self._answer[0]):
            self._answer = [np.empty((count, *old.shape[1:]), old.dtype) for old in self._answer]
        stored, known, vectors = (
            # with mode="raise", numpy would buffer the output
            table.take(rows, axis=0, out=answer[:count], mode="clip")
            for table, answer in zip(
                (self._keys, self._known, self._vectors), self._answer, strict=True
            )
        )
        # fast path: rows rarely change, and array_equal is 3x cheaper
        if not np.array_equal(stored, key):
            new = (stored != key).any(axis=1)
            found = self._session.run(
                ["known", "vectors"], {"cat": cat[new], "embeddings": embeddings[new]}
            )
            known[new], vectors[new] = found
            rows = rows[new]
            self._keys[rows] = key[new]
            self._known[rows], self._vectors[rows] = found
        return known, vectors


class DlrmRanking(_OnnxStage):
    """Turns each visitor's candidates into click probabilities.

    Args:
        session: of the model that takes one visitor and a list of items.
        version: of the model.
        items: the cached part of the model.
    """

    name = "dlrm_ranking"
    inputs = (
        t.VISITOR_CAT,
        t.VISITOR_CONT,
        t.KEPT,
        t.ITEM_CAT,
        t.CANDIDATE_CONT,
        t.ITEM_EMBEDDINGS,
        t.KEPT_COUNTS,
    )
    outputs = (t.SCORES, t.RANKER_RELEASE)
    files = MODEL_FILES[name]
    arguments = ("cat", "cont", "numbers", "known", "vectors")

    def __init__(
        self, session: onnxruntime.InferenceSession, version: int, items: KnownItems
    ) -> None:
        super().__init__(session, version)
        self._items = items

    @classmethod
    def open(cls, directory: Path, settings: Settings, version: int) -> DlrmRanking:
        """Open both parts of the ranker."""
        return cls(
            open_session(directory / LISTS, cls.arguments),
            version,
            KnownItems(open_session(directory / ITEMS, ("cat", "embeddings"))),
        )

    def run(self, inputs: Tensors) -> Tensors:
        """Return the click probability of each candidate, visitor by visitor."""
        cat, cont, numbers, counts = (
            inputs[spec.name]
            for spec in (t.VISITOR_CAT, t.VISITOR_CONT, t.CANDIDATE_CONT, t.KEPT_COUNTS)
        )
        require_counts(t.KEPT_COUNTS.name, counts, len(numbers), len(cat))
        for name in (t.KEPT.name, t.ITEM_CAT.name, t.ITEM_EMBEDDINGS.name):
            if len(inputs[name]) != len(numbers):
                raise StageInputInvalid(
                    f"{name} must be as many as candidate_cont, got {len(inputs[name])} and "
                    f"{len(numbers)}"
                )
        scores = np.empty(len(numbers), np.float32)
        for row, part in enumerate(parts(counts)):
            if part.stop > part.start:
                known, vectors = self._items.of(
                    inputs[t.KEPT.name][part],
                    inputs[t.ITEM_CAT.name][part],
                    inputs[t.ITEM_EMBEDDINGS.name][part],
                )
                scores[part] = self._predict(
                    "score",
                    (part.stop - part.start,),
                    cat=cat[row : row + 1],
                    cont=cont[row : row + 1],
                    numbers=numbers[part],
                    known=known,
                    vectors=vectors,
                )
        return {t.SCORES.name: scores, t.RANKER_RELEASE.name: self._release}

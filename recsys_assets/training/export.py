"""Models as ONNX with packed inputs, and the proof that ONNX gives what TensorFlow gives."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import tensorflow as tf

from recsys_assets import columns as c
from recsys_assets.training import models

if TYPE_CHECKING:
    import onnx

OPSET = 17
PARITY_ROWS = 256
MAX_DIFFERENCE = 1e-6
CAT, CONT, HISTORY, EMBEDDINGS, EMBEDDING, SCORE = (
    "cat",
    "cont",
    "history",
    "embeddings",
    "embedding",
    "score",
)


class Packed(Protocol):
    """Return a tf.function of packed matrices with one named output."""

    @property
    def input_signature(self) -> Sequence[tf.TensorSpec]: ...

    def __call__(self, *matrices: tf.Tensor, **named: tf.Tensor) -> dict[str, tf.Tensor]: ...


def _signature(cat: int, cont: int, **others: int) -> list[tf.TensorSpec]:
    """others: name → width of further float32 inputs."""
    signature = [
        tf.TensorSpec([None, cat], tf.int32, name=CAT),
        tf.TensorSpec([None, cont], tf.float32, name=CONT),
    ]
    return signature + [
        tf.TensorSpec([None, width], tf.float32, name=name) for name, width in others.items()
    ]


def query_function(encoder: tf.keras.Model, shape: models.TwoTowerShape) -> Packed:
    """cat int32 [B, 5] QUERY_CATEGORICAL, cont float32 [B, 8] QUERY_CONTINUOUS, history float32 [B,
    2·K] (none where the shape has no categories) → embedding float32 [B, 64]."""
    categorical, continuous = models.query_columns(shape)

    def embed(cat: tf.Tensor, cont: tf.Tensor, more: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        columns = {
            **models.named(cat, c.QUERY_CATEGORICAL, categorical),
            **models.named(cont, c.QUERY_CONTINUOUS, continuous),
        }
        return {EMBEDDING: encoder({**columns, **more}, training=False)}

    if not shape.categories:

        @tf.function(input_signature=_signature(len(c.QUERY_CATEGORICAL), len(c.QUERY_CONTINUOUS)))
        def query_tower(cat: tf.Tensor, cont: tf.Tensor) -> dict[str, tf.Tensor]:
            return embed(cat, cont, {})
    else:

        @tf.function(
            input_signature=_signature(
                len(c.QUERY_CATEGORICAL), len(c.QUERY_CONTINUOUS), history=2 * shape.categories
            )
        )
        def query_tower(
            cat: tf.Tensor, cont: tf.Tensor, history: tf.Tensor
        ) -> dict[str, tf.Tensor]:
            return embed(cat, cont, models.shares(history))

    return query_tower


def item_function(encoder: tf.keras.Model) -> Packed:
    """cat int32 [B, 4] ITEM_CATEGORICAL, cont float32 [B, 1], embeddings float32 [B, 128] →
    embedding [B, 64].
    """

    @tf.function(
        input_signature=_signature(
            len(c.ITEM_CATEGORICAL), len(c.ITEM_CONTINUOUS), embeddings=2 * c.EMBEDDING_DIM
        )
    )
    def item_tower(cat: tf.Tensor, cont: tf.Tensor, embeddings: tf.Tensor) -> dict[str, tf.Tensor]:
        columns = {
            **models.named(cat, c.ITEM_CATEGORICAL, c.ITEM_CATEGORICAL),
            **models.named(cont, c.ITEM_CONTINUOUS, c.ITEM_CONTINUOUS),
            **models.vectors(embeddings),
        }
        return {EMBEDDING: encoder(columns, training=False)}

    return item_tower


def ranker_function(model: tf.keras.Model, shape: models.DlrmShape) -> Packed:
    """cat int32 [N, 9], cont float32 [N, 14], embeddings float32 [N, 128] → score float32 [N], the
    probability.
    """
    categorical, continuous = models.ranker_columns(shape)

    @tf.function(
        input_signature=_signature(
            len(c.RANKER_CATEGORICAL), len(c.RANKER_CONTINUOUS), embeddings=2 * c.EMBEDDING_DIM
        )
    )
    def dlrm(cat: tf.Tensor, cont: tf.Tensor, embeddings: tf.Tensor) -> dict[str, tf.Tensor]:
        columns = {
            **models.named(cat, c.RANKER_CATEGORICAL, categorical),
            **models.named(cont, c.RANKER_CONTINUOUS, continuous),
            **models.vectors(embeddings),
        }
        return {SCORE: tf.reshape(model(columns, training=False), [-1])}

    return dlrm


def apply(function: Packed, inputs: Mapping[str, np.ndarray], batch: int = 8192) -> np.ndarray:
    """The one output of a packed function for all rows."""
    rows = len(inputs[CAT])
    parts = []
    for start in range(0, rows, batch):
        (output,) = function(
            **{k: tf.constant(v[start : start + batch]) for k, v in inputs.items()}
        ).values()
        parts.append(output.numpy())
    return np.concatenate(parts)


def sample(inputs: Mapping[str, np.ndarray], rows: int = PARITY_ROWS) -> dict[str, np.ndarray]:
    """Rows spread evenly over the inputs: what parity is judged on."""
    count = len(inputs[CAT])
    chosen = np.unique(np.linspace(0, count - 1, min(rows, count)).astype(int))
    return {name: values[chosen] for name, values in inputs.items()}


def write_arrays(path: Path, arrays: Mapping[str, Any]) -> None:
    """Write an .npz of arrays by name. Typed Any: numpy's stub takes an unpacked value for
    ``allow_pickle``.
    """
    np.savez(path, **arrays)


def to_onnx(function: Packed, path: Path) -> None:
    """Convert a packed function; inputs and output keep their names, and equal models become equal
    bytes.
    """
    import onnx
    import tf2onnx

    model, _ = tf2onnx.convert.from_function(
        function, input_signature=function.input_signature, opset=OPSET
    )
    _settle(model)
    onnx.checker.check_model(model)
    onnx.save(model, str(path))


def _settle(model: onnx.ModelProto) -> None:
    """Order nodes by what the outputs need first and name them by place: tf2onnx's own order and
    counters differ between runs."""
    graph = model.graph
    producers = {name: node for node in graph.node for name in node.output}
    nodes: dict[str, onnx.NodeProto] = {}

    def visit(tensor: str) -> None:
        node = producers.get(tensor)
        if node is not None and node.output[0] not in nodes:
            for name in node.input:
                visit(name)
            nodes[node.output[0]] = node

    for value in graph.output:
        visit(value.name)
    constants = {constant.name: constant for constant in graph.initializer}
    names = {value.name: value.name for value in [*graph.input, *graph.output]} | {
        "": ""
    }  # "" is an input left out
    used: dict[bytes, onnx.TensorProto] = {}
    for place, node in enumerate(nodes.values()):
        node.name = f"{node.op_type}_{place}"
        for i, name in enumerate(node.input):
            if name in constants and name not in names:
                constant = constants[name]
                constant.name = ""
                kept = used.setdefault(
                    hashlib.sha256(constant.SerializeToString()).digest(), constant
                )
                kept.name = kept.name or f"constant_{len(used)}"
                names[name] = kept.name
            node.input[i] = names[name]
        for i, name in enumerate(node.output):
            node.output[i] = names.setdefault(name, f"{node.name}:{i}")
    ordered, kept_constants = list(nodes.values()), list(used.values())
    del graph.node[:], graph.initializer[:], graph.value_info[:]
    graph.node.extend(ordered)
    graph.initializer.extend(kept_constants)
    for value in [*graph.input, *graph.output]:
        value.type.tensor_type.shape.dim[0].dim_param = "rows"


def onnx_difference(path: Path, inputs: Mapping[str, np.ndarray], expected: np.ndarray) -> float:
    """Largest absolute difference between onnxruntime's output and TensorFlow's.

    Raises:
        ValueError: it is above 1e-6, or shapes differ.
    """
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    (actual,) = session.run(None, dict(inputs))
    return checked_difference(path.name, actual, expected)


def checked_difference(name: str, actual: np.ndarray, expected: np.ndarray) -> float:
    """Largest absolute difference of a file's output from TensorFlow's; raises ValueError above
    1e-6, or for other shapes.
    """
    if actual.shape != expected.shape:
        raise ValueError(f"{name} gives {actual.shape}, TensorFlow {expected.shape}")
    difference = float(np.abs(actual - expected).max())
    if not difference <= MAX_DIFFERENCE:
        raise ValueError(
            f"{name} differs from TensorFlow by {difference:.2e}, more than {MAX_DIFFERENCE:.0e}: "
            "do not serve it; look at "
            "the operators that it was made of"
        )
    return difference


def export(
    function: Packed, inputs: Mapping[str, np.ndarray], path: Path
) -> tuple[np.ndarray, float]:
    """Write ONNX and check it on ``inputs``; gives TensorFlow's output and the largest
    difference.
    """
    expected = apply(function, inputs)
    to_onnx(function, path)
    return expected, onnx_difference(path, inputs, expected)

"""Export models to ONNX with packed inputs and verify the output."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
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
    """A tf.function of packed matrices with one named output."""

    @property
    def input_signature(self) -> Sequence[tf.TensorSpec]:
        """Return dtype, shape and name of each input."""

    def __call__(self, *matrices: tf.Tensor, **named: tf.Tensor) -> dict[str, tf.Tensor]:
        """Return the output by name."""


def _signature(cat: int, cont: int, **others: int) -> list[tf.TensorSpec]:
    """Return the signature of packed inputs.

    Args:
        cat: width of the int32 matrix.
        cont: width of the float32 matrix.
        others: name → width of further float32 inputs.
    """
    signature = [
        tf.TensorSpec([None, cat], tf.int32, name=CAT),
        tf.TensorSpec([None, cont], tf.float32, name=CONT),
    ]
    return signature + [
        tf.TensorSpec([None, width], tf.float32, name=name) for name, width in others.items()
    ]


def _packed(
    function: Callable[..., dict[str, tf.Tensor]], signature: Sequence[tf.TensorSpec]
) -> Packed:
    packed: Packed = tf.function(function, input_signature=signature)
    return packed


def query_function(encoder: tf.keras.Model, shape: models.TwoTowerShape) -> Packed:
    """Return the query tower as a function of packed inputs.

    cat int32 [B, 5] QUERY_CATEGORICAL, cont float32 [B, 8] QUERY_CONTINUOUS, history float32
    [B, 2·K] (absent if the shape has no categories), items int32 [B, 50] and age_hours float32
    [B, 50] (absent if it has no items) → embedding float32 [B, 64].
    """
    categorical, continuous = models.query_columns(shape)
    signature = _signature(
        len(c.QUERY_CATEGORICAL),
        len(c.QUERY_CONTINUOUS),
        **({HISTORY: 2 * shape.categories} if shape.categories else {}),
    )
    if shape.items:
        items, ages = c.QUERY_OF_ITEMS
        signature += [
            tf.TensorSpec([None, c.ITEM_HISTORY], tf.int32, name=items),
            tf.TensorSpec([None, c.ITEM_HISTORY], tf.float32, name=ages),
        ]
    names = [one.name for one in signature]

    def query_tower(*matrices: tf.Tensor) -> dict[str, tf.Tensor]:
        given = dict(zip(names, matrices, strict=True))
        columns = {
            **models.named(given[CAT], c.QUERY_CATEGORICAL, categorical),
            **models.named(given[CONT], c.QUERY_CONTINUOUS, continuous),
            **(models.shares(given[HISTORY]) if shape.categories else {}),
            **({name: given[name] for name in c.QUERY_OF_ITEMS} if shape.items else {}),
        }
        return {EMBEDDING: encoder(columns, training=False)}

    return _packed(tf.autograph.experimental.do_not_convert(query_tower), signature)


def item_function(encoder: tf.keras.Model) -> Packed:
    """Return the item tower as a function of packed inputs.

    cat int32 [B, 4] ITEM_CATEGORICAL, cont float32 [B, 1], embeddings float32 [B, 128] → embedding
    float32 [B, 64].
    """

    def item_tower(cat: tf.Tensor, cont: tf.Tensor, embeddings: tf.Tensor) -> dict[str, tf.Tensor]:
        columns = {
            **models.named(cat, c.ITEM_CATEGORICAL, c.ITEM_CATEGORICAL),
            **models.named(cont, c.ITEM_CONTINUOUS, c.ITEM_CONTINUOUS),
            **models.vectors(embeddings),
        }
        return {EMBEDDING: encoder(columns, training=False)}

    widths = len(c.ITEM_CATEGORICAL), len(c.ITEM_CONTINUOUS)
    return _packed(item_tower, _signature(*widths, embeddings=2 * c.EMBEDDING_DIM))


def ranker_function(model: tf.keras.Model, shape: models.DlrmShape) -> Packed:
    """Return DLRM as a function of packed inputs.

    cat int32 [N, 9], cont float32 [N, 14], embeddings float32 [N, 128] → score float32 [N], the
    click probability.
    """
    categorical, continuous = models.ranker_columns(shape)

    def dlrm(cat: tf.Tensor, cont: tf.Tensor, embeddings: tf.Tensor) -> dict[str, tf.Tensor]:
        columns = {
            **models.named(cat, c.RANKER_CATEGORICAL, categorical),
            **models.named(cont, c.RANKER_CONTINUOUS, continuous),
            **models.vectors(embeddings),
        }
        return {SCORE: tf.reshape(model(columns, training=False), [-1])}

    widths = len(c.RANKER_CATEGORICAL), len(c.RANKER_CONTINUOUS)
    return _packed(dlrm, _signature(*widths, embeddings=2 * c.EMBEDDING_DIM))


def apply(function: Packed, inputs: Mapping[str, np.ndarray], batch: int = 8192) -> np.ndarray:
    """Return the one output of a packed function for all rows."""
    rows = len(inputs[CAT])
    parts = []
    for start in range(0, rows, batch):
        matrices = [
            tf.constant(inputs[one.name][start : start + batch]) for one in function.input_signature
        ]
        (output,) = function(*matrices).values()
        parts.append(output.numpy())
    return np.concatenate(parts)


def sample(inputs: Mapping[str, np.ndarray], rows: int = PARITY_ROWS) -> dict[str, np.ndarray]:
    """Return rows spread evenly over the inputs, for the parity check."""
    count = len(inputs[CAT])
    chosen = np.unique(np.linspace(0, count - 1, min(rows, count)).astype(int))
    return {name: values[chosen] for name, values in inputs.items()}


def write_arrays(path: Path, arrays: Mapping[str, Any]) -> None:
    """Write arrays by name to an .npz file.

    Typed Any because numpy's stub takes an unpacked value for ``allow_pickle``.
    """
    np.savez(path, **arrays)


def to_onnx(function: Packed, path: Path) -> None:
    """Convert a packed function to an ONNX file.

    Inputs and output keep their names. Equal models give equal bytes.
    """
    import onnx
    import tf2onnx

    model, _ = tf2onnx.convert.from_function(
        function, input_signature=function.input_signature, opset=OPSET
    )
    precise_sigmoid(model.graph)
    _settle(model)
    onnx.checker.check_model(model)
    onnx.save(model, str(path))


def precise_sigmoid(graph: onnx.GraphProto) -> None:
    """Let 1 / (1 + exp(-x)) take the place of each sigmoid.

    ONNX Runtime computes a sigmoid by a polynomial with an absolute error of 1.2e-7. A click
    probability of 1e-6 is then known to one digit, and lists are ordered by its log-odds. This form
    has a relative error of 1.4e-7.
    """
    from onnx import TensorProto, helper

    nodes = []
    for number, node in enumerate(graph.node):
        if node.op_type != "Sigmoid":
            nodes.append(node)
            continue
        (x,), (y,) = node.input, node.output
        minus, grown, total, one = (f"sigmoid_{number}:{step}" for step in "abcd")
        graph.initializer.append(helper.make_tensor(one, TensorProto.FLOAT, [], [1.0]))
        nodes += [
            helper.make_node("Neg", [x], [minus]),
            helper.make_node("Exp", [minus], [grown]),
            helper.make_node("Add", [grown, one], [total]),
            helper.make_node("Reciprocal", [total], [y]),
        ]
    del graph.node[:]
    graph.node.extend(nodes)


def _settle(model: onnx.ModelProto) -> None:
    """Order and name the nodes by what the outputs need first.

    The order, the counters and the description that tf2onnx writes differ between runs.
    """
    graph = model.graph
    graph.doc_string = ""  # tf2onnx writes the number of the traced function into it
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
    """Return the largest absolute difference of onnxruntime from TensorFlow.

    Raises:
        ValueError: the difference is above 1e-6, or shapes differ.
    """
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    (actual,) = session.run(None, dict(inputs))
    return checked_difference(path.name, actual, expected)


def checked_difference(name: str, actual: np.ndarray, expected: np.ndarray) -> float:
    """Return the largest absolute difference of a file's output.

    Args:
        name: file name, for the message.
        actual: output of the file.
        expected: TensorFlow's output.

    Raises:
        ValueError: the difference is above 1e-6, or shapes differ.
    """
    if actual.shape != expected.shape:
        raise ValueError(f"{name} gives {actual.shape}, TensorFlow {expected.shape}")
    difference = float(np.abs(actual - expected).max())
    if not difference <= MAX_DIFFERENCE:
        raise ValueError(
            f"{name} differs from TensorFlow by {difference:.2e}, more than {MAX_DIFFERENCE:.0e}: "
            "do not serve it; look at the operators that it was made of"
        )
    return difference


def export(
    function: Packed, inputs: Mapping[str, np.ndarray], path: Path
) -> tuple[np.ndarray, float]:
    """Write ONNX and verify it on ``inputs``.

    Returns:
        TensorFlow's output, and the largest difference of the file's from it.
    """
    expected = apply(function, inputs)
    to_onnx(function, path)
    return expected, onnx_difference(path, inputs, expected)

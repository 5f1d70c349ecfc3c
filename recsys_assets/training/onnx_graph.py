"""Build ONNX graphs node by node from the weights of Keras layers.

A converter's graph follows the framework's operators. For one visitor the model computes a few
thousand products, so each further node costs as much as they do.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from recsys_assets.training.export import OPSET

_ACTIVATIONS = {
    tf.keras.activations.linear: None,
    tf.keras.activations.relu: "Relu",
    tf.keras.activations.sigmoid: "Sigmoid",
}


@dataclass(frozen=True)
class Dense:
    """Holds the weights of one dense layer.

    Attributes:
        kernel: [inputs, units].
        bias: [units].
        activation: an ONNX operator; None: linear.
    """

    kernel: np.ndarray
    bias: np.ndarray
    activation: str | None

    @classmethod
    def of(cls, layer: tf.keras.layers.Dense) -> Dense:
        """Copy the weights of a Keras layer.

        Raises:
            ValueError: the activation is not in ``_ACTIVATIONS``.
        """
        if layer.activation not in _ACTIVATIONS:
            raise ValueError(
                f"{layer.name} has the activation {layer.activation}; add it to "
                "onnx_graph._ACTIVATIONS"
            )
        return cls(layer.kernel.numpy(), layer.bias.numpy(), _ACTIVATIONS[layer.activation])


def inner(layer: tf.keras.layers.Layer, kind: type) -> list[tf.keras.layers.Layer]:
    """Return the layers of exactly this kind within another, in their order."""
    return [one for one in layer._flatten_layers() if type(one) is kind]


def named(layer: tf.keras.layers.Layer, name: str, kind: type) -> tf.keras.layers.Layer:
    """Return the one layer of a kind and name within another.

    Raises:
        ValueError: there is none, or more than one.
    """
    found = [one for one in inner(layer, kind) if one.name == name]
    if len(found) != 1:
        raise ValueError(
            f"{layer.name} has {len(found)} layers named {name}, not one: the models and the "
            "graphs made of them must agree"
        )
    return found[0]


class Graph:
    """An ONNX graph to which nodes are added; a value is known by its name."""

    def __init__(self) -> None:
        self._nodes: list[Any] = []
        self._constants: list[Any] = []

    def constant(self, values: Any) -> str:
        """Add a constant and return its name."""
        from onnx import numpy_helper

        name = f"constant_{len(self._constants)}"
        self._constants.append(numpy_helper.from_array(np.ascontiguousarray(values), name))
        return name

    def node(
        self, kind: str, *inputs: str | np.ndarray, output: str | None = None, **attributes: Any
    ) -> str:
        """Add a node and return its output's name; arrays become constants."""
        from onnx import helper

        output = output or f"{kind}_{len(self._nodes)}"
        names = [value if isinstance(value, str) else self.constant(value) for value in inputs]
        self._nodes.append(helper.make_node(kind, names, [output], name=output, **attributes))
        return output

    def dense(self, values: str, layer: Dense, output: str | None = None) -> str:
        """Add a dense layer and return its output's name."""
        made = self.node(
            "Gemm", values, layer.kernel, layer.bias, output=None if layer.activation else output
        )
        return self.activated(made, layer, output)

    def activated(self, values: str, layer: Dense, output: str | None = None) -> str:
        """Add the activation of a layer and return its output's name; the values if it is linear.

        A sigmoid is 1 / (1 + exp(-x)); see ``export.precise_sigmoid``.
        """
        if layer.activation is None:
            return values
        if layer.activation != "Sigmoid":
            return self.node(layer.activation, values, output=output)
        grown = self.node("Exp", self.node("Neg", values))
        return self.node(
            "Reciprocal", self.node("Add", grown, np.ones((), np.float32)), output=output
        )

    def columns(self, values: str, places: Sequence[int], width: int) -> str:
        """Return the columns at ``places`` of a matrix with ``width`` columns."""
        return (
            values
            if list(places) == list(range(width))
            else self.node("Gather", values, np.array(places), axis=1)
        )

    def looked_up(self, indices: str, tables: Sequence[np.ndarray]) -> str:
        """Look up indices [N, F], one column per table, and return vectors [N, F, D].

        The tables are joined to one, so that one lookup serves all.
        """
        starts = np.cumsum([0, *map(len, tables[:-1])], dtype=np.int32)
        if len(tables) > 1:
            indices = self.node("Add", indices, starts)
        return self.node("Gather", np.concatenate(tables), indices)

    def save(
        self,
        path: Path,
        inputs: Mapping[str, tuple[type, Sequence[int | str]]],
        outputs: Mapping[str, Sequence[int | str]],
    ) -> None:
        """Check the graph and write it to a file.

        Args:
            path: file to write; its stem is the graph's name.
            inputs: name → dtype and shape.
            outputs: name → shape; all are float32.
        """
        import onnx
        from onnx import TensorProto, helper

        kinds: dict[type, Any] = {np.int32: TensorProto.INT32, np.float32: TensorProto.FLOAT}
        graph = helper.make_graph(
            self._nodes,
            path.stem,
            [
                helper.make_tensor_value_info(name, kinds[kind], shape)
                for name, (kind, shape) in inputs.items()
            ],
            [
                helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
                for name, shape in outputs.items()
            ],
            self._constants,
        )
        model = helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8
        )
        onnx.checker.check_model(model)
        onnx.save(model, str(path))

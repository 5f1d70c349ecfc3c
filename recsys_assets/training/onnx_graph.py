"""ONNX graphs written node by node, and the layers that they take their weights from.

A converter's graph follows the framework's operators; where one visitor waits for a few thousand
multiplications, each node more costs as much as they do.
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
    kernel: np.ndarray
    bias: np.ndarray
    activation: str | None  # an ONNX operator

    @classmethod
    def of(cls, layer: tf.keras.layers.Dense) -> Dense:
        """Raises ValueError for an activation that no graph here has needed yet."""
        if layer.activation not in _ACTIVATIONS:
            raise ValueError(
                f"{layer.name} has the activation {layer.activation}; add it to "
                "onnx_graph._ACTIVATIONS"
            )
        return cls(layer.kernel.numpy(), layer.bias.numpy(), _ACTIVATIONS[layer.activation])


def inner(layer: tf.keras.layers.Layer, kind: type) -> list[tf.keras.layers.Layer]:
    """Layers of exactly this kind within another, in their order."""
    return [one for one in layer._flatten_layers() if type(one) is kind]


def named(layer: tf.keras.layers.Layer, name: str, kind: type) -> tf.keras.layers.Layer:
    """The one layer of a kind and a name within another; raises ValueError where there is none, or
    several.
    """
    found = [one for one in inner(layer, kind) if one.name == name]
    if len(found) != 1:
        raise ValueError(
            f"{layer.name} has {len(found)} layers named {name}, not one: the models and the "
            "graphs made of them must agree"
        )
    return found[0]


class Graph:
    """An ONNX graph that grows node by node; a value is known by its name."""

    def __init__(self) -> None:
        self._nodes: list[Any] = []
        self._constants: list[Any] = []

    def constant(self, values: Any) -> str:
        from onnx import numpy_helper

        name = f"constant_{len(self._constants)}"
        self._constants.append(numpy_helper.from_array(np.ascontiguousarray(values), name))
        return name

    def node(
        self, kind: str, *inputs: str | np.ndarray, output: str | None = None, **attributes: Any
    ) -> str:
        """Arrays among the inputs become constants."""
        from onnx import helper

        output = output or f"{kind}_{len(self._nodes)}"
        names = [value if isinstance(value, str) else self.constant(value) for value in inputs]
        self._nodes.append(helper.make_node(kind, names, [output], name=output, **attributes))
        return output

    def dense(self, values: str, layer: Dense, output: str | None = None) -> str:
        made = self.node(
            "Gemm", values, layer.kernel, layer.bias, output=None if layer.activation else output
        )
        return self.node(layer.activation, made, output=output) if layer.activation else made

    def columns(self, values: str, places: Sequence[int], width: int) -> str:
        """Some columns of a matrix that has so many."""
        return (
            values
            if list(places) == list(range(width))
            else self.node("Gather", values, np.array(places), axis=1)
        )

    def looked_up(self, indices: str, tables: Sequence[np.ndarray]) -> str:
        """indices [N, F], one column a table → [N, F, 64]: one table of all, for one lookup."""
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

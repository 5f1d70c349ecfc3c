"""Export DLRM in two parts: what depends on the item alone, and the rest.

DLRM multiplies the vectors of a row's fields with each other. Within one visitor's list the
visitor's fields are the same in every row, and the product of two fields of an item does not depend
on the visitor. ``dlrm_items.onnx`` computes, once per item, the sum over the item's own fields.
``dlrm_lists.onnx`` adds the terms with the visitor's fields. These are the same sums in another
order, with less than half the work.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from pathlib import Path

import merlin.models.tf as mm
import numpy as np
import tensorflow as tf

from recsys_assets import columns as c
from recsys_assets.release_files import RANKER_ITEMS_ONNX, RANKER_LISTS_ONNX
from recsys_assets.training import export
from recsys_assets.training.models import DlrmShape, ranker_columns
from recsys_assets.training.onnx_graph import Dense, Graph, inner, named

_BOTTOM = "bottom_block"
_VISITOR, _VISITOR_NUMBERS = c.QUERY_CATEGORICAL, len(c.QUERY_CONTINUOUS)
#: Fields of an item; text and image in their order in embeddings [N, 128].
_ITEM = (*c.ITEM_CATEGORICAL, c.TEXT_EMBEDDING, c.IMAGE_EMBEDDING)


class FactoredRanker:
    """Copies the weights of a DLRM, sorted by what they are multiplied with.

    Args:
        model: of ``models.build_dlrm``, built.
        shape: the model's shape.

    Raises:
        ValueError: the model has another number of fields than this module expects.
    """

    def __init__(self, model: tf.keras.Model, shape: DlrmShape) -> None:
        body, output = model.blocks
        dense = [Dense.of(layer) for layer in inner(body, tf.keras.layers.Dense)]
        self._bottom = dense[: len(shape.bottom_layers)]
        self._top = [
            *dense[-len(shape.top_layers) :],
            *map(Dense.of, inner(output, tf.keras.layers.Dense)),
        ]
        categorical, _ = ranker_columns(shape)
        self._visitor = [name for name in _VISITOR if name in categorical]
        self._tables = {
            name: named(body, name, mm.EmbeddingTable).table.embeddings.numpy()
            for name in categorical
        }
        projections = named(body, "pretrained_embeddings", mm.ParallelBlock).parallel_layers
        self._projections = [
            Dense.of(*inner(projections[name], tf.keras.layers.Dense))
            for name in (c.TEXT_EMBEDDING, c.IMAGE_EMBEDDING)
        ]
        # Merlin's order: the bottom MLP's output, then the products of the fields sorted by name,
        # the upper triangle row by row
        fields = sorted([*self._visitor, *_ITEM, _BOTTOM])
        self._products = {
            frozenset(pair): shape.embedding_dim + place
            for place, pair in enumerate(combinations(fields, 2))
        }
        if len(self._top[0].kernel) != shape.embedding_dim + len(self._products):
            raise ValueError(
                f"the top MLP takes {len(self._top[0].kernel)} values, but {len(fields)} fields "
                f"make {shape.embedding_dim + len(self._products)}: models.build_dlrm and "
                "factored.py must agree"
            )
        self._dim = shape.embedding_dim

    def _rows(self, pairs: Iterable[tuple[str, str]]) -> np.ndarray:
        """Return the first top layer's weights of some products, [pairs, H]."""
        return self._top[0].kernel[[self._products[frozenset(pair)] for pair in pairs]]

    def _square(self, fields: Sequence[str]) -> np.ndarray:
        """Return the weights of all products of some fields, [F², H].

        Each pair has its weights once; the other entries are zero.
        """
        kernel = np.zeros((len(fields), len(fields), self._top[0].kernel.shape[1]), np.float32)
        for a, b in combinations(range(len(fields)), 2):
            (kernel[a, b],) = self._rows([(fields[a], fields[b])])
        return kernel.reshape(-1, kernel.shape[2])

    def write_items(self, path: Path) -> None:
        """Write the part that depends on the item alone.

        cat int32 [N, 4] ITEM_CATEGORICAL, embeddings float32 [N, 128] → known float32 [N, H], the
        sum of the item's own products in the H units of the top MLP's first layer, and vectors
        float32 [N, 6, 64], the item's fields.
        """
        graph, dim = Graph(), self._dim
        first, *others = c.ITEM_CATEGORICAL
        item, attributes = (
            graph.node("Slice", "cat", np.array([begin]), np.array([end]), np.array([1]))
            for begin, end in ((0, 1), (1, len(c.ITEM_CATEGORICAL)))
        )
        parts = [
            graph.looked_up(item, [self._tables[first]]),
            graph.looked_up(attributes, [self._tables[name] for name in others]),
        ]
        for place, layer in enumerate(self._projections):
            begin = place * c.EMBEDDING_DIM
            part = graph.node(
                "Slice",
                "embeddings",
                np.array([begin]),
                np.array([begin + c.EMBEDDING_DIM]),
                np.array([1]),
            )
            parts.append(graph.node("Unsqueeze", graph.dense(part, layer), np.array([1])))
        graph.node("Concat", *parts, axis=1, output="vectors")
        products = graph.node(
            "MatMul", "vectors", graph.node("Transpose", "vectors", perm=[0, 2, 1])
        )
        graph.node(
            "MatMul",
            graph.node("Reshape", products, np.array([-1, len(_ITEM) ** 2])),
            self._square(_ITEM),
            output="known",
        )
        graph.save(
            path,
            {
                "cat": (np.int32, ["rows", len(c.ITEM_CATEGORICAL)]),
                "embeddings": (np.float32, ["rows", 2 * c.EMBEDDING_DIM]),
            },
            {"known": ["rows", self._top[0].kernel.shape[1]], "vectors": ["rows", len(_ITEM), dim]},
        )

    def write_lists(self, path: Path) -> None:
        """Write the part that scores one visitor's list.

        The visitor's cat int32 [1, 5] and cont float32 [1, 8], the list's numbers float32 [N, 6]
        (price, popularity, affinities), known [N, H] and vectors [N, 6, 64] → score float32 [N],
        the click probability.
        """
        graph, dim, hidden = Graph(), self._dim, self._top[0].kernel.shape[1]
        indices = graph.columns(
            "cat", [_VISITOR.index(name) for name in self._visitor], len(_VISITOR)
        )
        own = graph.node(
            "Reshape",
            graph.looked_up(indices, [self._tables[name] for name in self._visitor]),
            np.array([-1, dim]),
        )
        turned = graph.node("Transpose", own, perm=[1, 0])
        bottom = self._add_bottom(graph)
        # products of fields of both sides, item by visitor in memory
        crossed = graph.node(
            "Reshape",
            graph.node("MatMul", "vectors", turned),
            np.array([-1, len(_ITEM) * len(self._visitor)]),
        )
        deep = graph.node("MatMul", "vectors", graph.node("Unsqueeze", bottom, np.array([2])))
        deep = graph.node("Reshape", deep, np.array([-1, len(_ITEM)]))
        mixed = self._rows(
            [
                *((item, name) for item in _ITEM for name in self._visitor),
                *((_BOTTOM, item) for item in _ITEM),
            ]
        )
        of_bottom = graph.node(
            "Gemm",
            turned,
            self._rows((_BOTTOM, name) for name in self._visitor),
            self._top[0].kernel[:dim],
        )
        among = graph.node("Reshape", graph.node("MatMul", own, turned), np.array([1, -1]))
        fixed = graph.node("Gemm", among, self._square(self._visitor), self._top[0].bias)
        of_both = graph.node("Concat", mixed, of_bottom, axis=0)
        values = graph.node(
            "Gemm", graph.node("Concat", crossed, deep, bottom, axis=1), of_both, fixed
        )
        values = graph.node("Add", values, "known")
        values = graph.activated(values, self._top[0])
        for layer in self._top[1:]:
            values = graph.dense(values, layer)
        graph.node("Reshape", values, np.array([-1]), output="score")
        graph.save(
            path,
            {
                "cat": (np.int32, [1, len(_VISITOR)]),
                "cont": (np.float32, [1, _VISITOR_NUMBERS]),
                "numbers": (np.float32, ["rows", len(c.RANKER_CONTINUOUS) - _VISITOR_NUMBERS]),
                "known": (np.float32, ["rows", hidden]),
                "vectors": (np.float32, ["rows", len(_ITEM), dim]),
            },
            {"score": ["rows"]},
        )

    def _add_bottom(self, graph: Graph) -> str:
        """Add the bottom MLP and return its output's name, [N, D]."""
        by_name, first = sorted(c.RANKER_CONTINUOUS), self._bottom[0]  # Merlin sorts by name
        kernel = first.kernel[[by_name.index(name) for name in c.RANKER_CONTINUOUS]]
        of_visitor = graph.node("Gemm", "cont", kernel[:_VISITOR_NUMBERS], first.bias)
        bottom = graph.node("Gemm", "numbers", kernel[_VISITOR_NUMBERS:], of_visitor)
        bottom = graph.activated(bottom, first)
        for layer in self._bottom[1:]:
            bottom = graph.dense(bottom, layer)
        return bottom


def onnx_difference(folder: Path, inputs: Mapping[str, np.ndarray], expected: np.ndarray) -> float:
    """Return the largest absolute difference of the two parts' scores.

    Each row is scored as a list of its own.

    Args:
        folder: holds both ONNX files.
        inputs: cat [N, 9], cont [N, 14], embeddings [N, 128].
        expected: TensorFlow's scores, [N].

    Raises:
        ValueError: the difference is above 1e-6.
    """
    import onnxruntime

    items, lists = (
        onnxruntime.InferenceSession(str(folder / name), providers=["CPUExecutionProvider"])
        for name in (RANKER_ITEMS_ONNX, RANKER_LISTS_ONNX)
    )
    cat, cont = inputs[export.CAT], inputs[export.CONT]
    known, vectors = items.run(
        ["known", "vectors"],
        {"cat": cat[:, len(_VISITOR) :], "embeddings": inputs[export.EMBEDDINGS]},
    )
    given = {
        "cat": cat[:, : len(_VISITOR)],
        "cont": cont[:, :_VISITOR_NUMBERS],
        "numbers": cont[:, _VISITOR_NUMBERS:],
        "known": known,
        "vectors": vectors,
    }
    rows = [
        lists.run(None, {name: values[row : row + 1] for name, values in given.items()})[0]
        for row in range(len(cat))
    ]
    return export.checked_difference(RANKER_LISTS_ONNX, np.concatenate(rows), expected)

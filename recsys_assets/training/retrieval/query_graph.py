"""Export the query tower to ONNX for one visitor at a time.

One lookup serves all tables, and one matrix product serves all linear layers. The click history's
two projections are linear, and so is the first layer: their product is one kernel for the shares of
the visitor's clicks by category.
"""

from __future__ import annotations

from pathlib import Path

import merlin.models.tf as mm
import numpy as np
import tensorflow as tf

from recsys_assets import columns as c
from recsys_assets.training import export
from recsys_assets.training.item_history import AGE_STEPS, LAST, NEVER, POOLED, ItemHistory
from recsys_assets.training.models import TwoTowerShape, query_columns
from recsys_assets.training.onnx_graph import Dense, Graph, inner, named

_FLOAT = 1  # ONNX's number of float32
_HISTORY = (c.HISTORY_LOOK_BACK, c.HISTORY_24H)  # in their order in history [B, 2·K]


def write_query_tower(encoder: mm.Encoder, shape: TwoTowerShape, path: Path) -> None:
    """Write the query tower to an ONNX file.

    cat int32 [B, 5] QUERY_CATEGORICAL, cont float32 [B, 8] QUERY_CONTINUOUS, history float32 [B,
    2·K] (absent if the shape has no categories), items int32 [B, 50] and age_hours float32 [B, 50]
    (absent if it has no items) → embedding float32 [B, 64], of length 1.

    Args:
        encoder: of ``models.build_two_tower``, built.
        shape: the encoder's shape.
        path: file to write.

    Raises:
        ValueError: the encoder has other inputs than its shape says, or a projection is not linear.
    """
    graph, (categorical, continuous) = Graph(), query_columns(shape)
    tables = {
        name: named(encoder, name, mm.EmbeddingTable).table.embeddings.numpy()
        for name in categorical
    }
    dense = [Dense.of(layer) for layer in inner(encoder, tf.keras.layers.Dense)][
        -len(shape.layers) :
    ]
    first = dense[0]
    kernels = _kernels(first, shape)
    indices = graph.columns(
        "cat", [c.QUERY_CATEGORICAL.index(name) for name in categorical], len(c.QUERY_CATEGORICAL)
    )
    looked_up = graph.looked_up(indices, list(tables.values()))
    parts = [
        graph.node("Reshape", looked_up, np.array([-1, len(tables) * shape.embedding_dim])),
        graph.columns(
            "cont", [c.QUERY_CONTINUOUS.index(name) for name in continuous], len(c.QUERY_CONTINUOUS)
        ),
    ]
    kernel, bias = [kernels[name] for name in (*categorical, *continuous)], first.bias
    if shape.categories:
        parts.append(_shares(graph, shape.categories))
        projections = named(encoder, "pretrained_embeddings", mm.ParallelBlock).parallel_layers
        for name in _HISTORY:
            projection = Dense.of(*inner(projections[name], tf.keras.layers.Dense))
            if projection.activation:
                raise ValueError(
                    f"the projection of {name} is not linear: query_graph.py must not fold it into "
                    "the first layer"
                )
            kernel.append(projection.kernel @ kernels[name])
            bias = bias + projection.bias @ kernels[name]
    pooled = _pooled(graph, encoder.history) if shape.items else ()
    parts += pooled
    kernel += [kernels[name] for name in (POOLED, LAST)[: len(pooled)]]
    values = graph.dense(
        graph.node("Concat", *parts, axis=1), Dense(np.concatenate(kernel), bias, first.activation)
    )
    for layer in dense[1:]:
        values = graph.dense(values, layer)
    if pooled:
        share = np.array(shape.last_item_share, np.float32)
        values = graph.node("Add", values, pooled[0])
        values = graph.node("Add", values, graph.node("Mul", pooled[1], share))
    graph.node("LpNormalization", values, axis=1, p=2, output=export.EMBEDDING)
    history: dict[str, tuple[type, list[int | str]]] = {}
    if shape.categories:
        history[export.HISTORY] = (np.float32, ["rows", 2 * shape.categories])
    items: dict[str, tuple[type, list[int | str]]] = {}
    if shape.items:
        kinds = zip(c.QUERY_OF_ITEMS, (np.int32, np.float32), strict=True)
        items = {name: (kind, ["rows", c.ITEM_HISTORY]) for name, kind in kinds}
    graph.save(
        path,
        {
            export.CAT: (np.int32, ["rows", len(c.QUERY_CATEGORICAL)]),
            export.CONT: (np.float32, ["rows", len(c.QUERY_CONTINUOUS)]),
            **history,
            **items,
        },
        {export.EMBEDDING: ["rows", shape.layers[-1]]},
    )


def _kernels(first: Dense, shape: TwoTowerShape) -> dict[str, np.ndarray]:
    """Return the first layer's weights by input, [width of the input, units]."""
    categorical, continuous = query_columns(shape)
    widths = {
        **{name: shape.embedding_dim for name in categorical},
        **dict.fromkeys(continuous, 1),
        **(dict.fromkeys(_HISTORY, shape.embedding_dim) if shape.categories else {}),
        **(dict.fromkeys((POOLED, LAST), c.EMBEDDING_DIM) if shape.items else {}),
    }
    kernels, at = {}, 0
    for name in sorted(widths):  # Merlin concatenates its inputs by name
        kernels[name], at = first.kernel[at : at + widths[name]], at + widths[name]
    if at != len(first.kernel):
        raise ValueError(
            f"the query tower takes {len(first.kernel)} values, but its columns make {at}: "
            "models.build_two_tower and query_graph.py must agree"
        )
    return kernels


def _shares(graph: Graph, categories: int) -> str:
    """Add ``models.shares`` of the input history; return its name, [B, 2·K]."""
    halves = graph.node("Reshape", "history", np.array([-1, 2, categories]))
    clicks = graph.node("ReduceSum", halves, np.array([2]), keepdims=1)
    shares = graph.node("Div", halves, graph.node("Add", clicks, np.array(1, np.float32)))
    return graph.node("Reshape", shares, np.array([-1, 2 * categories]))


def _pooled(graph: Graph, history: ItemHistory) -> tuple[str, str]:
    """Add ``ItemHistory`` of the inputs; return the names of pooled and last, [B, 64] each."""
    items, hours = c.QUERY_OF_ITEMS
    table, rank, age, mix = (
        weight.numpy() for weight in (history.table, history.rank, history.age, history.mix)
    )
    table[: c.VOCABULARY_START] = 0  # so that the last item needs no mask
    known = graph.node("GreaterOrEqual", items, np.array(c.VOCABULARY_START, np.int32))
    known = graph.node("Unsqueeze", known, np.array([2]))
    vectors = graph.node("Gather", table, items)
    hours = graph.node("Unsqueeze", hours, np.array([2]))
    older = graph.node("Cast", graph.node("GreaterOrEqual", hours, AGE_STEPS), to=_FLOAT)
    logits = graph.node("Add", graph.node("MatMul", older, age), rank)
    logits = graph.node("Where", known, logits, np.array(NEVER, np.float32))
    weights = graph.node("Softmax", logits, axis=1)
    weights = graph.node("Transpose", weights, perm=[0, 2, 1])
    # [B, G, 1, 64]: the rows of unknown items are 0, so their weights count nothing
    of_heads = graph.node("Unsqueeze", graph.node("MatMul", weights, vectors), np.array([2]))
    pooled = graph.node(
        "Reshape", graph.node("MatMul", of_heads, mix), np.array([-1, c.EMBEDDING_DIM])
    )
    first = graph.node("Gather", vectors, np.array([0]), axis=1)
    return pooled, graph.node("Reshape", first, np.array([-1, c.EMBEDDING_DIM]))

"""Build the two-tower model and DLRM with merlin-models, and their checkpoints."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import merlin.models.tf as mm
import numpy as np
import tensorflow as tf
from merlin.schema import ColumnSchema, Schema, Tags

from recsys_assets import columns as c
from recsys_assets.hyper_parameters import TwoTowerParams
from recsys_assets.training.contrastive import FoldedContrastiveOutput
from recsys_assets.training.item_history import LAST, POOLED, ItemHistory, QueryEncoder
from recsys_assets.training.loaders import cardinalities

QUERY, CANDIDATE = "query", "candidate"
CHECKPOINT = "checkpoint"


@dataclass(frozen=True)
class TwoTowerShape:
    """Holds what is needed to build the two towers again around saved weights."""

    use_context: bool
    temperature: float
    logq_correction: bool
    categories: int = 0  # K of the visitor's click history; 0: the query tower reads none
    items: int = 0  # rows of the query tower's table of clicked items; 0: it reads no items
    use_user_id: bool = False
    learned_temperature: bool = False
    embedding_dim: int = TwoTowerParams.embedding_dim
    layers: tuple[int, ...] = (128, c.EMBEDDING_DIM)
    dropout: float = 0.0
    embedding_l2: float = 0.0
    # the defaults are those of towers that were trained before these were parameters
    history_heads: int = 4
    history_dropout: float = 0.0
    last_item_share: float = 0.5


@dataclass(frozen=True)
class DlrmShape:
    """Holds what is needed to build DLRM again around saved weights."""

    use_user_id: bool = False
    embedding_dim: int = c.EMBEDDING_DIM
    bottom_layers: tuple[int, ...] = (128, c.EMBEDDING_DIM)
    top_layers: tuple[int, ...] = (128, 64, 32)
    dropout: float = 0.0
    embedding_l2: float = 0.0


def query_columns(shape: TwoTowerShape) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the categorical and continuous columns that the query tower reads."""
    categorical, continuous = (
        (c.QUERY_CATEGORICAL, c.QUERY_CONTINUOUS)
        if shape.use_context
        else (c.USER_CATEGORICAL, c.USER_CONTINUOUS)
    )
    return _known(categorical, shape.use_user_id), continuous


def ranker_columns(shape: DlrmShape) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the categorical and continuous columns that DLRM reads."""
    return _known(c.RANKER_CATEGORICAL, shape.use_user_id), c.RANKER_CONTINUOUS


def _known(categorical: tuple[str, ...], use_user_id: bool) -> tuple[str, ...]:
    """Return the columns without user_id, unless it is asked for.

    A table of user ids memorises single visitors. With some 30 exposures per visitor, returning
    visitors are judged worse with it than by their recent clicks.
    """
    return tuple(name for name in categorical if use_user_id or name != c.USER_ID)


def build_two_tower(
    schema: Schema, shape: TwoTowerShape, outputs: mm.ContrastiveOutput
) -> mm.TwoTowerModelV2:
    """Build both towers with the dot product of unit vectors and an in-batch softmax.

    Args:
        schema: the data set's, with the vectors that no table holds (``batches.with_vectors``).
        shape: size and inputs of the towers.
        outputs: of ``contrastive_output``; the bench passes Merlin's own.
    """
    query_schema = schema.select_by_name([name for names in query_columns(shape) for name in names])
    item_schema = schema.select_by_name(
        [*c.ITEM_CATEGORICAL, *c.ITEM_CONTINUOUS, c.TEXT_EMBEDDING, c.IMAGE_EMBEDDING]
    )
    tables = _tables(query_schema, shape.embedding_dim, shape.embedding_l2)
    projected = [c.HISTORY_LOOK_BACK, c.HISTORY_24H] if shape.categories else []
    vectors = schema.select_by_name(projected) + (_pooled_columns() if shape.items else Schema())
    if vectors:
        inputs = mm.InputBlockV2(
            query_schema + vectors,
            categorical=tables,
            pretrained_embeddings=mm.PretrainedEmbeddings(
                vectors, output_dims=dict.fromkeys(projected, shape.embedding_dim)
            ),
        )
    else:
        inputs = mm.InputBlockV2(query_schema, categorical=tables)
    query = (
        QueryEncoder(
            inputs,
            _mlp(shape),
            name=QUERY,
            history=ItemHistory(shape.items, shape.history_heads, shape.history_dropout),
            last_share=shape.last_item_share,
        )
        if shape.items
        else _tower(inputs, shape, QUERY)
    )
    candidate = _tower(
        mm.InputBlockV2(
            item_schema,
            categorical=_tables(item_schema, shape.embedding_dim, shape.embedding_l2),
            pretrained_embeddings=_pretrained(item_schema, shape.embedding_dim),
        ),
        shape,
        CANDIDATE,
    )
    return mm.TwoTowerModelV2(query, candidate, outputs=outputs)


def contrastive_output(schema: Schema, shape: TwoTowerShape) -> FoldedContrastiveOutput:
    """Return the towers' output; a learned temperature starts at the shape's."""
    return FoldedContrastiveOutput(
        schema.select_by_name(c.ITEM_ID),
        shape.temperature,
        learned=shape.learned_temperature,
        query_name=QUERY,
        candidate_name=CANDIDATE,
    )


def _tower(inputs: tf.keras.layers.Layer, shape: TwoTowerShape, name: str) -> mm.Encoder:
    return mm.Encoder(inputs, _mlp(shape), post=mm.L2Norm(), name=name)


def _mlp(shape: TwoTowerShape) -> tf.keras.layers.Layer:
    return mm.MLPBlock(
        list(shape.layers), no_activation_last_layer=True, dropout=shape.dropout or None
    )


def _pooled_columns() -> Schema:
    """Return the columns that ``QueryEncoder`` adds."""
    tags = [Tags.USER, Tags.EMBEDDING]
    return Schema(
        [
            ColumnSchema(name, tags=tags, dtype=np.float32, dims=(None, c.EMBEDDING_DIM))
            for name in (POOLED, LAST)
        ]
    )


def _tables(schema: Schema, dim: int, l2: float) -> tf.keras.layers.Layer:
    """Return the embedding tables of the categorical columns.

    Args:
        schema: columns of the tower or ranker.
        dim: width of each table.
        l2: factor of the summed squared norm of the rows that a batch looks up; ``regularisation``
            divides it by the rows.
    """
    return mm.Embeddings(
        schema.select_by_tag(Tags.CATEGORICAL), dim=dim, l2_batch_regularization_factor=l2
    )


def _pretrained(schema: Schema, dim: int) -> tf.keras.layers.Layer:
    """Return text and image vector, each with its own projection to ``dim``."""
    return mm.PretrainedEmbeddings(schema.select_by_tag(Tags.EMBEDDING), output_dims=dim)


def build_dlrm(schema: Schema, shape: DlrmShape) -> mm.Model:
    """Build DLRM (Naumov et al. 2019).

    The fields are 8 or 9 tables, 2 projected pretrained vectors and the bottom MLP's output. The
    top MLP reads the dot products of all pairs of fields, and the bottom MLP's output. The last
    layer is the click's sigmoid.
    """
    names, numbers = ranker_columns(shape)
    categorical, pretrained = (
        schema.select_by_name(list(names)),
        schema.select_by_name([c.TEXT_EMBEDDING, c.IMAGE_EMBEDDING]),
    )
    schema = categorical + pretrained + schema.select_by_name([*numbers, c.CLICK])
    vectors = mm.ParallelBlock(
        {
            "categorical": _tables(categorical, shape.embedding_dim, shape.embedding_l2),
            "pretrained": _pretrained(pretrained, shape.embedding_dim),
        },
        is_input=True,
        schema=categorical + pretrained,
    )
    return mm.DLRMModel(
        schema,
        embeddings=vectors,
        bottom_block=mm.MLPBlock(list(shape.bottom_layers)),
        top_block=mm.MLPBlock(list(shape.top_layers), dropout=shape.dropout or None),
        prediction_tasks=mm.BinaryOutput(c.CLICK),
    )


def named(
    matrix: tf.Tensor, packed: tuple[str, ...], wanted: tuple[str, ...]
) -> dict[str, tf.Tensor]:
    """Return columns [B, 1] of a packed matrix [B, F], as Merlin's layers read them."""
    return {name: matrix[:, i : i + 1] for i, name in enumerate(packed) if name in wanted}


def vectors(embeddings: tf.Tensor) -> dict[str, tf.Tensor]:
    """Return text and image vector [B, 64] of embeddings [B, 128]."""
    return {
        c.TEXT_EMBEDDING: embeddings[:, : c.EMBEDDING_DIM],
        c.IMAGE_EMBEDDING: embeddings[:, c.EMBEDDING_DIM :],
    }


def shares(history: tf.Tensor) -> dict[str, tf.Tensor]:
    """Return a visitor's clicks by category as shares of each window.

    counts / (their sum + 1): history [B, 2·K] → [B, K] of the look-back and [B, K] of 24 hours.
    """

    def share(half: tf.Tensor) -> tf.Tensor:
        return half / (tf.reduce_sum(half, axis=1, keepdims=True) + 1.0)

    long, recent = tf.split(tf.cast(history, tf.float32), 2, axis=1)
    return {c.HISTORY_LOOK_BACK: share(long), c.HISTORY_24H: share(recent)}


def regularisation(parts: Sequence[tf.keras.layers.Layer], rows: tf.Tensor) -> tf.Tensor:
    """Return the sum of the layers' regularisation losses per row of the batch."""
    asked = [loss for part in parts for loss in part.losses]
    return tf.add_n(asked) / tf.cast(tf.shape(rows)[0], tf.float32) if asked else tf.constant(0.0)


def item_counts(item_index: np.ndarray, schema: Schema) -> np.ndarray:
    """Return how often each item index occurs, [cardinality(item_id)]."""
    return np.bincount(item_index, minlength=cardinalities(schema)[c.ITEM_ID])


def save_checkpoint(folder: Path, parts: Mapping[str, Any]) -> None:
    """Write the weights of named layers (or lists of layers) to ``folder/checkpoint``.

    The parts are layers, never the model: a compiled model would save its optimizer too, and
    restoring it would restore the old learning rate and moments.
    """
    tf.train.Checkpoint(**parts).write(str(folder / CHECKPOINT / "weights"))


def restore_checkpoint(folder: Path, parts: Mapping[str, Any]) -> None:
    """Read the weights into parts that are built already.

    Raises:
        AssertionError: the parts and the checkpoint do not hold the same variables.
    """
    status = tf.train.Checkpoint(**parts).read(str(folder / CHECKPOINT / "weights"))
    status.assert_existing_objects_matched()
    status.assert_consumed()


def changed(before: list[np.ndarray], part: tf.keras.layers.Layer) -> list[str]:
    """Return the names of a part's weights that differ from ``before`` in any bit.

    Args:
        before: result of ``weights`` at an earlier time.
        part: the layer to compare.

    Raises:
        ValueError: the part has another number of weights.
    """
    now = weights(part)
    if len(now) != len(before):
        raise ValueError(f"{part.name} has {len(now)} weights, had {len(before)}")
    return [w.name for i, w in enumerate(part.weights) if not np.array_equal(before[i], now[i])]


def weights(part: tf.keras.layers.Layer) -> list[np.ndarray]:
    """Return copies of a part's weights, in their order."""
    return [weight.numpy().copy() for weight in part.weights]

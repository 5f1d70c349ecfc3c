"""The two-tower model and DLRM, as merlin-models builds them, and their checkpoints."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import merlin.models.tf as mm
import numpy as np
import tensorflow as tf
from merlin.models.tf.outputs.base import DotProduct
from merlin.models.tf.transforms.bias import PopularityLogitsCorrection
from merlin.schema import Schema, Tags

from recsys_assets import columns as c
from recsys_assets.training.loaders import cardinalities

if TYPE_CHECKING:
    from recsys_assets.training.step import Step

QUERY, CANDIDATE = "query", "candidate"
CHECKPOINT = "checkpoint"


@dataclass(frozen=True)
class TwoTowerShape:
    """What is needed to build the two towers again around saved weights."""

    use_context: bool
    temperature: float
    logq_correction: bool
    embedding_dim: int = 32
    layers: tuple[int, ...] = (128, c.EMBEDDING_DIM)


@dataclass(frozen=True)
class DlrmShape:
    """What is needed to build the DLRM again around saved weights."""

    embedding_dim: int = c.EMBEDDING_DIM
    bottom_layers: tuple[int, ...] = (128, c.EMBEDDING_DIM)
    top_layers: tuple[int, ...] = (128, 64, 32)


def query_columns(use_context: bool) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Categorical and continuous columns that the query tower reads."""
    return (c.QUERY_CATEGORICAL, c.QUERY_CONTINUOUS) if use_context else (c.USER_CATEGORICAL, c.USER_CONTINUOUS)


def two_tower_columns(use_context: bool) -> list[str]:
    """All columns that the two towers read: a model refuses a batch that holds others."""
    categorical, continuous = query_columns(use_context)
    return [*categorical, *continuous, *c.ITEM_CATEGORICAL, *c.ITEM_CONTINUOUS]


def build_two_tower(schema: Schema, shape: TwoTowerShape, item_counts: np.ndarray) -> mm.TwoTowerModelV2:
    """Query and item tower, dot product of unit vectors, softmax over in-batch negatives.

    The logQ correction (Yi et al. 2019, "Sampling-bias-corrected neural modeling") takes from each logit the log
    of how often its item comes up as a negative. Merlin applies it before dividing by the temperature, so it is
    scaled by the temperature to come out as s/T - log q.

    Args:
        schema: a loader's output schema, with both pretrained embeddings.
        item_counts: [cardinality(item_id)] clicks by item index in the training rows.
    """
    query_schema = schema.select_by_name([name for names in query_columns(shape.use_context) for name in names])
    item_schema = schema.select_by_tag(Tags.ITEM)
    query = _tower(mm.InputBlockV2(query_schema, categorical=_tables(query_schema, shape.embedding_dim)), shape, QUERY)
    candidate = _tower(
        mm.InputBlockV2(item_schema, categorical=_tables(item_schema, shape.embedding_dim),
                        pretrained_embeddings=_pretrained(item_schema, shape.embedding_dim)), shape, CANDIDATE)
    item_id = schema.select_by_name(c.ITEM_ID)
    correction = PopularityLogitsCorrection(
        # one more click for each item: an unseen one would otherwise get a correction of 37
        tf.constant(item_counts + 1, tf.float32), schema=item_id, reg_factor=shape.temperature,
    ) if shape.logq_correction else None
    output = mm.ContrastiveOutput(
        to_call=DotProduct(), negative_samplers="in-batch", schema=item_id, logits_temperature=shape.temperature,
        post=correction, store_negative_ids=shape.logq_correction, query_name=QUERY, candidate_name=CANDIDATE)
    return mm.TwoTowerModelV2(query, candidate, outputs=output)


def _tower(inputs: tf.keras.layers.Layer, shape: TwoTowerShape, name: str) -> mm.Encoder:
    layers = mm.MLPBlock(list(shape.layers), no_activation_last_layer=True)
    return mm.Encoder(inputs, layers, post=mm.L2Norm(), name=name)


def _tables(schema: Schema, dim: int) -> tf.keras.layers.Layer:
    return mm.Embeddings(schema.select_by_tag(Tags.CATEGORICAL), dim=dim)


def _pretrained(schema: Schema, dim: int) -> tf.keras.layers.Layer:
    """Text and image vector, each through its own projection to ``dim``."""
    return mm.PretrainedEmbeddings(schema.select_by_tag(Tags.EMBEDDING), output_dims=dim)


def build_dlrm(schema: Schema, shape: DlrmShape) -> mm.Model:
    """DLRM (Naumov et al. 2019): dot products of all pairs of 9 tables, 2 projected pretrained vectors and the
    bottom MLP's output, beside that output, into the top MLP; sigmoid of the click."""
    categorical = schema.select_by_tag(Tags.CATEGORICAL).excluding_by_tag(Tags.TARGET)
    pretrained = schema.select_by_tag(Tags.EMBEDDING)
    vectors = mm.ParallelBlock({"categorical": _tables(categorical, shape.embedding_dim),
                                "pretrained": _pretrained(pretrained, shape.embedding_dim)},
                               is_input=True, schema=categorical + pretrained)
    return mm.DLRMModel(schema, embeddings=vectors, bottom_block=mm.MLPBlock(list(shape.bottom_layers)),
                        top_block=mm.MLPBlock(list(shape.top_layers)), prediction_tasks=mm.BinaryOutput(c.CLICK))


def features(cat: tf.Tensor, cat_names: tuple[str, ...], cont: tf.Tensor, cont_names: tuple[str, ...],
             embeddings: tf.Tensor | None = None) -> dict[str, tf.Tensor]:
    """Packed matrices [B, F] as the named [B, 1] columns (and [B, 64] vectors) that Merlin's layers take."""
    split = {name: cat[:, i:i + 1] for i, name in enumerate(cat_names)}
    split.update({name: cont[:, i:i + 1] for i, name in enumerate(cont_names)})
    if embeddings is not None:
        split[c.TEXT_EMBEDDING] = embeddings[:, :c.EMBEDDING_DIM]
        split[c.IMAGE_EMBEDDING] = embeddings[:, c.EMBEDDING_DIM:]
    return split


def item_counts(item_index: np.ndarray, schema: Schema) -> np.ndarray:
    """[cardinality(item_id)] how often each item index occurs."""
    return np.bincount(item_index, minlength=cardinalities(schema)[c.ITEM_ID])


def fit(model: mm.Model, loader: mm.Loader, step: Step, *, epochs: int, learning_rate: float) -> None:
    """Train with Adam that touches only the embedding rows of a batch (six times as fast with 300,000 users)."""
    model.compile(optimizer=mm.LazyAdam(learning_rate), run_eagerly=False, metrics=[])
    model.fit(loader, epochs=epochs, verbose=0, callbacks=[step.epoch_log(epochs)])


def save_checkpoint(folder: Path, parts: Mapping[str, Any]) -> None:
    """Write the weights of named layers (or lists of layers) below ``folder/checkpoint``.

    A compiled model would bring its optimizer along, and restoring it would bring back the old learning rate and
    moments: so the parts are layers, never the model.
    """
    tf.train.Checkpoint(**parts).write(str(folder / CHECKPOINT / "weights"))


def restore_checkpoint(folder: Path, parts: Mapping[str, Any]) -> None:
    """Read the weights back into parts that were built already.

    Raises:
        AssertionError: the parts and the checkpoint do not hold the same variables.
    """
    status = tf.train.Checkpoint(**parts).read(str(folder / CHECKPOINT / "weights"))
    status.assert_existing_objects_matched()
    status.assert_consumed()


def changed(before: list[np.ndarray], part: tf.keras.layers.Layer) -> list[str]:
    """Names of a part's weights that are not what ``weights`` gave before, to the bit."""
    now = weights(part)
    if len(now) != len(before):
        raise ValueError(f"{part.name} has {len(now)} weights, had {len(before)}")
    return [w.name for i, w in enumerate(part.weights) if not np.array_equal(before[i], now[i])]


def weights(part: tf.keras.layers.Layer) -> list[np.ndarray]:
    """Copies of a part's weights, in their order."""
    return [weight.numpy().copy() for weight in part.weights]

"""Build the ads ranker: a deep and cross network (Wang et al. 2017 and 2021) by merlin-models."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import merlin.models.tf as mm
import numpy as np
import tensorflow as tf
from merlin.schema import ColumnSchema, Schema, Tags

from recsys_assets.ads_columns import CATEGORIES, INTEGERS, LABEL
from recsys_assets.ads_parameters import DcnParams
from recsys_assets.training import export


@dataclass(frozen=True)
class DcnShape:
    """Holds what is needed to build the network again around saved weights."""

    cross_layers: int
    cross_rank: int
    deep_layers: int
    deep_width: int
    embedding_dim: int
    dropout: float
    embedding_l2: float

    @classmethod
    def of(cls, params: DcnParams) -> DcnShape:
        """Return the shape that the parameters name."""
        return cls(
            params.cross_layers,
            params.cross_rank,
            params.deep_layers,
            params.deep_width,
            params.embedding_dim,
            params.dropout,
            params.embedding_l2,
        )


def ads_schema(cardinality: Mapping[str, int]) -> Schema:
    """Return the Merlin schema of the inputs and the label; cardinality: rows of each table."""
    categories = [
        ColumnSchema(
            name,
            tags=[Tags.CATEGORICAL],
            dtype=np.int32,
            properties={"domain": {"min": 0, "max": cardinality[name] - 1, "name": name}},
        )
        for name in CATEGORIES
    ]
    counts = [ColumnSchema(name, tags=[Tags.CONTINUOUS], dtype=np.float32) for name in INTEGERS]
    target = [Tags.BINARY_CLASSIFICATION, Tags.TARGET]
    return Schema([*categories, *counts, ColumnSchema(LABEL, tags=target, dtype=np.float32)])


def build_dcn(schema: Schema, shape: DcnShape) -> mm.Model:
    """Build the network: embeddings beside counts, cross layers, hidden layers, sigmoid."""
    categories = schema.select_by_tag(Tags.CATEGORICAL)
    inputs = mm.InputBlockV2(
        categories + schema.select_by_tag(Tags.CONTINUOUS),
        categorical=mm.Embeddings(
            categories, dim=shape.embedding_dim, l2_batch_regularization_factor=shape.embedding_l2
        ),
    )
    cross = mm.CrossBlock(shape.cross_layers, low_rank_dim=shape.cross_rank or None)
    deep = mm.MLPBlock([shape.deep_width] * shape.deep_layers, dropout=shape.dropout or None)
    return mm.Model(inputs, cross, deep, mm.BinaryOutput(LABEL))


def named_columns(cat: tf.Tensor, cont: tf.Tensor) -> dict[str, tf.Tensor]:
    """Return columns [B, 1] by name of cat int32 [B, 26] and cont float32 [B, 13]."""
    return {
        **dict(zip(CATEGORIES, tf.split(cat, len(CATEGORIES), axis=1), strict=True)),
        **dict(zip(INTEGERS, tf.split(cont, len(INTEGERS), axis=1), strict=True)),
    }


def dcn_function(model: tf.keras.Model) -> export.Packed:
    """Return the network as a function of cat int32 [B, 26] and cont float32 [B, 13].

    Its output is score float32 [B], the click probability.
    """
    signature = [
        tf.TensorSpec([None, len(CATEGORIES)], tf.int32, name=export.CAT),
        tf.TensorSpec([None, len(INTEGERS)], tf.float32, name=export.CONT),
    ]

    def dcn(cat: tf.Tensor, cont: tf.Tensor) -> dict[str, tf.Tensor]:
        score = model(named_columns(cat, cont), training=False)
        return {export.SCORE: tf.reshape(score, [-1])}

    plain = tf.autograph.experimental.do_not_convert(dcn)
    packed: export.Packed = tf.function(plain, input_signature=signature)
    return packed

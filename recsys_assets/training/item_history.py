"""Pool a visitor's latest clicked items, and encode the visitor with them.

The pooling is that of attention heads whose weights depend on a click's rank and age alone. On the
shops that were measured, weights by content and a transformer added nothing.
"""

from __future__ import annotations

from typing import Any

import merlin.models.tf as mm
import numpy as np
import tensorflow as tf

from recsys_assets import columns as c

#: Inputs of the query encoder beside its columns: the latest items and the hours since each click.
ITEMS, AGES = c.QUERY_OF_ITEMS
#: What the pooling adds to the encoder's columns, [B, 64] each.
POOLED, LAST = "history_pooled", "history_last"
#: Ages, in hours, from which on one more weight is added: 1, 2, 4, … minutes, the last is 22 days.
AGE_STEPS = (2.0 ** np.arange(16) / 60).astype(np.float32)
#: Logit of a click that is not known.
NEVER = -1e9


class ItemHistory(tf.keras.layers.Layer):  # type: ignore[misc]  # TensorFlow has no types
    """Pools the vectors of a visitor's latest items, by learned weights of rank and age.

    items int32 [B, H], hours float32 [B, H] → pooled [B, D], last [B, D]. The table is the query
    tower's own. Unknown items (indices 0 to 2) have no weight; without a known item all is 0.

    Args:
        items: rows of the table, the cardinality of item_id.
        heads: G, weightings of the items; each makes D / G numbers of the pooled vector.
        dropout: share of the items that are hidden in training.
        dim: D, a multiple of G.
    """

    def __init__(
        self,
        items: int,
        heads: int,
        dropout: float = 0.0,
        dim: int = c.EMBEDDING_DIM,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.items, self.heads, self.dropout, self.dim = items, heads, dropout, dim

    def build(self, input_shape: Any) -> None:
        """Create the variables."""
        zeros = tf.keras.initializers.Zeros()
        self.table = self.add_weight(
            "table", [self.items, self.dim], initializer=tf.keras.initializers.RandomNormal(0, 0.05)
        )
        self.rank = self.add_weight("rank", [c.ITEM_HISTORY, self.heads], initializer=zeros)
        self.age = self.add_weight("age", [len(AGE_STEPS), self.heads], initializer=zeros)
        self.mix = self.add_weight(
            "mix",
            [self.heads, self.dim, self.dim // self.heads],
            initializer=tf.keras.initializers.Constant(_parts(self.dim, self.heads)),
        )
        super().build(input_shape)

    def call(
        self, items: tf.Tensor, hours: tf.Tensor, *, training: bool = False
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Return the pooled vector and the last item's."""
        known = items >= c.VOCABULARY_START
        if training and self.dropout:
            known &= tf.random.uniform(tf.shape(items)) >= self.dropout
        vectors = tf.gather(self.table, tf.where(known, items, 0))
        older = tf.cast(hours[:, :, None] >= AGE_STEPS, tf.float32)
        logits = self.rank + tf.matmul(older, self.age)
        shown = tf.cast(known, tf.float32)[:, :, None]
        weights = tf.nn.softmax(tf.where(known[:, :, None], logits, NEVER), axis=1) * shown
        of_heads = tf.matmul(weights, vectors, transpose_a=True)[:, :, None, :]  # [B, G, 1, D]
        pooled = tf.reshape(tf.matmul(of_heads, self.mix), [-1, self.dim])
        return pooled, vectors[:, 0] * shown[:, 0]


class QueryEncoder(mm.Encoder):  # type: ignore[misc]  # Merlin has no types
    """Encodes a visitor by columns and latest items: MLP + pooled + share · last, of length 1.

    Args:
        history: pools the items; its two vectors are inputs of the MLP too.
        last_share: share of the last item's vector; that of the pooled one is 1.
        args: as ``mm.Encoder`` takes them, without a ``post`` block.
        kwargs: as args.
    """

    def __init__(self, *args: Any, history: ItemHistory, last_share: float, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.history, self.last_share = history, last_share

    def build(self, input_shape: Any) -> None:
        """Build the blocks for the columns and the pooled vectors."""
        shapes = {name: shape for name, shape in input_shape.items() if name not in (ITEMS, AGES)}
        pooled = tf.TensorShape([input_shape[ITEMS][0], self.history.dim])
        super().build({**shapes, POOLED: pooled, LAST: pooled})

    def call(self, inputs: Any, *, training: bool = False, **kwargs: Any) -> tf.Tensor:
        """Return the unit vectors [B, D]."""
        columns = dict(inputs)
        pooled, last = self.history(columns.pop(ITEMS), columns.pop(AGES), training=training)
        hidden = super().call({**columns, POOLED: pooled, LAST: last}, training=training, **kwargs)
        return tf.math.l2_normalize(hidden + pooled + self.last_share * last, axis=-1)


def _parts(dim: int, heads: int) -> np.ndarray:
    """Return what gives each head its own part of a vector, [heads, dim, dim / heads]."""
    return np.stack(np.split(np.eye(dim, dtype=np.float32), heads, axis=1))

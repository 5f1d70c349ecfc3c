"""Extend Merlin's ContrastiveOutput: all negatives become one logit.

Merlin builds the matrix of logits [B, 1 + U], masks it, corrects it, divides it and takes a
softmax. These are about a dozen passes over B × U numbers, ten times the cost of the products
themselves. The loss needs only log Σ exp(logit) of a row's negatives. One pass computes that sum,
and a hand-written gradient avoids the softmax of the matrix. Loss and gradients equal those of
Merlin's own output (tested). The sampler interface, candidates and prediction are Merlin's.
"""

from __future__ import annotations

import merlin.models.tf as mm
import numpy as np
import tensorflow as tf
from merlin.models.tf.core.prediction import Prediction
from merlin.models.tf.outputs.base import DotProduct
from merlin.models.tf.outputs.sampling.base import Candidate, CandidateSampler
from merlin.schema import Schema

#: Features that a training step adds for the sampler and the output.
NEGATIVE_IDS, NEGATIVE_VECTORS, NEGATIVE_LOG_Q = (
    "__negative_ids",
    "__negative_vectors",
    "__negative_log_q",
)
POSITIVE_LOG_Q, OWN = "__positive_log_q", "__own"
#: Lower bound of the negatives' share of all logits: float32 cannot resolve less.
LEAST_SHARE = 1e-7
#: With unit vectors logits lie within 1/T plus the correction; exp of float32 overflows at 88.
LEAST_TEMPERATURE = 0.02


@tf.custom_gradient  # type: ignore[untyped-decorator]  # TensorFlow has no types
def log_sum_of_negatives(
    queries: tf.Tensor, items: tf.Tensor, own: tf.Tensor
) -> tuple[tf.Tensor, object]:
    """Return log Σ_j exp(queries · items_j) over all items except the row's own.

    Args:
        queries: [B, D].
        items: [U, D].
        own: int32 [B] index of the row's own item, which is no negative; -1: none.

    Returns:
        [B], and its gradient. The sum of exp is not shifted: logits must stay below 80.
    """
    share = tf.exp(tf.matmul(queries, items, transpose_b=True))
    own_item = tf.gather(items, tf.maximum(own, 0))
    own_share = tf.where(own >= 0, tf.exp(tf.reduce_sum(queries * own_item, axis=1)), 0.0)
    total = tf.linalg.matvec(share, tf.ones([tf.shape(items)[0]]))
    rest = tf.maximum(total - own_share, LEAST_SHARE * total)

    def gradient(upstream: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, None]:
        weight = (upstream / rest)[:, None]
        weighted, own_weighted = weight * queries, (weight * own_share[:, None])
        to_queries = weight * tf.matmul(share, items) - own_weighted * own_item
        to_items = tf.matmul(share, weighted, transpose_a=True) - tf.math.unsorted_segment_sum(
            own_weighted * queries, own, tf.shape(items)[0]
        )  # a negative segment is left out
        return to_queries, to_items, None

    return tf.math.log(rest), gradient


class GivenNegatives(CandidateSampler):  # type: ignore[misc]  # Merlin has no types
    """Returns the negatives that the training step chose, with their vectors."""

    def call(
        self,
        items: Candidate,
        features: dict[str, tf.Tensor],
        targets: tf.Tensor | None = None,
        training: bool = False,
        testing: bool = False,
    ) -> Candidate:
        """Return the batch's negatives as a candidate with embedding."""
        return Candidate(features[NEGATIVE_IDS], {}).with_embedding(features[NEGATIVE_VECTORS])

    def add(self, items: Candidate) -> None:
        """Raise NotImplementedError: this sampler keeps no items."""
        raise NotImplementedError("negatives are given with each batch, none are kept")

    def sample(self) -> Candidate:
        """Raise NotImplementedError: this sampler keeps no items."""
        raise NotImplementedError("negatives are given with each batch, none are kept")


@tf.keras.utils.register_keras_serializable(package="recsys")
class FoldedContrastiveOutput(mm.ContrastiveOutput):  # type: ignore[misc]  # Merlin has no types
    """ContrastiveOutput with a prediction [B, 2]: positive and negatives.

    The two logits are the positive's, and log Σ exp of the negatives'. Their cross-entropy equals
    that of all logits. The row's own item among the negatives does not count. Logits are s/T - log
    q: unlike in Merlin's output, the correction is not divided by the temperature.

    Raises:
        ValueError: the temperature is below LEAST_TEMPERATURE.
    """

    def __init__(
        self,
        schema: Schema,
        temperature: float,
        *,
        learned: bool,
        query_name: str,
        candidate_name: str,
    ) -> None:
        super().__init__(
            to_call=DotProduct(query_name, candidate_name),
            negative_samplers=GivenNegatives(),
            schema=schema,
            query_name=query_name,
            candidate_name=candidate_name,
        )
        if temperature < LEAST_TEMPERATURE:
            raise ValueError(f"temperature must be at least {LEAST_TEMPERATURE}, got {temperature}")
        self.log_temperature = tf.Variable(
            np.log(temperature), trainable=learned, dtype=tf.float32, name="log_temperature"
        )

    @property
    def temperature(self) -> tf.Tensor:
        """Return the temperature, a scalar of at least LEAST_TEMPERATURE."""
        return tf.exp(tf.maximum(self.log_temperature, np.log(LEAST_TEMPERATURE)))

    def call_contrastive(
        self,
        inputs: dict[str, tf.Tensor],
        features: dict[str, tf.Tensor],
        targets: tf.Tensor | None = None,
        training: bool = False,
        testing: bool = False,
    ) -> Prediction:
        """Return the logits [B, 2] and their targets (1, 0)."""
        query, embedding = inputs[self.query_name] / self.temperature, inputs[self.candidate_name]
        positive = Candidate(features[self.col_schema.name], {**features}).with_embedding(embedding)
        negative, positive = self.sample_negatives(
            positive, features, training=training, testing=testing
        )
        own_logit = tf.reduce_sum(query * positive.embedding, axis=1) - features[POSITIVE_LOG_Q]
        # the correction as one more dimension: the product adds it without another pass
        queries = tf.concat([query, tf.ones_like(query[:, :1])], axis=1)
        items = tf.concat([negative.embedding, -features[NEGATIVE_LOG_Q][:, None]], axis=1)
        outputs = tf.stack([own_logit, log_sum_of_negatives(queries, items, features[OWN])], axis=1)
        first = tf.concat([tf.ones_like(outputs[:, :1]), tf.zeros_like(outputs[:, 1:])], axis=1)
        return Prediction(outputs, first)


def log_inclusion(
    counts: np.ndarray, rows: int, uniform: int = 0, catalogue: int = 0
) -> np.ndarray:
    """Return the log probability that an item is among a batch's negatives.

    1 - (1 - p)^rows · (1 - 1/I)^uniform: at least one of ``rows`` clicked rows, drawn by popularity
    p, or of ``uniform`` draws from the I items of the catalogue. Each item occurs once among the
    negatives, so this is the sampling probability of the logQ correction (Yi et al. 2019,
    "Sampling-bias-corrected neural modeling for large corpus item recommendations"; Bengio and
    Senécal 2008).

    Args:
        counts: [M] clicks of each item.
        rows: clicked rows of a batch whose items are negatives.
        uniform: further items per batch, drawn evenly from the catalogue.
        catalogue: I, the number of leading items that are the catalogue.

    Returns:
        float32 [M].
    """
    # one more click each, because an item of a fine-tune may have none
    share = (counts + 1) / (counts.sum() + len(counts))
    missed = rows * np.log1p(-np.minimum(share, 1 - 1e-9))
    if uniform and catalogue:
        drawn = np.zeros(len(counts))
        drawn[:catalogue] = uniform * np.log1p(-1 / max(catalogue, 2))
        missed = missed + drawn
    log_probability: np.ndarray = np.log(-np.expm1(missed)).astype(np.float32)
    return log_probability

"""Define the two towers' loss: a batch's distinct items are its candidates."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import merlin.models.tf as mm
import numpy as np
import pandas as pd
import tensorflow as tf
from merlin.schema import Schema

from recsys_assets import columns as c
from recsys_assets.training import batches, contrastive, loaders, metrics, models
from recsys_assets.training.retrieval.towers import Towers

#: Largest number of held-out clicks per judgement: enough for a standard error of 0.004.
JUDGED_CLICKS = 20_000


@dataclass(frozen=True)
class Negatives:
    """Sets which items a row is contrasted with.

    Attributes:
        rows: rows of each batch whose items are negatives of all rows; 0: all of the batch.
        uniform: further items per batch, drawn evenly from the catalogue, so that items without
            clicks are negatives too (Yang et al. 2020, "Mixed negative sampling for learning
            two-tower neural networks").
        item_id_dropout: share of a batch's items whose id is replaced by the out-of-vocabulary one.
            This trains the tower to give a vector from content alone.
    """

    rows: int = 0
    uniform: int = 0
    item_id_dropout: float = 0.0


def loss_function(
    model: mm.TwoTowerModelV2,
    output: contrastive.FoldedContrastiveOutput,
    shape: models.TwoTowerShape,
    clicks: batches.Rows,
    items: batches.Items,
    table: np.ndarray,
    negatives: Negatives,
    batch_size: int,
    seed: int,
    weights: np.ndarray | None = None,
) -> Callable[[tf.Tensor], tf.Tensor]:
    """Return the in-batch softmax loss of a batch, given its row numbers.

    weights: float32 [N], of the rows; None: all weigh 1. A row's weight does not change how often
    its item is a negative, so the logQ correction stays.

    The item tower runs once per distinct item. The items are in the order in which the batch's
    (shuffled) rows first name them, so the items of the first rows come first.

    Raises:
        ValueError: uniform negatives without a catalogue.
    """
    feed, item_feed = clicks.feed(), items.rows(table).feed()
    clicked = tf.constant(items.clicked)
    ids = tf.constant(items.index)
    rows_of_negatives = min(negatives.rows or batch_size, batch_size)
    if negatives.uniform and not items.catalogue:
        raise ValueError(
            "uniform negatives are drawn from the catalogue: give item_inputs, or set "
            "uniform_negatives to 0"
        )
    log_q = tf.constant(
        contrastive.log_inclusion(
            items.counts, rows_of_negatives, negatives.uniform, items.catalogue
        )
        if shape.logq_correction
        else np.zeros(len(items.cat), np.float32)
    )
    generator = tf.random.Generator.from_seed(seed)
    weigh = None if weights is None else tf.constant(weights)

    def loss(rows: tf.Tensor) -> tf.Tensor:
        own = tf.gather(clicked, rows)
        drawn = generator.uniform([negatives.uniform], 0, max(items.catalogue, 1), tf.int32)
        distinct, place, candidates = _distinct_items(own, drawn, rows_of_negatives)
        batch, item_batch = feed(rows), item_feed(distinct)
        if negatives.item_id_dropout:
            dropped = generator.uniform([tf.shape(distinct)[0], 1]) < negatives.item_id_dropout
            item_batch[c.ITEM_ID] = tf.where(dropped, c.OOV_INDEX, item_batch[c.ITEM_ID])
        query = model.query_encoder(batch, training=True)
        vectors = model.candidate_encoder(item_batch, training=True)
        all_log_q = tf.gather(log_q, distinct)
        predicted = output.call_contrastive(
            {models.QUERY: query, models.CANDIDATE: tf.gather(vectors, place)},
            {
                c.ITEM_ID: tf.gather(ids, own)[:, None],
                contrastive.NEGATIVE_IDS: tf.gather(ids, distinct[:candidates])[:, None],
                contrastive.NEGATIVE_VECTORS: vectors[:candidates],
                contrastive.NEGATIVE_LOG_Q: all_log_q[:candidates],
                contrastive.POSITIVE_LOG_Q: tf.gather(all_log_q, place),
                contrastive.OWN: tf.where(place < candidates, place, -1),
            },
            training=True,
        )
        cross_entropy = tf.nn.softmax_cross_entropy_with_logits(
            predicted.targets, predicted.outputs
        )
        if weigh is not None:
            cross_entropy *= tf.gather(weigh, rows)
        return tf.reduce_mean(cross_entropy) + models.regularisation(
            [model.query_encoder, model.candidate_encoder], rows
        )

    return loss


def _distinct_items(
    own: tf.Tensor, drawn: tf.Tensor, rows_of_negatives: int
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Return the distinct items of a batch, the candidates first.

    Args:
        own: int32 [B] the rows' items.
        drawn: int32 [U] uniform negatives.
        rows_of_negatives: the first rows, whose items are candidates of all rows.

    Returns:
        The items int32 [D], each row's place among them int32 [B], and the number of candidates.
    """
    named = tf.concat([own[:rows_of_negatives], drawn, own[rows_of_negatives:]], axis=0)
    distinct, place = tf.unique(named)
    uniform = tf.shape(drawn)[0]
    first = tf.minimum(rows_of_negatives, tf.shape(own)[0])
    candidates = tf.reduce_max(place[: first + uniform]) + 1
    return distinct, tf.concat([place[:first], place[first + uniform :]], axis=0), candidates


class Judge:
    """Judges the towers by held-out clicks, over all known items.

    Args:
        pair: both towers.
        held_out: clicked rows; of more than JUDGED_CLICKS a sample is taken.
        items: known to the training.
        table: the aligned table.
        seed: of the sample.
        k: length of the list of ``recall``.
    """

    def __init__(
        self,
        pair: Towers,
        held_out: pd.DataFrame,
        items: batches.Items,
        table: np.ndarray,
        seed: int,
        k: int = 100,
    ) -> None:
        if len(held_out) > JUDGED_CLICKS:
            held_out = held_out.sample(JUDGED_CLICKS, random_state=seed)
        self._pair, self._held_out, self._items, self._table = pair, held_out, items, table
        self._clicked, self._k = held_out[c.ITEM_ID].to_numpy(), k
        self.recalls: list[float] = []  # of each call of ``loss``

    def recall(self) -> float:
        """Return the share of the clicks that are among the first k."""
        ranks = metrics.clicked_ranks(*self._vectors(), self._items.index, self._clicked)
        return metrics.recall(ranks, self._k)

    def loss(self, temperature: float) -> float:
        """Return the mean negative log likelihood of the clicks, and keep their recall.

        Clicks weigh by their values, where they have values.
        """
        ranks, losses = metrics.clicked_ranks_and_losses(
            *self._vectors(), self._items.index, self._clicked, temperature
        )
        self.recalls.append(metrics.recall(ranks, self._k))
        if c.VALUE in self._held_out.columns:
            known = np.isin(self._clicked, self._items.index)
            value = self._held_out[c.VALUE].to_numpy(np.float64)[known]
            if value.any():
                return float(np.average(losses, weights=value))
        return float(losses.mean())

    def _vectors(self) -> tuple[np.ndarray, np.ndarray]:
        items = self._items
        vectors = self._pair.item_vectors(items.cat, items.cont, self._table[items.index])
        return self._pair.query_vectors(self._held_out), vectors


@dataclass(frozen=True)
class TowerLearning:
    """Holds the towers with their loss and their trainable variables.

    Attributes:
        pair: both towers.
        output: the contrastive output.
        items: the items that rows and catalogue hold.
        loss: scalar loss of a batch, given its row numbers.
        variables: both towers' and a learned temperature; without ``train_items`` the query tower's
            and a learned temperature.
    """

    pair: Towers
    output: contrastive.FoldedContrastiveOutput
    items: batches.Items
    loss: Callable[[tf.Tensor], tf.Tensor]
    variables: Callable[[], Sequence[tf.Variable]]

    @classmethod
    def of(
        cls,
        schema: Schema,
        shape: models.TwoTowerShape,
        rows: pd.DataFrame,
        table: np.ndarray,
        negatives: Negatives,
        batch_size: int,
        seed: int,
        *,
        catalogue: Mapping[str, np.ndarray] | None = None,
        train_items: bool = True,
    ) -> TowerLearning:
        """Build the towers and their loss over packed clicked rows.

        Args:
            schema: with the pretrained vectors.
            shape: size and inputs of the towers.
            rows: transformed clicked rows, weighed by their values where they have them.
            table: the aligned table.
            negatives: which items a row is contrasted with.
            batch_size: rows per batch.
            seed: of drawn negatives and dropout.
            catalogue: item_tower_inputs.npz; without it the rows' items are all.
            train_items: False freezes the item tower.
        """
        output = models.contrastive_output(schema, shape)
        model = models.build_two_tower(schema, shape, output)
        items = batches.Items.of(rows, catalogue)
        clicks = batches.query_rows(rows, shape)
        loss = loss_function(
            model,
            output,
            shape,
            clicks,
            items,
            table,
            negatives,
            batch_size,
            seed,
            loaders.weights(rows),
        )

        def variables() -> Sequence[tf.Variable]:
            found = list(model.query_encoder.trainable_variables)
            found += list(model.candidate_encoder.trainable_variables) if train_items else []
            return found + ([output.log_temperature] if shape.learned_temperature else [])

        return cls(Towers.of(model, shape), output, items, loss, variables)

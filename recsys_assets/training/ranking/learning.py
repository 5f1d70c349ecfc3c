"""Define DLRM's loss, and sample negatives for a log that holds only clicks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import merlin.models.tf as mm
import numpy as np
import pandas as pd
import tensorflow as tf
from merlin.schema import Schema

from recsys_assets import columns as c
from recsys_assets import local_time
from recsys_assets.training import batches, loaders, metrics, models
from recsys_assets.training.ranking.ranker import Ranker

#: Largest number of held-out rows per judgement.
JUDGED_ROWS = 100_000
POPULARITY_POWER = 0.75  # Mikolov et al. 2013, "Distributed representations of words and phrases"
REDRAWS = 20
_SMALL = 1e-7


@dataclass(frozen=True)
class RankerLearning:
    """Holds DLRM with its loss and its trainable variables."""

    ranker: Ranker
    loss: Callable[[tf.Tensor], tf.Tensor]
    variables: Callable[[], Sequence[tf.Variable]]

    @classmethod
    def of(
        cls,
        schema: Schema,
        shape: models.DlrmShape,
        rows: pd.DataFrame,
        table: np.ndarray,
        offsets: np.ndarray | None = None,
        item_id_dropout: float = 0.0,
        seed: int = 0,
    ) -> RankerLearning:
        """Build DLRM and its loss over packed rows.

        Args:
            schema: with the pretrained vectors.
            shape: size and inputs of DLRM.
            rows: transformed exposures, weighed by their values where they have them.
            table: the aligned table.
            offsets: float32 [N] log of a row's sampling rate as a negative, of ``with_negatives``.
            item_id_dropout: share of a batch's rows whose item id is replaced by the unknown.
            seed: of the dropout.
        """
        model = models.build_dlrm(schema, shape)
        feed = batches.ranker_rows(rows, table, shape).feed()
        labels = tf.constant(rows[c.CLICK].to_numpy(np.float32))
        shifts = None if offsets is None else tf.constant(offsets)
        generator = tf.random.Generator.from_seed(seed)
        weights = loaders.weights(rows)
        weigh = None if weights is None else tf.constant(weights)

        def loss(numbers: tf.Tensor) -> tf.Tensor:
            batch = feed(numbers)
            if item_id_dropout:
                dropped = generator.uniform([tf.shape(numbers)[0], 1]) < item_id_dropout
                batch[c.ITEM_ID] = tf.where(dropped, c.OOV_INDEX, batch[c.ITEM_ID])
            probability = tf.reshape(model(batch, training=True), [-1])
            clicked = tf.gather(labels, numbers)
            if shifts is None:
                cross_entropy = tf.keras.backend.binary_crossentropy(clicked, probability)
            else:
                shifted = _logit(probability) - tf.gather(shifts, numbers)
                cross_entropy = tf.nn.sigmoid_cross_entropy_with_logits(clicked, shifted)
            if weigh is not None:
                cross_entropy *= tf.gather(weigh, numbers)
            return tf.reduce_mean(cross_entropy) + models.regularisation(model.blocks, numbers)

        return cls(Ranker.of(model, shape), loss, lambda: list(model.trainable_variables))


def forget_untrained_items(ranker: Ranker, shown: np.ndarray) -> int:
    """Give item indices without a training row the embedding of the unknown item.

    The embedding of such an index is random, and its item would be ranked by that. The unknown
    item's embedding was trained on rows without their id (item_id_dropout), and a fine-tune starts
    from it when the item is shown.

    Args:
        ranker: the trained DLRM, changed in place.
        shown: int [N] item index of the training rows.

    Returns:
        Number of indices without a training row.

    Raises:
        RuntimeError: DLRM does not have exactly one table of item ids.
    """
    tables = [
        layer.table.embeddings
        for layer in ranker.model.submodules
        if isinstance(layer, mm.EmbeddingTable) and c.ITEM_ID in layer.features
    ]
    if len(tables) != 1:
        raise RuntimeError(f"DLRM has {len(tables)} tables of {c.ITEM_ID}; one was expected")
    values = tables[0].numpy()
    untrained = np.setdiff1d(np.arange(c.VOCABULARY_START, len(values)), shown)
    values[untrained] = values[c.OOV_INDEX]
    tables[0].assign(values)
    return len(untrained)


def _logit(probability: tf.Tensor) -> tf.Tensor:
    p = tf.clip_by_value(probability, _SMALL, 1 - _SMALL)
    return tf.math.log(p) - tf.math.log1p(-p)


def sampled_probability(probability: np.ndarray, offsets: np.ndarray | None) -> np.ndarray:
    """Return [N] calibrated probabilities among sampled rows: σ(logit - offset)."""
    if offsets is None:
        return probability
    p = np.clip(probability.astype(np.float64), _SMALL, 1 - _SMALL)
    sampled: np.ndarray = 1 / (1 + (1 - p) / p * np.exp(offsets))
    return sampled


def judge(
    ranker: Ranker, held_out: pd.DataFrame, table: np.ndarray, offsets: np.ndarray | None, seed: int
) -> Callable[[], float]:
    """Return a function that gives the log loss of at most JUDGED_ROWS held-out rows.

    Clicks weigh by their values, where they have values.
    """
    chosen = np.random.default_rng([seed, 6]).permutation(len(held_out))[:JUDGED_ROWS]
    held_out, offsets = held_out.iloc[chosen], None if offsets is None else offsets[chosen]
    labels = held_out[c.CLICK].to_numpy()
    valued = c.VALUE in held_out.columns and held_out[c.VALUE].to_numpy()[labels == 1].any()
    weights = loaders.weights(held_out) if valued else None
    return lambda: metrics.log_loss(
        labels, sampled_probability(ranker.scores(held_out, table), offsets), weights
    )


def draw_shares(counts: np.ndarray) -> np.ndarray:
    """Return [I] probabilities to draw each catalogue item as a negative.

    (clicks + 1)^0.75, normalised.
    """
    weights = (counts + 1.0) ** POPULARITY_POWER
    shares: np.ndarray = weights / weights.sum()
    return shares


def with_negatives(
    rows: pd.DataFrame,
    catalogue: Mapping[str, np.ndarray],
    shares: np.ndarray,
    per_positive: int,
    seed: int,
    history: np.ndarray | None = None,
    zone: str = local_time.UTC,
) -> tuple[pd.DataFrame, np.ndarray]:
    """Add ``per_positive`` unclicked rows per clicked row.

    The items of the added rows are items that the visitor did not click that day. A negative has
    its click's visitor and context, and the item's own inputs. Its item_popularity is that of the
    item on that day where a row has it, else the mean over the item's rows, else 0 (an item without
    clicks).

    Args:
        rows: clicked rows with timestamp.
        catalogue: item_tower_inputs.npz.
        shares: [I] of ``draw_shares``.
        per_positive: negatives per clicked row.
        seed: random seed.
        history: [R, 2·K] of the rows, clicks by category index, of the look-back and of 24 hours.
            They give the visitor's clicks in a negative's own category. None: a negative keeps its
            click's numbers.
        zone: time zone of the days.

    Returns:
        The clicked rows first, then the sampled ones; and float32 [N] offsets log(per_positive ·
        share of the item). A calibrated logit minus the offset is the logit among the sampled rows.
        So a model trained with the offsets is calibrated: its probability is that of this item
        being the click of a visit, among the whole catalogue.
    """
    cat, cont, index = catalogue["cat"], catalogue["cont"], catalogue["index"].astype(np.int64)
    day = local_time.local_days(rows[c.TIMESTAMP].to_numpy(), zone).astype(np.int64)
    user = rows[c.USER_ID].to_numpy().astype(np.int64)
    # unknown visitors are not one visitor: only the row's own item is known to be clicked
    user = np.where(user == c.OOV_INDEX, user.max() + 1 + np.arange(len(rows)), user)
    visit = pd.factorize(user * (day.max() - day.min() + 1) + day - day.min())[0].astype(np.int64)
    width = int(max(index.max(), rows[c.ITEM_ID].max())) + 1
    clicked = np.unique(visit * width + rows[c.ITEM_ID].to_numpy())

    source = np.repeat(np.arange(len(rows)), per_positive)
    drawn = _draw(np.random.default_rng([seed, 7]), shares, visit[source] * width, index, clicked)
    # a visitor who clicked nearly everything gets fewer negatives
    source, drawn = source[drawn >= 0], drawn[drawn >= 0]

    negatives = rows.iloc[source].reset_index(drop=True)
    for i, name in enumerate(c.ITEM_CATEGORICAL):
        negatives[name] = cat[drawn, i].astype(np.int32)
    # cat has the unknown id for items without a training click
    negatives[c.ITEM_ID] = index[drawn].astype(np.int32)
    for i, name in enumerate(c.ITEM_CONTINUOUS):
        negatives[name] = cont[drawn, i].astype(np.float32)
    if history is not None:
        own = affinity(history, source, cat[drawn, c.ITEM_CATEGORICAL.index(c.CATEGORY_L1)])
        for i, name in enumerate(c.AFFINITY_CONTINUOUS):
            negatives[name] = own[:, i]
    negatives[c.ITEM_POPULARITY] = _popularity(rows, day, index[drawn], day[source])
    negatives[c.CLICK] = np.int32(0)
    if c.VALUE in negatives:
        negatives[c.VALUE] = np.float32(1)
    both = pd.concat([rows, negatives], ignore_index=True)
    return both, offsets_of(both, index, shares, per_positive)


def offsets_of(
    rows: pd.DataFrame, index: np.ndarray, shares: np.ndarray, per_positive: int
) -> np.ndarray:
    """Return the offsets of rows as ``with_negatives`` does, float32 [N].

    index: int64 [I], item index of each catalogue item; the others are those of its arguments.
    """
    items = rows[c.ITEM_ID].to_numpy()
    by_index = np.zeros(int(max(index.max(), items.max())) + 1)
    by_index[index] = shares
    share = np.maximum(by_index[items], shares.min())
    offsets: np.ndarray = np.log(per_positive * share).astype(np.float32)
    return offsets


def _draw(
    random: np.random.Generator,
    shares: np.ndarray,
    first_keys: np.ndarray,
    index: np.ndarray,
    clicked: np.ndarray,
) -> np.ndarray:
    """Draw a catalogue item per row that its visit did not click.

    Args:
        random: the source of the draws.
        shares: [I] probability of each catalogue item.
        first_keys: [N] key of item index 0 in each row's visit.
        index: [I] item index of each catalogue item.
        clicked: sorted keys (visit and item index) of the clicks.

    Returns:
        int64 [N] position in the catalogue; -1 where REDRAWS draws were all clicked.
    """
    edges = np.cumsum(shares)
    drawn = np.full(len(first_keys), -1)
    waiting = np.arange(len(first_keys))
    for _ in range(REDRAWS):
        tried = np.searchsorted(edges, random.random(len(waiting)) * edges[-1], side="right").clip(
            max=len(edges) - 1
        )
        keys = first_keys[waiting] + index[tried]
        place = np.searchsorted(clicked, keys).clip(max=len(clicked) - 1)
        free = clicked[place] != keys
        drawn[waiting[free]] = tried[free]
        waiting = waiting[~free]
        if not len(waiting):
            break
    return drawn


def affinity(history: np.ndarray, row: np.ndarray, category: np.ndarray) -> np.ndarray:
    """Return AFFINITY_CONTINUOUS of a category for a row's visitor, float32 [N, 4].

    The definitions are those of ``columns.py``.

    Args:
        history: [R, 2·K] counts.
        row: int [N], row of ``history``.
        category: int [N], index of category_l1.
    """
    half = history.shape[1] // 2
    c_long, c24 = (history[row, start + category].astype(np.float64) for start in (0, half))
    n_long, n24 = (
        history[:, part].sum(axis=1, dtype=np.int64)[row]
        for part in (slice(0, half), slice(half, None))
    )
    return np.stack(
        [c_long / (n_long + 2), c24 / (n24 + 1), np.log1p(c_long), np.log1p(c24)], axis=1
    ).astype(np.float32)


def _popularity(
    rows: pd.DataFrame, day: np.ndarray, items: np.ndarray, days: np.ndarray
) -> np.ndarray:
    """Return item_popularity of items on days, float32 [N].

    The value is the one that ``with_negatives`` describes.
    """
    known = pd.DataFrame(
        {
            "item": rows[c.ITEM_ID].to_numpy().astype(np.int64),
            "day": day,
            "value": rows[c.ITEM_POPULARITY].to_numpy(),
        }
    )
    of_day = known.groupby(["item", "day"], sort=False)["value"].mean()
    of_item = known.groupby("item", sort=False)["value"].mean()
    value = of_day.reindex(pd.MultiIndex.from_arrays([items, days])).to_numpy()
    usual = of_item.reindex(items).to_numpy()
    popularity: np.ndarray = np.nan_to_num(np.where(np.isnan(value), usual, value))
    return popularity.astype(np.float32)

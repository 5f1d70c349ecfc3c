"""Rows packed in memory, and batches of them made inside the training graph: no loader, no queue,
no copy a column.

Merlin's loader concatenates, shuffles and splits column by column in Python, which at a batch of
1,024 takes as long as the training step itself. Here a batch is one gather a matrix by a slice of a
permutation; the names that Merlin's layers want are views of it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
import tensorflow as tf
from merlin.schema import ColumnSchema, Schema, Tags

from recsys_assets import columns as c
from recsys_assets.training import models
from recsys_assets.training.loaders import cardinalities, history_of, pack

#: Makes further named tensors of those that a batch has already, such as a mean over a padded list
#: of items.
Maker = Callable[["dict[str, tf.Tensor]"], "dict[str, tf.Tensor]"]


@dataclass(frozen=True)
class Rows:
    """N packed rows, and what is made of them for a batch.

    Attributes:
        matrices: packed name → [N, F], one dtype a matrix.
        names: packed name → the F columns' names; a batch holds each as [B, 1].
        arrays: name → [N, …]; a batch holds [B, …].
        lookups: name → (table [V, D], column): a batch holds the table's rows at the column's
            values, [B, D].
        makers: called in order with the batch so far; what they return is added.
    """

    matrices: Mapping[str, np.ndarray]
    names: Mapping[str, Sequence[str]]
    arrays: Mapping[str, np.ndarray] = field(default_factory=dict)
    lookups: Mapping[str, tuple[np.ndarray, str]] = field(default_factory=dict)
    makers: Sequence[Maker] = ()

    def __post_init__(self) -> None:
        for name, matrix in self.matrices.items():
            if matrix.shape[1] != len(self.names[name]):
                raise ValueError(
                    f"matrix {name!r} has {matrix.shape[1]} columns for {len(self.names[name])} "
                    "names"
                )
        lengths = {name: len(values) for name, values in {**self.matrices, **self.arrays}.items()}
        if len(set(lengths.values())) != 1:
            raise ValueError(f"packed rows differ in number: {lengths}")

    def __len__(self) -> int:
        return len(next(iter(self.matrices.values())))

    def feed(self) -> Callable[[tf.Tensor], dict[str, tf.Tensor]]:
        """A function of row numbers int [B] that gives the batch; the rows lie on the device once,
        not a batch.
        """
        matrices = {name: tf.constant(values) for name, values in self.matrices.items()}
        arrays = {name: tf.constant(values) for name, values in self.arrays.items()}
        lookups = {
            name: (tf.constant(table), column) for name, (table, column) in self.lookups.items()
        }

        # plain Python over names; autograph's zip knows no strict
        @tf.autograph.experimental.do_not_convert
        def batch(rows: tf.Tensor) -> dict[str, tf.Tensor]:
            made: dict[str, tf.Tensor] = {}
            for name, matrix in matrices.items():
                columns = tf.split(tf.gather(matrix, rows), len(self.names[name]), axis=1)
                made.update(zip(self.names[name], columns, strict=True))
            made.update({name: tf.gather(values, rows) for name, values in arrays.items()})
            for name, (table, column) in lookups.items():
                made[name] = tf.gather(table, made[column][:, 0])
            for maker in self.makers:
                made.update(maker(made))
            return made

        return batch


def order(rows: int, size: int, seed: int, epoch: int, *, drop_last: bool) -> np.ndarray:
    """A permutation of the rows, the same for one seed and epoch: int32 [rows], or a multiple of
    ``size``.

    drop_last: leave out the rows of an incomplete last batch (in-batch negatives need company).
    """
    shuffled = np.random.default_rng([seed, epoch]).permutation(rows).astype(np.int32)
    return shuffled[: rows // size * size] if drop_last and rows > size else shuffled


def pretrained_lookups(table: np.ndarray) -> dict[str, tuple[np.ndarray, str]]:
    """Text and image vector by item index, of the aligned table [cardinality(item_id), 128]."""
    halves = {
        c.TEXT_EMBEDDING: table[:, : c.EMBEDDING_DIM],
        c.IMAGE_EMBEDDING: table[:, c.EMBEDDING_DIM :],
    }
    return {name: (np.ascontiguousarray(half), c.ITEM_ID) for name, half in halves.items()}


def ranker_rows(rows: pd.DataFrame, table: np.ndarray, shape: models.DlrmShape) -> Rows:
    """Transformed exposures as DLRM reads them."""
    categorical, continuous = models.ranker_columns(shape)
    return Rows(
        {"cat": pack(rows, categorical), "cont": pack(rows, continuous)},
        {"cat": categorical, "cont": continuous},
        lookups=pretrained_lookups(table),
    )


def query_rows(rows: pd.DataFrame, shape: models.TwoTowerShape) -> Rows:
    """Transformed rows, with their click history where the shape asks for one, as the query tower
    reads them.
    """
    categorical, continuous = models.query_columns(shape)
    packed = (
        {"cat": pack(rows, categorical), "cont": pack(rows, continuous)},
        {"cat": categorical, "cont": continuous},
    )
    if not shape.categories:
        return Rows(*packed)
    return Rows(
        *packed,
        arrays={"history": history_of(rows, shape.categories)},
        makers=[lambda batch: models.shares(batch.pop("history"))],
    )


@dataclass(frozen=True)
class Items:
    """M distinct items as the item tower reads them, and which of them each row clicked.

    Rows share few items, so the tower runs over a batch's distinct ones. An item is told by all of
    its inputs, not by its index alone: items that came after the workflows share the index of the
    unknown.
    """

    index: np.ndarray  # int32 [M] item index
    cat: (
        np.ndarray
    )  # int32 [M, 4] ITEM_CATEGORICAL; the id is out-of-vocabulary where the catalogue says so
    cont: np.ndarray  # float32 [M, 1] ITEM_CONTINUOUS
    clicked: np.ndarray  # int32 [N] the row's item, 0 … M-1
    catalogue: int  # the first so many are the catalogue, in its order; 0 where it was not given

    @property
    def counts(self) -> np.ndarray:
        """int64 [M] clicks of each item."""
        return np.bincount(self.clicked, minlength=len(self.cat))

    @classmethod
    def of(cls, rows: pd.DataFrame, catalogue: Mapping[str, np.ndarray] | None = None) -> Items:
        """
        Args:
            catalogue: item_tower_inputs.npz (index int32 [I], cat int32 [I, 4], cont float32 [I,
                1]); its items come first. One whose id is out-of-vocabulary in cat keeps it so, and
                its own index.
        """
        names = [*c.ITEM_CATEGORICAL, *c.ITEM_CONTINUOUS]
        known = _catalogue_frame(catalogue) if catalogue is not None else rows[names][:0]
        everything = pd.concat([known, rows[names]], ignore_index=True)
        numbers = everything.groupby(names, sort=False, dropna=False).ngroup().to_numpy(np.int32)
        if len(known) and numbers[: len(known)].max() + 1 != len(known):
            raise ValueError(
                "the catalogue's item tower inputs hold an item twice; materialise "
                "embeddings/aligned again"
            )
        distinct = everything.iloc[np.unique(numbers, return_index=True)[1]]
        cat = pack(distinct, c.ITEM_CATEGORICAL)
        index = cat[:, c.ITEM_CATEGORICAL.index(c.ITEM_ID)].copy()
        if catalogue is not None:
            cat[: len(known)] = catalogue["cat"]
        return cls(index, cat, pack(distinct, c.ITEM_CONTINUOUS), numbers[len(known) :], len(known))

    def rows(self, table: np.ndarray) -> Rows:
        """The items as rows of their own, with both pretrained vectors by the true item index."""
        halves = {
            name: values[self.index] for name, (values, _) in pretrained_lookups(table).items()
        }
        return Rows(
            {"cat": self.cat, "cont": self.cont},
            {"cat": c.ITEM_CATEGORICAL, "cont": c.ITEM_CONTINUOUS},
            halves,
        )


def _catalogue_frame(catalogue: Mapping[str, np.ndarray]) -> pd.DataFrame:
    cat, cont = catalogue["cat"], catalogue["cont"]
    return pd.DataFrame(
        {
            **{name: cat[:, i].astype(np.int32) for i, name in enumerate(c.ITEM_CATEGORICAL)},
            c.ITEM_ID: catalogue["index"].astype(np.int32),
            **{name: cont[:, i].astype(np.float32) for i, name in enumerate(c.ITEM_CONTINUOUS)},
        }
    )


def with_vectors(schema: Schema) -> Schema:
    """The schema with what no table holds: both pretrained vectors of an item, and a visitor's
    clicks by category.
    """
    categories = cardinalities(schema)[c.CATEGORY_L1]  # raises where this is no data set's schema
    widths = {
        c.TEXT_EMBEDDING: (Tags.ITEM, c.EMBEDDING_DIM),
        c.IMAGE_EMBEDDING: (Tags.ITEM, c.EMBEDDING_DIM),
        c.HISTORY_7D: (Tags.USER, categories),
        c.HISTORY_24H: (Tags.USER, categories),
    }
    return schema + Schema(
        [
            ColumnSchema(name, tags=[Tags.EMBEDDING, owner], dtype=np.float32, dims=(None, width))
            for name, (owner, width) in widths.items()
        ]
    )


def split(
    rows: pd.DataFrame, share: float, seed: int, keep: str | None = None
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Rows to learn from, and a random share held out to judge epochs by (none where it would be
    fewer than 20).

    keep: a column of which no value may be held out altogether, such as the id of an item with a
    single click.
    """
    if int(len(rows) * share) < 20:
        return rows, rows[:0]
    chosen = np.zeros(len(rows), bool)
    chosen[np.random.default_rng([seed, 5]).permutation(len(rows))[: int(len(rows) * share)]] = True
    if keep is not None:
        chosen &= rows[keep].isin(rows[keep][~chosen].unique()).to_numpy()
    return rows[~chosen].reset_index(drop=True), rows[chosen].reset_index(drop=True)

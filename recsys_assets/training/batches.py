"""Pack rows in memory and make batches of them inside the training graph.

Merlin's loader concatenates, shuffles and splits column by column in Python. At a batch of 1,024
this takes as long as the training step itself. Here a batch is one gather per matrix by a slice of
a permutation. The names that Merlin's layers expect are views of the gathered matrix.
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
from recsys_assets.training.loaders import cardinalities, history_of, latest_of, pack

#: Makes further named tensors of those that a batch already has.
Maker = Callable[["dict[str, tf.Tensor]"], "dict[str, tf.Tensor]"]


@dataclass(frozen=True)
class Rows:
    """Holds N packed rows and the recipe for a batch of them.

    Attributes:
        matrices: packed name → [N, F], one dtype per matrix.
        names: packed name → the F columns' names; a batch holds each as [B, 1].
        arrays: name → [N, …]; a batch holds [B, …].
        lookups: name → (table [V, D], column); a batch holds the table's rows at the column's
            values, [B, D].
        makers: called in order with the batch so far; the result is added to the batch.

    Raises:
        ValueError: a matrix and its names differ in number of columns, or rows differ in number.
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
        """Return a function that makes a batch from row numbers int [B].

        The rows are copied to the device once, not per batch.
        """
        matrices = {name: tf.constant(values) for name, values in self.matrices.items()}
        arrays = {name: tf.constant(values) for name, values in self.arrays.items()}
        lookups = {
            name: (tf.constant(table), column) for name, (table, column) in self.lookups.items()
        }

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

        # autograph's zip has no strict, and plain Python over the names suffices
        plain: Callable[[tf.Tensor], dict[str, tf.Tensor]] = (
            tf.autograph.experimental.do_not_convert(batch)
        )
        return plain


def order(rows: int, size: int, seed: int, epoch: int, *, drop_last: bool) -> np.ndarray:
    """Return a permutation of the rows, the same for equal seed and epoch.

    Args:
        rows: number of rows.
        size: batch size.
        seed: random seed.
        epoch: epoch number, from 0.
        drop_last: leave out the rows of an incomplete last batch, where in-batch negatives are
            few.

    Returns:
        int32 [rows], or with ``drop_last`` a multiple of ``size``.
    """
    shuffled = np.random.default_rng([seed, epoch]).permutation(rows).astype(np.int32)
    return shuffled[: rows // size * size] if drop_last and rows > size else shuffled


def pretrained_lookups(table: np.ndarray) -> dict[str, tuple[np.ndarray, str]]:
    """Return the lookups of text and image vector by item index.

    Args:
        table: the aligned table [cardinality(item_id), 128].
    """
    halves = {
        c.TEXT_EMBEDDING: table[:, : c.EMBEDDING_DIM],
        c.IMAGE_EMBEDDING: table[:, c.EMBEDDING_DIM :],
    }
    return {name: (np.ascontiguousarray(half), c.ITEM_ID) for name, half in halves.items()}


def ranker_rows(rows: pd.DataFrame, table: np.ndarray, shape: models.DlrmShape) -> Rows:
    """Pack transformed exposures as DLRM reads them."""
    categorical, continuous = models.ranker_columns(shape)
    return Rows(
        {"cat": pack(rows, categorical), "cont": pack(rows, continuous)},
        {"cat": categorical, "cont": continuous},
        lookups=pretrained_lookups(table),
    )


def query_rows(rows: pd.DataFrame, shape: models.TwoTowerShape) -> Rows:
    """Pack transformed rows as the query tower reads them.

    The click histories are included where the shape has categories or items.
    """
    categorical, continuous = models.query_columns(shape)
    packed = (
        {"cat": pack(rows, categorical), "cont": pack(rows, continuous)},
        {"cat": categorical, "cont": continuous},
    )
    arrays: dict[str, np.ndarray] = {}
    makers: list[Maker] = []
    if shape.categories:
        arrays["history"] = history_of(rows, shape.categories)
        makers.append(lambda batch: models.shares(batch.pop("history")))
    if shape.items:
        arrays |= dict(zip(c.QUERY_OF_ITEMS, latest_of(rows), strict=True))
    return Rows(*packed, arrays=arrays, makers=makers)


@dataclass(frozen=True)
class Items:
    """Holds M distinct items as the item tower reads them.

    Rows share few items, so the tower runs over a batch's distinct ones. All inputs of an item
    identify it, not its index alone: items that are newer than the workflows share the index of the
    unknown item.

    Attributes:
        index: int32 [M] item index.
        cat: int32 [M, 4] ITEM_CATEGORICAL; the id is out-of-vocabulary where the catalogue has it
            so.
        cont: float32 [M, 1] ITEM_CONTINUOUS.
        clicked: int32 [N] each row's item, 0 … M-1.
        catalogue: number of leading items that are the catalogue, in its order; 0 without one.
    """

    index: np.ndarray
    cat: np.ndarray
    cont: np.ndarray
    clicked: np.ndarray
    catalogue: int

    @property
    def counts(self) -> np.ndarray:
        """Return the clicks of each item, int64 [M]."""
        return np.bincount(self.clicked, minlength=len(self.cat))

    @classmethod
    def of(cls, rows: pd.DataFrame, catalogue: Mapping[str, np.ndarray] | None = None) -> Items:
        """Return the distinct items of clicked rows.

        Args:
            rows: transformed clicked rows.
            catalogue: item_tower_inputs.npz (index int32 [I], cat int32 [I, 4], cont float32
                [I, 1]); its items come first. An item whose id is out-of-vocabulary in cat keeps
                that id, and its own index.

        Raises:
            ValueError: the catalogue holds an item twice.
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
        """Return the items as rows, with both pretrained vectors by item index."""
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
    """Return the schema with the vectors that no embedding table holds.

    These are both pretrained vectors of an item and a visitor's clicks by category.
    """
    categories = cardinalities(schema)[c.CATEGORY_L1]  # raises if this is no data set's schema
    widths = {
        c.TEXT_EMBEDDING: (Tags.ITEM, c.EMBEDDING_DIM),
        c.IMAGE_EMBEDDING: (Tags.ITEM, c.EMBEDDING_DIM),
        c.HISTORY_LOOK_BACK: (Tags.USER, categories),
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
    """Split rows into training rows and a random held-out share.

    The held-out part is empty where it would have fewer than 20 rows.

    Args:
        rows: rows to split.
        share: share of the rows to hold out.
        seed: random seed.
        keep: a column whose every value stays in the training rows, such as the id of an item with
            a single click.

    Returns:
        Training rows and held-out rows.
    """
    if int(len(rows) * share) < 20:
        return rows, rows[:0]
    chosen = np.zeros(len(rows), bool)
    chosen[np.random.default_rng([seed, 5]).permutation(len(rows))[: int(len(rows) * share)]] = True
    if keep is not None:
        chosen &= rows[keep].isin(rows[keep][~chosen].unique()).to_numpy()
    return rows[~chosen].reset_index(drop=True), rows[chosen].reset_index(drop=True)

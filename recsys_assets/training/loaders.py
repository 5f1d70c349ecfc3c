"""Read transformed rows and the embedding table, and feed them in batches."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import merlin.models.tf as mm
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
from merlin.dataloader.ops.embeddings import EmbeddingOperator
from merlin.io import Dataset
from merlin.schema import Schema

from recsys_assets import columns as c

_DTYPES = {
    **dict.fromkeys(c.RANKER_CATEGORICAL, "int32"),
    **dict.fromkeys(c.RANKER_CONTINUOUS, "float32"),
    c.CLICK: "int32",
}


def read_schema(datasets: Path) -> Schema:
    """Return the Merlin schema of a data set: model inputs and click, no timestamp."""
    return Dataset(str(datasets / "train"), engine="parquet", cpu=True).schema.select_by_name(
        list(_DTYPES)
    )


def cardinalities(schema: Schema) -> dict[str, int]:
    """Return the rows of each categorical column's embedding table.

    They are 3 + the size of the vocabulary, plus hashed buckets where there are any.
    """
    return {
        name: int(schema[name].properties["embedding_sizes"]["cardinality"])
        for name in c.RANKER_CATEGORICAL
    }


def check_cardinality(path: Path, schema: Schema) -> None:
    """Verify that a JSON file's ``cardinality`` equals the data set's.

    Args:
        path: transforms.json of workflows, or config.json of a model.
        schema: the data set's.

    Raises:
        ValueError: they differ; the message names the columns.
    """
    made_for, given = json.loads(path.read_text())["cardinality"], cardinalities(schema)
    other = [
        f"{name} {made_for.get(name)} against {size}"
        for name, size in given.items()
        if made_for.get(name) != size
    ]
    if other:
        raise ValueError(
            f"{path} belongs to another generation than the data set ({', '.join(other)}): "
            "use artifacts of one as-of day"
        )


#: Prefixes of the history columns, before a number: K of the look-back days and then K of 24 hours;
#: the latest items, newest first; the hours since each.
HISTORY, ITEMS, AGES = "history_of_category_", "history_item_", "history_age_"


@dataclass(frozen=True)
class History:
    """Holds the click histories of R clicked rows.

    Attributes:
        categories: uint8 [R, 2·K], clicks by category_l1.
        items: int32 [R, ITEM_HISTORY], Categorify indices, newest first, 0 where there are fewer.
        ages: float32 [R, ITEM_HISTORY], hours since each click.
    """

    categories: np.ndarray
    items: np.ndarray
    ages: np.ndarray

    @classmethod
    def read(cls, folder: Path, split: str) -> History:
        """Read {split}_history.npy, {split}_items.npy and {split}_ages.npy.

        Raises:
            ValueError: a file is missing.
        """
        paths = [folder / f"{split}_{name}.npy" for name in c.HISTORY_PARTS]
        if lacking := [path.name for path in paths if not path.exists()]:
            raise ValueError(
                f"{folder} has no {', '.join(lacking)}; materialise the artifact that holds the "
                "click histories again"
            )
        return cls(*(np.load(path, allow_pickle=False) for path in paths))


def read_rows(
    path: Path, *, clicked: bool = False, timestamp: bool = False, history: History | None = None
) -> pd.DataFrame:
    """Return the rows of a Parquet file or folder in their stored order.

    Where the file has the values of clicks, the rows have them too; see ``weights``.

    Args:
        path: Parquet file, or a folder of them.
        clicked: return only rows with click == 1.
        timestamp: add the timestamp (int64), which is no model input.
        history: of the clicked rows; its columns are added to the rows.

    Raises:
        ValueError: a column is missing, no row is left, or the history is of other rows.
    """
    files = sorted(path.glob("*.parquet")) if path.is_dir() else [path]
    if not files:
        raise ValueError(f"{path} holds no Parquet file")
    present = pq.read_schema(files[0]).names
    dtypes = {
        **_DTYPES,
        **({c.TIMESTAMP: "int64"} if timestamp else {}),
        **({c.VALUE: "float32"} if c.VALUE in present else {}),
    }
    missing = [name for name in dtypes if name not in present]
    if missing:
        raise ValueError(f"{path} has no column {', '.join(missing)}")
    filters = [(c.CLICK, "==", 1)] if clicked else None
    rows = pq.read_table(files, columns=list(dtypes), filters=filters).to_pandas().astype(dtypes)
    if rows.empty:
        raise ValueError(
            f"{path} holds no {'clicked ' if clicked else ''}row to learn from or to judge by: "
            "choose other days"
        )
    return rows if history is None else with_history(rows, history)


def read_dismissed(folder: Path) -> pd.DataFrame | None:
    """Return the rows of dismissals of a data set, with timestamp; None where there is none.

    folder: of the rows; it may be absent.
    """
    rows = sum(pq.read_metadata(path).num_rows for path in folder.glob("*.parquet"))
    return read_rows(folder, timestamp=True) if rows else None


def weights(rows: pd.DataFrame) -> np.ndarray | None:
    """Return the weight of each row in the loss, float32 [N]; None where clicks have no values.

    A clicked row weighs its value over the mean value of the clicked rows, any other row its own
    value: 1, or the weight of a dismissal. So the mean over the clicks is 1 and the size of a step
    stays. The odds that a ranker learns are those of the click times its value over the mean
    (weighted logistic regression, as Covington et al. 2016, "Deep Neural Networks for YouTube
    Recommendations", weigh clicks by watch time).

    Raises:
        ValueError: no clicked row has a value above 0.
    """
    if c.VALUE not in rows.columns:
        return None
    value, clicked = rows[c.VALUE].to_numpy(np.float64), rows[c.CLICK].to_numpy() == 1
    total = value[clicked].sum()
    if clicked.any() and not total > 0:
        raise ValueError(
            f"none of the {int(clicked.sum())} clicks to learn from has a value above 0: set "
            "RECSYS_EVENT_VALUES so that View has one"
        )
    weighed: np.ndarray = np.where(clicked, value * clicked.sum() / max(total, 1e-9), value)
    return weighed.astype(np.float32)


def with_history(rows: pd.DataFrame, history: History) -> pd.DataFrame:
    """Return rows [R] with the columns of their histories.

    Raises:
        ValueError: a part of the history has another dtype or shape.
    """
    latest = (len(rows), c.ITEM_HISTORY)
    added = [rows.reset_index(drop=True)]
    for prefix, values, dtype, fits in (
        (
            HISTORY,
            history.categories,
            np.uint8,
            len(history.categories) == len(rows) and history.categories.shape[1] % 2 == 0,
        ),
        (ITEMS, history.items, np.int32, history.items.shape == latest),
        (AGES, history.ages, np.float32, history.ages.shape == latest),
    ):
        if values.dtype != dtype or not fits:
            wanted = "uint8 [{}, 2·K]" if prefix == HISTORY else f"{np.dtype(dtype)} {list(latest)}"
            raise ValueError(
                f"a click history must be {wanted.format(len(rows))}, got {values.dtype} "
                f"{list(values.shape)}; materialise the artifact that holds it again"
            )
        names = [f"{prefix}{i}" for i in range(values.shape[1])]
        added.append(pd.DataFrame(values, columns=names))
    return pd.concat(added, axis=1)


def without_history(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the rows without the columns that ``with_history`` added."""
    prefixes = (HISTORY, ITEMS, AGES)
    return rows.drop(columns=[name for name in rows.columns if name.startswith(prefixes)])


def latest_of(rows: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Return the latest items int32 [R, 50] and their ages float32 [R, 50] of ``with_history``.

    Raises:
        ValueError: the rows hold no such columns.
    """
    numbers = range(c.ITEM_HISTORY)
    if f"{ITEMS}0" not in rows.columns:
        raise ValueError("the rows hold no latest items: read them with their click history")
    return (
        np.ascontiguousarray(rows[[f"{ITEMS}{i}" for i in numbers]].to_numpy(np.int32)),
        np.ascontiguousarray(rows[[f"{AGES}{i}" for i in numbers]].to_numpy(np.float32)),
    )


def history_of(rows: pd.DataFrame, categories: int) -> np.ndarray:
    """Return the history uint8 [R, 2·categories] that ``with_history`` added.

    Raises:
        ValueError: the rows hold another number of history columns.
    """
    names = [name for name in rows.columns if name.startswith(HISTORY)]
    if len(names) != 2 * categories:
        raise ValueError(
            f"the rows hold a click history of {len(names)} columns, the model reads "
            f"{2 * categories}: use data sets and models of one as-of day"
        )
    history: np.ndarray = rows[names].to_numpy(np.uint8)
    return history


def pack(rows: pd.DataFrame, names: Sequence[str]) -> np.ndarray:
    """Return columns of one dtype as a matrix, as the exported models read it.

    Returns:
        int32 or float32 [N, len(names)].
    """
    dtypes = {_DTYPES[name] for name in names}
    matrix: np.ndarray = np.ascontiguousarray(rows[list(names)].to_numpy(dtypes.pop()))
    return matrix


def read_embeddings(path: Path, schema: Schema) -> np.ndarray:
    """Return the aligned table float32 [cardinality(item_id), 128], text then image.

    Raises:
        ValueError: the shape does not fit the vocabulary of the data set.
    """
    table: np.ndarray = np.load(path, allow_pickle=False).astype(np.float32, copy=False)
    wanted = (cardinalities(schema)[c.ITEM_ID], 2 * c.EMBEDDING_DIM)
    if table.shape != wanted:
        raise ValueError(
            f"{path} has shape {table.shape}, the data set's item index needs {wanted}; "
            "were both made as of the same day?"
        )
    return table


def batch_size(rows: int, wanted: int, steps: int = 50, least: int = 32) -> int:
    """Return the wanted batch size, or a smaller power of two for few rows.

    An epoch has at least ``steps`` steps, unless the batch would be smaller than ``least``.
    """
    return max(least, min(wanted, int(2 ** int(np.log2(max(rows // steps, 1))))))


def make_loader(
    rows: pd.DataFrame, schema: Schema, table: np.ndarray, size: int, *, drop_last: bool = False
) -> mm.Loader:
    """Return shuffled batches with both pretrained vectors by item index.

    Args:
        rows: transformed rows.
        schema: the columns to load; click, where included, is the label.
        table: the aligned table.
        size: batch size.
        drop_last: leave out an incomplete last batch, where in-batch negatives are few.
    """
    halves = {
        c.TEXT_EMBEDDING: table[:, : c.EMBEDDING_DIM],
        c.IMAGE_EMBEDDING: table[:, c.EMBEDDING_DIM :],
    }
    lookups = [
        EmbeddingOperator(half, lookup_key=c.ITEM_ID, embedding_name=name)
        for name, half in halves.items()
    ]
    return mm.Loader(
        Dataset(rows[schema.column_names], schema=schema, cpu=True),
        batch_size=size,
        shuffle=True,
        drop_last=drop_last and len(rows) > size,
        transforms=lookups,
    )

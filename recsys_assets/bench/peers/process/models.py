"""Fits the peers by their own interfaces, and asks them for lists.

Each peer learns the clicks of the training days. It answers from the clicks of the query's visitor
strictly before the query, whether or not training had this visitor:

- implicit: ``recommend(…, recalculate_user=True)`` folds the clicks in;
- RecTools: ``recommend`` gets a data set whose users are the queries.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Protocol

import numpy as np

from recsys_assets.bench.peers.process.split_file import SplitFile

PeerSettings = Mapping[str, Any]
EMPTY = -1


@dataclass(frozen=True)
class AskedClicks:
    """Holds m clicks of n queries, oldest first per query, on items that training has."""

    owner: np.ndarray  # int64 [m], 0 to n - 1, ascending
    item: np.ndarray  # int64 [m]
    time: np.ndarray  # int64 [m], unix seconds
    queries: int


class Peer(Protocol):
    """Any fitted model."""

    def lists(self, asked: AskedClicks, k: int) -> np.ndarray:
        """Return the k best items of each query, int64 [n, k], best first; EMPTY at the end.

        The row of a query without clicks can be empty.
        """


# --- tables of RecTools ---------------------------------------------------------------------------
def _table(user: np.ndarray, item: np.ndarray, time: np.ndarray) -> Any:
    """Return clicks as the interactions of RecTools."""
    import pandas as pd
    from rectools import Columns

    return pd.DataFrame(
        {
            Columns.User: user,
            Columns.Item: item,
            Columns.Weight: 1.0,
            Columns.Datetime: time.astype("datetime64[s]").astype("datetime64[ns]"),
        }
    )


def _training_table(split: SplitFile) -> Any:
    kept = split.training
    return _table(split.visitor[kept], split.item[kept], split.time[kept])


def _by_query(found: Any, queries: int, k: int) -> np.ndarray:
    """Return the lists [n, k] of a table of recommendations."""
    from rectools import Columns

    lists = np.full((queries, k), EMPTY, np.int64)
    lists[found[Columns.User].to_numpy(), found[Columns.Rank].to_numpy() - 1] = found[
        Columns.Item
    ].to_numpy()
    return lists


# --- peers ----------------------------------------------------------------------------------------
@dataclass(frozen=True)
class PopularOrder:
    """Gives everybody the most clicked items, by RecTools' PopularModel."""

    best: np.ndarray  # int64 [I'], every item of the period, best first

    @classmethod
    def fit(cls, split: SplitFile, settings: PeerSettings, seed: int) -> PopularOrder:
        """Count clicks or visitors (``popularity``) of the last ``days``; None: of all days."""
        from rectools import Columns
        from rectools.dataset import Dataset
        from rectools.models import PopularModel

        if not split.training.any():
            return cls(np.zeros(0, np.int64))
        data = Dataset.construct(_training_table(split))
        days = settings["days"]
        model = PopularModel(
            popularity=settings["popularity"], period=None if days is None else timedelta(days=days)
        )
        model.fit(data)
        anybody = data.user_id_map.external_ids[:1]
        found = model.recommend(anybody, data, k=data.item_id_map.size, filter_viewed=False)
        return cls(found[Columns.Item].to_numpy().astype(np.int64))

    def lists(self, asked: AskedClicks, k: int) -> np.ndarray:
        """Return the same items for each query."""
        listed = np.full((asked.queries, k), EMPTY, np.int64)
        listed[:, : len(self.best[:k])] = self.best[:k]
        return listed


@dataclass(frozen=True)
class FoldedInALS:
    """Answers by implicit's AlternatingLeastSquares, with each query's visitor folded in."""

    model: Any
    items: np.ndarray  # int64 [I'], catalogue rows of the items of the model, ascending

    @classmethod
    def fit(cls, split: SplitFile, settings: PeerSettings, seed: int) -> FoldedInALS:
        """Fit the counts of clicks; settings: arguments of AlternatingLeastSquares."""
        from implicit.cpu.als import AlternatingLeastSquares
        from scipy import sparse
        from threadpoolctl import threadpool_limits

        kept = split.training
        visitors, row = np.unique(split.visitor[kept], return_inverse=True)
        items, column = np.unique(split.item[kept], return_inverse=True)
        counts = sparse.csr_matrix(
            (np.ones(len(row), np.float32), (row, column)), (len(visitors), len(items))
        )
        # for the whole process, as implicit advises: two pools of threads slow each other down
        threadpool_limits(1, "blas")
        model = AlternatingLeastSquares(**settings, random_state=seed)
        model.fit(counts, show_progress=False)
        return cls(model, items)

    def lists(self, asked: AskedClicks, k: int) -> np.ndarray:
        """Return the items with the highest product; a query without clicks has none."""
        from scipy import sparse

        counts = sparse.csr_matrix(
            (
                np.ones(len(asked.item), np.float32),
                (asked.owner, np.searchsorted(self.items, asked.item)),
            ),
            (asked.queries, len(self.items)),
        )
        found, _ = self.model.recommend(
            np.arange(asked.queries),
            counts,
            N=min(k, len(self.items)),
            filter_already_liked_items=False,
            recalculate_user=True,
        )
        lists = np.full((asked.queries, k), EMPTY, np.int64)
        lists[:, : found.shape[1]] = self.items[found]
        lists[np.diff(counts.indptr) == 0] = EMPTY
        return lists


@dataclass(frozen=True)
class LinearEASE:
    """Answers by RecTools' EASEModel."""

    model: Any
    item_id_map: Any

    @classmethod
    def fit(cls, split: SplitFile, settings: PeerSettings, seed: int) -> LinearEASE:
        """Fit ones where a visitor clicked an item; settings: arguments of EASEModel."""
        from rectools import Columns
        from rectools.dataset import Dataset
        from rectools.models import EASEModel

        table = _training_table(split).drop_duplicates([Columns.User, Columns.Item])
        data = Dataset.construct(table)
        return cls(EASEModel(**settings).fit(data), data.item_id_map)

    def lists(self, asked: AskedClicks, k: int) -> np.ndarray:
        """Return the items with the highest score; a query without clicks has none."""
        from rectools import Columns
        from rectools.dataset import Dataset, IdMap, Interactions

        known = np.unique(asked.owner)
        # RecTools drops the columns behind the last clicked item, so a user beyond all queries
        # gets the last item of the model
        last = self.item_id_map.external_ids[-1]
        table = _table(
            np.append(asked.owner, asked.queries),
            np.append(asked.item, last),
            np.append(asked.time, 0),
        ).drop_duplicates([Columns.User, Columns.Item])
        users = IdMap.from_values(np.append(known, asked.queries))
        data = Dataset(
            users, self.item_id_map, Interactions.from_raw(table, users, self.item_id_map)
        )
        k = min(k, self.item_id_map.size)
        found = self.model.recommend(known, data, k=k, filter_viewed=False)
        return _by_query(found, asked.queries, k)


@dataclass(frozen=True)
class SequentialSASRec:
    """Answers by RecTools' SASRecModel, from the order of the visitor's clicks."""

    model: Any

    @classmethod
    def fit(cls, split: SplitFile, settings: PeerSettings, seed: int) -> SequentialSASRec:
        """Fit the sequences of the visitors; settings: arguments of SASRecModel."""
        from pytorch_lightning import seed_everything
        from rectools.dataset import Dataset
        from rectools.models import SASRecModel

        seed_everything(seed)
        model = SASRecModel(**settings, deterministic=True)
        return cls(model.fit(Dataset.construct(_training_table(split))))

    def lists(self, asked: AskedClicks, k: int) -> np.ndarray:
        """Return the next items of each sequence; a query without a known item has none."""
        from rectools.dataset import Dataset

        items = self.model.data_preparator.get_known_item_ids()
        known = np.isin(asked.item, items)
        lists = np.full((asked.queries, k), EMPTY, np.int64)
        if not known.any():
            return lists
        table = _table(asked.owner[known], asked.item[known], asked.time[known])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = self.model.recommend(
                np.unique(asked.owner[known]),
                Dataset.construct(table),
                k=min(k, len(items)),
                filter_viewed=False,
            )
        return _by_query(found, asked.queries, k)


Fit = Callable[[SplitFile, PeerSettings, int], Peer]
FITS: dict[str, Fit] = {
    "rectools_popular": PopularOrder.fit,
    "implicit_als": FoldedInALS.fit,
    "rectools_ease": LinearEASE.fit,
    "rectools_sasrec": SequentialSASRec.fit,
}
POPULAR = "rectools_popular"

"""Ask the sources of a release for queries, as serving asks them."""

from __future__ import annotations

import itertools
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from recsys_assets.lib.evaluation.latest_clicks import LatestClicks
from recsys_assets.lib.evaluation.queries import VISITOR, Queries
from recsys_assets.lib.evaluation.row_clicks import RowClicks
from recsys_assets.lib.sources.blend import Blend, Blended
from recsys_assets.lib.sources.recent import Recent

#: Parts of the visitors; a blend of one part is judged on the others.
FOLDS = 2


def folds(queries: Queries) -> np.ndarray:
    """Return the fold of each query, int64 [Q]; that of a visitor is always the same."""
    names = queries.frame[VISITOR].to_list()
    of = {name: zlib.crc32(str(name).encode()) % FOLDS for name in set(names)}
    return np.array([of[name] for name in names], np.int64)


def recents(
    latest: LatestClicks, queries: Queries, rows: np.ndarray, half_lives: Sequence[int] = ()
) -> list[Recent]:
    """Return what the sources read for each of the queries ``rows``.

    Args:
        latest: clicks by rows of the vocabulary.
        queries: whose visitors are wanted.
        rows: int64 [n], of the queries.
        half_lives: of the lists of what is popular at the query; see ``Blend.half_lives``.
    """
    owner, place, ages = latest.entries(queries, rows)
    start = np.searchsorted(owner, np.arange(len(rows) + 1))
    now = {one: latest.streamed.asked(queries, one)[rows] for one in half_lives}
    return [
        Recent(
            place[a:b][::-1],
            ages[a:b][::-1].astype(np.float32),
            {one: lists[n][lists[n] >= 0].astype(np.int64) for one, lists in now.items()},
        )
        for n, (a, b) in enumerate(itertools.pairwise(start))
    ]


@dataclass(frozen=True)
class QuerySources:
    """Holds blends and the clicks that they read.

    Attributes:
        blends: one for all visitors, or one per fold.
        latest: clicks by rows of the vocabulary.
    """

    blends: tuple[Blend, ...]
    latest: LatestClicks

    def of_rows(self) -> QuerySources:
        """Return the same sources, which read the clicks of each query's row."""
        return replace(self, latest=RowClicks.like(self.latest))

    def blended(
        self, queries: Queries, rows: np.ndarray, retrieved: np.ndarray
    ) -> Iterator[Blended]:
        """Yield the ordered union for each of the queries ``rows``.

        retrieved: int64 [n, R], rows of the vocabulary, best first; -1 where there are fewer.
        """
        fold = folds(queries)[rows] if len(self.blends) > 1 else np.zeros(len(rows), np.int64)
        half_lives = sorted({one for blend in self.blends for one in blend.half_lives})
        for recent, found, part in zip(
            recents(self.latest, queries, rows, half_lives), retrieved, fold.tolist(), strict=True
        ):
            blend = self.blends[part]
            # items that a fine-tune added after the blend was fitted are no candidates of it
            known = (found >= 0) & (found < len(blend.young))
            yield blend.of(recent, found[known])

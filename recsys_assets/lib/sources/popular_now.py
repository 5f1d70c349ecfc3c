"""Define the source of the items that all visitors click now."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from recsys_assets.lib.sources.recent import Recent
from recsys_assets.lib.sources.sources import highest
from recsys_assets.source_names import POPULAR_NOW


@dataclass(frozen=True)
class PopularNow:
    """Lists the items of the highest counts with decay, the same for every visitor of a moment.

    The counts change with every click, so a release holds none of them: ``Recent.popular_now`` has
    the list. Serving reads it from the online store, which names items by id. A digest per item
    finds their rows, because a dictionary of a million ids takes 200 MB and seconds to fill. Two of
    a million items share a digest with a chance of 3e-8.
    """

    half_life: int  # hours, one of HALF_LIVES
    prints: np.ndarray  # uint64 [I], digests of the item ids, ascending
    rows: np.ndarray  # int32 [I], row of each of ``prints``
    name: str = POPULAR_NOW

    @classmethod
    def of(cls, half_life: int, item_ids: Sequence[str]) -> PopularNow:
        """Make the source of a vocabulary; item_ids: in the order of its rows."""
        prints = digests(item_ids)
        order = np.argsort(prints, kind="stable")
        return cls(half_life, prints[order], order.astype(np.int32))

    def best(self, recent: Recent, most: int) -> np.ndarray:
        """Return the first items of the moment's list."""
        return recent.popular_now.get(self.half_life, _NOTHING)[:most]

    def listed(self, item_ids: Sequence[str], counts: np.ndarray) -> np.ndarray:
        """Return the rows of the known items, int64, best first; of equal ones, the lowest rows.

        Args:
            item_ids: [N], of a catalogue of any age.
            counts: float64 [N].
        """
        if not len(self.prints):
            return _NOTHING
        wanted = digests(item_ids)
        at = np.minimum(np.searchsorted(self.prints, wanted), len(self.prints) - 1)
        known = self.prints[at] == wanted
        rows, counts = self.rows[at[known]].astype(np.int64), counts[known]
        ascending = rows.argsort()
        return highest(rows[ascending], counts[ascending], len(rows), floor=-np.inf)


_NOTHING = np.zeros(0, np.int64)


def digests(item_ids: Sequence[str]) -> np.ndarray:
    """Return a digest per item id, uint64 [N]."""
    joined = b"".join(hashlib.blake2b(one.encode(), digest_size=8).digest() for one in item_ids)
    return np.frombuffer(joined, ">u8").astype(np.uint64)

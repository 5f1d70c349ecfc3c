"""Hold the item features of the catalogue in memory, as versioned columns.

The table is read again while serving when the online store has changed.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from recsys_assets.columns import CATEGORY_L1, CATEGORY_L2, ITEM_CLICKS, ITEM_GENDER, ITEM_ID, PRICE
from recsys_assets.lib.feature_store.views import ITEM_FEATURES, ITEM_POPULARITY
from recsys_assets.lib.features.transforms import Transforms
from recsys_assets.serving.stores.connections import StoreUnavailable
from recsys_assets.serving.stores.online_features import OnlineFeatures
from recsys_assets.serving.stores.poller import Pause, Poller

CODES, NUMBERS = (CATEGORY_L1, CATEGORY_L2, ITEM_GENDER), (PRICE, ITEM_CLICKS)
FIELDS = (*CODES, *NUMBERS)
FEATURES = (
    *(f"{ITEM_FEATURES}:{field}" for field in (*CODES, PRICE)),
    f"{ITEM_POPULARITY}:{ITEM_CLICKS}",
)
VIEWS = (ITEM_FEATURES, ITEM_POPULARITY)
#: At start: items per read, and seconds after which reading stops. Items not read by then come from
#: the snapshot until the first refresh.
START_BATCH, START_SECONDS = 500, 5.0
#: While serving: items per read (some 1.5 ms), and the pause after it, because requests share the
#: interpreter with the refresh.
BATCH, PAUSE_SECONDS = 50, 0.003
#: Accepted prices: the ranker takes their logarithm. For a price outside, the snapshot's stays.
_PRICES = (1e-6, 1e12)
_MOST_CLICKS = 1e12


@dataclass(frozen=True)
class ItemColumns:
    """One state of all I items in index order; its arrays are never changed.

    Attributes:
        version: the number of this state; 0 for the snapshot before ``start``.
        codes: int32 [I, 3], columns CODES.
        numbers: float32 [I, 2], columns NUMBERS; NaN for a price that the shop did not give.
    """

    version: int
    codes: np.ndarray
    numbers: np.ndarray


class ItemTable:
    """Keeps ``current`` up to date with the online store, in its own thread.

    Each field comes from the online store, or from the snapshot where the store has no value of the
    right type. A price is NaN where both have none.

    Args:
        transforms: the generation's vocabularies.
        item_ids: I ids in index order.
        snapshot: item id → FIELDS of the release.
        features: of the online store; ``close`` closes it.
    """

    def __init__(
        self,
        transforms: Transforms,
        item_ids: Sequence[str],
        snapshot: Mapping[str, Mapping[str, Any]],
        features: OnlineFeatures,
    ) -> None:
        self._item_ids, self._features = item_ids, features
        self._vocabularies = [transforms.vocabulary[column] for column in CODES]
        columns = {field: [snapshot[item_id][field] for item_id in item_ids] for field in FIELDS}
        self._codes = transforms.item_codes(*(columns[field] for field in CODES))
        self._numbers = np.array([columns[field] for field in NUMBERS], np.float32).T.copy()
        # None: the table does not (fully) come from the online store
        self._versions: tuple[bytes | None, ...] | None = None
        self.current = ItemColumns(0, self._codes, self._numbers)
        self._poller = Poller("item table", self._poll)

    @property
    def refreshed_at(self) -> float:
        """Return when the table last equalled the online store (Unix seconds; 0: never)."""
        return self._poller.refreshed_at

    def start(self) -> None:
        """Read all items that the store gives in time, then start to look for changes."""
        self._poller.poll()
        if not self.current.version:
            self.current = ItemColumns(1, self._codes, self._numbers)
        self._poller.start()

    def close(self) -> None:
        """End the thread and close the connections."""
        self._poller.close()
        self._features.close()

    def _poll(self, pause: Pause) -> None:
        """Read every item again if a view has changed.

        Raises:
            StoreUnavailable: a read failed. The table stays; at start it takes what was read.
        """
        # read before the items, so that the next poll finds what is written meanwhile
        versions = self._features.versions(VIEWS)
        if versions == self._versions:
            return
        first = not self.current.version
        codes, numbers = self._codes.copy(), self._numbers.copy()
        until = time.monotonic() + START_SECONDS
        batch = START_BATCH if first else BATCH
        for start in range(0, len(self._item_ids), batch):
            try:
                if first and time.monotonic() > until:
                    raise StoreUnavailable(f"not read within {START_SECONDS:g} s")
                self._fill(codes, numbers, start, batch)
            except StoreUnavailable as error:
                if first:  # a partly read table is better than the snapshot alone
                    self.current = ItemColumns(1, codes, numbers)
                raise StoreUnavailable(
                    f"features of {len(self._item_ids) - start} items: {error}"
                ) from error
            if not first and pause(PAUSE_SECONDS):
                return
        self.current, self._versions = (
            ItemColumns(self.current.version + 1, codes, numbers),
            versions,
        )

    def _fill(self, codes: np.ndarray, numbers: np.ndarray, start: int, count: int) -> None:
        """Write the online values of some items over the snapshot's values."""
        for item, row in enumerate(
            self._features.read(FEATURES, ITEM_ID, self._item_ids[start : start + count]), start
        ):
            for column, (field, vocabulary) in enumerate(
                zip(CODES, self._vocabularies, strict=True)
            ):
                value = row.get(field) if row else None
                if isinstance(value, str):
                    codes[item, column] = vocabulary.index(value)
            for column, (field, accepts) in enumerate(_ACCEPTED):
                value = row.get(field) if row else None
                if isinstance(value, float) and accepts(value):
                    numbers[item, column] = value


_ACCEPTED: tuple[tuple[str, Callable[[float], bool]], ...] = (
    (PRICE, lambda price: _PRICES[0] <= price <= _PRICES[1]),
    (ITEM_CLICKS, lambda clicks: 0 <= clicks <= _MOST_CLICKS),
)

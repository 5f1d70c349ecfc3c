"""Look up item features in memory.

They are Feast's online store, kept up to date, and the release's snapshot where that has nothing.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from recsys_assets.files import FileCorrupt, read_json
from recsys_assets.lib.features.transforms import Transforms
from recsys_assets.release_files import MODEL_FILES, SNAPSHOT, TRANSFORMS
from recsys_assets.serving.stages import tensors as t
from recsys_assets.serving.stages.catalogue import read_item_ids, rows_of
from recsys_assets.serving.stages.stage import Stage, Tensors, shared
from recsys_assets.serving.stores.item_table import FIELDS, ItemTable
from recsys_assets.serving.stores.online_features import OnlineFeatures
from recsys_assets.serving.stores.poller import TIMEOUT_MS
from recsys_assets.settings import Settings


class FeastItemLookup(Stage):
    """Turns item indices into category and gender codes, price and clicks.

    The clicks are those of the day before. All of an answer's items come from one state of the
    table.

    Args:
        table: of the whole catalogue; ``close`` closes it.
    """

    name = "feast_item_lookup"
    inputs = (t.KEPT,)
    outputs = (t.ITEM_CODES, t.ITEM_NUMBERS, t.ITEM_TABLE_VERSION)
    files = MODEL_FILES[name]

    def __init__(self, table: ItemTable) -> None:
        self.table = table

    @classmethod
    def open(cls, directory: Path, settings: Settings, version: int) -> FeastItemLookup:
        """Read the snapshot, open the online store and start to refresh the table.

        Raises:
            FileCorrupt: the snapshot lacks an item or a field.
        """
        item_ids, snapshot = read_item_ids(directory), read_json(directory / SNAPSHOT)
        incomplete = [
            item_id for item_id in item_ids if not set(FIELDS) <= set(snapshot.get(item_id, ()))
        ]
        if incomplete:
            raise FileCorrupt(
                f"{directory / SNAPSHOT} lacks {len(incomplete)} items or one of their {FIELDS}, "
                f"first {incomplete[0]!r}; build the release again"
            )
        table = ItemTable(
            shared(directory / TRANSFORMS, Transforms.read),
            item_ids,
            snapshot,
            OnlineFeatures.open(settings, TIMEOUT_MS),
        )
        table.start()
        return cls(table)

    def run(self, inputs: Tensors) -> Tensors:
        """Return the features of the kept items."""
        table = self.table.current
        rows = rows_of(t.KEPT.name, inputs[t.KEPT.name], len(table.numbers))
        return {
            t.ITEM_CODES.name: table.codes.take(rows, axis=0),
            t.ITEM_NUMBERS.name: table.numbers.take(rows, axis=0),
            t.ITEM_TABLE_VERSION.name: np.array([table.version], np.int64),
        }

    def gauges(self) -> dict[str, tuple[str, float]]:
        """Return when the table was refreshed, and its version."""
        return {
            "recsys_item_table_refreshed_seconds": (
                "Unix time when the item table last equalled the online store.",
                self.table.refreshed_at,
            ),
            "recsys_item_table_version": (
                "Number of reads of the item table in this process.",
                self.table.current.version,
            ),
        }

    def close(self) -> None:
        """Close the table."""
        self.table.close()

"""Follow one ingest from outside, so that a check of files runs the same code as the ingest."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar

import polars as pl

from recsys_assets.lib.own_data.log_summary import LogSummary
from recsys_assets.lib.own_data.pictures import Pictures
from recsys_assets.lib.own_data.report import SourceEntry
from recsys_assets.lib.own_data.tables import ReadTable

T = TypeVar("T")


class Observer:
    """Receives what an ingest reads. This one keeps nothing and lets every error pass.

    Attributes:
        dry: copy no picture, and read a log that was ingested before once more.
    """

    dry = False

    def attempt(self, part: str, step: Callable[[], T]) -> T | None:
        """Run one part of the ingest (items, users, interactions, images, calendar).

        Returns None where the part was refused and the ingest goes on without it.
        """
        return step()

    def recorded(self, entry: SourceEntry) -> None:
        """Receive the report's entry of a source, when all of it was read."""

    def table(self, name: str, read: ReadTable) -> None:
        """Receive a catalogue ("items") or users that were read."""

    def log(self, summary: LogSummary) -> None:
        """Receive the summary of a log before its rows; it fills while they are read."""

    def rows(self, rows: pl.DataFrame, columns: Mapping[str, str], prefix: str) -> None:
        """Receive a batch of a log.

        Args:
            rows: of ``mapping.canonical``, with the source's columns.
            columns: our column → the source's.
            prefix: of the source's columns in ``rows``.
        """

    def pictures(self, named: pl.DataFrame, found: Pictures) -> None:
        """Receive the pictures of a catalogue.

        Args:
            named: the items, ``image`` as the catalogue gives it.
            found: the items with the pictures that were found, in the same order.
        """

"""Say which days a training would take, and which models their clicks are enough for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import polars as pl

from recsys_assets import partitions
from recsys_assets.columns import EVENT_TYPE, VIEW
from recsys_assets.lib.ladder.rungs import MINIMUM_QUERIES, WindowClicks
from recsys_assets.lib.landing.zone import INTERACTIONS_FOLDER
from recsys_assets.settings import Settings

#: The largest value of RECSYS_TRAIN_DAYS.
_MOST_TRAIN_DAYS = 366


@dataclass(frozen=True)
class TrainingWindow:
    """Holds the days of one training and their clicks.

    Attributes:
        training: ISO days to learn from.
        validation: ISO days on which the result is judged.
        clicks: of the training days and of the validation days.
        lacking: sentences on what the full models lack; empty: they can be trained.
    """

    training: list[str]
    validation: list[str]
    clicks: tuple[int, int]
    lacking: list[str]

    @property
    def permits(self) -> list[str]:
        """Return what can be trained, as sentences, the simplest first."""
        said = ["Most popular items: yes. One click is enough."]
        if self.clicks[1] >= MINIMUM_QUERIES:
            said.append(
                "“People who liked this also liked” (item-to-item): yes, if it beats the most "
                "popular items on the days it is judged on."
            )
        else:
            said.append(
                "“People who liked this also liked” (item-to-item): not yet. The days it is judged "
                f"on have {self.clicks[1]:,} clicks, and {MINIMUM_QUERIES} are needed."
            )
        if self.lacking:
            said += [f"Full models: not yet. Missing: {one}." for one in self.lacking]
        else:
            said.append("Full models (neural networks): yes.")
        return said


def clicks_by_day(folders: Sequence[Path], days: Iterable[str]) -> dict[str, int]:
    """Return day → clicks (Views) of landing zones.

    A file that several folders have counts once: that of the first folder.
    """
    found: dict[str, int] = {}
    for day in days:
        files: dict[str, Path] = {}
        for folder in folders:
            for path in sorted((folder / INTERACTIONS_FOLDER / day).glob("*.parquet")):
                files.setdefault(path.name, path)
        found[day] = sum(
            int(pl.read_parquet(path, columns=[EVENT_TYPE])[EVENT_TYPE].eq(VIEW).sum())
            for path in files.values()
        )
    return found


def training_windows(
    start_day: str, as_of: str, clicks: Mapping[str, int], settings: Settings
) -> tuple[TrainingWindow, TrainingWindow]:
    """Return the window of the settings, and the longest one that fits the days.

    Args:
        start_day: first day of the log.
        as_of: last day that is over.
        clicks: day → clicks.
        settings: the days of a window.
    """
    usual = partitions.split_of(as_of, start_day, settings)
    days = (date.fromisoformat(as_of) - date.fromisoformat(start_day)).days + 1
    most = min(max(settings.train_days, days - settings.validation_days), _MOST_TRAIN_DAYS)
    widest = settings.model_copy(update={"train_days": most})
    longest = partitions.split_of(as_of, start_day, widest)
    return _window(*usual, clicks), _window(*longest, clicks)


def _window(
    training: list[str], validation: list[str], clicks: Mapping[str, int]
) -> TrainingWindow:
    learnt, judged = (sum(clicks.get(day, 0) for day in days) for days in (training, validation))
    counted = WindowClicks(learnt, judged, len(training), len(validation), 0, devices=True)
    return TrainingWindow(training, validation, (learnt, judged), counted.lacking)

"""Run ``recsys bench loop``: measure what lies between an answer and what is learnt from it.

Each part has its own figures in ``home/bench/loop.json``, under its name. A run of some parts keeps
the figures of the others.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from recsys_assets.bench.harness.part import refuse_unknown
from recsys_assets.bench.loop import days, drift, fine_tune, served_log, skew
from recsys_assets.files import write_json
from recsys_assets.settings import Settings

Say = Callable[[str], None]


class LoopPart(NamedTuple):
    """One part of the bench.

    Attributes:
        measure: (settings of the real home, folder for everything, say) → figure → value.
        bars: figure → its largest accepted value.
    """

    measure: Callable[[Settings, Path, Say], dict[str, Any]]
    bars: Mapping[str, float]


#: Name on the command line → part; its key in the report has "_" for "-".
PARTS = {
    "served-log": LoopPart(served_log.measure, served_log.BARS),
    "skew": LoopPart(skew.measure, skew.BARS),
    "drift": LoopPart(drift.measure, drift.BARS),
    "fine-tune": LoopPart(fine_tune.measure, fine_tune.BARS),
    "days": LoopPart(days.measure, days.BARS),
}


def bench_loop(settings: Settings, say: Say, only: Collection[str] = ()) -> dict[str, Any]:
    """Measure the parts; write and return ``home/bench/loop.json``.

    Args:
        settings: of the home.
        say: receives a line per step.
        only: names of parts; empty: all.

    Raises:
        BenchFailed: a name is unknown, there is no release, or a part failed.
    """
    refuse_unknown("part", only, list(PARTS))
    folder = settings.home / "bench"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "loop.json"
    report: dict[str, Any] = json.loads(path.read_bytes()) if path.exists() else {}
    for name, part in PARTS.items():
        if only and name not in only:
            continue
        with tempfile.TemporaryDirectory(dir=folder, prefix="loop-") as scratch:
            figures = part.measure(settings, Path(scratch), say)
        report[key_of(name)] = {**figures, "cpu_count": os.cpu_count()}
        write_json(path, report)
    return report


def key_of(name: str) -> str:
    """Return the key of a part in the report."""
    return name.replace("-", "_")


def table_rows(report: Mapping[str, Any]) -> Iterator[tuple[str, str, str, str]]:
    """Yield part, figure, value, and the bar with whether it is met."""
    for name, part in PARTS.items():
        for figure, value in report.get(key_of(name), {}).items():
            bar = part.bars.get(figure)
            met = "" if bar is None else f"at most {bar:g}: {'yes' if value <= bar else 'no'}"
            shown = f"{value:,}" if isinstance(value, (int, float)) else str(value)
            yield name, figure, shown, met


def failed(report: Mapping[str, Any], only: Collection[str] = ()) -> bool:
    """Return whether a measured part misses one of its bars."""
    return any(
        report[key_of(name)][figure] > bar
        for name, part in PARTS.items()
        if (not only or name in only) and key_of(name) in report
        for figure, bar in part.bars.items()
    )

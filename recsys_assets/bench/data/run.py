"""Run ``recsys bench data``: the cost of data and features at a scale.

The features are compared with their physical floor and the transforms with NVTabular. Everything is
generated anew in the bench's own home, on the same disk as the real one, and removed at the end.
The calendar is fixed, so that every run has the same weekdays and, with the same seed, the same
rows.
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
import statistics
import tempfile
from collections.abc import Callable, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import polars as pl

from recsys_assets import columns as c
from recsys_assets import partitions
from recsys_assets.artifacts import ArtifactStore
from recsys_assets.bench.data.raw_request import write_request
from recsys_assets.bench.harness import agreement
from recsys_assets.bench.harness.part import Measured, run_part, run_training_part
from recsys_assets.files import write_json
from recsys_assets.release_files import TRANSFORMS
from recsys_assets.settings import Settings

START_DAY = date(2024, 1, 1)  # a Monday in the past, because no event may lie in the future
COMPILED_REPETITIONS = 2_000
#: Days of the log whose ingest by one run is measured, and its rows per day.
HISTORY_DAYS, HISTORY_ROWS_PER_DAY = 365, 1_000
LIBRARIES = ("polars", "numpy", "pandera", "pyarrow")

Say = Callable[[str], None]


class DataBench:
    """Runs the parts in their order; each leaves what the next one reads.

    Args:
        settings: of the bench's own, empty home.
        say: receives one line per part.
        history_days: days of the log whose ingest by one run is measured.
    """

    def __init__(self, settings: Settings, say: Say, history_days: int = HISTORY_DAYS) -> None:
        self.settings, self.say, self.history_days = settings, say, history_days
        self.store = ArtifactStore(settings.artifacts)
        self.as_of = partitions.first_as_of(settings)
        self.scratch = settings.home / "bench"
        self.scratch.mkdir(parents=True)

    def run(self) -> dict[str, Any]:
        """Run all parts and return the report."""
        report = {"simulate": self.simulate(), "features": self.features()}
        workflows, training = self.fit()
        report["batch_transform"] = self.batch_transform(workflows)
        report["request_transform"] = self.request_transform(workflows)
        report["history"] = self.history()
        return {
            **report,
            "scale": self.settings.scale,
            "seed": self.settings.seed,
            "cpu_count": os.cpu_count(),
            "catalogue": self.settings.catalogue,
            "first_day": START_DAY,
            "days": partitions.SIMULATED_DAYS,
            "versions": {
                "platform": {
                    "python": platform.python_version(),
                    **{name: importlib.metadata.version(name) for name in LIBRARIES},
                },
                "training": training,
            },
        }

    def simulate(self) -> dict[str, Any]:
        """Measure the simulation of every day."""
        part = self._part("simulate", {})
        figures = {
            **_pace(part),
            "bytes": part.result["bytes"],
            "users": part.result["users"],
            "items": part.result["items"],
        }
        self.say(f"simulate: {_line(figures)}")
        return figures

    def features(self) -> dict[str, Any]:
        """Measure the features of every day against their floor."""
        part = self._part("features", {})
        with tempfile.TemporaryDirectory(dir=self.scratch) as scratch:
            floor = self._part("floor", {"scratch": scratch}).result
        by_day = part.result["peak_gib_by_day"]
        half = len(by_day) // 2
        figures = {
            **_pace(part),
            **{
                name: part.result[name]
                for name in ("seconds_by_step", "seconds_by_day", "peak_gib_by_day")
            },
            "peak_of_later_over_earlier_days": round(
                statistics.median(by_day[half:]) / statistics.median(by_day[:half]), 3
            ),
            "ratio_to_floor": round(part.result["seconds"] / floor["seconds"], 2),
            "ratio_to_floor_with_rereads": round(
                part.result["seconds"] / (floor["seconds"] + floor["reread"]["seconds"]), 2
            ),
            "floor": {
                name: floor[name] for name in ("seconds", "bytes", "read", "write", "reread")
            },
        }
        self.say(
            f"features: {_line(figures)}; floor {floor['seconds']:.2f} s, ratio "
            f"{figures['ratio_to_floor']}"
        )
        return figures

    def fit(self) -> tuple[Path, dict[str, str]]:
        """Fit the workflows with the graph's own step, unmeasured.

        Returns:
            The folder of the workflows, and the step's versions.
        """
        target = self.scratch / "workflows"
        inputs = {
            "train": self._folders("features/interactions"),
            "items": str(self.store.current("raw/items").local),
        }
        part = self._training("training.features.fit_workflows", inputs, target)
        self.say(f"workflows fitted on {part.result['metrics']['rows']:,} rows (not measured)")
        return target, part.result["versions"]

    def batch_transform(self, workflows: Path) -> dict[str, Any]:
        """Measure the transform of the training days against NVTabular.

        Raises:
            BenchFailed: the two results differ.
        """
        masked = self._folders("features/masked_train")
        ours, theirs = self.scratch / "compiled", self.scratch / "nvtabular"
        part = self._part(
            "compiled_batch",
            {
                "transforms": str(workflows / TRANSFORMS),
                "target": str(ours),
                "files": [f"{folder}/masked.parquet" for folder in masked],
            },
        )
        inputs = {"workflows": str(workflows), "train": masked}
        reference = self._training("bench.training.transform", inputs, theirs)
        cluster = self._training(
            "bench.training.transform",
            inputs,
            self.scratch / "nvtabular_cluster",
            processes=os.cpu_count(),
        )
        apart = agreement.largest_difference(
            agreement.in_order(ours),
            agreement.in_order(theirs / "transformed"),
            c.RANKER_CATEGORICAL + c.RANKER_CONTINUOUS,
        )
        seconds = part.result["seconds"]
        figures = {
            **_pace(part),
            "bytes": part.result["bytes"],
            "equal": True,
            "largest_difference": max(apart.values()),
            "speedup_over_nvtabular": _speedup(reference, seconds),
            "nvtabular": _nvtabular(reference),
            "speedup_over_nvtabular_on_dask": _speedup(cluster, seconds),
            "nvtabular_on_dask": _nvtabular(cluster),
        }
        self.say(
            f"batch transform: {_line(figures)}; NVTabular "
            f"{figures['nvtabular']['seconds']:.2f} s, {figures['speedup_over_nvtabular']} times "
            f"(on a Dask cluster {figures['nvtabular_on_dask']['seconds']:.2f} s)"
        )
        return figures

    def request_transform(self, workflows: Path) -> dict[str, Any]:
        """Measure the transform of one request against NVTabular.

        Raises:
            BenchFailed: the two results differ.
        """
        request, ours, theirs = (
            self.scratch / f"request_{name}" for name in ("raw", "compiled", "nvtabular")
        )
        day = partitions.train_days(self.as_of)[-1]
        write_request(self.store.current("features/interactions", day), request)
        part = self._part(
            "compiled_request",
            {
                "transforms": str(workflows),
                "request": str(request),
                "target": str(ours),
                "repetitions": COMPILED_REPETITIONS,
            },
        )
        reference = self._training(
            "bench.training.request", {"workflows": str(workflows), "request": str(request)}, theirs
        )
        seconds, raw, metrics = (
            part.result["seconds"],
            part.result["from_raw_seconds"],
            reference.result["metrics"],
        )
        figures = {
            "seconds": seconds,
            "rows": part.result["items"] + 2,
            "rows_s": round((part.result["items"] + 2) / seconds),
            "peak_gib": part.peak_gib,
            "repetitions": part.result["repetitions"],
            "items": part.result["items"],
            "equal": True,
            "largest_difference": _largest_of_request(ours, theirs),
            "speedup_over_nvtabular": round(metrics["request_seconds"] / seconds, 1),
            "from_raw": {
                "seconds": raw,
                "speedup_over_nvtabular": round(metrics["request_seconds"] / raw, 1),
            },
            "nvtabular": {
                "seconds": metrics["request_seconds"],
                "way": metrics["way"],
                "ways": metrics["ways"],
                "repetitions": metrics["repetitions"],
                "peak_gib": reference.peak_gib,
            },
        }
        self.say(
            f"request transform: {seconds * 1e6:.0f} µs for {figures['items']} items; NVTabular "
            f"{metrics['request_seconds'] * 1e3:.1f} ms ({metrics['way']}), "
            f"{figures['speedup_over_nvtabular']} times"
        )
        return figures

    def history(self) -> dict[str, Any]:
        """Measure the ingest of a long log by one run, in a home of its own."""
        with tempfile.TemporaryDirectory(dir=self.scratch) as home:
            own = self.settings.model_copy(update={"home": Path(home)})
            part = run_part(
                "recsys_assets.bench.data.history",
                {"days": self.history_days, "rows_per_day": HISTORY_ROWS_PER_DAY},
                self.scratch,
                own,
            )
        days = part.result["days"]
        figures = {
            **_pace(part),
            "days": days,
            "rows_per_day": HISTORY_ROWS_PER_DAY,
            "ms_per_day": round(1000 * part.result["seconds"] / days, 1),
        }
        self.say(f"history: {_line(figures)}; {days} days, {figures['ms_per_day']} ms per day")
        return figures

    def _folders(self, kind: str) -> list[str]:
        return [str(a.local) for a in self.store.require(kind, partitions.train_days(self.as_of))]

    def _part(self, name: str, request: dict[str, Any]) -> Measured:
        return run_part(f"recsys_assets.bench.data.{name}", request, self.scratch, self.settings)

    def _training(self, name: str, inputs: dict[str, Any], output: Path, **params: Any) -> Measured:
        module, params = f"recsys_assets.{name}", {"seed": self.settings.seed, **params}
        return run_training_part(module, inputs, output, params, self.scratch, self.settings)


def _largest_of_request(ours: Path, theirs: Path) -> float:
    """Return the largest difference between the transformed tables of a request."""
    apart: dict[str, float] = {}
    for name in ("user", "context", "item", "affinity"):
        columns = pl.read_parquet_schema(ours / f"{name}.parquet")
        apart |= agreement.largest_difference(
            [ours / f"{name}.parquet"], [theirs / f"{name}.parquet"], list(columns)
        )
    return max(apart.values())


def _pace(part: Measured) -> dict[str, Any]:
    seconds, rows = part.result["seconds"], part.result["rows"]
    return {
        "seconds": round(seconds, 3),
        "rows": rows,
        "rows_s": round(rows / seconds),
        "peak_gib": part.peak_gib,
    }


def _nvtabular(part: Measured) -> dict[str, Any]:
    metrics = part.result["metrics"]
    return {
        "seconds": round(metrics["transform_seconds"], 3),
        "peak_gib": part.peak_gib,
        "processes": metrics["processes"],
        "rows_s": round(metrics["rows"] / metrics["transform_seconds"]),
    }


def _speedup(reference: Measured, seconds: float) -> float:
    return round(float(reference.result["metrics"]["transform_seconds"]) / seconds, 1)


def _line(figures: dict[str, Any]) -> str:
    return (
        f"{figures['rows']:,} rows in {figures['seconds']:.2f} s, {figures['rows_s']:,} "
        f"rows/s, {figures['peak_gib']:.2f} GiB"
    )


def bench_data(settings: Settings, say: Say, history_days: int = HISTORY_DAYS) -> dict[str, Any]:
    """Measure at ``settings.scale``; write and return ``home/bench/data.json``.

    Args:
        settings: of the home.
        say: receives one line per part.
        history_days: days of the log whose ingest by one run is measured.

    Raises:
        BenchFailed: a part failed, or the compiled transform and NVTabular differ.
    """
    folder = settings.home / "bench"
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix="home-") as home:
        own = settings.model_copy(
            update={
                "home": Path(home),
                "start_day": START_DAY,
                "artifacts_uri": None,
                "landing_uri": None,
            }
        )
        report = DataBench(own, say, history_days).run()
    write_json(folder / "data.json", report)
    return report


def table_rows(report: dict[str, Any]) -> Sequence[tuple[str, ...]]:
    """Return the printed table.

    Its columns are part, seconds, rows, rows/s, peak GiB and the comparison.
    """
    against = {
        "features": "{0[features][ratio_to_floor]} × floor",
        "batch_transform": "1/{0[batch_transform][speedup_over_nvtabular]} NVTabular",
        "request_transform": "1/{0[request_transform][speedup_over_nvtabular]} NVTabular",
        "history": "{0[history][ms_per_day]} ms per day",
    }
    return [
        (
            name,
            f"{part['seconds']:.3g}",
            f"{part['rows']:,}",
            f"{part['rows_s']:,}",
            f"{part['peak_gib']:.2f}",
            against.get(name, "").format(report),
        )
        for name in ("simulate", "features", "batch_transform", "request_transform", "history")
        for part in (report[name],)
    ]

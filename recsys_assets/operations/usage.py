"""Read what processes and artifacts used: seconds and peak memory."""

from __future__ import annotations

import contextlib
import json
import re
from pathlib import Path
from typing import TypedDict

import psutil

from recsys_assets.artifacts import ArtifactStore
from recsys_assets.settings import Settings

GIB, MEGABYTE = 2**30, 2**20


def gib(size: float) -> float:
    """Return bytes as GiB, rounded to 3 decimals."""
    return round(size / GIB, 3)


def peak_bytes(pid: int | str = "self") -> int:
    """Return the peak resident memory of a process in bytes.

    It is the peak since the process began, or since ``reset_peak``. getrusage's ru_maxrss does not
    serve, because a child inherits it from its parent.
    """
    found = re.search(r"^VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    return int(found[1]) * 1024 if found else 0  # a process that has just ended has no VmHWM


def reset_peak() -> None:
    """Reset ``peak_bytes`` of this process to its present memory.

    Linux: proc(5), clear_refs.
    """
    Path("/proc/self/clear_refs").write_text("5")


def tree_bytes(process: psutil.Process) -> int:
    """Return the present memory of a process and its descendants in bytes.

    Without descendants, return its peak.
    """
    total, pages = 0, 0
    with contextlib.suppress(psutil.NoSuchProcess, FileNotFoundError, ProcessLookupError):
        total = peak_bytes(process.pid)
        children = process.children(recursive=True)
        if children:
            pages = process.memory_info().rss
        for child in children:
            with contextlib.suppress(psutil.NoSuchProcess):
                pages += child.memory_info().rss  # counts shared pages twice: an upper bound
    return max(total, pages)


class Peaks(TypedDict):
    """Peak memory of the processes that materialised the graph, in GiB.

    Attributes:
        this_process: the process that runs the jobs.
        training_step: the largest training step; None where no artifact records its memory.
        asset: the asset of that step, or None.
    """

    this_process: float
    training_step: float | None
    asset: str | None


class LastRun(TypedDict):
    """The content of ``materialize.json``."""

    scale: str
    seconds: float
    peak_gib: Peaks


class AssetUsage(TypedDict):
    """Usage of one kind of artifact; None where it was not recorded."""

    seconds: float | None
    peak_gib: float | None
    partitions: int


class GraphUsage(TypedDict):
    """Usage of a home's graph; None where nothing is materialised.

    Attributes:
        scale: of the home.
        seconds: of all artifacts, each once.
        last_run: of the last `recsys materialize`, which reuses existing artifacts.
        peak_gib: the largest of any process.
        assets: usage by kind.
    """

    scale: str
    seconds: float | None
    last_run: LastRun | None
    peak_gib: float | None
    assets: dict[str, AssetUsage] | None


def peaks(settings: Settings) -> Peaks:
    """Return the peak memory of this process and of the training steps.

    This process runs every job; a training step is a process of its own.
    """
    assets = graph_usage(settings)["assets"] or {}
    known = {kind: one["peak_gib"] for kind, one in assets.items() if one["peak_gib"] is not None}
    asset = max(known, key=lambda kind: known[kind], default=None)
    return {
        "this_process": gib(peak_bytes()),
        "training_step": None if asset is None else known[asset],
        "asset": asset,
    }


def graph_usage(settings: Settings) -> GraphUsage:
    """Return seconds and peak memory of the newest artifacts of this home."""
    store = ArtifactStore(settings.artifacts)
    assets: dict[str, AssetUsage] = {}
    for kind in kinds(Path(settings.artifacts)) if "://" not in str(settings.artifacts) else []:
        named = store.partitions(kind)
        present = [store.current(kind, name) for name in named] if named else [store.current(kind)]
        metrics = [artifact.metrics for artifact in present]
        seconds = [artifact.seconds for artifact in present if artifact.seconds is not None]
        largest = [
            found["peak_memory_mb"] * MEGABYTE / GIB
            for found in metrics
            if found.get("peak_memory_mb") is not None
        ]
        assets[kind] = {
            "seconds": round(sum(seconds), 1) if seconds else None,
            "peak_gib": round(max(largest), 3) if largest else None,
            "partitions": len(metrics),
        }
    recorded = [asset["seconds"] for asset in assets.values() if asset["seconds"] is not None]
    largest = [asset["peak_gib"] for asset in assets.values() if asset["peak_gib"] is not None]
    path = settings.home / "materialize.json"
    last_run: LastRun | None = json.loads(path.read_text()) if path.is_file() else None
    if last_run:
        largest.append(last_run["peak_gib"]["this_process"])
    return {
        "scale": settings.scale,
        "seconds": round(sum(recorded), 1) if recorded else None,
        "last_run": last_run,
        "peak_gib": max(largest) if largest else None,
        "assets": assets or None,
    }


def kinds(root: Path) -> list[str]:
    """Return the kinds (stage/name) that have a current artifact below a local root."""
    found = {path.relative_to(root).parts[:2] for path in root.glob("*/*/CURRENT")}
    found |= {path.relative_to(root).parts[:2] for path in root.glob("*/*/*/CURRENT")}
    return sorted("/".join(parts) for parts in found)

"""Reads what processes and artifacts used: seconds and peak memory."""

from __future__ import annotations

import contextlib
import json
import re
from pathlib import Path
from typing import Any

import psutil

from recsys_assets.artifacts import ArtifactStore
from recsys_assets.settings import Settings

GIB, MEGABYTE = 2**30, 2**20


def gib(size: float) -> float:
    """Return bytes as GiB, rounded to 3 decimals."""
    return round(size / GIB, 3)


def peak_bytes(pid: int | str = "self") -> int:
    """Return a process's largest resident memory in bytes since it began, or since ``reset_peak``.

    Not getrusage's ru_maxrss: a child inherits that from the process that started it.
    """
    found = re.search(r"^VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    return int(found[1]) * 1024 if found else 0  # a process that has just ended has no memory


def reset_peak() -> None:
    """Restart ``peak_bytes`` of this process at what it holds now (Linux: proc(5), clear_refs)."""
    Path("/proc/self/clear_refs").write_text("5")


def tree_bytes(process: psutil.Process) -> int:
    """Return the memory of a process and its descendants now, in bytes; without descendants, its
    largest.
    """
    total, pages = 0, 0
    with contextlib.suppress(psutil.NoSuchProcess, FileNotFoundError, ProcessLookupError):
        total = peak_bytes(process.pid)
        children = process.children(recursive=True)
        if children:
            pages = process.memory_info().rss
        for child in children:
            with contextlib.suppress(psutil.NoSuchProcess):
                pages += child.memory_info().rss  # shared pages count twice: the sum errs upwards
    return max(total, pages)


def peaks(settings: Settings) -> dict[str, Any]:
    """Return the largest resident memory, in GiB, of this process and of the training steps.

    This process runs every job; a training step is a process of its own.

    Returns:
        {"this_process", "training_step", "asset": the asset of that step}; the last two are None
        where no artifact records its memory.
    """
    assets = graph_usage(settings)["assets"] or {}
    asset, largest = max(
        ((kind, one["peak_gib"]) for kind, one in assets.items() if one["peak_gib"] is not None),
        key=lambda pair: pair[1],
        default=(None, None),
    )
    return {"this_process": gib(peak_bytes()), "training_step": largest, "asset": asset}


def graph_usage(settings: Settings) -> dict[str, Any]:
    """Return seconds and peak memory of the newest artifacts of this home, by kind and in all.

    Returns:
        {"scale", "seconds" (of all artifacts, each once), "last_run" (materialize.json of the last
        `recsys materialize`, which reuses what is there), "peak_gib" (the largest of any process),
        "assets": {kind: {"seconds", "peak_gib", "partitions"}}}, where an asset that does not
        record its usage has None; all are None where nothing is materialised.
    """
    store = ArtifactStore(settings.artifacts)
    assets: dict[str, dict[str, Any]] = {}
    for kind in kinds(Path(settings.artifacts)) if "://" not in str(settings.artifacts) else []:
        named = [name for name in store.partitions(kind)]
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
    told = [asset["seconds"] for asset in assets.values() if asset["seconds"] is not None]
    largest = [asset["peak_gib"] for asset in assets.values() if asset["peak_gib"] is not None]
    path = settings.home / "materialize.json"
    last_run = json.loads(path.read_text()) if path.is_file() else None
    if last_run:
        largest.append(last_run["peak_gib"]["this_process"])
    return {
        "scale": settings.scale,
        "seconds": round(sum(told), 1) if told else None,
        "last_run": last_run,
        "peak_gib": max(largest) if largest else None,
        "assets": assets or None,
    }


def kinds(root: Path) -> list[str]:
    """Return the kinds, stage/name, that have a current artifact below a local root."""
    found = {path.relative_to(root).parts[:2] for path in root.glob("*/*/CURRENT")}
    found |= {path.relative_to(root).parts[:2] for path in root.glob("*/*/*/CURRENT")}
    return sorted("/".join(parts) for parts in found)

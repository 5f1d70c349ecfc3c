"""Refits the champion's sources on the window that ends with a new day."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
import polars as pl

from recsys_assets import columns as c
from recsys_assets.artifacts import Artifact, ArtifactStore
from recsys_assets.lib.blend import source_artifacts
from recsys_assets.lib.blend.source_artifacts import ENTRY
from recsys_assets.lib.evaluation.baseline_spaces import Params
from recsys_assets.lib.evaluation.click_log import ClickLog
from recsys_assets.lib.features.batch_transform import item_vocabulary
from recsys_assets.lib.features.popularity import clicks_of_days
from recsys_assets.lib.figures.tables import markdown_table
from recsys_assets.lib.ladder import fitting
from recsys_assets.lib.raw.rows import scan_interactions
from recsys_assets.lib.release import releases
from recsys_assets.lib.release.item_parts import FittedTo, item_parts
from recsys_assets.lib.sources.stored import SERVED
from recsys_assets.release_files import EMBEDDING_TABLE
from recsys_assets.source_names import ITEM_TO_ITEM, SOURCE_NAMES

#: Item ids of the window's clicks, most clicked first: the backfill list of the release.
POPULARITY_FILE = "popularity.parquet"


class RefitFigures(TypedDict):
    """Holds the figures of one refitted source."""

    fitted: bool  # the clicks and the catalogue allow it
    bytes: int  # of the arrays that serve


class Refitted(TypedDict):
    """Holds the figures of ``fine_tune/sources``."""

    rows: int  # items of the vocabulary
    days: list[str]  # ISO, that the sources have learnt
    sources: dict[str, RefitFigures]


def generation_parts(
    store: ArtifactStore, base: Artifact, added: Artifact | None = None
) -> FittedTo:
    """Return the vocabulary and embeddings of a release, with the items that a day adds.

    Args:
        store: of the artifacts.
        base: a release.
        added: ``fine_tune/items`` of a fine-tune that starts from it.
    """
    return item_parts(store, releases.read_release(base), added).fitted_to


def fitted_before(
    store: ArtifactStore, base: Artifact, allowed: Sequence[str]
) -> dict[str, Artifact]:
    """Return the sources that the blend of a generation was chosen from: name → artifact.

    Args:
        store: of the artifacts.
        base: any release of the generation.
        allowed: names that the settings allow.
    """
    blend = _generation(store, base).manifest["inputs"].get("blend")
    recorded: Mapping[str, Any] = store.open(blend).manifest["inputs"] if blend else {}
    return {
        name: store.open(recorded[name])
        for name in SOURCE_NAMES
        if name in recorded and name in allowed
    }


def _generation(store: ArtifactStore, base: Artifact) -> Artifact:
    return releases.open_release(store, releases.read_release(base).generation).artifact


def write_sources(
    *,
    fitted: Mapping[str, Artifact],
    log: Sequence[Artifact],
    items: Artifact,
    workflows: Artifact,
    aligned: Artifact,
    target: Path,
    day: str,
    seed: int,
    time_zone: str,
) -> Refitted:
    """Fit each source without the new day, to be judged by it, and with it, to serve.

    The parameters are those that the full training of the generation chose, since they change far
    less than the clicks do.

    Args:
        fitted: of ``fitted_before``.
        log: ``raw/interactions`` of the window, the new day last.
        items: ``raw/items``.
        workflows: of ``generation_parts``, for the vocabulary.
        aligned: of ``generation_parts``, for the content of items.
        target: folder of the files: one folder per source.
        day: the new day, ISO.
        seed: of the fits.
        time_zone: of the shop.
    """
    vocabulary = item_vocabulary(workflows)
    content = np.load(aligned.path(EMBEDDING_TABLE), mmap_mode="r", allow_pickle=False)
    before = [one for one in log if str(one.partition) < day]
    clicks = ClickLog.of(scan_interactions(log), vocabulary, time_zone)
    # without a day before, the judged fit learns nothing
    last_days = (str(before[-1].partition) if before else "1970-01-01", day)
    found: dict[str, RefitFigures] = {}
    for name, artifact in fitted.items():
        folder = target / name
        folder.mkdir()
        params: Params = artifact.metrics["params"]
        if name == ITEM_TO_ITEM:
            fitting.write_fits(params, before, log, np.array(vocabulary, dtype=str), folder)
        else:
            source_artifacts.write_fits(
                name, params, clicks, vocabulary, content, folder, last_days, seed
            )
        found[name] = {
            "fitted": (folder / SERVED / ENTRY).is_file(),
            "bytes": sum(path.stat().st_size for path in (folder / SERVED).glob("*.npy")),
        }
    clicks_of_days(log, items).write_parquet(target / POPULARITY_FILE)
    _write_table(found, target / "figures")
    days = [str(one.partition) for one in log]
    return {"rows": len(vocabulary), "days": days, "sources": found}


def opened(sources: Artifact) -> dict[str, Artifact]:
    """Return each source of ``fine_tune/sources`` as an artifact of its own folder."""
    return {
        name: replace(sources, local=sources.local / name) for name in sources.metrics["sources"]
    }


def popular_items(sources: Artifact) -> list[str]:
    """Return the item ids of ``fine_tune/sources``, most clicked first."""
    ids: list[str] = pl.read_parquet(sources.path(POPULARITY_FILE))[c.ITEM_ID].to_list()
    return ids


def _write_table(found: Mapping[str, RefitFigures], folder: Path) -> None:
    folder.mkdir()
    rows = [{"source": name, **figures} for name, figures in found.items()]
    text = markdown_table(pl.DataFrame(rows)) if rows else "The release has no sources."
    (folder / "sources.md").write_text(text)

"""Prepares a daily fine-tune: its start, its training rows and its held-out rows."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NotRequired, TypedDict

import numpy as np
import polars as pl

from recsys_assets import columns as c
from recsys_assets import partitions
from recsys_assets.artifacts import Artifact, ArtifactStore
from recsys_assets.files import write_json
from recsys_assets.lib.features.batch_transform import (
    BatchTransform,
    click_histories,
    read_transforms,
)
from recsys_assets.lib.features.click_values import read_click_values, with_values
from recsys_assets.lib.figures.series import number
from recsys_assets.lib.release import releases
from recsys_assets.lib.release.champion import read_champion
from recsys_assets.lib.release.contents import place
from recsys_assets.lib.release.rung import FUSION, WITH_SOURCES, described
from recsys_assets.release_files import DISMISSALS
from recsys_assets.settings import Settings

TRAIN_SHARE = 0.7  # of the new day; the rest judges
#: Model of a release → its role in the release's manifest.
ROLES = {"query_tower": "query_tower", "dlrm": "ranker"}
RANKER_MODEL = "dlrm"
PLAN_FILE = "plan.json"
#: Roles of the inputs of a trained model that its fine-tune needs again.
GENERATION_ROLES = ("datasets", "workflows", "embeddings", "item_inputs")


class FineTuneError(RuntimeError):
    """A day cannot be fine-tuned. The message names the cause and the remedy."""


@dataclass(frozen=True)
class FineTunePlan:
    """Holds the start of a day's fine-tune and the days that it learns."""

    base: releases.Release  # the champion
    training_days: list[str]  # ISO, the new day last


class FineTuneRows(TypedDict):
    """Holds what a fine-tune learns, and the counts of its rows."""

    #: of ROLES, the models that learn; the release has the others as its champion has them
    learns: list[str]
    rows: int
    train: int
    replayed: int  # of the train rows, those of earlier days
    holdout: int
    dismissed: NotRequired[int]  # dismissals of the days, which the ranker learns too
    out_of_vocabulary: dict[str, dict[str, float]]  # split → column → share of unknown values


def plan(settings: Settings, store: ArtifactStore, day: str) -> FineTunePlan:
    """Choose the champion, and the days to learn: the day, the days before it, a few older ones.

    Raises:
        FineTuneError: there is no champion, it is of an older form, of another look-back or of a
            rung without sources, or it has learnt this day or a later one.
    """
    champion = read_champion(settings)
    if champion is None:
        raise FineTuneError(
            "there is no champion to start from; run full_training, then `recsys promote`"
        )
    base = releases.open_release(store, champion.release)
    if not base.of_this_form:
        raise FineTuneError(
            f"the champion (release {base.number}) was built by an older version of this code, "
            "whose models take other inputs; run full_training, then `recsys promote`"
        )
    if not base.fits(settings):
        raise FineTuneError(
            f"the champion (release {base.number}) was trained on features of "
            f"{base.look_back_days} days of clicks, RECSYS_LOOK_BACK_DAYS is "
            f"{settings.look_back_days}; run `recsys materialize`, then `recsys promote`, or set "
            f"RECSYS_LOOK_BACK_DAYS back to {base.look_back_days}"
        )
    if base.rung["name"] not in WITH_SOURCES:
        raise FineTuneError(
            f"the champion (release {base.number}) is of the rung {described(base.rung)}; it has "
            "neither a model nor sources to tune: run full_training as of a later day"
        )
    if day <= base.day:
        raise FineTuneError(
            f"the champion (release {base.number}) has learnt up to {base.day}, so {day} would be "
            "learnt twice; choose a later day, or roll back first"
        )
    if base.rung["name"] == FUSION:  # it has no model that replayed days would remind
        return FineTunePlan(base, [day])
    recent = [
        d
        for d in partitions.recent_days(settings, day, 1 + settings.replay_recent_days)
        if d != day
    ]
    older = [d for d in releases.training_days(store, base) if d not in recent]
    # seeded by the day, so that one day always replays the same older ones
    rng = np.random.default_rng(
        int.from_bytes(hashlib.sha256(f"{settings.seed}/{day}".encode()).digest()[:8], "big")
    )
    picked = sorted(
        rng.choice(older, min(settings.replay_older_days, len(older)), replace=False).tolist()
    )
    return FineTunePlan(base, [*picked, *recent, day])


def champion_release(settings: Settings, store: ArtifactStore) -> releases.Release | None:
    """Return the release in force; None without a champion."""
    champion = read_champion(settings)
    return releases.open_release(store, champion.release) if champion else None


def transforms_of(store: ArtifactStore, base: Artifact) -> dict[str, Any]:
    """Read the transforms of the generation that a release belongs to."""
    generation = releases.open_release(store, releases.read_release(base).generation).artifact
    return read_transforms(store.open(generation.manifest["inputs"]["workflows"]))


def write_rows(
    store: ArtifactStore,
    champion: Artifact,
    masked: Sequence[Artifact],
    features: Sequence[Artifact],
    target: Path,
    seed: int,
    values: Artifact | None = None,
    dismissal_weight: float = 0.0,
) -> FineTuneRows:
    """Write the transformed rows to learn and to judge by.

    train.parquet holds masked rows: the replayed days and 70 % of the new day. holdout.parquet
    holds the other 30 %, unmasked. {train,holdout}_{history,items,ages}.npy hold the click
    histories of their clicked rows in order, as ``ClickHistories``. plan.json holds the digests of
    champion and features, and which models learn.

    A ranker learns from rows that were shown but not clicked. Where the new day has none, as in a
    log of clicks alone, only the query tower learns. A champion of the fusion has no model that
    learns: no row is written, and all rows of the day are held out.

    Args:
        store: of the artifacts.
        champion: the release that the fine-tune starts from.
        masked: ``features/masked_train`` of the days, the new one last.
        features: ``features/interactions`` of the days, the new one last.
        target: folder of the files.
        seed: of the held-out rows.
        values: of ``write_click_values``; None: each click counts once.
        dismissal_weight: of a dismissal's row, which the ranker learns; 0: there is no such row.
    """
    day, learns = _split(features[-1], seed)
    fusion = releases.read_release(champion).rung["name"] == FUSION
    unclicked = day.height == 0 or day[c.CLICK].min() == 0
    learning = [name for name in ROLES if not fusion and (unclicked or name != RANKER_MODEL)]
    # the content tells the rows of two champions apart also where no row is written
    plan = {"champion": champion.digest, "days": [day.digest for day in features], "seed": seed}
    write_json(target / PLAN_FILE, {**plan, "learns": learning})
    if fusion:
        return {
            "learns": learning,
            "rows": day.height,
            "train": 0,
            "replayed": 0,
            "holdout": day.height,
            "out_of_vocabulary": {},
        }
    transform = BatchTransform(transforms_of(store, champion))
    train_ids = day.filter(pl.Series(learns))[c.EVENT_ID]
    new = pl.read_parquet(masked[-1].path("masked.parquet")).filter(
        pl.col(c.EVENT_ID).is_in(train_ids.implode())
    )
    replayed = [pl.read_parquet(artifact.path("masked.parquet")) for artifact in masked[:-1]]
    train, holdout = pl.concat([*replayed, new]), held_out(features[-1], seed)
    remembered = pl.concat(
        [pl.read_parquet(artifact.path("click_history.parquet")) for artifact in features]
    )
    dismissed = _dismissals(masked) if dismissal_weight and RANKER_MODEL in learning else None
    vocabulary = {}
    for name, rows in (("train", train), ("holdout", holdout)):
        kept = [rows[c.CLICK], rows[c.TIMESTAMP]]
        if values is not None:
            kept.append(with_values(rows, read_click_values(values))[c.VALUE])
        packed = transform.transform_frame(rows).with_columns(*kept)
        if name == "train" and dismissed is not None:
            packed = _with_dismissed(packed, transform, dismissed, dismissal_weight)
        packed.write_parquet(target / f"{name}.parquet")
        clicked = rows.filter(pl.col(c.CLICK) == 1)
        click_histories(transform, clicked, remembered).write(target, name)
        vocabulary[name] = {
            column: number((packed[column] == c.OOV_INDEX).mean())
            for column in (c.USER_ID, c.ITEM_ID)
        }
    counts: FineTuneRows = {
        "learns": learning,
        "rows": train.height + holdout.height,
        "train": train.height,
        "replayed": train.height - new.height,
        "holdout": holdout.height,
        "out_of_vocabulary": vocabulary,
    }
    if dismissed is not None:
        counts["dismissed"] = dismissed.height
    return counts


def _dismissals(masked: Sequence[Artifact]) -> pl.DataFrame | None:
    """Return the dismissals of some days, INTERACTION_FEATURES; None where there is none."""
    files = [day.path(DISMISSALS) for day in masked if DISMISSALS in day.manifest["files"]]
    return pl.read_parquet(files) if files else None


def _with_dismissed(
    packed: pl.DataFrame, transform: BatchTransform, dismissed: pl.DataFrame, weight: float
) -> pl.DataFrame:
    """Append dismissals to transformed rows; rows without values are worth 1."""
    if c.VALUE not in packed.columns:
        packed = packed.with_columns(pl.lit(1.0, pl.Float32).alias(c.VALUE))
    rows = transform.transform_frame(dismissed).with_columns(
        dismissed[c.CLICK], dismissed[c.TIMESTAMP], pl.lit(weight, pl.Float32).alias(c.VALUE)
    )
    return pl.concat([packed, rows.select(packed.columns)])


def held_out(features: Artifact, seed: int) -> pl.DataFrame:
    """Return the day's rows that ``write_rows`` holds out, sorted by time.

    features: ``features/interactions`` of the day. seed: as in ``write_rows``.
    """
    day, learns = _split(features, seed)
    return day.filter(pl.Series(~learns)).sort(c.TIMESTAMP, c.EVENT_ID)


def learns(rows: Artifact) -> list[str]:
    """Return the models that learn from ``fine_tune/rows``, of ROLES."""
    # rows of an older version were refused where a model could not learn
    found: list[str] = rows.metrics.get("learns", list(ROLES))
    return found


def judged_rows(rows: Artifact, features: Artifact) -> pl.DataFrame:
    """Return the day's rows that no model of a fine-tune has learnt, sorted by time.

    rows: ``fine_tune/rows``. features: ``features/interactions`` of its day.
    """
    if learns(rows):
        return held_out(features, rows.manifest["params"]["seed"])
    day = pl.read_parquet(features.path("features.parquet"))
    return day.sort(c.TIMESTAMP, c.EVENT_ID)


def carry(model: Artifact, target: Path) -> dict[str, Any]:
    """Place the files of a model that does not learn; return its metrics.

    model: of the champion. target: folder of the files.
    """
    for name in model.manifest["files"]:
        place(model.path(name), target / name)
    return {**model.metrics, "carried": True}


def _split(features: Artifact, seed: int) -> tuple[pl.DataFrame, np.ndarray]:
    """Return the day's rows sorted by event, and which of them are learnt, bool [N]."""
    day = pl.read_parquet(features.path("features.parquet")).sort(c.EVENT_ID)
    return day, np.random.default_rng(seed).random(day.height) < TRAIN_SHARE


def origin(store: ArtifactStore, rows: Artifact, model: str) -> Artifact:
    """Return the trained model that a fine-tune starts from.

    Args:
        store: of the artifacts.
        rows: ``fine_tune/rows``.
        model: a key of ROLES.
    """
    base = store.open(rows.manifest["inputs"]["champion"])
    return store.open(base.manifest["inputs"][ROLES[model]])


def generation_inputs(store: ArtifactStore, model: Artifact) -> dict[str, Artifact]:
    """Return the artifacts that a model was trained with, by GENERATION_ROLES."""
    recorded = model.manifest["inputs"]
    return {role: store.open(recorded[role]) for role in GENERATION_ROLES if role in recorded}

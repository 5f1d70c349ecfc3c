"""What a daily fine-tune learns from, where it starts, and how it is judged."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from recsys_assets import columns as c
from recsys_assets import partitions
from recsys_assets.artifacts import Artifact, ArtifactStore
from recsys_assets.lib.features.batch_transform import (
    BatchTransform,
    click_histories,
    read_transforms,
)
from recsys_assets.lib.figures.series import number
from recsys_assets.lib.release import releases
from recsys_assets.lib.release.champion import read_champion
from recsys_assets.settings import Settings

TRAIN_SHARE = 0.7  # of the new day; the rest judges
#: Model of a release → its role in the release's manifest.
ROLES = {"query_tower": "query_tower", "dlrm": "ranker"}
#: What a trained model was made from and its fine-tune needs again.
GENERATION_ROLES = ("datasets", "workflows", "embeddings", "item_inputs")


class FineTuneError(RuntimeError):
    """A day cannot be fine-tuned; the message says why and what to do."""


@dataclass(frozen=True)
class FineTunePlan:
    """A day's fine-tune: the champion it starts from and the days it learns from, the new one
    last.
    """

    base: releases.Release
    training_days: list[str]


def plan(settings: Settings, store: ArtifactStore, day: str) -> FineTunePlan:
    """Start from the champion; learn from the day, the days just before it and a few older training
    days.

    Raises:
        FineTuneError: no champion, or a champion that has already learnt this day or a later one.
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
            "whose models take "
            "other inputs; run full_training, then `recsys promote`"
        )
    if day <= base.day:
        raise FineTuneError(
            f"the champion (release {base.number}) has learnt up to {base.day}, so {day} would be "
            "learnt "
            "twice; choose a later day, or roll back first"
        )
    recent = [
        d
        for d in partitions.recent_days(settings, day, 1 + partitions.REPLAY_RECENT_DAYS)
        if d != day
    ]
    older = [
        d
        for d in partitions.train_days(releases.open_release(store, base.generation).day)
        if d not in recent
    ]
    # the day is the seed: the same day replays the same older ones
    rng = np.random.default_rng(
        int.from_bytes(hashlib.sha256(f"{settings.seed}/{day}".encode()).digest()[:8], "big")
    )
    picked = sorted(
        rng.choice(older, min(partitions.REPLAY_OLDER_DAYS, len(older)), replace=False).tolist()
    )
    return FineTunePlan(base, [*picked, *recent, day])


def newest_day_of_champion(settings: Settings, store: ArtifactStore) -> str | None:
    """The last day that the champion has learnt; None without a champion."""
    champion = read_champion(settings)
    return releases.open_release(store, champion.release).day if champion else None


def transforms_of(store: ArtifactStore, base: Artifact) -> dict[str, Any]:
    """The transforms of the generation that a release belongs to."""
    generation = releases.open_release(store, releases.read_release(base).generation).artifact
    return read_transforms(store.open(generation.manifest["inputs"]["workflows"]))


def write_rows(
    store: ArtifactStore,
    champion: Artifact,
    masked: Sequence[Artifact],
    features: Sequence[Artifact],
    target: Path,
    seed: int,
) -> dict[str, Any]:
    """Transformed rows to learn from and to judge by, each with the click history of its clicked
    rows.

    train.parquet (masked rows: the replayed days and 70 % of the new day), holdout.parquet (the
    other 30 %, unmasked), and train_history.npy, holdout_history.npy, uint8 [clicked rows, 2·K] in
    their order.

    Args:
        masked, features: features/masked_train and features/interactions of the days, the new one
            last.

    Raises:
        FineTuneError: the new day has clicks alone.
    """
    day, learns = _split(features[-1], seed)
    if day.height and day[c.CLICK].min() == 1:
        raise FineTuneError(
            f"every row of {features[-1].partition} is clicked, so the ranker has nothing to be "
            "tuned or judged "
            "by: give the log its impressions, or, where it never has any, run full_training as of "
            "a later day"
        )
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
    vocabulary = {}
    for name, rows in (("train", train), ("holdout", holdout)):
        packed = transform.transform_frame(rows).with_columns(rows[c.CLICK], rows[c.TIMESTAMP])
        packed.write_parquet(target / f"{name}.parquet")
        np.save(
            target / f"{name}_history.npy",
            click_histories(transform, rows.filter(pl.col(c.CLICK) == 1), remembered),
        )
        vocabulary[name] = {
            column: number((packed[column] == c.OOV_INDEX).mean())
            for column in (c.USER_ID, c.ITEM_ID)
        }
    return {
        "rows": train.height + holdout.height,
        "train": train.height,
        "replayed": train.height - new.height,
        "holdout": holdout.height,
        "out_of_vocabulary": vocabulary,
    }


def held_out(features: Artifact, seed: int) -> pl.DataFrame:
    """INTERACTION_FEATURES of the day's rows that ``write_rows`` holds out, by time; seed: of those
    rows.
    """
    day, learns = _split(features, seed)
    return day.filter(pl.Series(~learns)).sort(c.TIMESTAMP, c.EVENT_ID)


def _split(features: Artifact, seed: int) -> tuple[pl.DataFrame, np.ndarray]:
    """The day's rows by event, and which of them are learnt: bool [N]."""
    day = pl.read_parquet(features.path("features.parquet")).sort(c.EVENT_ID)
    return day, np.random.default_rng(seed).random(day.height) < TRAIN_SHARE


def origin(store: ArtifactStore, rows: Artifact, model: str) -> Artifact:
    """The trained model inside the release that these rows were prepared for: where the fine-tune
    starts.
    """
    base = store.open(rows.manifest["inputs"]["champion"])
    return store.open(base.manifest["inputs"][ROLES[model]])


def generation_inputs(store: ArtifactStore, model: Artifact) -> dict[str, Artifact]:
    """What the model's generation was trained on, from the model's own manifest."""
    recorded = model.manifest["inputs"]
    return {role: store.open(recorded[role]) for role in GENERATION_ROLES if role in recorded}

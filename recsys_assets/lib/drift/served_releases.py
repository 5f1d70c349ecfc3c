"""Describe the scores of the releases that answered."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, timedelta

from recsys_assets.artifacts import Artifact, ArtifactStore
from recsys_assets.lib.drift.answers import ScoresOf
from recsys_assets.lib.release import releases
from recsys_assets.lib.release.champion import Champion, read_champion
from recsys_assets.lib.release.rung import FULL
from recsys_assets.local_time import day_of
from recsys_assets.partitions import day_bounds, time_zone
from recsys_assets.release_files import SAMPLING, model_file
from recsys_assets.settings import Settings


def releases_of(store: ArtifactStore, numbers: Iterable[int]) -> list[Artifact]:
    """Return the artifacts of releases, by number; one that no longer exists is left out."""
    names = [f"{number:06d}" for number in sorted(set(numbers))]
    return store.require(
        releases.RELEASE, [name for name in names if store.exists(releases.RELEASE, name)]
    )


def scored(opened: Iterable[Artifact], numbers: Iterable[int]) -> dict[int, ScoresOf]:
    """Return release → what its scores are.

    A release that no longer exists is a family of its own, and its scores count as no
    probabilities.

    Args:
        opened: of ``releases_of``.
        numbers: of the releases that answered.
    """
    found: dict[int, ScoresOf] = {
        number: {"family": number, "probabilities": False} for number in numbers
    }
    for artifact in opened:
        release = releases.read_release(artifact)
        found[release.number] = {
            "family": release.generation,
            "probabilities": scores_are_probabilities(release),
        }
    return found


def scores_are_probabilities(release: releases.Release) -> bool:
    """Return whether a release orders by the ranker's click probability alone.

    A blend of sources, the weight of retrieval's similarity and the simple rungs give scores that
    only order the items.
    """
    name = model_file("softmax_sampling", SAMPLING)
    if release.rung["name"] != FULL or name not in release.artifact.manifest["files"]:
        return False
    ordering: Mapping[str, object] = json.loads(release.artifact.path(name).read_text())
    return ordering.get("retrieval_weight") == 0


def in_service(champion: Champion | None, moment: int) -> int | None:
    """Return the number of the release that was in service at a moment; None: there was none.

    Args:
        champion: of the home, with its history.
        moment: unix seconds.
    """
    before = [one for one in (champion.history if champion else []) if int(one["at"]) < moment]
    return int(before[-1]["release"]) if before else None


@dataclass(frozen=True)
class InService:
    """Describes the release that was in service at a moment.

    Attributes:
        release: its number; None: there was none.
        training: the training days of its generation that are in the store.
        first: the days (ISO) after the one on which the generation was first promoted.
    """

    release: int | None
    training: tuple[str, ...] = ()
    first: tuple[str, ...] = ()


def served_on(settings: Settings, store: ArtifactStore, day: str, most: int) -> InService:
    """Return what served at the end of a day.

    A generation without recorded training days, such as a simple rung, has none.

    Args:
        settings: of the home.
        store: of the artifacts.
        day: ISO, in the shop's time zone.
        most: number of first days; those that are not before the day are left out.
    """
    champion, zone = read_champion(settings), time_zone(settings)
    number = in_service(champion, day_bounds(day, zone)[1])
    if champion is None or number is None or not store.exists(releases.RELEASE, f"{number:06d}"):
        return InService(None)
    family = releases.open_release(store, number).generation
    begun = next(
        day_of(int(one["at"]), zone)
        for one in champion.history
        if _generation(store, int(one["release"])) == family
    )
    after = (date.fromisoformat(begun) + timedelta(days=n) for n in range(1, most + 1))
    first = tuple(one.isoformat() for one in after if one.isoformat() < day)
    generation = releases.open_release(store, family).artifact
    if "workflows" not in generation.manifest["inputs"]:
        return InService(number, (), first)
    days = releases.training_days(store, releases.open_release(store, number))
    kept = tuple(one for one in days if store.exists("features/interactions", one))
    return InService(number, kept, first)


def _generation(store: ArtifactStore, number: int) -> int:
    """Return the generation of a release; its own number if it no longer exists."""
    if not store.exists(releases.RELEASE, f"{number:06d}"):
        return number
    return releases.open_release(store, number).generation

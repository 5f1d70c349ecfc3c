"""Find the releases that passed their gate and are newer than all that were in service."""

from __future__ import annotations

from recsys_assets.artifacts import ArtifactStore
from recsys_assets.lib.release import releases
from recsys_assets.lib.release.champion import read_champion
from recsys_assets.lib.release.rung import RUNGS
from recsys_assets.settings import Settings


def rank(release: releases.Release) -> tuple[str, int, int]:
    """Return the order by which a release is better: day, rung, number."""
    return release.day, RUNGS.index(release.rung["name"]), release.number


def waiting_releases(store: ArtifactStore, settings: Settings) -> list[releases.Release]:
    """Return the releases that may be promoted now, best first.

    They are newer than every release that was in service, and at least of the champion's day and
    rung. Their gate passed, they serve the lists that were judged, and this code and look-back can
    run them. So a rollback stays in force until a release is built after it.

    Args:
        store: of the artifacts.
        settings: of the home.
    """
    champion = read_champion(settings)
    served = (
        [champion.release, *(int(one["release"]) for one in champion.history)] if champion else []
    )
    after = max(served, default=0)
    numbers = [int(name) for name in store.partitions(releases.RELEASE)]
    found = [
        one
        for one in (releases.open_release(store, number) for number in numbers if number > after)
        if one.gate
        and one.gate["passed"]
        and one.of_this_form
        and one.fits(settings)
        and not releases.lists_differ(store, one.number)
    ]
    if champion and found:
        least = rank(releases.open_release(store, champion.release))
        found = [one for one in found if rank(one) > least]
    return sorted(found, key=rank, reverse=True)

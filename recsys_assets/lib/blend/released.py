"""Open the sources and the places of a blend or of a release, to ask them for queries."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import date, timedelta

import numpy as np

from recsys_assets.artifacts import Artifact, ArtifactMissing, ArtifactStore
from recsys_assets.lib.blend.blend_artifacts import judged_blends
from recsys_assets.lib.evaluation.latest_clicks import LatestClicks, read_clicks
from recsys_assets.lib.evaluation.query_sources import QuerySources
from recsys_assets.lib.features.batch_transform import item_vocabulary
from recsys_assets.lib.ranking.places import NewItemPlaces
from recsys_assets.lib.release.item_parts import item_parts
from recsys_assets.lib.release.releases import Release, open_release
from recsys_assets.lib.sources.stored import JUDGED, read_blend, read_places, read_young
from recsys_assets.release_files import CANDIDATE_SOURCES, ITEM_IDS_FILE, MODELS, SAMPLING, YOUNG


def judged_sources(
    blend: Artifact,
    aligned: Artifact,
    workflows: Artifact,
    log: Sequence[Artifact],
    look_back_days: int,
) -> QuerySources | None:
    """Return the judged sources of a blend; None where it has none.

    Args:
        blend: ``evaluation/blend`` or ``ladder/fusion``.
        aligned: ``embeddings/aligned`` that it was made from.
        workflows: ``features/workflows`` that it was made from.
        log: ``raw/interactions`` of the queries' days and of those before.
        look_back_days: days of clicks that a visitor has.
    """
    blends = judged_blends(blend.local, aligned)
    if not blends:
        return None
    latest = LatestClicks.of(read_clicks(log), item_vocabulary(workflows), look_back_days)
    return QuerySources(blends, latest)


def first_query_day(days_before: Sequence[Artifact]) -> str | None:
    """Return the first day of the queries, ISO; None without a day before it.

    days_before: ``features/interactions`` of the day before each day of the queries.
    """
    if not days_before:
        return None
    first = date.fromisoformat(min(str(one.partition) for one in days_before))
    return (first + timedelta(days=1)).isoformat()


def released_sources(
    store: ArtifactStore, release: Release, log: Sequence[Artifact], first_day: str | None = None
) -> QuerySources | None:
    """Return the sources that a release serves; None where it has none.

    Args:
        store: of the artifacts.
        release: of any rung, of this form of the code.
        log: ``raw/interactions`` of the queries' days and of those before.
        first_day: of the queries, ISO; where the release's own days reach it, the tables of its
            training days are taken if they still exist, since those which serve have learnt these
            clicks. None: no query is of such a day.
    """
    learnt = _learnt(store, release, first_day)
    if learnt is not None:
        blended, aligned, workflows = learnt
        return judged_sources(blended, aligned, workflows, log, release.look_back_days)
    folder = release.artifact.local / MODELS / CANDIDATE_SOURCES
    blend = read_blend(folder)
    if blend is None:
        return None
    vocabulary = json.loads(release.artifact.path(ITEM_IDS_FILE).read_text())
    latest = LatestClicks.of(read_clicks(log), vocabulary, release.look_back_days)
    return QuerySources((blend,), latest)


def judged_places(blend: Artifact) -> NewItemPlaces | None:
    """Return the places for the new items of the training days; None where there are none.

    blend: ``evaluation/blend`` or ``ladder/fusion``.
    """
    return read_places(blend.local / JUDGED)


def released_places(
    store: ArtifactStore, release: Release, first_day: str | None = None
) -> NewItemPlaces | None:
    """Return the places for new items that a release serves; None where it has none.

    Arguments as for ``released_sources``: an item that got its first clicks on the queries' days is
    new for them.
    """
    folder = release.artifact.local / MODELS / "softmax_sampling"
    sampling = json.loads((folder / SAMPLING).read_text())
    every = sampling.get("new_item_places", 0)
    if not every:
        return None
    learnt = _learnt(store, release, first_day)
    young = read_young((folder if learnt is None else learnt[0].local / JUDGED) / YOUNG)
    items = len(json.loads(release.artifact.path(ITEM_IDS_FILE).read_text()))
    # items that a fine-tune added after those tables were fitted are as young as can be
    young = np.pad(young, (0, items - len(young)), constant_values=True)
    return NewItemPlaces(every, young, sampling["ranking_topk"])


def _learnt(
    store: ArtifactStore, release: Release, first_day: str | None
) -> tuple[Artifact, Artifact, Artifact] | None:
    """Return blend, embeddings and workflows, if the release's own days reach the queries'.

    None where they do not, or where an artifact no longer exists.
    """
    if first_day is None or first_day > release.day:
        return None
    made_from = open_release(store, release.generation).artifact.manifest["inputs"]
    own = release.artifact.manifest["inputs"].get("blend")
    try:
        # the judged tables of a fine-tune are fitted up to the day before its own: on earlier days
        # they would win by memory, and those of its generation are taken
        if own is not None and first_day == release.day:
            parts = item_parts(store, release)
            return store.open(own), parts.aligned, parts.workflows
        if "blend" not in made_from:
            return None
        blend, aligned, workflows = (
            store.open(made_from[role]) for role in ("blend", "aligned", "workflows")
        )
    except ArtifactMissing:
        return None
    return blend, aligned, workflows

"""Finds what a release is checked with: its held-out queries, their log, and its own lists.

The evaluation judges sources that are fitted on the training days ("judged"), because those that
serve ("served") have learned the held-out clicks. The check proves the path of code and data, not
the split. So its lists are those of the evaluation's code on the files that the release serves.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from functools import partial

import numpy as np

from recsys_assets import columns as c
from recsys_assets.artifacts import Artifact, ArtifactMissing, ArtifactStore
from recsys_assets.lib.blend.released import released_places
from recsys_assets.lib.evaluation.inner_products import (
    NudgedProducts,
    faiss_products,
    inner_products,
)
from recsys_assets.lib.evaluation.item_rows import rows_in
from recsys_assets.lib.evaluation.list_metrics import Scorer
from recsys_assets.lib.evaluation.placed import young_items
from recsys_assets.lib.evaluation.queries import Queries
from recsys_assets.lib.fine_tune import fine_tuning
from recsys_assets.lib.fine_tune.judging import held_out_queries
from recsys_assets.lib.gates.simple import scorer_of
from recsys_assets.lib.release.releases import Release, open_release
from recsys_assets.lib.served_check.agreement import ReservedPlaces
from recsys_assets.local_time import day_of
from recsys_assets.partitions import previous_day
from recsys_assets.release_files import ITEM_IDS_FILE
from recsys_assets.settings import Settings


class CheckImpossible(RuntimeError):
    """A release cannot be checked; the message names the reason and the remedy."""


class NothingHeldOut(CheckImpossible):
    """There is no held-out click to ask for, which is no fault of the release."""


@dataclass(frozen=True)
class Subject:
    """Holds a release and what it is checked with."""

    release: Release
    queries: Queries  # the sample
    held_out: int  # queries that it was drawn from
    log: Sequence[Artifact]  # raw/interactions of the queries' days and of those before
    #: features/interactions of the days before the queries and of their own
    features: Sequence[Artifact]
    scorer: Scorer  # the evaluation's
    #: opens the same, with inner products rounded as the index rounds them
    rounded: Callable[[], Scorer]
    #: opens the same, whose inner products are nudged in another way at each call
    nudged: Callable[[], Scorer]
    places: ReservedPlaces | None  # of the release; None: it reserves none

    @classmethod
    def of(cls, store: ArtifactStore, settings: Settings, release: Release, sample: int) -> Subject:
        """Open everything, and draw the sample.

        Args:
            store: of the artifacts.
            settings: of the home: days that are kept, candidates, seed.
            release: of any rung.
            sample: queries at most.

        Raises:
            CheckImpossible: the release is of an older form or another look-back, has no
                evaluation, no held-out query, or a day of its evaluation no longer exists.
        """
        _require_servable(release, settings)
        try:
            asked = _queries(store, settings, release)
            if not asked.overall.any():
                raise NothingHeldOut(
                    f"release {release.number} has no held-out click to be asked for: its lists "
                    "can be compared as soon as the days of its evaluation have clicks of visitors"
                )
            queries = _drawn(asked, sample, settings.seed)
            log, features, before = _days(store, settings, queries)
        except ArtifactMissing as error:
            raise CheckImpossible(
                f"the evaluation of release {release.number} is no longer complete ({error}): run "
                "`recsys materialize` to build a release of today's artifacts"
            ) from error
        opened = partial(
            scorer_of,
            store,
            release,
            log=log,
            days_before=before,
            retrieval_topk=settings.retrieval_topk,
            as_served=True,
        )
        return cls(
            release,
            queries,
            int(asked.overall.sum()),
            log,
            features,
            opened(products=inner_products),
            partial(opened, products=faiss_products),
            partial(opened, products=NudgedProducts(settings.seed)),
            _places(store, release, queries),
        )


def _places(store: ArtifactStore, release: Release, queries: Queries) -> ReservedPlaces | None:
    """Return the places of a release for new items; None where it reserves none."""
    places = released_places(store, release)
    if places is None:
        return None
    vocabulary = json.loads(release.artifact.path(ITEM_IDS_FILE).read_text())
    catalogue = rows_in(vocabulary, queries.item_ids)
    return ReservedPlaces(places, young_items(places.young, catalogue, queries.items))


def _require_servable(release: Release, settings: Settings) -> None:
    if not release.of_this_form:
        raise CheckImpossible(
            f"release {release.number} was built by an older version of this code and cannot be "
            "served any more: run `recsys materialize` to build a new release"
        )
    if not release.fits(settings):
        raise CheckImpossible(
            f"release {release.number} was trained on {release.look_back_days} days of clicks, but "
            f"RECSYS_LOOK_BACK_DAYS of this home is {settings.look_back_days}: set it to "
            f"{release.look_back_days}, or run `recsys materialize`"
        )


def _queries(store: ArtifactStore, settings: Settings, release: Release) -> Queries:
    """Return the queries that a release was judged on."""
    made_from = release.artifact.manifest["inputs"]
    if release.kind == "fine_tune":
        rows = store.open(store.open(made_from["query_tower"]).manifest["inputs"]["rows"])
        features = store.open(rows.manifest["inputs"]["features"][-1])
        exposures = fine_tuning.judged_rows(rows, features)
        window = _between(
            store, "raw/interactions", _earlier(release.day, _reach(settings)), release.day
        )
        parts = {
            "features": features,
            "interactions": window,
            "items": store.current("raw/items"),
            "base": store.open(made_from["base"]),
        }
        zone = _zone(store, release)
        return held_out_queries(parts, exposures, release.day, settings.seed, zone)
    if "blend" not in made_from:
        raise CheckImpossible(
            f"release {release.number} does not record its evaluation: run `recsys materialize` to "
            "build one that does"
        )
    return Queries.read(store.open(store.open(made_from["blend"]).manifest["inputs"]["queries"]))


def _zone(store: ArtifactStore, release: Release) -> str:
    """Return the time zone of a generation."""
    from recsys_assets.lib.features.batch_transform import read_transforms
    from recsys_assets.lib.features.clock import zone_of

    generation = open_release(store, release.generation).artifact
    return zone_of(read_transforms(store.open(generation.manifest["inputs"]["workflows"])))


def _drawn(asked: Queries, sample: int, seed: int) -> Queries:
    """Return a random sample of the queries that count, in the order of time."""
    whole = np.flatnonzero(asked.overall)
    drawn = np.random.default_rng([seed, 13]).permutation(whole)[:sample]
    times = asked.frame[c.TIMESTAMP].to_numpy()[drawn]
    return asked.subset(drawn[np.argsort(times, kind="stable")])


def _days(
    store: ArtifactStore, settings: Settings, queries: Queries
) -> tuple[list[Artifact], list[Artifact], list[Artifact]]:
    """Return log, features, and features of the day before each day from first to last query."""
    times, zone = queries.frame[c.TIMESTAMP].to_numpy(), queries.time_zone
    first, last = (day_of(int(at), zone) for at in (times.min(), times.max()))
    start = _earlier(first, _reach(settings))
    log = _between(store, "raw/interactions", start, last)
    features = _between(store, "features/interactions", start, last)
    days, day = [], first
    while day <= last:
        days.append(previous_day(day))
        day = _earlier(day, -1)
    return log, features, store.require("features/interactions", days)


def _between(store: ArtifactStore, kind: str, first: str, last: str) -> list[Artifact]:
    days = [day for day in store.partitions(kind) if first <= day <= last]
    return store.require(kind, days)


def _reach(settings: Settings) -> int:
    """Return the days before a query whose events a visitor's state holds."""
    return max(settings.look_back_days, settings.kept_seen_days)


def _earlier(day: str, days: int) -> str:
    return (date.fromisoformat(day) - timedelta(days=days)).isoformat()

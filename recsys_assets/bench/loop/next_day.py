"""Judge releases on the clicks of a later day, paired by visitor."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, timedelta

import numpy as np

from recsys_assets import partitions
from recsys_assets.artifacts import ArtifactStore
from recsys_assets.bench.harness.part import BenchFailed
from recsys_assets.lib.evaluation import list_metrics
from recsys_assets.lib.evaluation.queries import Queries
from recsys_assets.lib.gates.simple import scorer_of
from recsys_assets.lib.release import releases
from recsys_assets.lib.release.releases import Release
from recsys_assets.lib.release.rung import RUNGS
from recsys_assets.settings import Settings

FROZEN, TUNED, RETRAINED = "frozen", "tuned", "retrained"
Figures = dict[str, float | int | str]


def trained_release(store: ArtifactStore, day: str) -> Release:
    """Return the release that a full training as of a day would serve where nothing serves.

    It is the one of the highest rung that is not below the rung before it. What a champion says of
    it does not count.

    Raises:
        BenchFailed: there is none of this day.
    """
    found = [
        one
        for one in releases.list_releases(store)
        if one.kind != "fine_tune"
        and one.day == day
        and not any(failed.startswith("rung:") for failed in one.failed_checks)
    ]
    if not found:
        raise BenchFailed(f"no full training as of {day} has built a release")
    return max(found, key=lambda one: (RUNGS.index(one.rung["name"]), one.number))


def ranks_on(
    settings: Settings, compared: Mapping[str, Release], day: str
) -> tuple[Queries, dict[str, np.ndarray]]:
    """Ask releases for lists of the moments before the clicks of a day.

    Args:
        settings: of the home, which has ingested the day.
        compared: name → release. What hides an item is the rule of the first one.
        day: ISO, after the days of all releases.

    Returns:
        the queries; and name → rank of each clicked item, int64 [Q].

    Raises:
        BenchFailed: the day has no click that a list could be asked for.
    """
    store = ArtifactStore(settings.artifacts)
    reach = max(settings.look_back_days, settings.kept_seen_days, partitions.window_size(settings))
    first = (date.fromisoformat(day) - timedelta(days=reach)).isoformat()
    days = [one for one in store.partitions("raw/interactions") if first <= one <= day]
    log = store.require("raw/interactions", days)
    before = store.require("features/interactions", [partitions.previous_day(day)])
    asked = Queries.build(
        store.require("features/interactions", [day]),
        log,
        store.current("raw/items"),
        seed=settings.seed,
        rule=releases.seen_rule(next(iter(compared.values())).artifact),
        zone=partitions.time_zone(settings),
    )
    if not asked.overall.any():
        raise BenchFailed(f"{day} has no click that a list could be asked for")
    ranks = {
        name: list_metrics.run(
            scorer_of(
                store,
                release,
                log=log,
                days_before=before,
                retrieval_topk=settings.retrieval_topk,
                as_served=True,
            ),
            asked,
        ).ranks
        for name, release in compared.items()
    }
    return asked, ranks


def figures_of(
    ranks: Mapping[str, np.ndarray], users: Sequence[int] | np.ndarray, seed: int
) -> Figures:
    """Return the figures of the frozen, the tuned and the retrained release.

    Args:
        ranks: FROZEN, TUNED and RETRAINED → rank of each clicked item, int [Q].
        users: int [Q], the visitor of each.
        seed: of the bootstrap.

    Returns:
        ``ndcg_frozen``, ``ndcg_tuned`` and ``ndcg_retrained`` (nDCG@10, per visitor);
        ``tuned_minus_frozen`` with its 95 % interval ``…_low`` and ``…_high``;
        ``frozen_minus_tuned_high``, below 0 where the tuned one is surely better;
        ``retrained_over_tuned``; ``queries`` and ``visitors``.
    """
    of = np.asarray(users)
    ndcg = {name: list_metrics.point(own, of) for name, own in ranks.items()}
    minus = list_metrics.paired_difference(ranks[TUNED], ranks[FROZEN], of, seed=seed)
    return {
        **{f"ndcg_{name}": round(ndcg[name], 4) for name in (FROZEN, TUNED, RETRAINED)},
        "tuned_minus_frozen": round(minus["value"], 4),
        "tuned_minus_frozen_low": round(minus["low"], 4),
        "tuned_minus_frozen_high": round(minus["high"], 4),
        "frozen_minus_tuned_high": round(-minus["low"], 4),
        "retrained_over_tuned": round(ndcg[RETRAINED] / ndcg[TUNED], 4) if ndcg[TUNED] else 999.0,
        "queries": len(of),
        "visitors": len(np.unique(of)),
    }

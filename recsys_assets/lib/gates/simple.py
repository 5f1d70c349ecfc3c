"""Judges the release of a simple rung.

It always exists, so that a shop has a list from its first row on. It is promoted where nothing is
served yet, or where the champion is of its own rung or below and it is no worse. A champion of a
higher rung is replaced only where the held-out clicks show that nothing is lost.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
import polars as pl

from recsys_assets import columns as c
from recsys_assets.artifacts import Artifact, ArtifactStore
from recsys_assets.files import write_json
from recsys_assets.lib.blend.released import first_query_day, released_places, released_sources
from recsys_assets.lib.evaluation import list_metrics
from recsys_assets.lib.evaluation.generation import Generation
from recsys_assets.lib.evaluation.inner_products import Products, inner_products
from recsys_assets.lib.evaluation.list_metrics import Lists, Scorer
from recsys_assets.lib.evaluation.measures import Estimate
from recsys_assets.lib.evaluation.queries import Queries
from recsys_assets.lib.gates.answers import after
from recsys_assets.lib.gates.checks import fact, no_worse
from recsys_assets.lib.gates.comparisons import tuned_from
from recsys_assets.lib.gates.limits import Limits
from recsys_assets.lib.gates.verdicts import VERDICT_FILE
from recsys_assets.lib.ladder.released import rung_scorer
from recsys_assets.lib.ladder.rungs import MINIMUM_QUERIES
from recsys_assets.lib.release import build, releases
from recsys_assets.lib.release.releases import Release, champion_artifact
from recsys_assets.lib.release.rung import FULL, POPULARITY, RUNGS, Rung, RungName
from recsys_assets.lib.release.verdict import Check, Verdict, verdict_of
from recsys_assets.settings import Settings


class ChampionLists(TypedDict):
    """Holds the comparison with the champion on the held-out clicks."""

    release: int
    rung: RungName
    day: str
    queries: int
    visitors: int  # of the queries
    difference: Estimate | None  # nDCG@10, candidate − champion; None without a query
    own: float | None  # the champion's nDCG@10


class SimpleEvidence(TypedDict):
    """Holds everything that a simple release is judged by."""

    rung: Rung
    index: dict[str, float]  # recall and recall_floor
    day: str  # of the release, ISO
    champion: ChampionLists | None


class JudgedSimple(TypedDict):
    """Holds the verdict and its evidence."""

    gate: Verdict
    evidence: SimpleEvidence


def verdict_inputs(
    store: ArtifactStore, settings: Settings, parts: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the inputs of ``write_simple_verdict``; "champion" only where there is one.

    parts: role → artifact or artifacts, as defs/ladder/release.py declares them.
    """
    inputs = {role: parts[role] for role in ("rung", "fusion", "queries", "log", "days_before")}
    champion = champion_artifact(store, settings)
    return inputs | ({"champion": champion} if champion else {})


def existing_release(
    store: ArtifactStore, settings: Settings, parts: Mapping[str, Any]
) -> Artifact | None:
    """Return the release that these parts, settings and code made before; None where there is none.

    It keeps its verdict: what serves now is no reason to build the same release again.
    """
    made_from = {
        "faiss_index": "rung",
        "blend": "fusion",
        "query_tower": "models",
        "raw_items": "raw_items",
        "seen_rule": "seen_rule",
    }
    for release in reversed(releases.list_releases(store)):
        manifest = release.artifact.manifest
        if release.kind != "simple" or manifest.get("code") != build.code():
            continue
        same_parts = all(
            manifest["inputs"].get(role, {}).get("digest") == parts[part].digest
            for role, part in made_from.items()
        )
        same_settings = all(
            manifest["params"].get(name) == getattr(settings, name) for name in build.OF_SETTINGS
        )
        # the parts may be equal: the vectors of a rung seldom depend on the look-back
        if same_parts and same_settings and release.fits(settings):
            return release.artifact
    return None


def build_simple_release(
    store: ArtifactStore,
    settings: Settings,
    as_of: str,
    parts: Mapping[str, Any],
    verdict: Artifact,
) -> Artifact:
    """Build the release of a simple rung; the same parts and verdict give the same release.

    parts: as for ``verdict_inputs``. verdict: of ``write_simple_verdict``.
    """
    figures = parts["fusion"].metrics
    ranked = pl.read_parquet(parts["popularity"].path("popularity.parquet"))
    clicks = pl.read_parquet(parts["newest"].path("item_popularity.parquet"))
    lists = figures["lists"]
    return build.build_release(
        store,
        settings,
        as_of=as_of,
        raw_items=parts["raw_items"],
        workflows=parts["workflows"],
        aligned=parts["aligned"],
        faiss_index=parts["rung"],
        query_tower=parts["models"],
        ranker=parts["models"],
        seen_rule=parts["seen_rule"],
        blend=parts["fusion"],
        popularity=ranked[c.ITEM_ID].to_list(),
        item_clicks=dict(clicks.select(c.ITEM_ID, c.ITEM_CLICKS).iter_rows()),
        gate=verdict.metrics["gate"],
        rung=figures["rung"],
        metrics={
            **({"served_ndcg@10": lists[figures["rung"]["name"]]["ndcg@10"]} if lists else {}),
            **({"popularity_ndcg@10": lists[POPULARITY]["ndcg@10"]} if lists else {}),
            "evidence": verdict.metrics["evidence"],
        },
    )


def scorer_of(
    store: ArtifactStore,
    release: Release,
    *,
    log: Sequence[Artifact],
    days_before: Sequence[Artifact],
    retrieval_topk: int,
    as_served: bool = False,
    products: Products = inner_products,
) -> Scorer:
    """Return what a release of any rung shows, as a scorer of queries.

    Args:
        store: of the artifacts.
        release: whose lists are wanted.
        log: ``raw/interactions`` of the queries' days and of those before.
        days_before: ``features/interactions`` of the day before each day of the queries.
        retrieval_topk: candidates of the first stage.
        as_served: ask the sources that serve, also where they have learnt the queries' days.
        products: how inner products are computed.
    """
    first_day = None if as_served else first_query_day(days_before)
    if release.rung["name"] == FULL:
        generation = Generation.of_release(
            store,
            release,
            days_before,
            retrieval_topk=retrieval_topk,
            sources=released_sources(store, release, log, first_day),
            places=released_places(store, release, first_day),
        )
        generation.products = products
        return generation.served
    return rung_scorer(store, release, log, retrieval_topk, first_day, products)


def write_simple_verdict(
    store: ArtifactStore,
    target: Path,
    *,
    rung: Artifact,
    fusion: Artifact,
    queries: Artifact,
    log: Sequence[Artifact],
    days_before: Sequence[Artifact],
    champion: Artifact | None = None,
    as_of: str,
    seed: int,
    retrieval_topk: int,
    ndcg_tolerance: float,
) -> JudgedSimple:
    """Write verdict.json of a simple release; return it as metrics.

    Args:
        store: of the artifacts.
        target: folder of the file.
        rung: ``ladder/simple_rung``.
        fusion: ``ladder/fusion``.
        queries: ``evaluation/queries``.
        log: see ``scorer_of``.
        days_before: see ``scorer_of``.
        champion: the release in force; None where nothing is served.
        as_of: day of the release, ISO.
        seed: of the bootstrap.
        retrieval_topk: see ``scorer_of``.
        ndcg_tolerance: most loss against the champion, as a share of its figure.
    """
    chosen, asked = fusion.metrics["rung"], Queries.read(queries)
    evidence: SimpleEvidence = {
        "rung": chosen,
        "index": {name: rung.metrics[name] for name in ("recall", "recall_floor")},
        "day": as_of,
        "champion": None,
    }
    if champion is not None:
        release = releases.read_release(champion)

        def lists(release: Release, as_served: bool) -> Lists:
            scorer = scorer_of(
                store,
                release,
                log=log,
                days_before=days_before,
                retrieval_topk=retrieval_topk,
                as_served=as_served,
            )
            return list_metrics.run(scorer, asked)

        base = tuned_from(store, release, first_query_day(days_before))
        shown = lists(release, as_served=base is not None)
        if base is not None:
            later = after(release.day, asked.frame[c.TIMESTAMP], asked.time_zone)
            shown = shown.where(later, lists(base, as_served=False))
        own = Lists.read(fusion, chosen["name"])
        evidence["champion"] = _compared(own, shown, asked, release, seed)
    found: JudgedSimple = {"gate": simple_release(evidence, ndcg_tolerance), "evidence": evidence}
    write_json(target / VERDICT_FILE, found)
    return found


def _compared(
    own: Lists, shown: Lists, asked: Queries, release: Release, seed: int
) -> ChampionLists:
    whole, ranks = asked.overall, shown.ranks
    figures = list_metrics.judge(ranks, asked, seed)
    return {
        "release": release.number,
        "rung": release.rung["name"],
        "day": release.day,
        "queries": int(whole.sum()),
        "visitors": len(np.unique(asked.users[whole])),
        "difference": list_metrics.overall_difference(own.ranks, ranks, asked, seed),
        "own": figures["ndcg@10"]["value"] if figures else None,
    }


def simple_release(evidence: SimpleEvidence, ndcg_tolerance: float) -> Verdict:
    """Judge a simple release."""
    index, rung = evidence["index"], evidence["rung"]
    checks = [
        fact(
            "exports: index agreement",
            index["recall"],
            index["recall_floor"],
            passed=index["recall"] >= index["recall_floor"],
        ),
        fact("rung: chosen by held-out clicks", rung["name"], rung["why"]),
    ]
    champion = evidence["champion"]
    if champion is None:
        checks.append(fact("champion: release", "none yet", "nothing to be worse than"))
    else:
        checks += [
            fact(
                "freshness: day of the release",
                evidence["day"],
                champion["day"],
                passed=evidence["day"] >= champion["day"],
            ),
            _champion(champion, rung, ndcg_tolerance),
        ]
    return verdict_of(checks)


def _champion(champion: ChampionLists, rung: Rung, ndcg_tolerance: float) -> Check:
    name = f"champion: nDCG@10 against release {champion['release']} ({champion['rung']})"
    difference, own = champion["difference"], champion["own"]
    above = RUNGS.index(rung["name"]) < RUNGS.index(champion["rung"])
    few = champion["queries"] < MINIMUM_QUERIES or champion["visitors"] < Limits().visitors
    if difference is None or own is None or few:
        text = (
            f"too few to judge: {champion['queries']} held-out clicks of "
            f"{champion['visitors']} visitors"
        )
        return fact(
            name, text, "the higher rung stays" if above else MINIMUM_QUERIES, passed=not above
        )
    allowed = ndcg_tolerance * own
    return no_worse(name, difference, allowed, surely=above)

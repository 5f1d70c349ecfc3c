"""Gathers the parts of a release, judges them by the gates, and builds the release.

A verdict is an artifact of its own. Its inputs are everything that was judged, the champion
included. So the same parts have the same verdict, to the last digit of a measured latency, and the
same release.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
import polars as pl

from recsys_assets import columns as c
from recsys_assets.artifacts import Artifact, ArtifactStore
from recsys_assets.files import write_json
from recsys_assets.lib.blend.released import released_places, released_sources
from recsys_assets.lib.evaluation.baseline_spaces import DEFAULTS
from recsys_assets.lib.evaluation.click_log import ClickLog
from recsys_assets.lib.evaluation.generation import Generation
from recsys_assets.lib.evaluation.popular_baselines import RecentPopularity
from recsys_assets.lib.evaluation.queries import QUERY_LIMIT, Queries
from recsys_assets.lib.exports import parity
from recsys_assets.lib.exports.exports import PARTS
from recsys_assets.lib.fine_tune import fine_tuning
from recsys_assets.lib.gates import evidence as gate_evidence
from recsys_assets.lib.gates import gates
from recsys_assets.lib.gates.comparisons import against_simple, champion_answers, learned_answers
from recsys_assets.lib.gates.evidence import ModelAnswers
from recsys_assets.lib.gates.evidence_types import Evidence
from recsys_assets.lib.gates.limits import Limits
from recsys_assets.lib.ladder.rungs import full_rung
from recsys_assets.lib.raw.rows import scan_interactions
from recsys_assets.lib.release import build, releases
from recsys_assets.lib.release.releases import champion_artifact
from recsys_assets.lib.release.verdict import Verdict
from recsys_assets.release_files import PARITY, QUERY_TOWER_ONNX, RANKER_ONNX
from recsys_assets.settings import Settings

VERDICT_FILE = "verdict.json"
#: Roles of the parts that a full training is judged by, and of those that its release contains.
_JUDGED = (
    "queries",
    "offline",
    "models",
    "vectors",
    "aligned",
    "workflows",
    "faiss_index",
    "features",
    "days_before",
    "training",
    "interactions",
    "simple_rung",
)
_HELD = (
    "raw_items",
    "workflows",
    "aligned",
    "faiss_index",
    "query_tower",
    "ranker",
    "seen_rule",
    "blend",
)
#: Settings that the lists were judged with.
_OF_LISTS = ("retrieval_topk", "retrieval_weight")

#: Figure of a full release → the system and metric of its evaluation.
_SHOWN = {
    "recall@100": ("retrieval", "recall@100"),
    "served_ndcg@10": ("served", "ndcg@10"),
    "popularity_ndcg@10": ("popularity", "ndcg@10"),
}


class JudgedRelease(TypedDict):
    """Holds a verdict and its evidence: verdict.json without the limits."""

    gate: Verdict
    evidence: Evidence


# --- a full release -------------------------------------------------------------------------------
def full_inputs(
    store: ArtifactStore, settings: Settings, parts: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the inputs of the verdict on a full training.

    Args:
        parts: role → artifact or artifacts, as defs/serving/release.py declares them.

    Returns:
        role → artifact or artifacts; "champion" only where there is one.

    Raises:
        ReleaseError: the evaluation is of other models or queries than the parts, or of other
            settings than today's.
    """
    inputs = {role: parts[role] for role in _JUDGED}
    offline = inputs["offline"]
    for judged in (offline, parts["blend"]):
        made_from = judged.manifest["inputs"]
        for role in ("models", "vectors", "queries", "blend"):
            if role in made_from and made_from[role]["digest"] != parts[role].digest:
                raise releases.ReleaseError(
                    f"{judged.kind} [{judged.partition}] is of another {parts[role].kind}; "
                    "materialise it again"
                )
    for name in _OF_LISTS:
        judged, present = offline.manifest["params"][name], getattr(settings, name)
        if judged != present:
            raise releases.ReleaseError(
                f"evaluation/offline [{offline.partition}] judged lists of {name} {judged}, the "
                f"settings say {present}; materialise it again"
            )
    champion = champion_artifact(store, settings)
    return inputs | ({"champion": champion} if champion else {})


def write_full_verdict(
    store: ArtifactStore,
    inputs: Mapping[str, Any],
    target: Path,
    *,
    as_of: str,
    limits: Limits,
    seed: int,
    retrieval_topk: int,
    first_day: str,
) -> JudgedRelease:
    """Write verdict.json of a full training; return it as metrics.

    inputs: of ``full_inputs``. seed: of the bootstrap. first_day: of the calendar, ISO.
    """
    queries = Queries.read(inputs["queries"])
    exposures = pl.concat(
        [pl.read_parquet(artifact.path("features.parquet")) for artifact in inputs["features"]]
    )
    generation = Generation.of_training(
        **{
            role: inputs[role]
            for role in ("models", "workflows", "aligned", "vectors", "days_before")
        },
        retrieval_weight=inputs["offline"].manifest["params"]["retrieval_weight"],
        retrieval_topk=retrieval_topk,
    )
    with np.load(inputs["offline"].path("lists.npz"), allow_pickle=False) as arrays:
        candidate = ModelAnswers.of_lists(arrays, generation.click_scores(exposures))
    champion = None
    if "champion" in inputs:
        champion = champion_answers(store, inputs, queries, exposures, retrieval_topk)
    log = ClickLog.of(
        scan_interactions(inputs["interactions"]), queries.item_ids, queries.time_zone
    )
    recent = RecentPopularity(log, **DEFAULTS[RecentPopularity.name])
    evidence = gate_evidence.gather(
        candidate, queries, exposures, day=as_of, seed=seed, champion=champion, recent=recent
    )
    index = inputs["faiss_index"].metrics
    evidence |= {
        "rung": against_simple(candidate.served, inputs["simple_rung"], queries, seed),
        "latency_ms": gate_evidence.latencies(
            generation,
            inputs["models"].path(QUERY_TOWER_ONNX),
            inputs["models"].path(RANKER_ONNX),
            queries,
            exposures,
        ),
        "drift": gate_evidence.input_drift(
            inputs["training"], inputs["features"], first_day=first_day
        ),
        "parity": inputs["models"].metrics["max_abs_difference"],
        "index": {"recall": index.get("recall"), "recall_floor": index.get("recall_floor")},
    }
    return _written(
        {"gate": gates.full_release(evidence, limits), "evidence": evidence}, limits, target
    )


def full_release_in_force(
    store: ArtifactStore, settings: Settings, parts: Mapping[str, Any]
) -> Artifact | None:
    """Return the champion if these parts, settings and code made it, else None.

    The champion is not compared with itself: the verdict that it was promoted by stays valid.
    """
    champion = champion_artifact(store, settings)
    if champion is None or champion.manifest.get("code") != build.code():
        return None
    if any(
        champion.manifest["params"].get(name) != getattr(settings, name)
        for name in build.OF_SETTINGS
    ):
        return None
    made_from = champion.manifest["inputs"]
    same = all(made_from.get(role, {}).get("digest") == parts[role].digest for role in _HELD)
    return champion if same else None


def full_release(
    store: ArtifactStore,
    settings: Settings,
    as_of: str,
    parts: Mapping[str, Any],
    verdict: Artifact,
) -> Artifact:
    """Build the release of a full training, the first of its generation.

    The same parts and verdict give the same release again.

    parts: as for ``full_inputs``. verdict: of ``write_full_verdict``.
    """
    report, compared = parts["offline"].metrics, verdict.metrics["evidence"]["rung"]
    ranked = pl.read_parquet(parts["popularity"].path("popularity.parquet"))
    of_as_of_day = parts["features"][-1]
    clicks = pl.read_parquet(of_as_of_day.path("item_popularity.parquet"))
    return build.build_release(
        store,
        settings,
        as_of=as_of,
        **{role: parts[role] for role in _HELD},
        popularity=ranked[c.ITEM_ID].to_list(),
        item_clicks=dict(clicks.select(c.ITEM_ID, c.ITEM_CLICKS).iter_rows()),
        gate=verdict.metrics["gate"],
        rung=full_rung(compared["difference"], compared["queries"], compared["name"]),
        metrics={
            # without a held-out click there is no figure of lists
            **{
                name: report[system][metric]
                for name, (system, metric) in _SHOWN.items()
                if metric in report[system]
            },
            "auc": report["ranker"]["auc"],
            "evidence": verdict.metrics["evidence"],
        },
    )


# --- a fine-tune ----------------------------------------------------------------------------------
def training_days(store: ArtifactStore, rows: Artifact) -> list[str]:
    """Return the training days of the generation that a fine-tune belongs to.

    rows: ``fine_tune/rows`` of the day.
    """
    base = releases.read_release(store.open(rows.manifest["inputs"]["champion"]))
    return releases.training_days(store, base)


def fine_tune_inputs(
    store: ArtifactStore, settings: Settings, parts: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the inputs of the verdict on a day's fine-tune.

    Args:
        parts: role → artifact or artifacts, as defs/fine_tune/daily.py declares them.

    Returns:
        the parts; "base", the release that the fine-tune started from; "features" of the day; and
        "newer", the champion, where it has learnt a later day since.

    Raises:
        ReleaseError: a model was made from other rows.
    """
    rows, day = parts["rows"], str(parts["rows"].partition)
    for name in fine_tuning.ROLES:
        if parts[name].manifest["inputs"]["rows"]["digest"] != rows.digest:
            raise releases.ReleaseError(
                f"fine_tune/{name} [{day}] was made from other rows; materialise it again"
            )
    inputs = {
        **parts,
        "base": store.open(rows.manifest["inputs"]["champion"]),
        # the day's own come after those of the replayed days
        "features": store.open(rows.manifest["inputs"]["features"][-1]),
    }
    champion = champion_artifact(store, settings)
    newer = champion is not None and releases.read_release(champion).day > day
    return inputs | ({"newer": champion} if newer else {})


def write_fine_tune_verdict(
    store: ArtifactStore,
    inputs: Mapping[str, Any],
    target: Path,
    *,
    day: str,
    limits: Limits,
    seed: int,
    time_zone: str,
    retrieval_topk: int,
    first_day: str,
) -> JudgedRelease:
    """Write verdict.json of a fine-tune; return it as metrics.

    The day's held-out rows judge the fine-tune and the champion that it started from.

    inputs: of ``fine_tune_inputs``. seed: of bootstrap and queries. first_day: ISO.

    Raises:
        ReleaseError: no held-out row gives a query.
    """
    exposures = fine_tuning.held_out(inputs["features"], inputs["rows"].manifest["params"]["seed"])
    queries = held_out_queries(inputs, exposures, day, seed, time_zone)
    release = releases.read_release(inputs["base"])
    before = Generation.of_release(
        store,
        release,
        inputs["days_before"],
        retrieval_topk=retrieval_topk,
        sources=released_sources(store, release, inputs["interactions"]),
        places=released_places(store, release),
    )
    models = {
        "query_tower": inputs["query_tower"].path(QUERY_TOWER_ONNX),
        "dlrm": inputs["dlrm"].path(RANKER_ONNX),
    }
    tuned = before.with_models(models["query_tower"], models["dlrm"])
    # neither has learnt the held-out rows of the day
    champion = learned_answers(release, before, release.day, queries, exposures)
    evidence = gate_evidence.gather(
        ModelAnswers.ask(tuned, queries, exposures),
        queries,
        exposures,
        day=day,
        seed=seed,
        champion=champion,
    )
    if "newer" in inputs:
        evidence["freshness"]["champion_day"] = releases.read_release(inputs["newer"]).day
    of_items, of_lists = (inputs["dlrm"].path(name) for name in PARTS)
    evidence |= {
        "latency_ms": gate_evidence.latencies(
            tuned, models["query_tower"], models["dlrm"], queries, exposures
        ),
        "drift": gate_evidence.input_drift(
            inputs["training"], [inputs["features"]], first_day=first_day
        ),
        "parity": {
            path.name: parity.parity(path, inputs[name].path(PARITY))
            for name, path in models.items()
        }
        | {PARTS[-1]: parity.parts_parity(of_items, of_lists, inputs["dlrm"].path(PARITY))},
    }
    return _written(
        {"gate": gates.fine_tune(evidence, limits), "evidence": evidence}, limits, target
    )


def held_out_queries(
    inputs: Mapping[str, Any], exposures: pl.DataFrame, day: str, seed: int, zone: str
) -> Queries:
    """Return the queries of a day whose click is held out; raise ReleaseError without any."""
    # sampled from all clicks of the day: the limit is raised so that as many held-out ones remain
    asked = Queries.build(
        [inputs["features"]],
        inputs["interactions"],
        inputs["items"],
        seed=seed,
        rule=releases.seen_rule(inputs["base"]),
        zone=zone,
        limit=round(QUERY_LIMIT / (1 - fine_tuning.TRAIN_SHARE)),
    )
    kept = asked.frame[c.EVENT_ID].is_in(exposures[c.EVENT_ID].implode()).to_numpy()
    queries = asked.subset(np.flatnonzero(kept))
    if not queries.overall.any():
        raise releases.ReleaseError(
            f"none of the {exposures.height} held-out rows of {day} is a click that a list could "
            "be asked for: nothing to judge a fine-tune by; choose a day with more rows"
        )
    return queries


def fine_tuned_release(
    store: ArtifactStore, day: str, inputs: Mapping[str, Any], verdict: Artifact
) -> Artifact:
    """Build the release of a day's fine-tune.

    inputs: of ``fine_tune_inputs``. verdict: of ``write_fine_tune_verdict``.
    """
    return build.build_fine_tune_release(
        store,
        day=day,
        base=inputs["base"],
        query_tower=inputs["query_tower"],
        ranker=inputs["dlrm"],
        gate=verdict.metrics["gate"],
        metrics={"evidence": verdict.metrics["evidence"]},
    )


def _written(found: JudgedRelease, limits: Limits, target: Path) -> JudgedRelease:
    write_json(target / VERDICT_FILE, {**found, "limits": dataclasses.asdict(limits)})
    return found

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
from recsys_assets.lib.evaluation.baseline_spaces import DEFAULTS
from recsys_assets.lib.evaluation.click_log import ClickLog
from recsys_assets.lib.evaluation.generation import Generation
from recsys_assets.lib.evaluation.popular_baselines import RecentPopularity
from recsys_assets.lib.evaluation.queries import Queries
from recsys_assets.lib.gates import evidence as gate_evidence
from recsys_assets.lib.gates import gates
from recsys_assets.lib.gates.answers import ModelAnswers
from recsys_assets.lib.gates.comparisons import against_simple, champion_answers
from recsys_assets.lib.gates.evidence_types import Evidence
from recsys_assets.lib.gates.limits import Limits
from recsys_assets.lib.ladder.rungs import full_rung
from recsys_assets.lib.raw.rows import scan_interactions
from recsys_assets.lib.release import build, releases
from recsys_assets.lib.release.releases import champion_artifact
from recsys_assets.lib.release.verdict import Verdict
from recsys_assets.release_files import QUERY_TOWER_ONNX, RANKER_ONNX
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
    return write_verdict(
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


def write_verdict(found: JudgedRelease, limits: Limits, target: Path) -> JudgedRelease:
    """Write verdict.json; return what was found, as metrics."""
    write_json(target / VERDICT_FILE, {**found, "limits": dataclasses.asdict(limits)})
    return found

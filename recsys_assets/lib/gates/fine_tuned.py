"""Gathers the parts of a fine-tune, judges them by the gates, and builds the release."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from recsys_assets import columns as c
from recsys_assets.artifacts import Artifact, ArtifactStore
from recsys_assets.lib.blend.blend_artifacts import judged_blends
from recsys_assets.lib.blend.full_blend import of_blends
from recsys_assets.lib.blend.released import judged_places, released_places, released_sources
from recsys_assets.lib.evaluation import list_metrics
from recsys_assets.lib.evaluation.generation import Generation
from recsys_assets.lib.evaluation.list_metrics import Scorer
from recsys_assets.lib.evaluation.queries import Queries
from recsys_assets.lib.exports import parity
from recsys_assets.lib.exports.exports import PARTS
from recsys_assets.lib.features.batch_transform import item_vocabulary
from recsys_assets.lib.fine_tune import fine_tuning, refit
from recsys_assets.lib.fine_tune.reblend import TunedParts, fused_scorer
from recsys_assets.lib.gates import evidence as gate_evidence
from recsys_assets.lib.gates import gates
from recsys_assets.lib.gates.answers import ChampionAnswers, ModelAnswers
from recsys_assets.lib.gates.comparisons import learned_answers
from recsys_assets.lib.gates.evidence_types import Evidence
from recsys_assets.lib.gates.limits import Limits
from recsys_assets.lib.gates.verdicts import JudgedRelease, write_verdict
from recsys_assets.lib.ladder.released import released_rung, rung_scorer
from recsys_assets.lib.release import build, releases
from recsys_assets.lib.release.item_parts import ADDED, holds_items
from recsys_assets.lib.release.releases import champion_artifact
from recsys_assets.lib.release.rung import FULL
from recsys_assets.release_files import PARITY, QUERY_TOWER_ONNX, RANKER_ONNX
from recsys_assets.settings import Settings


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
        ReleaseError: a part was made from other rows, or the blend from other models.
    """
    rows, blend, day = parts["rows"], parts["blend"], str(parts["rows"].partition)
    for name in (*fine_tuning.ROLES, "sources", "blend", ADDED):
        if parts[name].manifest["inputs"]["rows"]["digest"] != rows.digest:
            raise releases.ReleaseError(
                f"{parts[name].kind} [{day}] was made from other rows; materialise it again"
            )
    for name in (*fine_tuning.ROLES, "sources", ADDED):
        if blend.manifest["inputs"][name]["digest"] != parts[name].digest:
            raise releases.ReleaseError(
                f"fine_tune/blend [{day}] was made from another {parts[name].kind}; materialise it "
                "again"
            )
    if parts["sources"].manifest["inputs"][ADDED]["digest"] != parts[ADDED].digest:
        raise releases.ReleaseError(
            f"fine_tune/sources [{day}] was made from another {parts[ADDED].kind}; materialise it "
            "again"
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

    The day's held-out rows judge the fine-tune and the champion that it started from. No part of
    either has learnt them: the sources of the fine-tune are judged as fitted without the day.

    inputs: of ``fine_tune_inputs``. seed: of bootstrap and queries. first_day: ISO.

    Raises:
        ReleaseError: no held-out row gives a query.
    """
    parts = TunedParts(
        store,
        inputs["rows"],
        inputs["query_tower"],
        inputs["dlrm"],
        inputs["added_items"],
        inputs["items"],
        inputs["days_before"],
        inputs["interactions"],
        seed,
        time_zone,
        retrieval_topk,
    )
    exposures = fine_tuning.judged_rows(inputs["rows"], inputs["features"])
    queries, learns = parts.queries(), fine_tuning.learns(inputs["rows"])
    if parts.base.rung["name"] == FULL:
        evidence = _of_models(parts, inputs, queries, exposures, day, seed, first_day)
        verdict = gates.fine_tune(
            evidence, limits, ranker_learns=fine_tuning.RANKER_MODEL in learns
        )
    else:
        evidence = _of_fusion(parts, inputs, queries, exposures, day, seed)
        verdict = gates.tuned_sources(evidence, limits)
    return write_verdict({"gate": verdict, "evidence": evidence}, limits, target)


def _of_models(
    parts: TunedParts,
    inputs: Mapping[str, Any],
    queries: Queries,
    exposures: pl.DataFrame,
    day: str,
    seed: int,
    first_day: str,
) -> Evidence:
    """Return the evidence on a fine-tune of the full models."""
    store, release = parts.store, parts.base
    before = Generation.of_release(
        store,
        release,
        inputs["days_before"],
        retrieval_topk=parts.retrieval_topk,
        sources=released_sources(store, release, inputs["interactions"]),
        places=released_places(store, release),
    )
    plain = parts.generation()
    workflows, aligned = (
        store.open(inputs["sources"].manifest["inputs"][role]) for role in ("workflows", "aligned")
    )
    latest = parts.latest(item_vocabulary(workflows))
    blends = judged_blends(inputs["blend"].local, aligned)
    tuned = plain.with_sources(of_blends(blends, latest), judged_places(inputs["blend"]))
    models = {
        "query_tower": inputs["query_tower"].path(QUERY_TOWER_ONNX),
        "dlrm": inputs["dlrm"].path(RANKER_ONNX),
    }
    evidence = gate_evidence.gather(
        ModelAnswers.ask(tuned, queries, exposures),
        queries,
        exposures,
        day=day,
        seed=seed,
        # neither has learnt the held-out rows of the day
        champion=learned_answers(release, before, release.day, queries, exposures),
    )
    _with_newer(evidence, inputs)
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
    return evidence


def _of_fusion(
    parts: TunedParts,
    inputs: Mapping[str, Any],
    queries: Queries,
    exposures: pl.DataFrame,
    day: str,
    seed: int,
) -> Evidence:
    """Return the evidence on the refitted sources of a fusion, whose models stay."""
    store, release = parts.store, parts.base
    rung = released_rung(store, release, inputs["interactions"], inputs["added_items"])
    aligned = store.open(inputs["sources"].manifest["inputs"]["aligned"])
    blends = judged_blends(inputs["blend"].local, aligned)
    tuned = fused_scorer(
        rung,
        blends,
        parts.latest(rung.model.item_ids.tolist()),
        judged_places(inputs["blend"]),
        parts.retrieval_topk,
    )
    before = rung_scorer(store, release, inputs["interactions"], parts.retrieval_topk)

    def answers(scorer: Scorer) -> ModelAnswers:
        lists = list_metrics.run(scorer, queries)
        # its ranker gives every item the same score
        return ModelAnswers(lists, lists, np.full(exposures.height, 0.5, np.float32))

    evidence = gate_evidence.gather(
        answers(tuned),
        queries,
        exposures,
        day=day,
        seed=seed,
        champion=ChampionAnswers(
            release.number, release.day, release.day, answers(before), rung=release.rung["name"]
        ),
    )
    _with_newer(evidence, inputs)
    return evidence


def _with_newer(evidence: Evidence, inputs: Mapping[str, Any]) -> None:
    """Put the day of a champion that has learnt a later one into the evidence."""
    if "newer" in inputs:
        evidence["freshness"]["champion_day"] = releases.read_release(inputs["newer"]).day


def fine_tuned_release(
    store: ArtifactStore, day: str, inputs: Mapping[str, Any], verdict: Artifact
) -> Artifact:
    """Build the release of a day's fine-tune.

    inputs: of ``fine_tune_inputs``. verdict: of ``write_fine_tune_verdict``.
    """
    clicks = pl.read_parquet(inputs["features"].path("item_popularity.parquet"))
    choice = inputs["blend"].metrics
    return build.build_fine_tune_release(
        store,
        day=day,
        base=inputs["base"],
        query_tower=inputs["query_tower"],
        ranker=inputs["dlrm"],
        blend=inputs["blend"],
        added=inputs[ADDED] if holds_items(inputs[ADDED]) else None,
        popularity=refit.popular_items(inputs["sources"]),
        item_clicks=dict(clicks.select(c.ITEM_ID, c.ITEM_CLICKS).iter_rows()),
        gate=verdict.metrics["gate"],
        metrics={
            "carried": [name for name in fine_tuning.ROLES if inputs[name].metrics.get("carried")],
            "blend": {"chosen": choice["chosen"], "why": choice["why"]},
            "items": {name: inputs[ADDED].metrics[name] for name in ("entered", "names")},
            "evidence": verdict.metrics["evidence"],
        },
    )

"""Compares a generation with what serves, and with the simple rung of its day."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import polars as pl

from recsys_assets.artifacts import Artifact, ArtifactStore
from recsys_assets.lib.blend.released import first_query_day, released_places, released_sources
from recsys_assets.lib.evaluation import list_metrics
from recsys_assets.lib.evaluation.generation import Generation
from recsys_assets.lib.evaluation.list_metrics import Lists
from recsys_assets.lib.evaluation.measures import VALUE_NDCG
from recsys_assets.lib.evaluation.queries import Queries
from recsys_assets.lib.gates.evidence import ChampionAnswers, ModelAnswers, latencies
from recsys_assets.lib.gates.evidence_types import RungEvidence
from recsys_assets.lib.ladder.released import rung_scorer
from recsys_assets.lib.release import releases
from recsys_assets.lib.release.releases import Release
from recsys_assets.lib.release.rung import FULL
from recsys_assets.release_files import MODEL, QUERY_TOWER, RANKER_FILE, model_file


def against_simple(
    served: Lists, simple_rung: Artifact, queries: Queries, seed: int
) -> RungEvidence:
    """Compare the served lists with those of the simple rung."""
    name = simple_rung.metrics["rung"]["name"]
    simple = Lists.read(simple_rung, name)
    ranks = served.ranks, simple.ranks
    found: RungEvidence = {
        "name": name,
        "queries": int(queries.overall.sum()),
        "difference": list_metrics.overall_difference(*ranks, queries, seed),
    }
    if queries.values is not None:
        found["value_difference"] = list_metrics.overall_difference(
            *ranks, queries, seed, VALUE_NDCG
        )
    return found


def champion_answers(
    store: ArtifactStore,
    inputs: Mapping[str, Any],
    queries: Queries,
    exposures: pl.DataFrame,
    retrieval_topk: int,
) -> ChampionAnswers:
    """Run the champion of ``full_inputs`` on the queries and exposures."""
    release = releases.read_release(inputs["champion"])
    first = first_query_day(inputs["days_before"])
    # a full training learns its training days, the others the day itself
    learnt = release.day
    if release.kind == "full":
        learnt = releases.training_days(store, release)[-1]
    if release.rung["name"] != FULL:
        scorer = rung_scorer(store, release, inputs["interactions"], retrieval_topk, first)
        lists = list_metrics.run(scorer, queries)
        # its ranker gives every item the same score
        scores = np.full(exposures.height, 0.5, np.float32)
        answers = ModelAnswers(lists, lists, scores)
        rung = release.rung["name"]
        return ChampionAnswers(release.number, release.day, learnt, answers, rung=rung)
    generation = Generation.of_release(
        store,
        release,
        inputs["days_before"],
        retrieval_topk=retrieval_topk,
        sources=released_sources(store, release, inputs["interactions"], first),
        places=released_places(store, release, first),
    )
    return learned_answers(release, generation, learnt, queries, exposures)


def learned_answers(
    release: Release, generation: Generation, learnt: str, queries: Queries, exposures: pl.DataFrame
) -> ChampionAnswers:
    """Run a champion with learned models, and measure its time on this machine.

    generation: of the release. learnt: see ``ChampionAnswers``.
    """
    tower, ranker = (
        release.artifact.path(name) for name in (model_file(QUERY_TOWER, MODEL), RANKER_FILE)
    )
    return ChampionAnswers(
        release.number,
        release.day,
        learnt,
        ModelAnswers.ask(generation, queries, exposures),
        latencies(generation, tower, ranker, queries, exposures),
    )

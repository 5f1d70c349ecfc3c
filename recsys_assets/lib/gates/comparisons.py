"""Compares a generation with what serves, and with the simple rung of its day."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl

from recsys_assets import columns as c
from recsys_assets.artifacts import Artifact, ArtifactStore
from recsys_assets.lib.blend.released import first_query_day, released_places, released_sources
from recsys_assets.lib.evaluation import list_metrics
from recsys_assets.lib.evaluation.generation import Generation
from recsys_assets.lib.evaluation.list_metrics import Lists
from recsys_assets.lib.evaluation.measures import VALUE_NDCG
from recsys_assets.lib.evaluation.queries import Queries
from recsys_assets.lib.gates.answers import ChampionAnswers, ModelAnswers, after
from recsys_assets.lib.gates.evidence import latencies
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
    """Run the champion of ``full_inputs`` on the queries and exposures.

    On days that a fine-tune has learnt, the release that it was tuned from answers for it.
    """

    def answers(release: Release, first: str | None) -> ChampionAnswers:
        return _answers(store, release, inputs, queries, exposures, retrieval_topk, first)

    release = releases.read_release(inputs["champion"])
    first = first_query_day(inputs["days_before"])
    base = tuned_from(store, release, first)
    if base is None:
        return answers(release, first)
    own, earlier = answers(release, None), answers(base, first)
    asked, rows = (
        after(release.day, frame[c.TIMESTAMP], queries.time_zone)
        for frame in (queries.frame, exposures)
    )
    merged = own.answers.where(asked, rows, earlier.answers)
    return replace(own, answers=merged, older_by=base.number)


def tuned_from(store: ArtifactStore, release: Release, first_day: str | None) -> Release | None:
    """Return the release that answers in the place of a fine-tune on days that it has learnt.

    It is the full training or the simple rung that the fine-tunes started from. Its models have
    learnt none of these days, and a fine-tune would win by memory.

    Args:
        store: of the artifacts.
        release: of any kind.
        first_day: of the queries, ISO; None: no query is of such a day.

    Returns:
        None where the release is no fine-tune, or has learnt no day of the queries.
    """
    if release.kind != "fine_tune" or first_day is None or first_day > release.day:
        return None
    return releases.open_release(store, release.generation)


def _answers(
    store: ArtifactStore,
    release: Release,
    inputs: Mapping[str, Any],
    queries: Queries,
    exposures: pl.DataFrame,
    retrieval_topk: int,
    first: str | None,
) -> ChampionAnswers:
    """Run one release on all queries and exposures; first: see ``released_sources``."""
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

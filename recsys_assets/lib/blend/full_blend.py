"""Write the blend of a full training: the exported models with all sources."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from recsys_assets.artifacts import Artifact
from recsys_assets.lib.blend.blend_artifacts import (
    LABELS,
    BlendParts,
    judged_blends,
    sampled,
    without_places,
    write_choice,
    write_cost,
)
from recsys_assets.lib.blend.choice import choose
from recsys_assets.lib.blend.choice_figures import ChoiceFigures
from recsys_assets.lib.blend.kept import Settle, as_chosen
from recsys_assets.lib.blend.new_items import decide
from recsys_assets.lib.evaluation import list_metrics
from recsys_assets.lib.evaluation.generation import Generation
from recsys_assets.lib.evaluation.item_rows import rows_in
from recsys_assets.lib.evaluation.latest_clicks import LatestClicks, read_clicks
from recsys_assets.lib.evaluation.queries import Queries
from recsys_assets.lib.evaluation.query_sources import QuerySources
from recsys_assets.lib.sources.blend import Blend
from recsys_assets.lib.sources.stored import JUDGED, read_places


def write(
    *,
    queries: Artifact,
    models: Artifact,
    vectors: Artifact,
    aligned: Artifact,
    workflows: Artifact,
    features: Sequence[Artifact],
    days_before: Sequence[Artifact],
    log: Sequence[Artifact],
    history: Sequence[Artifact],
    sources: Mapping[str, Artifact],
    target: Path,
    train_days: Sequence[str],
    seed: int,
    time_zone: str,
    look_back_days: int,
    retrieval_topk: int,
    retrieval_weight: float,
    new_item_places: int | str,
) -> ChoiceFigures:
    """Choose the blend beside the exported models; write it and return its figures.

    Args:
        queries: ``evaluation/queries``.
        models: ``exports/onnx``.
        vectors: ``retrieval/item_vectors``.
        aligned: ``embeddings/aligned``.
        workflows: ``features/workflows``.
        features: ``features/interactions`` of the validation days, which the queries are of.
        days_before: ``features/interactions`` of the day before each validation day.
        log: ``raw/interactions`` of the whole window.
        history: ``raw/interactions`` of the days that the queries look back on.
        sources: name → artifact of the source, those that the settings allow.
        target: folder of the files.
        train_days: ISO, of the as-of day.
        seed: of the bootstrap and of samples.
        time_zone: of the shop.
        look_back_days: days of clicks that a visitor has.
        retrieval_topk: candidates of the first stage.
        retrieval_weight: of the similarity, where there are no sources.
        new_item_places: of the settings.
    """
    generation = Generation.of_training(
        models=models,
        workflows=workflows,
        aligned=aligned,
        vectors=vectors,
        days_before=days_before,
        retrieval_topk=retrieval_topk,
        retrieval_weight=retrieval_weight,
    )
    parts = BlendParts(log, sources, workflows, aligned, train_days, time_zone)
    return write_beside(
        generation,
        parts,
        sampled(Queries.read(queries), LABELS, seed),
        LatestClicks.of(read_clicks(history), parts.vocabulary, look_back_days),
        aligned,
        target,
        seed=seed,
        retrieval_topk=retrieval_topk,
        new_item_places=new_item_places,
    )


def write_beside(
    generation: Generation,
    parts: BlendParts,
    asked: Queries,
    latest: LatestClicks,
    aligned: Artifact,
    target: Path,
    *,
    seed: int,
    retrieval_topk: int,
    new_item_places: int | str,
    settle: Settle = as_chosen,
    kept_places: int = 0,
) -> ChoiceFigures:
    """Choose the blend beside a generation's models; write it and return its figures.

    Args:
        generation: without sources.
        parts: of the blend.
        asked: the held-out clicks that choose.
        latest: clicks by rows of the vocabulary.
        aligned: ``embeddings/aligned``.
        target: folder of the files.
        seed: of the bootstrap.
        retrieval_topk: candidates of the first stage.
        new_item_places: of the settings.
        settle: has the last word on what is chosen.
        kept_places: see ``decide``.
    """
    catalogue = rows_in(parts.vocabulary, asked.item_ids)
    labels = parts.labels(
        asked,
        latest,
        lambda rows: generation.retrieved(asked, rows),
        # the ranker knows no other items
        np.where(generation.knows(np.arange(len(catalogue))), catalogue, -1),
    )
    as_is = list_metrics.run(generation.served, asked).ranks
    labels = replace(labels, logit=generation.logits(asked, labels.query, labels.rows))
    new_items = decide(new_item_places, asked, parts.young[JUDGED], catalogue, kept_places)
    choice = choose(labels, as_is, labels.logit, seed, retrieval_topk)
    figures = write_choice(parts, settle(choice, labels, as_is), target, new_items)
    places = read_places(target / JUDGED)
    if places is None:
        return figures
    blends = judged_blends(target, aligned)
    before, after = (
        list_metrics.run(generation.with_sources(of_blends(found, latest), own).served, asked)
        for found, own in ((without_places(blends), None), (blends, places))
    )
    return write_cost(figures, new_items.measured(before, after, asked, seed), target)


def of_blends(blends: tuple[Blend, ...], latest: LatestClicks) -> QuerySources | None:
    """Return the sources of some blends; None where there is none."""
    return QuerySources(blends, latest) if blends else None

"""Fit item-to-item once: for the rung of this name, and as a source of the full models."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from recsys_assets.artifacts import Artifact
from recsys_assets.files import write_json
from recsys_assets.lib.blend.blend_artifacts import require_made_from
from recsys_assets.lib.blend.fit import MOST_FACTORS
from recsys_assets.lib.blend.source_artifacts import ENTRY, SourceFigures, write_source_figures
from recsys_assets.lib.evaluation import list_metrics
from recsys_assets.lib.evaluation.baseline_spaces import Params
from recsys_assets.lib.evaluation.baseline_tuning import Tuned
from recsys_assets.lib.evaluation.latest_clicks import read_clicks
from recsys_assets.lib.evaluation.queries import Queries
from recsys_assets.lib.features.batch_transform import item_vocabulary
from recsys_assets.lib.features.seen import SeenRule, read_rule
from recsys_assets.lib.ladder.item_to_item import CANDIDATES, ItemToItem, Weights
from recsys_assets.lib.ladder.scorer import RungScorer
from recsys_assets.lib.sources.cosine_factors import CosineFactors
from recsys_assets.lib.sources.stored import JUDGED, SERVED, array_file, write_source
from recsys_assets.release_files import SEEN_RULE
from recsys_assets.source_names import ITEM_TO_ITEM

#: Queries of the inner days that choose the weights, and below which the defaults stay.
_TUNING_QUERIES, _MINIMUM_TUNING = 2_000, 100


def write_fitted(
    *,
    interactions: Sequence[Artifact],
    inner: Sequence[Artifact],
    items: Artifact,
    workflows: Artifact,
    seen_rule: Artifact,
    target: Path,
    train_days: Sequence[str],
    seed: int,
    time_zone: str,
    look_back_days: int,
) -> SourceFigures:
    """Tune item-to-item and fit it on the training days and on all days; return its figures.

    The rung needs the vectors of any log. A source of the full models it is only with a click of a
    known visitor, and up to MOST_FACTORS items.

    Args:
        interactions: ``raw/interactions`` of the whole window.
        inner: ``features/interactions`` of the last training days, which choose the weights.
        items: ``raw/items``.
        workflows: ``features/workflows``, for the order of the items.
        seen_rule: ``features/seen_rule``.
        target: folder of the files.
        train_days: ISO, of the as-of day.
        seed: of the queries of the inner days.
        time_zone: of the shop.
        look_back_days: days of 24 hours of clicks that a query has.
    """
    item_ids = np.array(item_vocabulary(workflows), dtype=str)
    training = [day for day in interactions if day.partition in set(train_days)]
    rule = read_rule(seen_rule.path(SEEN_RULE))
    tuned = _tuned(inner, training, items, item_ids, seed, rule, time_zone, look_back_days)
    write_fits(tuned.params, training, interactions, item_ids, target)
    return write_source_figures(ITEM_TO_ITEM, len(item_ids), tuned, target)


def write_fits(
    params: Params,
    training: Sequence[Artifact],
    interactions: Sequence[Artifact],
    item_ids: np.ndarray,
    target: Path,
) -> None:
    """Fit item-to-item twice, to be judged and to serve; write both folders.

    Args:
        params: of ``Weights``.
        training: ``raw/interactions`` that the judged fit learns.
        interactions: ``raw/interactions`` that the one that serves learns.
        item_ids: str [I], the vocabulary.
        target: folder of the folders.
    """
    for folder, days in ((JUDGED, training), (SERVED, interactions)):
        (target / folder).mkdir()
        fitted = ItemToItem.fit(read_clicks(days), item_ids, Weights(**params))
        entry = write_source(target / folder, CosineFactors(fitted.vectors, **params))
        if len(item_ids) <= MOST_FACTORS and fitted.vectors[:, 1:].any():
            write_json(target / folder / ENTRY, entry)


def read_fitted(fitted: Artifact, workflows: Artifact, folder: str) -> ItemToItem:
    """Open what ``write_fitted`` wrote, whether it is a source of the full models or not.

    Args:
        fitted: ``sources/item_to_item``.
        workflows: ``features/workflows`` that the reader goes by.
        folder: JUDGED or SERVED.

    Raises:
        ValueError: it was made from other workflows; names the remedy.
    """
    require_made_from(fitted, {"workflows": workflows})
    file = fitted.path(f"{folder}/{array_file(ITEM_TO_ITEM, 'vectors')}")
    vectors: np.ndarray = np.load(file, mmap_mode="r", allow_pickle=False)
    item_ids = np.array(item_vocabulary(workflows), dtype=str)
    return ItemToItem(item_ids, vectors, Weights(**fitted.metrics["params"]))


def _tuned(
    inner: Sequence[Artifact],
    log: Sequence[Artifact],
    items: Artifact,
    item_ids: np.ndarray,
    seed: int,
    rule: SeenRule,
    zone: str,
    look_back_days: int,
) -> Tuned:
    """Return the best of CANDIDATES on the last training days; the default with too few clicks.

    The vectors are fitted on the days before those.
    """
    days = {artifact.partition for artifact in inner}
    before = [artifact for artifact in log if artifact.partition not in days]
    untuned = Tuned(vars(Weights()), None, [])
    if not inner or not before:
        return untuned
    asked = Queries.build(inner, log, items, seed=seed, rule=rule, zone=zone, limit=_TUNING_QUERIES)
    if asked.overall.sum() < _MINIMUM_TUNING:
        return untuned
    model = ItemToItem.fit(read_clicks(before), item_ids, Weights())
    scorer = RungScorer.of(ITEM_TO_ITEM, model, read_clicks(log), look_back_days)

    def quality(weights: Weights) -> float:
        tried = replace(scorer, model=model.with_weights(weights))
        ranks = list_metrics.run(tried, asked).ranks[asked.overall]
        return list_metrics.point(ranks, asked.users[asked.overall])

    trials = [
        {"trial": number, "value": quality(weights), **vars(weights)}
        for number, weights in enumerate(CANDIDATES)
    ]
    best = max(trials, key=lambda trial: trial["value"])
    return Tuned(vars(CANDIDATES[best["trial"]]), best["value"], trials)

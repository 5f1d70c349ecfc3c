"""Judges the simple rungs as of a day on held-out clicks, and writes the better one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypedDict

import numpy as np

from recsys_assets.artifacts import Artifact
from recsys_assets.files import write_json
from recsys_assets.lib.evaluation import dismissals, list_metrics
from recsys_assets.lib.evaluation.latest_clicks import read_clicks
from recsys_assets.lib.evaluation.list_metrics import Lists
from recsys_assets.lib.evaluation.measures import ListFigures
from recsys_assets.lib.evaluation.queries import Queries
from recsys_assets.lib.features.batch_transform import item_vocabulary
from recsys_assets.lib.figures import plots
from recsys_assets.lib.ladder import rungs
from recsys_assets.lib.ladder.fitting import read_fitted
from recsys_assets.lib.ladder.item_to_item import ItemToItem, of_clicks
from recsys_assets.lib.ladder.rungs import WindowClicks
from recsys_assets.lib.ladder.scorer import RungScorer
from recsys_assets.lib.release.rung import ITEM_TO_ITEM, POPULARITY, Rung, RungName
from recsys_assets.lib.retrieval import index
from recsys_assets.lib.sources.stored import JUDGED, SERVED
from recsys_assets.release_files import INDEX

RUNG_FILE = "rung.json"


class RungFigures(TypedDict):
    """Holds the figures of ``ladder/simple_rung``."""

    rows: int
    rung: Rung
    queries: int
    lists: dict[str, ListFigures]  # rung → its metrics; empty without a query
    weights: dict[str, float]
    window: dict[str, Any]
    recall: float  # of the index against exact search
    recall_floor: float


def write_simple_rung(
    *,
    train: Sequence[Artifact],
    valid: Sequence[Artifact],
    fitted: Artifact,
    log: Sequence[Artifact],
    queries: Artifact,
    workflows: Artifact,
    target: Path,
    seed: int,
    look_back_days: int,
) -> RungFigures:
    """Write the better simple rung, as fitted on all days of the window; return the figures.

    The rungs are judged with vectors of the training days alone. The written vectors are of all
    days, because no weight is learnt from the validation days.

    Args:
        train: ``features/interactions`` of the training days.
        valid: ``features/interactions`` of the validation days.
        fitted: ``sources/item_to_item``.
        log: ``raw/interactions`` of the whole window.
        queries: ``evaluation/queries``.
        workflows: ``features/workflows``, for the order of the items.
        target: folder of the files.
        seed: of the bootstrap.
        look_back_days: days of 24 hours of clicks that a query has.
    """
    asked, clicks = Queries.read(queries), read_clicks(log)
    judged, whole = (read_fitted(fitted, workflows, folder) for folder in (JUDGED, SERVED))
    weights = judged.weights
    answers = {
        name: list_metrics.run(RungScorer.of(name, model, clicks, look_back_days), asked)
        for name, model in ((POPULARITY, judged.popularity_only()), (ITEM_TO_ITEM, judged))
    }
    window = WindowClicks.of(train, valid)
    rung, count = _choose(answers, asked, window, seed)
    served = whole if rung["name"] == ITEM_TO_ITEM else whole.popularity_only()
    vocabulary = item_vocabulary(workflows)
    vectors, ids = served.write(target, vocabulary)
    np.savez(
        target / "lists.npz",
        allow_pickle=False,
        **{key: array for name, one in answers.items() for key, array in one.arrays(name).items()},
    )
    write_json(target / RUNG_FILE, rung)
    recall, floor = _write_index(served, vectors, ids, target)
    figures: RungFigures = {
        "rows": len(vectors),
        "rung": rung,
        "queries": count,
        "lists": {
            name: dismissals.judge(one, asked, seed) for name, one in answers.items() if count
        },
        "weights": {"popularity": weights.popularity, "half_life_hours": weights.half_life},
        "window": {**vars(window), "lacking": window.lacking},
        "recall": recall,
        "recall_floor": floor,
    }
    _write_figures(figures, target / "figures")
    return figures


def _choose(
    answers: dict[RungName, Lists], asked: Queries, window: WindowClicks, seed: int
) -> tuple[Rung, int]:
    """Return the rung, and the number of queries that it was judged on."""
    count = int(asked.overall.sum())
    difference = list_metrics.overall_difference(
        answers[ITEM_TO_ITEM].ranks, answers[POPULARITY].ranks, asked, seed
    )
    return rungs.simple_rung(difference, count, window), count


def _write_index(
    served: ItemToItem, vectors: np.ndarray, ids: np.ndarray, target: Path
) -> tuple[float, float]:
    """Write the index of the vectors; return its recall of exact search, and the floor."""
    clicked = np.flatnonzero(vectors[:, 0] > 0)[: index.NEIGHBOURS]
    # one query per item, as of a visitor who has clicked it
    sample = np.concatenate([served.constant[None], served.constant + of_clicks(vectors[clicked])])
    built, chosen, _ = index.choose_index(vectors, ids, sample)
    index.save_index(built, target / INDEX)
    checked = index.check_index(index.load_index(target / INDEX), vectors, ids, sample)
    floor = index.EXACT_FLOOR if chosen.kind == index.FLAT else index.RECALL_FLOOR
    return checked["recall"], floor


def _write_figures(figures: RungFigures, folder: Path) -> None:
    folder.mkdir()
    rung = figures["rung"]
    lines = [f"**{rung['name']}**: {rung['why']}."]
    if rung["next"] is not None:
        lines += [
            f"- {rung['next']['name']} lacks: {'; '.join(rung['next']['lacks']) or 'nothing'}."
        ]
    (folder / "rung.md").write_text("\n".join(lines))
    if figures["lists"]:
        (folder / "ndcg@10.md").write_text(
            plots.bar_chart(
                "nDCG@10 on held-out clicks, whole catalogue",
                {name: one["ndcg@10"]["value"] for name, one in figures["lists"].items()},
            )
        )

"""Judges the fusion of the sources beside the simple rung, and writes the better of the two."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypedDict

import numpy as np

from recsys_assets.artifacts import Artifact
from recsys_assets.files import write_json
from recsys_assets.lib.blend.blend_artifacts import (
    LABELS,
    BlendParts,
    judged_blends,
    require_made_from,
    sampled,
    without_places,
    write_choice,
    write_cost,
)
from recsys_assets.lib.blend.choice import choose
from recsys_assets.lib.blend.choice_figures import ChoiceFigures
from recsys_assets.lib.blend.labels import ClickLabels
from recsys_assets.lib.blend.new_items import decide
from recsys_assets.lib.evaluation import dismissals, list_metrics, session_figures, session_moves
from recsys_assets.lib.evaluation.item_rows import inverse, rows_in
from recsys_assets.lib.evaluation.latest_clicks import LatestClicks, read_clicks
from recsys_assets.lib.evaluation.list_metrics import Lists, RowScorer, highest
from recsys_assets.lib.evaluation.measures import Estimate, ListFigures, SessionMoves
from recsys_assets.lib.evaluation.placed import PlacedScorer, placed, young_items
from recsys_assets.lib.evaluation.queries import Queries
from recsys_assets.lib.evaluation.query_sources import QuerySources
from recsys_assets.lib.ladder.fitting import read_fitted
from recsys_assets.lib.ladder.rungs import WindowClicks, fusion_rung
from recsys_assets.lib.ladder.scorer import RungScorer
from recsys_assets.lib.ranking.places import NewItemPlaces
from recsys_assets.lib.release.rung import FUSION, ITEM_TO_ITEM, Rung
from recsys_assets.lib.sources.blend import retrieved_items
from recsys_assets.lib.sources.stored import BY_SOURCES, JUDGED, read_places


class FusionFigures(TypedDict):
    """Holds the figures of ``ladder/fusion``."""

    rung: Rung
    queries: int
    lists: dict[str, ListFigures]  # rung → its metrics; empty without a query
    difference: Estimate | None  # nDCG@10 of fusion − the simple rung, paired
    blend: ChoiceFigures
    session_moves: SessionMoves  # of the chosen rung's lists


@dataclass(frozen=True)
class FusedScorer:
    """The fusion of the sources as a scorer of queries; see ``list_metrics.Scorer``."""

    retrieval: RungScorer
    sources: QuerySources
    vocabulary: Sequence[str]
    retrieval_topk: int
    name: str = FUSION
    places: NewItemPlaces | None = None  # for new items

    @property
    def unplaced(self) -> FusedScorer | None:
        """Return the same fusion without places; see ``placed.HasPlaces``."""
        return None if self.places is None else replace(self, places=None)

    def of_rows(self) -> FusedScorer:
        """Return the same fusion, which reads the clicks of each query's row."""
        return replace(self, retrieval=self.retrieval.of_rows(), sources=self.sources.of_rows())

    def scores(self, queries: Queries, rows: np.ndarray) -> np.ndarray:
        """Return the weighted ranks, and below them retrieval's order, float64 [n, I].

        Where new items have places, the list has them there.
        """
        catalogue, of_item = self._rows(queries)
        candidates = np.zeros((len(rows), queries.items if self.places is not None else 0), bool)
        found = np.asarray(self.retrieval.scores(queries, rows), np.float64)
        near = retrieved(found, of_item, retrieved_items(self.retrieval_topk))
        for n, blended in enumerate(self.sources.blended(queries, rows, near)):
            own = catalogue[blended.rows]
            kept = own >= 0
            finite = found[n] > -np.inf
            # what no source lists comes last, nearest first
            lowest = blended.scores.min(initial=0.0) - 1.0
            if finite.any():
                found[n, finite] += lowest - found[n, finite].max()
            # of equal scores the first of the union wins
            step = 1e-9 * np.arange(int(kept.sum()))
            found[n, own[kept]] = blended.scores[kept] - step
            if self.places is not None:
                candidates[n] = self._candidates(queries, int(rows[n]), own[kept], found[n])
                others = ~candidates[n] & (found[n] > -np.inf)
                if others.any() and candidates[n].any():  # serving does not order them
                    below = found[n, candidates[n]].min() - 1.0
                    found[n, others] += min(below - found[n, others].max(), 0.0)
        if self.places is None:
            return found
        young = young_items(self.places.young, catalogue, queries.items)
        return placed(queries.mask(found, rows), candidates, young, self.places, queries, rows)

    def _candidates(
        self, queries: Queries, row: int, union: np.ndarray, scores: np.ndarray
    ) -> np.ndarray:
        """Return the unseen items that serving would order, bool [I].

        They are the first of the union, then the nearest others.

        Args:
            queries: that are asked.
            row: of the query.
            union: int64 [N], catalogue rows in the union's order.
            scores: float64 [I].
        """
        (seen,) = queries.seen(np.array([row]))
        found = np.zeros(queries.items, bool)
        found[union[~seen[union]][: self.retrieval_topk]] = True
        left = self.retrieval_topk - int(found.sum())
        if left > 0:
            others = np.where(found | seen, -np.inf, scores)
            found[highest(others[None], left)[0]] = True
        return found

    def _rows(self, queries: Queries) -> tuple[np.ndarray, np.ndarray]:
        """Return the catalogue row of each item of the vocabulary, and the other way round."""
        known = self.__dict__.get("_known")
        if known is None or known[0] is not queries:
            catalogue = rows_in(self.vocabulary, queries.item_ids)
            known = (queries, catalogue, inverse(catalogue, queries.items))
            self.__dict__["_known"] = known  # a dictionary of a million items takes a second
        return known[1], known[2]


def retrieved(scores: np.ndarray, of_item: np.ndarray, most: int) -> np.ndarray:
    """Return what a scorer retrieves: vocabulary rows int64 [n, R], best first; -1: no more.

    Args:
        scores: float [n, I].
        of_item: int64 [I], vocabulary row of each item of the catalogue; -1: none.
        most: items per query.
    """
    best = highest(scores, most)
    shown = np.take_along_axis(scores, best, axis=1) > -np.inf
    return np.where(shown, of_item[best], -1)


@dataclass(frozen=True)
class HeldOutClicks:
    """Holds the held-out clicks by which a fusion is chosen, and what was asked for them."""

    asked: Queries
    catalogue: np.ndarray  # int64 [I'], row of ``asked.item_ids`` of each item; -1: none
    retrieval: RungScorer
    latest: LatestClicks
    labels: ClickLabels

    @classmethod
    def of(
        cls,
        parts: BlendParts,
        *,
        rung: Artifact,
        fitted: Artifact,
        asked: Queries,
        history: Sequence[Artifact],
        look_back_days: int,
        retrieval_topk: int,
    ) -> HeldOutClicks:
        """Ask the simple rung and all sources.

        Args:
            parts: of the fusion.
            rung: ``ladder/simple_rung``.
            fitted: ``sources/item_to_item`` that the rung was made from.
            asked: the clicks.
            history: ``raw/interactions`` of the days that the queries look back on.
            look_back_days: days of clicks that a visitor has.
            retrieval_topk: candidates of retrieval.
        """
        clicks = read_clicks(history)
        retrieval = _judged_rung(rung, fitted, parts.workflows, clicks, look_back_days)
        latest = LatestClicks.of(clicks, parts.vocabulary, look_back_days)
        return cls.asked_of(parts, retrieval, latest, asked, retrieval_topk)

    @classmethod
    def asked_of(
        cls,
        parts: BlendParts,
        retrieval: RungScorer,
        latest: LatestClicks,
        asked: Queries,
        retrieval_topk: int,
    ) -> HeldOutClicks:
        """Ask a rung that is already open, and all sources.

        latest: clicks by rows of the vocabulary. Others as for ``of``.
        """
        catalogue = rows_in(parts.vocabulary, asked.item_ids)
        of_item, most = inverse(catalogue, asked.items), retrieved_items(retrieval_topk)
        labels = parts.labels(
            asked,
            latest,
            lambda rows: retrieved(np.asarray(retrieval.scores(asked, rows)), of_item, most),
            catalogue,
        )
        return cls(asked, catalogue, retrieval, latest, labels)


def write_fusion(
    *,
    rung: Artifact,
    fitted: Artifact,
    queries: Artifact,
    log: Sequence[Artifact],
    history: Sequence[Artifact],
    sources: Mapping[str, Artifact],
    workflows: Artifact,
    aligned: Artifact,
    target: Path,
    train_days: Sequence[str],
    seed: int,
    time_zone: str,
    look_back_days: int,
    retrieval_topk: int,
    new_item_places: int | str,
) -> FusionFigures:
    """Write the blend beside the simple rung, and the lists of all rungs; return the figures.

    Args:
        rung: ``ladder/simple_rung``.
        fitted: ``sources/item_to_item`` that the rung was made from.
        queries: ``evaluation/queries``.
        log: ``raw/interactions`` of the whole window.
        history: ``raw/interactions`` of the days that the queries look back on.
        sources: name → artifact of the source, those that the settings allow.
        workflows: ``features/workflows``.
        aligned: ``embeddings/aligned``.
        target: folder of the files.
        train_days: ISO, of the as-of day.
        seed: of the bootstrap and of samples.
        time_zone: of the shop.
        look_back_days: days of clicks that a visitor has.
        retrieval_topk: candidates of retrieval.
        new_item_places: of the settings.
    """
    asked = Queries.read(queries)
    parts = BlendParts(log, sources, workflows, aligned, train_days, time_zone)
    held_out = HeldOutClicks.of(
        parts,
        rung=rung,
        fitted=fitted,
        asked=sampled(asked, LABELS, seed),
        history=history,
        look_back_days=look_back_days,
        retrieval_topk=retrieval_topk,
    )
    labels, retrieval, latest = held_out.labels, held_out.retrieval, held_out.latest
    vocabulary = parts.vocabulary
    # as it is: the order of retrieval alone
    as_is = labels.ranks(labels.logs[:, 0])
    new_items = decide(new_item_places, held_out.asked, parts.young[JUDGED], held_out.catalogue)
    choice = write_choice(parts, choose(labels, as_is, None, seed), target, new_items)
    simple = rung.metrics["rung"]["name"]
    names = list(rung.metrics["lists"]) or [simple]
    lists = {name: Lists.read(rung, name) for name in {*names, simple}}
    difference, count = None, int(asked.overall.sum())
    places, fused = read_places(target / JUDGED), None
    if choice["mode"] == BY_SOURCES:
        blends = judged_blends(target, aligned)
        sources_of = QuerySources(without_places(blends), latest)
        scorer = FusedScorer(retrieval, sources_of, vocabulary, retrieval_topk)
        # the rungs are compared without places, which would cost the fusion alone
        lists[FUSION] = list_metrics.run(scorer, asked)
        difference = list_metrics.overall_difference(
            lists[FUSION].ranks, lists[simple].ranks, asked, seed
        )
        fused = replace(scorer, sources=QuerySources(blends, latest), places=places)
    chosen = fusion_rung(rung.metrics["rung"], difference, count, _window(rung), choice["why"])
    served: RowScorer = retrieval
    if chosen["name"] == FUSION and fused is not None:
        served = fused
    elif places is not None:
        served = PlacedScorer(retrieval, places, vocabulary, retrieval_topk)
    if places is not None:
        before, after = lists[chosen["name"]], list_metrics.run(served, asked)
        choice = write_cost(choice, new_items.measured(before, after, asked, seed), target)
        lists[chosen["name"]] = after  # what serves
    moves = session_moves.measure(asked, lists[chosen["name"]], served.of_rows(), seed)
    session_figures.write(moves, target / "figures")
    figures: FusionFigures = {
        "rung": chosen,
        "queries": count,
        "lists": {name: dismissals.judge(one, asked, seed) for name, one in lists.items() if count},
        "difference": difference,
        "blend": choice,
        "session_moves": moves,
    }
    arrays = [one.arrays(name) for name, one in lists.items()]
    np.savez(
        target / "lists.npz",
        allow_pickle=False,
        **{key: array for one in arrays for key, array in one.items()},
    )
    write_json(target / "fusion.json", figures)
    text = f"**{figures['rung']['name']}**: {figures['rung']['why']}."
    (target / "figures" / "rung.md").write_text(text)
    return figures


def _judged_rung(
    rung: Artifact, fitted: Artifact, workflows: Artifact, clicks: Any, look_back_days: int
) -> RungScorer:
    """Return the simple rung as it was fitted on the training days, as a scorer.

    Raises:
        ValueError: the rung was made from another ``sources/item_to_item``; names the remedy.
    """
    require_made_from(rung, {"fitted": fitted})
    model = read_fitted(fitted, workflows, JUDGED)
    name = rung.metrics["rung"]["name"]
    model = model if name == ITEM_TO_ITEM else model.popularity_only()
    return RungScorer.of(name, model, clicks, look_back_days)


def _window(rung: Artifact) -> WindowClicks:
    stored = dict(rung.metrics["window"])
    stored.pop("lacking")
    return WindowClicks(**stored)

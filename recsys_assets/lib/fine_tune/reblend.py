"""Weighs the refitted sources beside the models of a fine-tune, by the day's held-out clicks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from recsys_assets.artifacts import Artifact, ArtifactStore
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
from recsys_assets.lib.blend.full_blend import of_blends, write_beside
from recsys_assets.lib.blend.kept import Settle, kept_unless_surely_better
from recsys_assets.lib.blend.new_items import NewItems, decide
from recsys_assets.lib.blend.released import released_places
from recsys_assets.lib.evaluation import list_metrics
from recsys_assets.lib.evaluation.generation import Generation
from recsys_assets.lib.evaluation.latest_clicks import LatestClicks, read_clicks
from recsys_assets.lib.evaluation.list_metrics import Scorer
from recsys_assets.lib.evaluation.placed import PlacedScorer
from recsys_assets.lib.evaluation.queries import Queries
from recsys_assets.lib.fine_tune import fine_tuning, judging, refit
from recsys_assets.lib.ladder.fusion import FusedScorer, HeldOutClicks
from recsys_assets.lib.ladder.released import released_rung
from recsys_assets.lib.ladder.scorer import RungScorer
from recsys_assets.lib.ranking.places import NewItemPlaces
from recsys_assets.lib.release.releases import Release, open_release, read_release
from recsys_assets.lib.release.rung import FULL
from recsys_assets.lib.sources.blend import Blend
from recsys_assets.lib.sources.stored import JUDGED, read_blend, read_places
from recsys_assets.release_files import CANDIDATE_SOURCES, MODELS, QUERY_TOWER_ONNX, RANKER_ONNX


@dataclass(frozen=True)
class TunedParts:
    """Holds the models of a fine-tune, and what its lists are asked with.

    Args:
        store: of the artifacts.
        rows: ``fine_tune/rows``.
        query_tower: ``fine_tune/query_tower``.
        dlrm: ``fine_tune/dlrm``.
        added_items: ``fine_tune/items``.
        items: ``raw/items``.
        days_before: ``features/interactions`` of the day before.
        interactions: ``raw/interactions`` of the day and of the days that its queries look back on.
        seed: of the queries.
        time_zone: of the shop.
        retrieval_topk: candidates of the first stage.
    """

    store: ArtifactStore
    rows: Artifact
    query_tower: Artifact
    dlrm: Artifact
    added_items: Artifact
    items: Artifact
    days_before: Sequence[Artifact]
    interactions: Sequence[Artifact]
    seed: int
    time_zone: str
    retrieval_topk: int

    @property
    def base(self) -> Release:
        """The release that the fine-tune started from."""
        return read_release(self.store.open(self.rows.manifest["inputs"]["champion"]))

    @property
    def features(self) -> Artifact:
        """``features/interactions`` of the day; it comes after those of the replayed days."""
        return self.store.open(self.rows.manifest["inputs"]["features"][-1])

    def queries(self) -> Queries:
        """Return the day's held-out clicks; raise ReleaseError where there are none."""
        values = self.rows.manifest["inputs"].get("values")
        inputs = {
            **({"values": self.store.open(values)} if values else {}),
            "features": self.features,
            "interactions": self.interactions,
            "items": self.items,
            "base": self.base.artifact,
        }
        exposures = fine_tuning.judged_rows(self.rows, self.features)
        day = str(self.rows.partition)
        return judging.held_out_queries(inputs, exposures, day, self.seed, self.time_zone)

    def generation(self) -> Generation:
        """Return the champion with the models and items of the fine-tune, without sources."""
        base = self.base
        before = Generation.of_release(
            self.store,
            base,
            self.days_before,
            retrieval_topk=self.retrieval_topk,
            added=self.added_items,
        )
        tuned = before.with_models(
            self.query_tower.path(QUERY_TOWER_ONNX), self.dlrm.path(RANKER_ONNX)
        )
        tuned.retrieval_weight = similarity_weight(self.store, base)
        return tuned

    def latest(self, vocabulary: Sequence[str]) -> LatestClicks:
        """Return the clicks that the queries look back on."""
        clicks = read_clicks(self.interactions)
        return LatestClicks.of(clicks, vocabulary, self.base.look_back_days)


def similarity_weight(store: ArtifactStore, base: Release) -> float:
    """Return the weight of the similarity, where no source orders the candidates."""
    generation = open_release(store, base.generation).artifact
    return float(generation.manifest["params"]["retrieval_weight"])


def write_tuned_blend(
    *,
    store: ArtifactStore,
    rows: Artifact,
    query_tower: Artifact,
    dlrm: Artifact,
    added_items: Artifact,
    sources: Artifact,
    items: Artifact,
    days_before: Sequence[Artifact],
    interactions: Sequence[Artifact],
    target: Path,
    day: str,
    seed: int,
    time_zone: str,
    retrieval_topk: int,
    new_item_places: int | str,
) -> ChoiceFigures:
    """Choose the blend of a fine-tune; write it as ``evaluation/blend`` is written.

    The day's held-out clicks are all that the models have not learnt, so they alone choose. The
    sources are judged as they were fitted without the day. The weights that serve stay, unless
    others are surely better.

    Args:
        store: of the artifacts.
        rows: see ``TunedParts``.
        query_tower: see ``TunedParts``.
        dlrm: see ``TunedParts``.
        added_items: see ``TunedParts``.
        sources: ``fine_tune/sources``.
        items: see ``TunedParts``.
        days_before: see ``TunedParts``.
        interactions: see ``TunedParts``.
        target: folder of the files.
        day: the new day, ISO.
        seed: of the bootstrap, of the queries and of samples.
        time_zone: of the shop.
        retrieval_topk: candidates of the first stage.
        new_item_places: of the settings.

    Raises:
        ReleaseError: no held-out row gives a query.
    """
    tuned = TunedParts(
        store,
        rows,
        query_tower,
        dlrm,
        added_items,
        items,
        days_before,
        interactions,
        seed,
        time_zone,
        retrieval_topk,
    )
    made_from = sources.manifest["inputs"]
    workflows, aligned = (store.open(made_from[role]) for role in ("workflows", "aligned"))
    log = [store.open(one) for one in made_from["log"]]
    before = [str(one.partition) for one in log if str(one.partition) < day]
    parts = BlendParts(log, refit.opened(sources), workflows, aligned, before or [day], time_zone)
    asked, latest = sampled(tuned.queries(), LABELS, seed), tuned.latest(parts.vocabulary)
    served = read_blend(tuned.base.artifact.local / MODELS / CANDIDATE_SOURCES)
    places = released_places(store, tuned.base)
    if tuned.base.rung["name"] == FULL:
        return write_beside(
            tuned.generation(),
            parts,
            asked,
            latest,
            aligned,
            target,
            seed=seed,
            retrieval_topk=retrieval_topk,
            new_item_places=new_item_places,
            settle=kept_unless_surely_better(served, seed, retrieval_topk),
            kept_places=0 if places is None else places.every,
        )
    rung = released_rung(store, tuned.base, interactions, added_items)
    held_out = HeldOutClicks.asked_of(parts, rung, latest, asked, retrieval_topk)
    new_items = decide(
        new_item_places,
        asked,
        parts.young[JUDGED],
        held_out.catalogue,
        0 if places is None else places.every,
    )
    settle = kept_unless_surely_better(served, seed)
    return _write_fused(held_out, parts, aligned, target, settle, new_items, seed, retrieval_topk)


def _write_fused(
    held_out: HeldOutClicks,
    parts: BlendParts,
    aligned: Artifact,
    target: Path,
    settle: Settle,
    new_items: NewItems,
    seed: int,
    retrieval_topk: int,
) -> ChoiceFigures:
    """Choose the blend of a fusion; see ``write_tuned_blend``."""
    labels, asked = held_out.labels, held_out.asked
    as_is = labels.ranks(labels.logs[:, 0])
    choice = settle(choose(labels, as_is, None, seed), labels, as_is)
    figures = write_choice(parts, choice, target, new_items)
    own = read_places(target / JUDGED)
    if own is None:
        return figures
    blends = judged_blends(target, aligned)
    before, after = (
        list_metrics.run(
            fused_scorer(held_out.retrieval, found, held_out.latest, places, retrieval_topk), asked
        )
        for found, places in ((without_places(blends), None), (blends, own))
    )
    return write_cost(figures, new_items.measured(before, after, asked, seed), target)


def fused_scorer(
    rung: RungScorer,
    blends: tuple[Blend, ...],
    latest: LatestClicks,
    places: NewItemPlaces | None,
    retrieval_topk: int,
) -> Scorer:
    """Return a rung with its sources as a scorer of queries.

    Args:
        rung: that retrieves.
        blends: one for all visitors, or one per fold; empty: the rung alone.
        latest: clicks by rows of the vocabulary.
        places: for new items; None: none.
        retrieval_topk: candidates of retrieval.
    """
    vocabulary = rung.model.item_ids.tolist()
    sources = of_blends(blends, latest)
    if sources is not None:
        return FusedScorer(rung, sources, vocabulary, retrieval_topk, places=places)
    return rung if places is None else PlacedScorer(rung, places, vocabulary, retrieval_topk)

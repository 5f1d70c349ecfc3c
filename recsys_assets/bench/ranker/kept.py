"""Open a kept home at moments: at its held-out clicks, and at label days before them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from recsys_assets.artifacts import Artifact, ArtifactStore
from recsys_assets.bench.harness.newest import Newest
from recsys_assets.bench.ranker.moments import Moment, RankerItems
from recsys_assets.bench.ranker.shown import ShownItems
from recsys_assets.lib.blend.blend_artifacts import (
    LABELS,
    BlendParts,
    judged_blends,
    sampled,
    without_places,
)
from recsys_assets.lib.blend.fit import fit_source, young_items
from recsys_assets.lib.blend.kept import ranks_by
from recsys_assets.lib.blend.labels import ClickLabels
from recsys_assets.lib.blend.source_artifacts import open_source
from recsys_assets.lib.evaluation import list_metrics
from recsys_assets.lib.evaluation.baseline_tuning import inner_queries
from recsys_assets.lib.evaluation.click_log import ClickLog
from recsys_assets.lib.evaluation.generation import Generation
from recsys_assets.lib.evaluation.item_rows import inverse, rows_in
from recsys_assets.lib.evaluation.latest_clicks import LatestClicks, read_clicks
from recsys_assets.lib.evaluation.queries import Queries
from recsys_assets.lib.features.seen import read_rule
from recsys_assets.lib.ladder.fusion import HeldOutClicks, retrieved
from recsys_assets.lib.ladder.item_to_item import ItemToItem, Weights
from recsys_assets.lib.ladder.scorer import RungScorer
from recsys_assets.lib.raw.rows import scan_interactions
from recsys_assets.lib.sources.blend import Blend, retrieved_items
from recsys_assets.lib.sources.popular_now import PopularNow
from recsys_assets.lib.sources.sources import Source
from recsys_assets.lib.sources.stored import JUDGED
from recsys_assets.local_time import day_number
from recsys_assets.partitions import INNER_DAYS, previous_day
from recsys_assets.release_files import SEEN_RULE, TRANSFORMS
from recsys_assets.source_names import ITEM_TO_ITEM, POPULAR_NOW

FUSION, FULL = "fusion", "full"
#: Training days below which no label days are taken: the sources need some clicks.
_LEAST_DAYS = 3


@dataclass(frozen=True)
class KeptShop:
    """Holds what the newest fusion and the newest full blend of a home were made from."""

    store: ArtifactStore
    fusion: Newest
    full: Newest
    clicks: int = LABELS  # held out, at most about

    @classmethod
    def open(cls, store: ArtifactStore, clicks: int = LABELS) -> KeptShop | None:
        """Open a home; None where it has no fusion or no full models."""
        fusion, full = Newest.of(store, "ladder/fusion"), Newest.of(store, "evaluation/blend")
        return None if fusion is None or full is None else cls(store, fusion, full, clicks)

    # --- what is asked
    @cached_property
    def asked(self) -> Queries:
        """Return the held-out clicks that chose both blends, or the first of them."""
        seed = self.fusion.params["seed"]
        return sampled(Queries.read(self.fusion.inputs["queries"]), self.clicks, seed)

    def held_out(self) -> Moment:
        """Return the held-out clicks with the fusion's candidates."""
        params = self.fusion.params
        labels = HeldOutClicks.of(
            self._parts,
            rung=self.fusion.inputs["rung"],
            fitted=self.fusion.inputs["fitted"],
            asked=self.asked,
            history=self.fusion.inputs["history"],
            look_back_days=params["look_back_days"],
            retrieval_topk=params["retrieval_topk"],
        ).labels
        return self._moment(self.asked, labels, self._held_out_days)

    def labelled(self, windows: int) -> list[Moment]:
        """Return clicks of training days, with sources that were fitted before those days.

        windows: of INNER_DAYS each, the last training days first. There are fewer where the
            training days end.
        """
        train, found = self.fusion.params["train_days"], []
        for window in range(windows):
            end = len(train) - INNER_DAYS * window
            if end - INNER_DAYS < _LEAST_DAYS:
                break
            asked, labels = self._as_served(train[end - INNER_DAYS : end], train[:end])
            found.append(self._moment(asked, labels, train[end - INNER_DAYS : end]))
        return found

    @cached_property
    def catalogue(self) -> RankerItems:
        """Return what a ranker reads of the items."""
        content = json.loads(self.full.inputs["workflows"].path(TRANSFORMS).read_text())
        return RankerItems.of(self._generation(self._held_out_days), content)

    # --- what serves
    def current(self, labels: ClickLabels) -> dict[str, np.ndarray]:
        """Return the ranks of the clicked items in the fusion and in the full models, int64 [Q].

        Places for new items are left out, and each visitor has weights of the others' clicks.

        labels: of ``held_out``.
        """
        generation = self._generation(self._held_out_days)
        catalogue = rows_in(self._parts.vocabulary, self.asked.item_ids)
        known = generation.knows(np.arange(len(catalogue)))
        full = self.full.blend_parts().labels(
            self.asked,
            self._latest,
            lambda rows: generation.retrieved(self.asked, rows),
            np.where(known, catalogue, -1),
        )
        full = replace(full, logit=generation.logits(self.asked, full.query, full.rows))
        alone = labels.ranks(labels.logs[:, 0])
        fused = self._judged("ladder/fusion", labels, None)
        topk = self.full.params["retrieval_topk"]
        both = self._judged("evaluation/blend", full, topk)
        if both is None:
            both = list_metrics.run(generation.served, self.asked).ranks
        return {FUSION: alone if fused is None else fused, FULL: both}

    def _judged(self, kind: str, labels: ClickLabels, ranked: int | None) -> np.ndarray | None:
        """Return the ranks by a blend's weights of other visitors' clicks; None: no sources."""
        artifact = self.store.current(kind, max(self.store.partitions(kind)))
        blends = without_places(judged_blends(artifact.local, self.fusion.inputs["aligned"]))
        if not blends:
            return None
        found = np.stack([ranks_by(blend, labels, ranked) for blend in blends])
        return np.asarray(found[labels.fold, np.arange(len(labels))])

    # --- parts
    @cached_property
    def _parts(self) -> BlendParts:
        return self.fusion.blend_parts()

    @cached_property
    def _latest(self) -> LatestClicks:
        clicks = read_clicks(self.fusion.inputs["history"])
        look_back = self.fusion.params["look_back_days"]
        return LatestClicks.of(clicks, self._parts.vocabulary, look_back)

    @cached_property
    def _log(self) -> ClickLog:
        rows = scan_interactions(self._parts.log)
        return ClickLog.of(rows, self._parts.vocabulary, self.fusion.params["time_zone"])

    @cached_property
    def _shown(self) -> ShownItems:
        events = scan_interactions(self._parts.log).collect()
        return ShownItems.of(events, list(self._parts.vocabulary), self.fusion.params["time_zone"])

    @property
    def _held_out_days(self) -> list[str]:
        return sorted(str(one.partition) for one in self.full.inputs["features"])

    def _raw(self, days: Sequence[str]) -> list[Artifact]:
        """Return ``raw/interactions`` of some days of the window."""
        return [one for one in self._parts.log if one.partition in set(days)]

    def _features(self, days: Sequence[str]) -> list[Artifact]:
        return [self.store.current("features/interactions", day) for day in days]

    def _generation(self, days: Sequence[str]) -> Generation:
        """Return the full models, with the popularity of some days."""
        opened: Mapping[str, Any] = self.full.inputs
        return Generation.of_training(
            models=opened["models"],
            workflows=opened["workflows"],
            aligned=opened["aligned"],
            vectors=opened["vectors"],
            days_before=self._features([previous_day(day) for day in days]),
            retrieval_weight=self.full.params["retrieval_weight"],
            retrieval_topk=self.full.params["retrieval_topk"],
        )

    def _moment(self, asked: Queries, labels: ClickLabels, days: Sequence[str]) -> Moment:
        return Moment.of(asked, labels, self._generation(days), self._shown)

    def _as_served(
        self, days: Sequence[str], training: Sequence[str]
    ) -> tuple[Queries, ClickLabels]:
        """Return clicks of label days with what lists fitted before them have.

        Args:
            days: ISO, the label days.
            training: ISO, the label days and all before.
        """
        params, first = self.fusion.params, day_number(days[0])
        any_source = next(iter(self.fusion.sources.values()))
        made_from = any_source.manifest["inputs"]
        asked = inner_queries(
            self._features(days),
            self._raw(training),
            self.store.open(made_from["items"]),
            seed=params["seed"],
            rule=read_rule(self.store.open(made_from["seen_rule"]).path(SEEN_RULE)),
            zone=params["time_zone"],
            limit=len(self._log.code) + LABELS,  # ``sampled`` draws, as for the held-out clicks
        )
        asked = sampled(asked, LABELS, params["seed"])
        blend = Blend(self._sources(first), {}, young_items(self._log.before(first)))
        rung = self._rung(days[0])
        catalogue = rows_in(self._parts.vocabulary, asked.item_ids)
        of_item, most = inverse(catalogue, asked.items), retrieved_items(params["retrieval_topk"])
        labels = ClickLabels.gather(
            blend,
            asked,
            self._latest,
            lambda rows: retrieved(np.asarray(rung.scores(asked, rows)), of_item, most),
            catalogue,
        )
        return asked, labels

    def _sources(self, day: int) -> tuple[Source, ...]:
        """Return the sources fitted before a day; those that the fusion could not fit lack."""
        content = np.load(self._parts.content, mmap_mode="r", allow_pickle=False)
        found: list[Source | None] = []
        for name, artifact in self.fusion.sources.items():
            params = artifact.metrics["params"]
            if (
                name == ITEM_TO_ITEM
                or open_source(artifact.local / JUDGED, self._parts.content) is None
            ):
                continue
            if name == POPULAR_NOW:
                found.append(PopularNow.of(params["half_life"], self._parts.vocabulary))
            else:
                fitted = self._log.before(day)
                found.append(
                    fit_source(name, fitted, day, params, content, self.fusion.params["seed"])
                )
        return tuple(one for one in found if one is not None)

    def _rung(self, day: str) -> RungScorer:
        """Return the simple rung fitted before a day."""
        before = [str(one.partition) for one in self._parts.log if str(one.partition) < day]
        vocabulary = np.array(self._parts.vocabulary, dtype=str)
        weights = Weights(**self.fusion.inputs["fitted"].metrics["params"])
        model = ItemToItem.fit(read_clicks(self._raw(before)), vocabulary, weights)
        name = self.fusion.inputs["rung"].metrics["rung"]["name"]
        model = model if name == ITEM_TO_ITEM else model.popularity_only()
        return RungScorer(name, model, self._latest)

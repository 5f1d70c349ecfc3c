"""Open the held-out clicks of a home's champion, and the inputs that they were made from."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from recsys_assets.artifacts import Artifact, ArtifactMissing, ArtifactStore
from recsys_assets.bench.shops.figures import FUSION, OFFLINE
from recsys_assets.lib.evaluation.list_metrics import Lists
from recsys_assets.lib.evaluation.queries import Queries
from recsys_assets.lib.evaluation.report import answers
from recsys_assets.lib.release.champion import read_champion
from recsys_assets.lib.release.releases import Release, open_release
from recsys_assets.lib.release.rung import FULL
from recsys_assets.partitions import Part
from recsys_assets.settings import Settings

QUERIES = "evaluation/queries"


@dataclass(frozen=True)
class HeldOut:
    """Names the queries of the champion's day and the artifacts that they record as inputs."""

    store: ArtifactStore
    release: Release
    queries: Artifact

    @classmethod
    def open(cls, settings: Settings) -> HeldOut | None:
        """Return those of a home; None without a champion, or without queries of its day."""
        champion, store = read_champion(settings), ArtifactStore(settings.artifacts)
        if champion is None:
            return None
        release = open_release(store, champion.release)
        try:
            return cls(store, release, store.current(QUERIES, release.day))
        except ArtifactMissing:
            return None

    @property
    def _inputs(self) -> dict[str, Any]:
        inputs: dict[str, Any] = self.queries.manifest["inputs"]
        return inputs

    @property
    def validation_days(self) -> list[str]:
        """ISO days of the queries."""
        return [one["partition"] for one in self._inputs["features"]]

    @property
    def training_days(self) -> list[str]:
        """ISO days that models learn."""
        days = [one["partition"] for one in self._inputs["interactions"]]
        return [day for day in days if day not in self.validation_days]

    @cached_property
    def interactions(self) -> list[Artifact]:
        """``raw/interactions`` of the training and the validation days, in order."""
        return [self.store.open(one) for one in self._inputs["interactions"]]

    @cached_property
    def inner_features(self) -> list[Artifact]:
        """``features/interactions`` of the last training days, on which settings are tuned."""
        inner = Part.INNER.of(self.training_days, self.validation_days)
        return list(self.store.require("features/interactions", inner))

    @property
    def items(self) -> Artifact:
        """``raw/items``."""
        return self.store.open(self._inputs["items"])

    @property
    def seen_rule(self) -> Artifact:
        """``features/seen_rule``."""
        return self.store.open(self._inputs["seen_rule"])

    @property
    def seed(self) -> int:
        """Seed of the queries' draws."""
        seed: int = self.queries.manifest["params"]["seed"]
        return seed

    def asked(self) -> Queries:
        """Read the queries."""
        return Queries.read(self.queries)

    def served(self) -> Lists | None:
        """Return the lists of what serves; None where it has answered other queries."""
        full = self.release.rung["name"] == FULL
        try:
            judged = self.store.current(OFFLINE if full else FUSION, self.release.day)
        except ArtifactMissing:
            return None
        if not answers(judged, self.queries):
            return None
        return Lists.read(judged, "served" if full else self.release.rung["name"])

"""Unite the candidates of retrieval with those of the other sources."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from recsys_assets.columns import VOCABULARY_START
from recsys_assets.lib.sources.blend import Blend
from recsys_assets.lib.sources.causes import NO_CAUSE
from recsys_assets.lib.sources.popular_now import PopularNow
from recsys_assets.lib.sources.recent import NOTHING_NOW, Recent
from recsys_assets.lib.sources.stored import read_blend
from recsys_assets.release_files import MODEL_FILES
from recsys_assets.serving.stages import tensors as t
from recsys_assets.serving.stages.candidates import parts, require_counts
from recsys_assets.serving.stages.stage import Stage, StageInputInvalid, Tensors
from recsys_assets.serving.stores.live_popularity import LivePopularity
from recsys_assets.settings import Settings
from recsys_assets.source_names import ALL_SOURCES, RETRIEVAL

_RETRIEVED = ALL_SOURCES.index(RETRIEVAL)


class CandidateSources(Stage):
    """Gives each visitor the union of all sources, ordered by weighted ranks.

    A release without other sources passes on what retrieval found.

    Args:
        blend: of the release; None: retrieval alone.
        popular_now: what all visitors click now; None: no source of the release reads it.
    """

    name = "candidate_sources"
    inputs = (t.USER_CLICKED, t.USER_AGES, t.CANDIDATES, t.CANDIDATE_SIMILARITY, t.CANDIDATE_COUNTS)
    outputs = (t.UNION, t.UNION_SCORE, t.UNION_COUNTS, t.UNION_BY_SOURCES)
    files = MODEL_FILES[name]
    explains = (t.UNION_FOUND_BY, t.UNION_MOSTLY, t.UNION_AFTER)

    def __init__(self, blend: Blend | None, popular_now: LivePopularity | None = None) -> None:
        self._blend, self._popular_now = blend, popular_now
        self._now = NOTHING_NOW  # what the latest answer read, which explains it

    @classmethod
    def open(cls, directory: Path, settings: Settings, version: int) -> CandidateSources:
        """Map the arrays of the sources into memory, and start to read what is popular now.

        Raises:
            FileCorrupt: a file has another form.
        """
        blend = read_blend(directory)
        if blend is not None:  # what is computed once should not delay the first request
            blend.of(Recent(np.zeros(1, np.int64), np.zeros(1, np.float32)), np.zeros(1, np.int64))
        for source in blend.sources if blend is not None else ():
            if isinstance(source, PopularNow):
                popular_now = LivePopularity(settings, source)
                popular_now.start()
                return cls(blend, popular_now)
        return cls(blend)

    def run(self, inputs: Tensors) -> Tensors:
        """Return each visitor's union, best first."""
        items, ages = inputs[t.USER_CLICKED.name], inputs[t.USER_AGES.name]
        candidates, counts = inputs[t.CANDIDATES.name], inputs[t.CANDIDATE_COUNTS.name]
        require_counts(t.CANDIDATE_COUNTS.name, counts, len(candidates), len(items))
        if self._blend is None:
            return {
                t.UNION.name: candidates,
                t.UNION_SCORE.name: inputs[t.CANDIDATE_SIMILARITY.name],
                t.UNION_COUNTS.name: counts,
                t.UNION_BY_SOURCES.name: np.zeros(1, np.int32),
            }
        known = VOCABULARY_START + len(self._blend.young)
        for name, values in ((t.USER_CLICKED.name, items), (t.CANDIDATES.name, candidates)):
            if values.max(initial=0) >= known:
                raise StageInputInvalid(
                    f"{name} must be below {known}, got {values.max()}; all models of a release "
                    "must be of one generation"
                )
        # once per request: all of its visitors have the same list
        now = self._now = self._popular_now.lists if self._popular_now is not None else NOTHING_NOW
        found = [
            self._blend.of(Recent.of(own, hours, now), _rows(candidates[part]))
            for own, hours, part in zip(items, ages, parts(counts), strict=True)
        ]
        rows = np.concatenate([one.rows for one in found])
        return {
            t.UNION.name: np.add(rows, VOCABULARY_START, dtype=np.int32, casting="same_kind"),
            t.UNION_SCORE.name: np.concatenate([one.scores for one in found]),
            t.UNION_COUNTS.name: np.array([len(one.rows) for one in found], np.int32),
            t.UNION_BY_SOURCES.name: np.ones(1, np.int32),
        }

    def read_popular_now(self) -> bool:
        """Read what is popular now at once; return whether the store answered."""
        return self._popular_now is None or self._popular_now.poll()

    def explain(self, tensors: Tensors) -> Tensors:
        """Return the sources of each item of the union, and the visitor's item behind it."""
        items = tensors[t.UNION.name]
        found_by = np.full(len(items), 1 << _RETRIEVED, np.int32)
        mostly, after = np.full(len(items), _RETRIEVED, np.int32), np.zeros(len(items), np.int32)
        if self._blend is not None:
            candidates = tensors[t.CANDIDATES.name]
            for own, hours, retrieved, part in zip(
                tensors[t.USER_CLICKED.name],
                tensors[t.USER_AGES.name],
                parts(tensors[t.CANDIDATE_COUNTS.name]),
                parts(tensors[t.UNION_COUNTS.name]),
                strict=True,
            ):
                recent, rows = Recent.of(own, hours, self._now), _rows(items[part])
                owed = self._blend.owed(recent, _rows(candidates[retrieved]), rows)
                found_by[part], mostly[part] = owed.found_by, owed.mostly
                cause = self._blend.causes(recent, rows, owed.mostly)
                after[part] = np.where(cause == NO_CAUSE, 0, cause + VOCABULARY_START)
        return {
            t.UNION_FOUND_BY.name: found_by,
            t.UNION_MOSTLY.name: mostly,
            t.UNION_AFTER.name: after,
        }

    def gauges(self) -> dict[str, tuple[str, float]]:
        """Return when the list of what is popular now was refreshed, and its length."""
        if self._popular_now is None:
            return {}
        return {
            "recsys_popular_now_refreshed_seconds": (
                "Unix time when the list of what is popular now last equalled the online counts.",
                self._popular_now.refreshed_at,
            ),
            "recsys_popular_now_items": (
                "Items in the list of what is popular now.",
                sum(len(one) for one in self._popular_now.lists.values()),
            ),
        }

    def close(self) -> None:
        """End the thread and close the connections."""
        if self._popular_now is not None:
            self._popular_now.close()


def _rows(indices: np.ndarray) -> np.ndarray:
    """Return the vocabulary's rows of Categorify indices, int64 [N]."""
    return indices.astype(np.int64) - VOCABULARY_START

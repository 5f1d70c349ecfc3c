"""Unite the candidates of retrieval with those of the other sources."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from recsys_assets.columns import VOCABULARY_START
from recsys_assets.lib.sources.blend import Blend
from recsys_assets.lib.sources.recent import Recent
from recsys_assets.lib.sources.stored import read_blend
from recsys_assets.release_files import MODEL_FILES
from recsys_assets.serving.stages import tensors as t
from recsys_assets.serving.stages.candidates import parts, require_counts
from recsys_assets.serving.stages.stage import Stage, StageInputInvalid, Tensors
from recsys_assets.settings import Settings
from recsys_assets.source_names import ALL_SOURCES, RETRIEVAL

_RETRIEVED = ALL_SOURCES.index(RETRIEVAL)


class CandidateSources(Stage):
    """Gives each visitor the union of all sources, ordered by weighted ranks.

    A release without other sources passes on what retrieval found.

    Args:
        blend: of the release; None: retrieval alone.
    """

    name = "candidate_sources"
    inputs = (t.USER_ITEMS, t.USER_AGES, t.CANDIDATES, t.CANDIDATE_SIMILARITY, t.CANDIDATE_COUNTS)
    outputs = (
        t.UNION,
        t.UNION_SCORE,
        t.UNION_COUNTS,
        t.UNION_FOUND_BY,
        t.UNION_MOSTLY,
        t.UNION_BY_SOURCES,
    )
    files = MODEL_FILES[name]

    def __init__(self, blend: Blend | None) -> None:
        self._blend = blend

    @classmethod
    def open(cls, directory: Path, settings: Settings, version: int) -> CandidateSources:
        """Map the arrays of the sources into memory.

        Raises:
            FileCorrupt: a file has another form.
        """
        blend = read_blend(directory)
        if blend is not None:  # what is computed once should not delay the first request
            blend.of(Recent(np.zeros(1, np.int64), np.zeros(1, np.float32)), np.zeros(1, np.int64))
        return cls(blend)

    def run(self, inputs: Tensors) -> Tensors:
        """Return each visitor's union, and which sources list an item."""
        items, ages = inputs[t.USER_ITEMS.name], inputs[t.USER_AGES.name]
        candidates, counts = inputs[t.CANDIDATES.name], inputs[t.CANDIDATE_COUNTS.name]
        require_counts(t.CANDIDATE_COUNTS.name, counts, len(candidates), len(items))
        if self._blend is None:
            return {
                t.UNION.name: candidates,
                t.UNION_SCORE.name: inputs[t.CANDIDATE_SIMILARITY.name],
                t.UNION_COUNTS.name: counts,
                t.UNION_FOUND_BY.name: np.full(len(candidates), 1 << _RETRIEVED, np.int32),
                t.UNION_MOSTLY.name: np.full(len(candidates), _RETRIEVED, np.int32),
                t.UNION_BY_SOURCES.name: np.zeros(1, np.int32),
            }
        known = VOCABULARY_START + len(self._blend.young)
        for name, values in ((t.USER_ITEMS.name, items), (t.CANDIDATES.name, candidates)):
            if values.max(initial=0) >= known:
                raise StageInputInvalid(
                    f"{name} must be below {known}, got {values.max()}; all models of a release "
                    "must be of one generation"
                )
        found = [
            self._blend.of(
                Recent.of(own, hours), candidates[part].astype(np.int64) - VOCABULARY_START
            )
            for own, hours, part in zip(items, ages, parts(counts), strict=True)
        ]
        return {
            t.UNION.name: np.concatenate([one.rows for one in found]).astype(np.int32)
            + np.int32(VOCABULARY_START),
            t.UNION_SCORE.name: np.concatenate([one.scores for one in found]),
            t.UNION_COUNTS.name: np.array([len(one.rows) for one in found], np.int32),
            t.UNION_FOUND_BY.name: np.concatenate([one.found_by for one in found]),
            t.UNION_MOSTLY.name: np.concatenate([one.mostly for one in found]),
            t.UNION_BY_SOURCES.name: np.ones(1, np.int32),
        }

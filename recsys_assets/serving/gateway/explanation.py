"""Explain an answer: turn its trace into named features, drops and scores."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from recsys_assets.columns import (
    AGE,
    CANDIDATE_CONTINUOUS,
    CLICKS_24H,
    CLICKS_LOOK_BACK,
    CONTEXT_CATEGORICAL,
    CONTEXT_CONTINUOUS,
    DEVICE_TYPE,
    GENDER,
    HOURS_SINCE_CLICK,
    ITEM_CATEGORICAL,
    TIMESTAMP,
    TOP_CATEGORY,
    USER_CATEGORICAL,
    USER_CONTINUOUS,
    USER_ID,
    VOCABULARY_START,
)
from recsys_assets.lib.release.rung import FULL
from recsys_assets.serving.gateway.because import because
from recsys_assets.serving.gateway.explanation_models import (
    DIVERSITY,
    NEW_ITEM,
    RANKED_BELOW,
    Candidate,
    Dropped,
    Explanation,
    Filter,
    Found,
    Listed,
    Retrieval,
    Scored,
    VisitorFeatures,
)
from recsys_assets.serving.gateway.models import ReleaseInfo
from recsys_assets.serving.gateway.triton_client import Ranking
from recsys_assets.serving.published.display import Display
from recsys_assets.serving.stages import tensors as t
from recsys_assets.serving.stages.answer import Fate, Placing
from recsys_assets.serving.stages.stage import Tensors
from recsys_assets.source_names import ALL_SOURCES

USER_RAW, USER_NUMBERS = (
    (USER_ID, GENDER, TOP_CATEGORY),
    (AGE, CLICKS_24H, HOURS_SINCE_CLICK, CLICKS_LOOK_BACK),
)
#: The features in which the candidates of a visitor differ, without the item's own index.
OF_CANDIDATES = (*ITEM_CATEGORICAL, *CANDIDATE_CONTINUOUS)[1:]
WHY_NOT = {
    Placing.LISTED: None,
    Placing.RANKED_BELOW: RANKED_BELOW,
    Placing.DIVERSITY: DIVERSITY,
    Placing.NEW_ITEM: NEW_ITEM,
}


class IdsDiffer(RuntimeError):
    """The published catalogue is not that of the release that answered."""


def explain(
    user_id: str,
    ranking: Ranking,
    trace: Tensors,
    item_ids: Sequence[str],
    request_id: str,
    display: Display,
) -> Explanation:
    """Turn the trace of one visitor into an explanation.

    Args:
        user_id: the visitor.
        ranking: the answer.
        trace: tensors of ``pipeline.trace_layout``, B = 1.
        item_ids: of the release that answered; item i has Categorify index VOCABULARY_START + i.
        request_id: of the request.
        display: of the release.

    Raises:
        IdsDiffer: the ids are those of another release.
    """
    ids = _Ids(item_ids)
    if ids.of(trace[t.SAMPLED_ITEMS.name]) != ranking.item_ids:
        raise IdsDiffer("the ids of the answer differ from those of the published catalogue")
    considered = ids.of(trace[t.CONSIDERED.name])
    found = _sources(trace, ids, display)
    fates = [Fate(code) for code in trace[t.CONSIDERED_FATE.name].tolist()]
    return Explanation(
        user_id=user_id,
        release=ReleaseInfo(
            query=ranking.query_release,
            ranker=ranking.ranker_release,
            rung=display.rung or FULL,
            hides=display.hides,
            learnt_to=display.learnt_to,
        ),
        degraded=bool(ranking.reasons),
        reasons=ranking.reasons,
        visitor=_visitor(trace),
        retrieval=_retrieval(trace, ids),
        sources=found,
        filter=Filter(
            fates=Counter(fate.name.lower() for fate in fates),
            dropped=[
                Dropped(item_id=item_id, why=fate.name.lower())
                for item_id, fate in zip(considered, fates, strict=True)
                if not fate.kept
            ],
        ),
        ranking=_ranking(
            trace,
            ids,
            ranking.item_ids,
            dict(zip(considered, fates, strict=True)),
            {one.item_id: one for one in found},
        ),
        answer=[
            Listed(item_id=item_id, score=score)
            for item_id, score in zip(ranking.item_ids, ranking.scores, strict=True)
        ],
        request_id=request_id,
    )


class _Ids:
    """Translates Categorify indices into item ids."""

    def __init__(self, item_ids: Sequence[str]) -> None:
        self._item_ids = item_ids

    def of(self, indices: np.ndarray) -> list[str]:
        """Return the ids of indices; other indices are shown in brackets, as "[0]"."""
        known = len(self._item_ids) + VOCABULARY_START
        return [
            self._item_ids[index - VOCABULARY_START]
            if VOCABULARY_START <= index < known
            else f"[{index}]"
            for index in indices.tolist()
        ]


def _numbers(values: np.ndarray) -> list[float | None]:
    """Return the values as a list; NaN and infinities, which JSON lacks, as None."""
    return [value if math.isfinite(value) else None for value in values.astype(np.float64).tolist()]


def _visitor(trace: Tensors) -> VisitorFeatures:
    """Return the visitor's raw and transformed features."""
    raw: dict[str, Any] = dict(zip(USER_RAW, trace[t.USER_RAW.name][0].tolist(), strict=True))
    raw |= dict(zip(USER_NUMBERS, _numbers(trace[t.USER_NUMBERS.name][0]), strict=True))
    raw |= {
        DEVICE_TYPE: trace[t.CONTEXT_DEVICE.name][0],
        TIMESTAMP: int(trace[t.CONTEXT_TIMESTAMP.name][0]),
    }
    names = (*USER_CATEGORICAL, *USER_CONTINUOUS, *CONTEXT_CATEGORICAL, *CONTEXT_CONTINUOUS)
    values = [
        value
        for spec in (t.USER_CAT, t.USER_CONT, t.CONTEXT_CAT, t.CONTEXT_CONT)
        for value in _numbers(trace[spec.name][0])
    ]
    return VisitorFeatures(
        raw=raw,
        clicked_categories=trace[t.USER_HISTORY_RAW.name].tolist(),
        transformed=dict(zip(names, values, strict=True)),
    )


def _retrieval(trace: Tensors, ids: _Ids) -> Retrieval:
    """Return the query embedding and the candidates with their similarities."""
    return Retrieval(
        query_embedding=trace[t.QUERY_EMBEDDING.name][0].tolist(),
        candidates=[
            Candidate(item_id=item_id, similarity=similarity)
            for item_id, similarity in zip(
                ids.of(trace[t.CANDIDATES.name]),
                _numbers(trace[t.CANDIDATE_SIMILARITY.name]),
                strict=True,
            )
        ],
    )


def _sources(trace: Tensors, ids: _Ids, display: Display) -> list[Found]:
    """Return the union of all sources, best first."""
    after = trace[t.UNION_AFTER.name]
    named = [
        item_id if index else None
        for index, item_id in zip(after.tolist(), ids.of(after), strict=True)
    ]
    return [
        Found(
            item_id=item_id,
            score=score,
            sources=[name for k, name in enumerate(ALL_SOURCES) if bits >> k & 1],
            after=cause,
            because=because(
                ALL_SOURCES[mostly], item_id, cause, display.items.get(cause or "", {}).get("title")
            ),
        )
        for item_id, score, bits, mostly, cause in zip(
            ids.of(trace[t.UNION.name]),
            _numbers(trace[t.UNION_SCORE.name]),
            trace[t.UNION_FOUND_BY.name].tolist(),
            trace[t.UNION_MOSTLY.name].tolist(),
            named,
            strict=True,
        )
    ]


def _ranking(
    trace: Tensors,
    ids: _Ids,
    listed: Sequence[str],
    fates: dict[str, Fate],
    sources: dict[str, Found],
) -> list[Scored]:
    """Return the scored items, highest score first."""
    kept, scores = ids.of(trace[t.KEPT.name]), trace[t.SCORES.name]
    positions = {item_id: place for place, item_id in enumerate(listed, 1)}
    features = np.concatenate(
        [trace[t.ITEM_CAT.name][:, 1:].astype(np.float64), trace[t.CANDIDATE_CONT.name]], axis=1
    )
    blended, placing = _numbers(trace[t.BLENDED_SCORES.name]), trace[t.PLACING.name].tolist()
    found = []
    for row in np.argsort(-scores, kind="stable").tolist():
        item_id = kept[row]
        source = sources.get(item_id)
        found.append(
            Scored(
                item_id=item_id,
                why_kept=fates.get(item_id, Fate.KEPT).name.lower(),
                score=_numbers(scores[row : row + 1])[0],
                similarity=_numbers(trace[t.KEPT_SIMILARITY.name][row : row + 1])[0],
                after=source and source.after,
                because=source and source.because,
                features=dict(zip(OF_CANDIDATES, _numbers(features[row]), strict=True)),
                blended=blended[row],
                position=positions.get(item_id),
                why_not=WHY_NOT[Placing(placing[row])],
            )
        )
    return found

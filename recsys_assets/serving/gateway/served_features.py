"""Take what the models read for an answer out of its trace, for the log of answers."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from recsys_assets.columns import (
    CANDIDATE_CONTINUOUS,
    ITEM_CATEGORICAL,
    QUERY_CATEGORICAL,
    QUERY_CONTINUOUS,
)
from recsys_assets.serving.stages import tensors as t
from recsys_assets.serving.stages.stage import Tensors
from recsys_assets.source_names import ALL_SOURCES


def served_features(trace: Tensors, count: int) -> dict[str, Any]:
    """Return the fields of ``served_log.LoggedFeatures`` of one visitor's answer.

    Args:
        trace: tensors of ``pipeline.trace_layout``, B = 1.
        count: items of the answer, the first ones of the list.
    """
    listed = trace[t.SAMPLED_ITEMS.name].tolist()[:count]
    kept = {item: row for row, item in enumerate(trace[t.KEPT.name].tolist())}
    rows = [kept[item] for item in listed]
    found_by = dict(
        zip(trace[t.UNION.name].tolist(), trace[t.UNION_FOUND_BY.name].tolist(), strict=True)
    )
    visitor = [
        *zip(QUERY_CATEGORICAL, trace[t.VISITOR_CAT.name][0].tolist(), strict=True),
        *zip(QUERY_CONTINUOUS, _numbers(trace[t.VISITOR_CONT.name][0]), strict=True),
    ]
    of_items = [
        *zip(ITEM_CATEGORICAL, trace[t.ITEM_CAT.name][rows].T.tolist(), strict=True),
        *zip(
            CANDIDATE_CONTINUOUS, map(_numbers, trace[t.CANDIDATE_CONT.name][rows].T), strict=True
        ),
    ]
    return {
        "at": int(trace[t.CONTEXT_TIMESTAMP.name][0]),
        "visitor": dict(visitor),
        "items": dict(of_items),
        "sources": [
            [name for k, name in enumerate(ALL_SOURCES) if found_by.get(item, 0) >> k & 1]
            for item in listed
        ],
    }


def _numbers(values: np.ndarray) -> list[float | None]:
    """Return float32 values with the digits that tell them apart; not finite ones as None."""
    return [float(f"{value:.9g}") if math.isfinite(value) else None for value in values.tolist()]

"""Finds the held-out clicks of a day's fine-tune, which choose its blend and judge it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import polars as pl

from recsys_assets import columns as c
from recsys_assets.lib.evaluation.queries import QUERY_LIMIT, Queries
from recsys_assets.lib.features.click_values import read_click_values
from recsys_assets.lib.fine_tune import fine_tuning
from recsys_assets.lib.release import releases


def held_out_queries(
    inputs: Mapping[str, Any], exposures: pl.DataFrame, day: str, seed: int, zone: str
) -> Queries:
    """Return the queries of a day whose click is held out.

    Args:
        inputs: "features" of the day, "interactions" of it and of the days before, "items", and
            "base", the release whose seen rule counts; and "values" of the clicks, if they have
            some.
        exposures: of ``fine_tuning.judged_rows``.
        day: ISO.
        seed: of the queries.
        zone: of the shop.

    Raises:
        ReleaseError: no held-out row gives a query.
    """
    # sampled from all clicks of the day: the limit is raised so that as many held-out ones remain
    values = inputs.get("values")
    asked = Queries.build(
        [inputs["features"]],
        inputs["interactions"],
        inputs["items"],
        seed=seed,
        rule=releases.seen_rule(inputs["base"]),
        zone=zone,
        limit=round(QUERY_LIMIT / (1 - fine_tuning.TRAIN_SHARE)),
        values=None if values is None else read_click_values(values),
    )
    kept = asked.frame[c.EVENT_ID].is_in(exposures[c.EVENT_ID].implode()).to_numpy()
    queries = asked.subset(np.flatnonzero(kept))
    if not queries.overall.any():
        raise releases.ReleaseError(
            f"none of the {exposures.height} held-out rows of {day} is a click that a list could "
            "be asked for: nothing to judge a fine-tune by; choose a day with more rows"
        )
    return queries

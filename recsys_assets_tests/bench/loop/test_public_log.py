"""Test how ratings become answers and clicks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from recsys_assets.artifacts import ArtifactStore
from recsys_assets.bench.loop.months import RELEASE, SCORES, measure_day
from recsys_assets.bench.loop.public_log import LEARNED_DAYS, as_answers, with_scores
from recsys_assets.lib.drift.answers import RELEASES_FILE
from recsys_assets.lib.landing.served_answers import SCHEMA

DAY = "2026-03-02"


def ratings(rows: list[tuple[str, str, int, int]]) -> pl.DataFrame:
    names = {"user_id": pl.String, "item_id": pl.String, "day": pl.Int64, "click": pl.Int8}
    return pl.DataFrame(rows, schema=names, orient="row")


def test_scores_know_only_the_learned_days() -> None:
    early = [("u", "liked", 0, 1)] * 30 + [("v", "left", 1, 0)] * 30
    later = [("u", "liked", LEARNED_DAYS, 0), ("v", "left", LEARNED_DAYS, 1), ("w", "new", 99, 1)]
    scored = with_scores(ratings([*early, *later]))["score"].to_list()[-3:]
    # shares 35/40 and 5/40 around the mean of 1/2, for film and visitor alike
    assert scored == pytest.approx([0.99, 0.03125, 0.5])


def test_a_visitors_day_is_one_answer_and_a_like_is_a_click(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    rows = ratings(
        [
            (f"u{user}", f"m{user}-{film}", LEARNED_DAYS + user % 2, int(rng.random() < 0.5))
            for user in range(40)
            for film in range(12)
        ]
    ).with_columns(score=pl.Series(rng.random(480)))
    log, clicks = as_answers(rows, DAY)
    assert log.schema == SCHEMA and log.height == 40
    assert log["scores"].list.eval(pl.element().diff()).list.max().max() <= 0
    artifact = measure_day(ArtifactStore(tmp_path), DAY, log, clicks, {RELEASE: SCORES})
    [line] = pl.read_parquet(artifact.path(RELEASES_FILE)).to_dicts()
    assert (line["answers"], line["rows"], line["clicks"]) == (40, 480, rows["click"].sum())
    assert line["auc"] == pytest.approx(0.5, abs=0.1)

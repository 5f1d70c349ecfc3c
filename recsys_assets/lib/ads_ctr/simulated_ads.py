"""Simulate an ads log in the form of the public ones, with its truth beside it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from recsys_assets.ads_columns import CATEGORIES, INTEGERS, LABEL
from recsys_assets.lib.ads_ctr.ads_features import features
from recsys_assets.lib.ads_ctr.ads_truth import AdsTruth
from recsys_assets.lib.ads_ctr.log_files import SCHEMA

#: What a broken pipeline does: I1 in another unit, and C1 with other tokens.
BROKEN_FACTOR, BROKEN_PREFIX = 1000, "v2-"


@dataclass(frozen=True)
class SimulatedDay:
    """Holds the rows of one day, in their order, and the probability of each click, float64 [N]."""

    rows: pl.DataFrame
    probability: np.ndarray


def simulate_day(truth: AdsTruth, day: int, rows: int) -> SimulatedDay:
    """Return the rows of day number ``day``, from 0; equal arguments give equal rows.

    Raises:
        ValueError: a number is negative, or there are no rows.
    """
    if day < 0 or rows < 1:
        raise ValueError(f"give a day from 0 and at least one row, got {day} and {rows}")
    generator = np.random.default_rng([truth.seed, 6, day])
    counts, values = features(generator, rows)
    days = day + (np.arange(rows) + 0.5) / rows
    probability = truth.probability(counts, values, days)
    clicked = generator.random(rows) < probability
    broken = (days >= truth.drift.at) & (truth.drift.kind == "broken")
    columns: dict[str, pl.Series | np.ndarray] = {LABEL: clicked.astype(np.int8)}
    counts[broken, 0] *= BROKEN_FACTOR
    for place, name in enumerate(INTEGERS):
        columns[name] = pl.Series(counts[:, place]).fill_nan(None).cast(pl.Int64)
    for place, name in enumerate(CATEGORIES):
        columns[name] = _tokens(truth.seed, place, values[:, place])
    frame = pl.DataFrame(columns, schema=SCHEMA)
    if broken.any():
        changed = pl.lit(BROKEN_PREFIX) + pl.col(CATEGORIES[0])
        mask = pl.Series(broken)
        frame = frame.with_columns(
            pl.when(mask).then(changed).otherwise(pl.col(CATEGORIES[0])).alias(CATEGORIES[0])
        )
    return SimulatedDay(frame, probability)


def _tokens(seed: int, column: int, values: np.ndarray) -> pl.Series:
    """Return the values as tokens of 8 hexadecimal digits; null for -1."""
    distinct, at = np.unique(values, return_inverse=True)
    mixed = _mixed(distinct.astype(np.uint64) + np.uint64((seed * 31 + column) << 32))
    texts = [
        None if value < 0 else f"{int(token) & 0xFFFFFFFF:08x}"
        for value, token in zip(distinct, mixed, strict=True)
    ]
    return pl.Series(texts, dtype=pl.String).gather(at)


def _mixed(keys: np.ndarray) -> np.ndarray:
    """Return well mixed uint64 of keys (splitmix64, Steele, Lea and Flood 2014)."""
    with np.errstate(over="ignore"):
        mixed = keys + np.uint64(0x9E3779B97F4A7C15)
        mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return np.asarray(mixed ^ (mixed >> np.uint64(31)))

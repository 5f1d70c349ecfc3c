"""Compare the features of a day with those of the days that a release was trained on.

A release keeps the transforms of its full training. So the baseline is the training days of its
generation, also for a fine-tune. The divergence of a feature is that of ``lib/quality/drift.py``;
here its limit grows with what chance gives at the day's size (``lib/monitor/divergence.py``), for
all features together, with the rows of a visitor (or of an item) as one cluster. It grows too with
what is usual: the largest divergence of a training day from the other training days, because
weekdays, sales and quiet days change what visitors did on the day before.

A release decides itself what is shown. So its own lists change the log: other items, more clicks,
other counts of clicks. This is no drift, and another training would change the lists again. So a
feature has drifted only if it also differs from the generation's first days in service.

Ids of items are not compared by divergence: items come and go in every shop. What counts of them is
the share of rows that the training days lack, beyond what a new day usually has of them. It is
taken from the last training day, against the training days before it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from recsys_assets import columns as c
from recsys_assets.artifacts import Artifact
from recsys_assets.lib.figures import plots
from recsys_assets.lib.figures.tables import markdown_table
from recsys_assets.lib.landing.local_days import local_hour
from recsys_assets.lib.monitor.divergence import design_effect, largest_by_chance
from recsys_assets.lib.quality import drift, profiles
from recsys_assets.local_time import UTC

#: What chance may give on a day, over all features together.
SHARE_BY_CHANCE = 0.001
#: The label, and ids, which have a rule of their own.
NOT_COMPARED = frozenset({c.CLICK, c.ITEM_ID})
#: Features that an item has anew every day: its rows are one cluster. All others are clustered by
#: visitor.
OF_ITEMS = frozenset({c.ITEM_CLICKS})
#: Fewer independent rows than this are not compared: the chi-square distribution does not hold.
FEWEST_INDEPENDENT = 50
VOCABULARIES = (c.ITEM_ID, c.CATEGORY_L1, c.CATEGORY_L2)
FEATURES_FILE = "features.parquet"
TABLE_FILE, TABLE_FIGURE, BARS_FIGURE = (
    "inputs.parquet",
    "figures/features.md",
    "figures/divergence_over_its_limit.md",
)
_SCHEMA = {
    "feature": pl.String,
    "divergence": pl.Float64,
    "limit": pl.Float64,
    "by_chance": pl.Float64,
    "usual": pl.Float64,
    "from_first_days": pl.Float64,
    "limit_from_first_days": pl.Float64,
    "rows": pl.Int64,
    "rows_per_independent_row": pl.Float64,
    "drifted": pl.Boolean,
}


@dataclass(frozen=True)
class InputDrift:
    """Holds what was found.

    Attributes:
        features: one row per compared feature: divergence from the training days (bits), limit,
            what chance gives, what is usual between training days; divergence from the first days
            in service and its limit, null where these are not complete; rows of the day, rows that
            count as one independent row, and whether the feature has drifted.
        unknown: vocabulary → share of the day's rows whose value the training days lack.
        usual: vocabulary → the same share of the last training day.
        vocabularies: those whose share is beyond the usual one by more than the tolerance.
        reason: why no feature was judged; empty: some were.
    """

    features: pl.DataFrame
    unknown: dict[str, float]
    usual: dict[str, float]
    vocabularies: list[str]
    reason: str = ""

    @property
    def drifted(self) -> list[str]:
        """Return the features beyond their limits."""
        return self.features.filter("drifted")["feature"].to_list()


@dataclass(frozen=True)
class _Compared:
    """Holds one feature of a day against a baseline."""

    divergence: float
    by_chance: float
    rows: int
    effect: float


@dataclass(frozen=True)
class InputRules:
    """Holds how days are compared.

    Attributes:
        first_day: of the calendar, ISO; see ``quality.drift.comparable``.
        look_back_days: days that the look-back features cover.
        minimum_rows: rows below which nothing is compared.
        reference_days: first days in service that must be complete.
        tolerance: divergence beyond chance and what is usual that is drift, bits.
        unknown_tolerance: share of unknown values beyond the usual one that is drift.
        zone: the shop's time zone.
    """

    first_day: str
    look_back_days: int
    minimum_rows: int
    reference_days: int
    tolerance: float
    unknown_tolerance: float
    zone: str = UTC


def input_drift(
    day: Artifact, training: Sequence[Artifact], first: Sequence[Artifact], rules: InputRules
) -> InputDrift:
    """Compare a day with the training days of a release, and with its first days in service.

    Args:
        day: ``features/interactions`` of the day.
        training: ``features/interactions`` of the training days, oldest first.
        first: ``features/interactions`` of the generation's first days in service, before the day.
        rules: how they are compared.
    """
    rows = pl.read_parquet(day.path(FEATURES_FILE))
    days, begun = _with_profile(training), _with_profile(first)
    if rows.height < rules.minimum_rows or not days:
        reason = (
            f"{rows.height} of {rules.minimum_rows} rows"
            if days
            else "no training day has a profile"
        )
        return InputDrift(pl.DataFrame(schema=_SCHEMA), {}, {}, [], reason)
    trained = _compared(str(day.partition), rows, days, rules)
    complete = len(begun) >= rules.reference_days
    served = _compared(str(day.partition), rows, begun, rules) if complete else {}
    table = [
        _line(name, one, served.get(name), _usual(name, days, rules), rules.tolerance)
        for name, one in trained.items()
    ]
    unknown, usual = _unknown(rows, days)
    return InputDrift(
        pl.DataFrame(table, schema=_SCHEMA, orient="row"),
        unknown,
        usual,
        [name for name in usual if unknown[name] > usual[name] + rules.unknown_tolerance],
        ""
        if complete
        else f"{len(begun)} of the first {rules.reference_days} days in service are there",
    )


def _with_profile(days: Sequence[Artifact]) -> list[Artifact]:
    return [one for one in days if profiles.PROFILE_FILE in one.manifest["files"]]


def _line(
    name: str, trained: _Compared, served: _Compared | None, usual: float, tolerance: float
) -> tuple[Any, ...]:
    limit = tolerance + trained.by_chance + usual
    own = None if served is None else tolerance + served.by_chance + usual
    beyond = served is not None and own is not None and served.divergence > own
    return (
        *(name, trained.divergence, limit, trained.by_chance, usual),
        *(served and served.divergence, own),
        *(trained.rows, trained.effect, trained.divergence > limit and beyond),
    )


def _usual(feature: str, days: Sequence[Artifact], rules: InputRules) -> float:
    """Return the largest divergence of a day from the others; 0 with fewer than three days."""
    every = drift.profiles_of(days)
    base = drift.comparable(
        every,
        feature,
        str(days[-1].partition),
        first_day=rules.first_day,
        settled=drift.settled_on(rules.first_day, rules.look_back_days),
    )
    by_day = [part for _, part in base.group_by("day", maintain_order=True)]
    if len(by_day) < 3:
        return 0.0
    return max(
        drift.divergence(part, pl.concat([other for other in by_day if other is not part]))
        for part in by_day
        if part["rows"].sum()
    )


def _compared(
    day: str, rows: pl.DataFrame, days: Sequence[Artifact], rules: InputRules
) -> Mapping[str, _Compared]:
    """Return the features of a day against a baseline that has enough rows of them."""
    now, before = profiles.profile(rows, profiles.DAY_FEATURES, rules.zone), drift.profiles_of(days)
    settled = drift.settled_on(rules.first_day, rules.look_back_days)
    units = {name: _units(rows, name) for name in (c.USER_ID, c.ITEM_ID)}
    parts = {}
    for name in profiles.DAY_FEATURES:
        base = drift.comparable(before, name, day, first_day=rules.first_day, settled=settled)
        if name not in NOT_COMPARED and base["rows"].sum() >= rules.minimum_rows:
            parts[name] = now.filter(pl.col("feature") == name), base
    found = {}
    for name, (part, base) in parts.items():
        new, old = drift.counts(part, base)
        effect = design_effect(
            _codes(rows, name, base, rules.zone),
            units[c.ITEM_ID if name in OF_ITEMS else c.USER_ID],
        )
        if new.sum() / effect < FEWEST_INDEPENDENT:
            continue
        chance = largest_by_chance(
            int(np.count_nonzero(new + old)),
            new.sum() / effect,
            old.sum() / effect,
            SHARE_BY_CHANCE / len(parts),
        )
        found[name] = _Compared(drift.jensen_shannon(new, old), chance, int(new.sum()), effect)
    return found


def _units(rows: pl.DataFrame, column: str) -> np.ndarray:
    """Return the visitor or item of each row, int64 [N]; an unknown one's rows are units each."""
    row = pl.int_range(pl.len()).cast(pl.String)
    unit = pl.when(pl.col(column) == c.MISSING).then(pl.format("?{}", row)).otherwise(column)
    return rows.select(unit.rank("dense").cast(pl.Int64) - 1).to_series().to_numpy()


def _codes(rows: pl.DataFrame, feature: str, base: pl.DataFrame, zone: str) -> np.ndarray:
    """Return the value or bin of each row, int64 [N], in the form of ``quality.drift.counts``."""
    if feature in profiles.EDGES:
        values = (
            rows.select(local_hour(pl.col(c.TIMESTAMP), zone)).to_series()
            if feature == profiles.HOUR
            else rows[feature]
        )
        edges = np.asarray(profiles.EDGES[feature], np.float64)
        filled = values.cast(pl.Float64).fill_null(float("nan")).to_numpy()
        codes = np.searchsorted(edges, filled, side="right")
        return np.where(values.is_null().to_numpy(), len(edges) + 1, codes).astype(np.int64)
    frequent = (
        base.filter(pl.col("value") != profiles.OTHER)
        .group_by("value")
        .agg(pl.col("rows").sum())
        .sort(["rows", "value"], descending=[True, False])["value"]
        .head(drift.TOP_VALUES)
    )
    known = pl.DataFrame({"value": frequent}).with_row_index("code", offset=1)
    own = pl.DataFrame({"value": rows[feature].cast(pl.String).fill_null(profiles.NULL)})
    joined = own.join(known, on="value", how="left", maintain_order="left")["code"]
    return np.asarray(joined.fill_null(0).cast(pl.Int64).to_numpy())


def _unknown(
    rows: pl.DataFrame, training: Sequence[Artifact]
) -> tuple[dict[str, float], dict[str, float]]:
    """Return the shares of unknown values of a day, and of the last training day.

    With one training day nothing is usual, so that nothing is judged.
    """
    columns = [*VOCABULARIES]
    days = [pl.scan_parquet(one.path(FEATURES_FILE)).select(columns) for one in training]
    unknown, usual = {}, {}
    for name in columns:
        sets = pl.collect_all([day.select(pl.col(name).unique()) for day in days])
        values = pl.concat(sets)[name].unique()
        unknown[name] = _share_outside(rows[name], values)
        if len(days) > 1:
            last = days[-1].select(name).collect()[name]
            usual[name] = _share_outside(last, pl.concat(sets[:-1])[name].unique())
    return unknown, usual


def _share_outside(values: pl.Series, known: pl.Series) -> float:
    if not values.len():
        return 0.0
    return 1.0 - float(values.is_in(known.implode(), nulls_equal=True).sum()) / values.len()


def write_inputs(found: InputDrift, target: Path) -> dict[str, Any]:
    """Write the table of the features and its figures; return the metrics."""
    table = found.features.sort("divergence", descending=True)
    table.write_parquet(target / TABLE_FILE)
    (target / TABLE_FIGURE).parent.mkdir(exist_ok=True)
    (target / TABLE_FIGURE).write_text(
        markdown_table(table) if table.height else f"Nothing was compared: {found.reason}."
    )
    if table.height:
        shares = dict(
            zip(table["feature"], (table["divergence"] / table["limit"]).to_list(), strict=True)
        )
        (target / BARS_FIGURE).write_text(
            plots.horizontal_bars("Divergence from the training days over its limit", shares, 1.0)
        )
    return {
        "judged": not found.reason,
        "reason": found.reason,
        "drifted": found.drifted,
        "vocabularies": found.vocabularies,
        "unknown": found.unknown,
        "usual_unknown": found.usual,
        "divergence": dict(zip(table["feature"], table["divergence"], strict=True)),
        "limit": dict(zip(table["feature"], table["limit"], strict=True)),
    }

"""Builds the queries that every system, baseline and release is judged on.

One query is one click of the validation days: its visitor, moment and device, and the clicked item,
the *true* item. A system answers with a ranking of the whole catalogue without the items that the
seen filter drops. These follow from the events strictly before the query, by the ``SeenRule`` that
``serving.stages.seen_items`` applies too. A click on such an item is a query like the others, which
every system misses: what the filter costs shows in the figures. The slices ``repeats`` and
``no_repeats`` tell clicks on items that the visitor has had lately from all others.

Where too few visitors are new, cold ones are *simulated*: further queries whose visitor is masked
as ``features.mask`` does in training. They count only in the slice ``cold_users``, never in the
overall figures. Use ``Queries.overall`` for those, as ``list_metrics.judge`` does.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from recsys_assets import columns as c
from recsys_assets.artifacts import Artifact
from recsys_assets.files import write_json
from recsys_assets.lib.evaluation import seen_filter
from recsys_assets.lib.evaluation.item_sets import ItemSets
from recsys_assets.lib.evaluation.measures import QueryCounts
from recsys_assets.lib.evaluation.query_slices import slices_of
from recsys_assets.lib.features.click_ranges import unroll
from recsys_assets.lib.features.click_values import with_values
from recsys_assets.lib.features.point_in_time import UNKNOWN_VISITOR
from recsys_assets.lib.features.seen import DEFAULT_RULE, SeenRule
from recsys_assets.lib.raw.rows import scan_interactions
from recsys_assets.local_time import UTC

QUERY_LIMIT = 20_000
#: Below MINIMUM_COLD queries of new visitors, add SIMULATED_COLD queries with a masked visitor.
MINIMUM_COLD, SIMULATED_COLD = 200, 2_000
#: Columns of the frame beside INTERACTION_FEATURES. VISITOR holds the visitor also where user_id is
#: masked; _SLICE begins the names of the slices' columns.
VISITOR, SIMULATED, _SLICE = "visitor", "simulated_cold", "slice "
LATER = "dismissed_later.npz"


@dataclass(frozen=True)
class Queries:
    """Holds Q held-out clicks over a catalogue of I items, in the order of raw/items."""

    #: Q rows: INTERACTION_FEATURES of the click and its lists of click_history.parquet, then
    #: VISITOR (String), SIMULATED (Boolean), and VALUE (Float32) where clicks have values
    frame: pl.DataFrame
    item_ids: np.ndarray  # str [I]
    clicks: np.ndarray  # int64 [I], of each item in the training days
    true: np.ndarray  # int64 [Q], catalogue row of the clicked item
    seen_start: np.ndarray  # int64 [Q + 1], bounds of each query's part of seen_items
    #: int32 [...], catalogue rows that the seen filter drops, ascending within a query
    seen_items: np.ndarray
    slices: Mapping[str, np.ndarray]  # name → bool [Q]
    counts: QueryCounts
    later: ItemSets | None = None  # what each visitor dismisses later; None: nobody does

    def __len__(self) -> int:
        """Return the number of queries."""
        return len(self.true)

    @property
    def items(self) -> int:
        """Number of items of the catalogue."""
        return len(self.item_ids)

    @property
    def overall(self) -> np.ndarray:
        """Queries of the overall figures, bool [Q]: all but those of simulated visitors."""
        return ~self.frame[SIMULATED].to_numpy()

    @property
    def time_zone(self) -> str:
        """The shop's time zone; UTC where an older version wrote none."""
        return str(self.counts.get("time_zone", UTC))

    @property
    def users(self) -> np.ndarray:
        """Number of each visitor, masked or not, int64 [Q].

        Averages and the bootstrap are taken by it.
        """
        return self.frame[VISITOR].rank("dense").to_numpy().astype(np.int64) - 1

    @property
    def values(self) -> np.ndarray | None:
        """Value of each click, float64 [Q]; None where each click counts once."""
        if c.VALUE not in self.frame.columns:
            return None
        return self.frame[c.VALUE].to_numpy().astype(np.float64)

    def values_of(self, rows: np.ndarray) -> np.ndarray | None:
        """Return the values of the queries ``rows``, a mask or numbers."""
        values = self.values
        return None if values is None else values[rows]

    def seen(self, rows: np.ndarray) -> np.ndarray:
        """Return the items that the filter drops for the queries ``rows``, bool [n, I]."""
        owner, position = unroll(self.seen_start[rows], self.seen_start[rows + 1])
        dropped = np.zeros((len(rows), self.items), bool)
        dropped[owner, self.seen_items[position]] = True
        return dropped

    def mask(self, scores: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """Set scores [n, I] to -inf, in place, where the filter drops the item."""
        scores[self.seen(rows)] = -np.inf
        return scores

    def subset(self, rows: np.ndarray) -> Queries:
        """Return the queries ``rows``, int64 [n], alone; the counts stay those of all."""
        seen = ItemSets(self.seen_start, self.seen_items).subset(rows)
        return Queries(
            self.frame[rows],
            self.item_ids,
            self.clicks,
            self.true[rows],
            seen.start,
            seen.items,
            {name: inside[rows] for name, inside in self.slices.items()},
            self.counts,
            None if self.later is None else self.later.subset(rows),
        )

    # --- building
    @classmethod
    def build(
        cls,
        features: Sequence[Artifact],
        interactions: Sequence[Artifact],
        items: Artifact,
        *,
        seed: int,
        rule: SeenRule,
        zone: str,
        limit: int = QUERY_LIMIT,
        values: pl.DataFrame | None = None,
    ) -> Queries:
        """Gather the queries; there are none where no click is held out.

        Args:
            features: ``features/interactions`` of the validation days.
            interactions: ``raw/interactions`` of the training and of the validation days; those
                whose partition is none of the validation days count as training.
            items: ``raw/items``.
            seed: draws the users that are kept above the limit, and the simulated cold queries.
            rule: which events make an item seen, for how many days.
            zone: time zone of the shop: of the rule's days, and of the slices by hour and weekday.
            limit: clicks above which whole users are sampled until the next would exceed it.
            values: of ``click_values``, of all clicks; None: each click counts once.

        Raises:
            ValueError: ``interactions`` lacks a validation day or all training days.
        """
        validation = {artifact.partition for artifact in features}
        training = _training_log(interactions, validation)
        catalogue = (
            pl.read_parquet(items.path("items.parquet"), columns=[c.ITEM_ID])
            .with_row_index("item")
            .cast({"item": pl.Int32})
        )
        clicked = _clicked(features, catalogue)
        if values is not None:
            clicked = with_values(clicked, values)
        rng = np.random.default_rng([seed, 11])
        kept = _sampled_users(clicked, limit, rng)
        asked = (
            clicked.join(kept, on=VISITOR, how="semi", maintain_order="left")
            .with_row_index("query")
            .cast({"query": pl.Int64})
        )
        seen, hidden, later = seen_filter.dropped(asked, interactions, catalogue, rule, zone)
        had = (
            seen
            if rule == DEFAULT_RULE
            else seen_filter.seen_pairs(asked, interactions, catalogue, DEFAULT_RULE, zone)
        )
        asks = _with_history(asked, features)
        counts = _item_clicks(training, catalogue)
        known = _exposures(training, asks, kept)
        cold = int((known == 0).sum())
        simulated = _simulated(asks, cold, rng)
        frame = _with_simulated(asks, simulated)
        start, dropped = seen_filter.seen_rows(hidden, asks["query"].to_numpy(), simulated)
        true = frame["item"].to_numpy().astype(np.int64)
        repeats = np.zeros(frame.height, bool)
        repeats[own_items(had, asks)["query"].to_numpy()] = True
        slices = slices_of(
            frame,
            visitors=frame[VISITOR],
            simulated=frame[SIMULATED].to_numpy(),
            exposures=np.concatenate([known, np.zeros(len(simulated), np.int64)]),
            clicks_of_item=counts[true],
            repeats=repeats,
            zone=zone,
        )
        counted: QueryCounts = {
            "rows": frame.height,
            "queries": asks.height,
            "users": asks[VISITOR].n_unique(),
            "items": catalogue.height,
            "clicks": clicked.height,
            "sampled_clicks": asked.height,
            "seen_share": own_items(hidden, asks).height / max(asks.height, 1),
            "cold_queries": cold,
            "cold_users_simulated": bool(len(simulated)),
            "seen_rule": rule.text(),
            "time_zone": zone,
            "slices": {name: int(inside.sum()) for name, inside in slices.items()},
        }
        if values is not None and asks.height:
            counted["mean_value"] = float(asks[c.VALUE].to_numpy().mean())
        return cls(
            frame.drop("query", "item"),
            catalogue[c.ITEM_ID].to_numpy().astype(str),
            counts,
            true,
            start,
            dropped,
            slices,
            counted,
            seen_filter.item_sets(later, asks["query"].to_numpy(), simulated),
        )

    # --- storage
    def write(self, target: Path) -> QueryCounts:
        """Write queries.parquet, seen.npz, items.parquet, counts.json, and maybe LATER."""
        if self.later is not None:
            self.later.write(target / LATER)
        (
            self.frame.with_columns(
                pl.Series("true", self.true),
                *(pl.Series(_SLICE + name, inside) for name, inside in self.slices.items()),
            ).write_parquet(target / "queries.parquet")
        )
        np.savez(target / "seen.npz", start=self.seen_start, items=self.seen_items)
        pl.DataFrame({c.ITEM_ID: self.item_ids, "clicks": self.clicks}).write_parquet(
            target / "items.parquet"
        )
        write_json(target / "counts.json", self.counts)
        return self.counts

    @classmethod
    def read(cls, artifact: Artifact) -> Queries:
        """Read the queries of an ``evaluation/queries``."""
        frame, items = (
            pl.read_parquet(artifact.path("queries.parquet")),
            pl.read_parquet(artifact.path("items.parquet")),
        )
        slices = [name for name in frame.columns if name.startswith(_SLICE)]
        with np.load(artifact.path("seen.npz"), allow_pickle=False) as seen:
            start, dropped = seen["start"], seen["items"]
        return cls(
            frame.drop("true", *slices),
            items[c.ITEM_ID].to_numpy().astype(str),
            items["clicks"].to_numpy(),
            frame["true"].to_numpy(),
            start,
            dropped,
            {name.removeprefix(_SLICE): frame[name].to_numpy() for name in slices},
            json.loads(artifact.path("counts.json").read_text()),
            ItemSets.read(artifact, LATER),
        )


def _training_log(interactions: Sequence[Artifact], validation: Set[str | None]) -> pl.LazyFrame:
    """Scan the log of the days before the validation days; raise where a day is missing."""
    log = [artifact for artifact in interactions if artifact.partition in validation]
    before = [artifact for artifact in interactions if artifact.partition not in validation]
    if len(log) != len(validation) or not before:
        raise ValueError(
            f"interactions has the days {sorted(str(a.partition) for a in interactions)}: give "
            "raw/interactions of the training days and of every validation day "
            f"({sorted(map(str, validation))})"
        )
    return scan_interactions(before)


def own_items(pairs: pl.DataFrame, asks: pl.DataFrame) -> pl.DataFrame:
    """Return the pairs {query, item} of clicks on the item itself."""
    return pairs.join(asks.select("query", "item"), on=["query", "item"], how="semi")


def visitor_of_row() -> pl.Expr:
    """Return the visitor of each row; one without a user id counts as a visitor of its own."""
    unknown = pl.format("-1 {}", c.EVENT_ID)
    return pl.when(pl.col(c.USER_ID) == c.MISSING).then(unknown).otherwise(c.USER_ID)


def _clicked(features: Sequence[Artifact], catalogue: pl.DataFrame) -> pl.DataFrame:
    """Return the clicks on items of the catalogue: their features, VISITOR and "item"."""
    rows = (
        pl.scan_parquet([a.path("features.parquet") for a in features])
        if features
        else pl.LazyFrame(
            schema={name: getattr(pl, of) for name, of in c.INTERACTION_FEATURES.items()}
        )
    )
    return (
        rows.filter(pl.col(c.CLICK) == 1)
        .with_columns(visitor_of_row().alias(VISITOR))
        .join(catalogue.lazy(), on=c.ITEM_ID, how="inner", maintain_order="left")
        .collect()
    )


def _with_history(asks: pl.DataFrame, features: Sequence[Artifact]) -> pl.DataFrame:
    """Join the click history of each click."""
    if not features:
        return asks.with_columns(
            pl.lit(None, pl.List(pl.String)).alias(c.HISTORY_CATEGORIES),
            pl.lit(None, pl.List(pl.String)).alias(c.HISTORY_ITEMS),
            pl.lit(None, pl.List(pl.Float32)).alias(c.HISTORY_AGES),
        )
    remembered = pl.scan_parquet([a.path("click_history.parquet") for a in features])
    return asks.join(
        remembered.join(asks.lazy().select(c.EVENT_ID), on=c.EVENT_ID, how="semi").collect(),
        on=c.EVENT_ID,
        how="left",
        maintain_order="left",
    )


def _exposures(training: pl.LazyFrame, asks: pl.DataFrame, kept: pl.DataFrame) -> np.ndarray:
    """Return the training exposures of each query's visitor, int64 [Q]."""
    exposures = (
        training.filter(
            pl.col(c.EVENT_TYPE).is_in(c.EXPOSURE_EVENTS), pl.col(c.USER_ID) != c.MISSING
        )
        .join(kept.lazy(), left_on=c.USER_ID, right_on=VISITOR, how="semi")
        .group_by(c.USER_ID)
        .agg(exposures=pl.len().cast(pl.Int64))
        .collect()
    )
    return (
        asks.join(exposures, on=c.USER_ID, how="left", maintain_order="left")["exposures"]
        .fill_null(0)
        .to_numpy()
    )


def _item_clicks(training: pl.LazyFrame, catalogue: pl.DataFrame) -> np.ndarray:
    """Return the training clicks of each item, int64 [I]."""
    per_item = (
        training.filter(pl.col(c.EVENT_TYPE) == c.VIEW)
        .group_by(c.ITEM_ID)
        .agg(clicks=pl.len().cast(pl.Int64))
        .collect()
    )
    return (
        catalogue.join(per_item, on=c.ITEM_ID, how="left", maintain_order="left")["clicks"]
        .fill_null(0)
        .to_numpy()
    )


def _with_simulated(asks: pl.DataFrame, simulated: np.ndarray) -> pl.DataFrame:
    """Append the rows ``simulated`` once more, as of an unknown visitor."""
    # an unknown visitor has a count of 0 clicks, so the history is not used
    return pl.concat(
        [
            asks.with_columns(pl.lit(False).alias(SIMULATED)),
            asks[simulated].with_columns(
                pl.lit(True).alias(SIMULATED),
                *(
                    pl.lit(value).cast(asks.schema[name]).alias(name)
                    for name, value in UNKNOWN_VISITOR.items()
                ),
            ),
        ]
    )


def _sampled_users(clicked: pl.DataFrame, limit: int, rng: np.random.Generator) -> pl.DataFrame:
    """Return {visitor}: all, or so many in random order that the clicks keep the limit."""
    users = clicked.group_by(VISITOR).len().sort(VISITOR)
    if clicked.height <= limit:
        return users.select(VISITOR)
    order = rng.permutation(users.height)
    taken = max(
        1, int(np.searchsorted(np.cumsum(users["len"].to_numpy()[order]), limit, side="right"))
    )
    return users.select(VISITOR)[np.sort(order[:taken])]


def _simulated(asks: pl.DataFrame, cold: int, rng: np.random.Generator) -> np.ndarray:
    """Draw the rows, int64, that are asked once more by an unknown visitor.

    None are drawn where enough queries are cold.
    """
    if cold >= MINIMUM_COLD:
        return np.zeros(0, np.int64)
    return np.sort(rng.permutation(asks.height)[:SIMULATED_COLD])

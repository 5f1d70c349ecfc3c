"""Held-out clicks as questions to whole lists: what every system, baseline and release is judged
on, alike.

One query is one click of the validation days: who asked, when, on which device, and the item that
was clicked, the *true* item. A system answers with a ranking of the whole catalogue, less what the
seen filter drops: the items that the visitor clicked on the last ``seen_days`` UTC days, the
query's own included, strictly earlier than the query, as ``serving.stages.seen_items`` does. A
click on such an item is no query, as no list may show it; their share is counted.

Where too few of the visitors are new, cold ones are *simulated*: more queries whose visitor is
masked as ``features.mask`` does in training. These count in the slice ``cold_users`` alone, never
in the overall figures; take ``Queries.overall`` for those (``list_metrics.judge`` does).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from recsys_assets import columns as c
from recsys_assets.artifacts import Artifact
from recsys_assets.columns import EPOCH_WEEKDAY, SECONDS_PER_DAY, SECONDS_PER_HOUR
from recsys_assets.files import write_json
from recsys_assets.lib.features.point_in_time import UNKNOWN_VISITOR

QUERY_LIMIT = 20_000
#: Fewer queries of new visitors than this, and SIMULATED_COLD more are made by masking the visitor.
MINIMUM_COLD, SIMULATED_COLD = 200, 2_000
HOURS = {
    "night": (0, 6),
    "morning": (6, 12),
    "afternoon": (12, 18),
    "evening": (18, 24),
}  # [first, last), UTC
ACTIVITY = ("low", "medium", "high")  # thirds of the known visitors by their training exposures
#: Columns of the frame beside INTERACTION_FEATURES: who asked, also where user_id is masked, and
#: the slices.
VISITOR, SIMULATED, _SLICE = "visitor", "simulated_cold", "slice "


@dataclass(frozen=True)
class Queries:
    """Q held-out clicks over a catalogue of I items; catalogue rows count in the order of
    raw/items.
    """

    #: Q rows: the click's INTERACTION_FEATURES and click history (List(String)), then VISITOR
    #: (String), SIMULATED (Boolean)
    frame: pl.DataFrame
    item_ids: np.ndarray  # str [I]
    clicks: np.ndarray  # int64 [I], of each item in the training days
    true: np.ndarray  # int64 [Q], catalogue row of the clicked item
    seen_start: np.ndarray  # int64 [Q + 1], bounds of each query's part of seen_items
    seen_items: (
        np.ndarray
    )  # int32 [...], catalogue rows that the seen filter drops, ascending within a query
    slices: Mapping[str, np.ndarray]  # name → bool [Q]
    counts: Mapping[str, Any]  # of ``build``, as ``write`` returns them

    def __len__(self) -> int:
        return len(self.true)

    @property
    def items(self) -> int:
        return len(self.item_ids)

    @property
    def overall(self) -> np.ndarray:
        """bool [Q]: the queries of the overall figures: all but the simulated cold visitors'."""
        return ~self.frame[SIMULATED].to_numpy()

    @property
    def users(self) -> np.ndarray:
        """int64 [Q]: a number for each visitor, masked or not: the unit of averages and of the
        bootstrap.
        """
        return self.frame[VISITOR].rank("dense").to_numpy().astype(np.int64) - 1

    def seen(self, rows: np.ndarray) -> np.ndarray:
        """bool [n, I]: what the filter drops for these queries (int64 [n])."""
        size = self.seen_start[rows + 1] - self.seen_start[rows]
        owner = np.repeat(np.arange(len(rows)), size)
        offset = np.arange(len(owner)) - np.repeat(np.cumsum(size) - size, size)
        dropped = np.zeros((len(rows), self.items), bool)
        dropped[owner, self.seen_items[np.repeat(self.seen_start[rows], size) + offset]] = True
        return dropped

    def mask(self, scores: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """Scores [n, I] of these queries with -inf, in place, where the filter drops the item."""
        scores[self.seen(rows)] = -np.inf
        return scores

    def subset(self, rows: np.ndarray) -> Queries:
        """These queries alone (int64 [n]), for a quick look; the counts stay those of the whole."""
        size = self.seen_start[rows + 1] - self.seen_start[rows]
        start = np.concatenate([[0], np.cumsum(size)])
        kept = np.repeat(self.seen_start[rows] - start[:-1], size) + np.arange(start[-1])
        return Queries(
            self.frame[rows],
            self.item_ids,
            self.clicks,
            self.true[rows],
            start,
            self.seen_items[kept],
            {name: inside[rows] for name, inside in self.slices.items()},
            self.counts,
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
        seen_days: int,
        limit: int = QUERY_LIMIT,
    ) -> Queries:
        """Gather the queries.

        Args:
            features: ``features/interactions`` of the validation days.
            interactions: ``raw/interactions`` of the training and of the validation days; those
                whose partition is none of the validation days count as training.
            items: ``raw/items``.
            seed: draws the users that are kept above the limit, and the simulated cold queries.
            seen_days: for how many UTC days a clicked item counts as seen, the query's own
                included.
            limit: clicks above which whole users are sampled until the next would exceed it.

        Raises:
            ValueError: no validation day lies in ``interactions``, or no click is left to ask for.
        """
        validation = {artifact.partition for artifact in features}
        log = [artifact for artifact in interactions if artifact.partition in validation]
        before = [artifact for artifact in interactions if artifact.partition not in validation]
        if len(log) != len(validation) or not before:
            raise ValueError(
                f"interactions has the days {sorted(str(a.partition) for a in interactions)}: give "
                "raw/interactions "
                f"of the training days and of every validation day ({sorted(map(str, validation))})"
            )
        catalogue = (
            pl.read_parquet(items.path("items.parquet"), columns=[c.ITEM_ID])
            .with_row_index("item")
            .cast({"item": pl.Int32})
        )
        # a visitor without a name is another one each time
        visitor = (
            pl.when(pl.col(c.USER_ID) == c.MISSING)
            .then(pl.format("-1 {}", c.EVENT_ID))
            .otherwise(c.USER_ID)
        )
        clicked = (
            pl.scan_parquet([a.path("features.parquet") for a in features])
            .filter(pl.col(c.CLICK) == 1)
            .with_columns(visitor.alias(VISITOR))
            .join(catalogue.lazy(), on=c.ITEM_ID, how="inner", maintain_order="left")
            .collect()
        )
        remembered = pl.scan_parquet([a.path("click_history.parquet") for a in features])
        rng = np.random.default_rng([seed, 11])
        kept = _sampled_users(clicked, limit, rng)
        asked = (
            clicked.join(kept, on=VISITOR, how="semi", maintain_order="left")
            .with_row_index("query")
            .cast({"query": pl.Int64})
        )
        seen = _seen(asked, interactions, catalogue, seen_days)
        # a click on what the filter drops is no query
        own = seen.join(asked.select("query", "item"), on=["query", "item"], how="semi")["query"]
        asks = asked.filter(~pl.col("query").is_in(own.implode()))
        asks = asks.join(
            remembered.join(asks.lazy().select(c.EVENT_ID), on=c.EVENT_ID, how="semi").collect(),
            on=c.EVENT_ID,
            how="left",
            maintain_order="left",
        )
        if asks.is_empty():
            raise ValueError(
                f"the validation days {sorted(map(str, validation))} have no click that a list "
                "could be asked for; "
                "choose other days, or look whether the log has clicks at all"
            )
        training = pl.scan_parquet([a.path("interactions.parquet") for a in before])
        exposures = (
            training.filter(
                pl.col(c.EVENT_TYPE).is_in(c.EXPOSURE_EVENTS), pl.col(c.USER_ID) != c.MISSING
            )
            .join(kept.lazy(), left_on=c.USER_ID, right_on=VISITOR, how="semi")
            .group_by(c.USER_ID)
            .agg(exposures=pl.len().cast(pl.Int64))
            .collect()
        )
        per_item = (
            training.filter(pl.col(c.EVENT_TYPE) == c.VIEW)
            .group_by(c.ITEM_ID)
            .agg(clicks=pl.len().cast(pl.Int64))
            .collect()
        )
        counts = (
            catalogue.join(per_item, on=c.ITEM_ID, how="left", maintain_order="left")["clicks"]
            .fill_null(0)
            .to_numpy()
        )
        known = (
            asks.join(exposures, on=c.USER_ID, how="left", maintain_order="left")["exposures"]
            .fill_null(0)
            .to_numpy()
        )
        cold = int((known == 0).sum())
        simulated = _simulated(asks, cold, rng)
        frame = pl.concat(
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
        # (an unknown visitor counts no click, so none of the history is taken)
        start, dropped = _rows(seen, asks["query"].to_numpy(), simulated)
        true = frame["item"].to_numpy().astype(np.int64)
        slices = _slices(
            frame, np.concatenate([known, np.zeros(len(simulated), np.int64)]), counts[true]
        )
        metrics = {
            "rows": frame.height,
            "queries": asks.height,
            "users": asks[VISITOR].n_unique(),
            "items": catalogue.height,
            "clicks": clicked.height,
            "sampled_clicks": asked.height,
            "seen_share": 1 - asks.height / asked.height,
            "cold_queries": cold,
            "cold_users_simulated": bool(len(simulated)),
            "seen_days": seen_days,
            "slices": {name: int(inside.sum()) for name, inside in slices.items()},
        }
        return cls(
            frame.drop("query", "item"),
            catalogue[c.ITEM_ID].to_numpy().astype(str),
            counts,
            true,
            start,
            dropped,
            slices,
            metrics,
        )

    # --- storage
    def write(self, target: Path) -> dict[str, Any]:
        """queries.parquet, seen.npz, items.parquet and counts.json; returns the counts as
        metrics.
        """
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
        return dict(self.counts)

    @classmethod
    def read(cls, artifact: Artifact) -> Queries:
        """Queries of an ``evaluation/queries``."""
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
        )


def _sampled_users(clicked: pl.DataFrame, limit: int, rng: np.random.Generator) -> pl.DataFrame:
    """{visitor}: every one, or a random order of them until the next one's clicks would exceed the
    limit.
    """
    users = clicked.group_by(VISITOR).len().sort(VISITOR)
    if clicked.height <= limit:
        return users.select(VISITOR)
    order = rng.permutation(users.height)
    taken = max(
        1, int(np.searchsorted(np.cumsum(users["len"].to_numpy()[order]), limit, side="right"))
    )
    return users.select(VISITOR)[np.sort(order[:taken])]


def _seen(
    asked: pl.DataFrame, interactions: Sequence[Artifact], catalogue: pl.DataFrame, seen_days: int
) -> pl.DataFrame:
    """{query, item}, each pair once: what the filter drops for the asked clicks {query, user_id,
    timestamp}.
    """
    asks = asked.select("query", c.USER_ID, asked_at=pl.col(c.TIMESTAMP)).filter(
        pl.col(c.USER_ID) != c.MISSING
    )
    # the first click on an item on a day decides for the whole day
    clicks = (
        pl.scan_parquet([a.path("interactions.parquet") for a in interactions])
        .filter(pl.col(c.EVENT_TYPE) != c.IMPRESSION)
        .join(asks.lazy().select(c.USER_ID).unique(), on=c.USER_ID, how="semi")
        .join(catalogue.lazy(), on=c.ITEM_ID)
        .group_by(c.USER_ID, "item", day=pl.col(c.TIMESTAMP) // SECONDS_PER_DAY)
        .agg(first=pl.col(c.TIMESTAMP).min())
    )
    age = pl.col("asked_at") // SECONDS_PER_DAY - pl.col("day")
    return (
        asks.lazy()
        .join(clicks, on=c.USER_ID)
        .filter(pl.col("first") < pl.col("asked_at"), age < seen_days)
        .select("query", "item")
        .unique()
        .sort("query", "item")
        .collect()
    )


def _simulated(asks: pl.DataFrame, cold: int, rng: np.random.Generator) -> np.ndarray:
    """Rows int64 of the queries that are asked once more by an unknown visitor; none where enough
    are cold anyway.
    """
    if cold >= MINIMUM_COLD:
        return np.zeros(0, np.int64)
    return np.sort(rng.permutation(asks.height)[:SIMULATED_COLD])


def _rows(
    seen: pl.DataFrame, query: np.ndarray, simulated: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Bounds and items of the queries kept, in their order; a simulated visitor is unknown and has
    seen nothing.
    """
    of_query, items = seen["query"].to_numpy(), seen["item"].to_numpy()
    kept = np.isin(of_query, query)
    size = np.bincount(np.searchsorted(query, of_query[kept]), minlength=len(query))
    start = np.concatenate([[0], np.cumsum(size), np.full(len(simulated), size.sum())]).astype(
        np.int64
    )
    return start, np.ascontiguousarray(items[kept], np.int32)


def _slices(
    frame: pl.DataFrame, exposures: np.ndarray, clicks_of_item: np.ndarray
) -> dict[str, np.ndarray]:
    """Name → bool [Q]; exposures: of the visitor, clicks_of_item: of the true item, both in the
    training days.
    """
    simulated = frame[SIMULATED].to_numpy()
    real, known = ~simulated, exposures > 0
    moment = frame[c.TIMESTAMP].to_numpy()
    hour, weekday = (
        moment % SECONDS_PER_DAY // SECONDS_PER_HOUR,
        (moment // SECONDS_PER_DAY + EPOCH_WEEKDAY) % 7,
    )
    # where enough visitors are new by themselves none is simulated; where not, the few are too few
    # to say anything
    slices = {
        "known_users": real & known,
        "cold_users": simulated if simulated.any() else real & ~known,
    }
    device = frame[c.DEVICE_TYPE].fill_null(c.MISSING).to_numpy().astype(str)
    slices |= {f"device:{name}": real & (device == name) for name in np.unique(device).tolist()}
    slices |= {
        f"hour:{name}": real & (hour >= first) & (hour < last)
        for name, (first, last) in HOURS.items()
    }
    per_user = (
        pl.DataFrame({VISITOR: frame[VISITOR], "exposures": exposures})
        .filter(pl.Series(real & known))
        .unique()["exposures"]
    )
    if len(per_user):
        low, high = np.quantile(per_user.to_numpy(), [1 / 3, 2 / 3])
        third = (exposures > low).astype(int) + (exposures > high)
        slices |= {
            f"activity:{name}": real & known & (third == n) for n, name in enumerate(ACTIVITY)
        }
    return {**slices, "new_items": real & (clicks_of_item == 0), "weekend": real & (weekday >= 5)}

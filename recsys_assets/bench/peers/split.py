"""Make the split that a shop's lists are judged on, for the peers.

It is the split of the tuned baselines: the same training days, the same queries with their hidden
items, and the visitor's clicks strictly before each query.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from recsys_assets.bench.peers.process.split_file import SplitFile
from recsys_assets.bench.shops.held_out import HeldOut
from recsys_assets.columns import TIMESTAMP, USER_ID
from recsys_assets.lib.evaluation.baseline_tuning import first_inner_day, inner_queries
from recsys_assets.lib.evaluation.click_log import ClickLog
from recsys_assets.lib.evaluation.queries import Queries
from recsys_assets.lib.features.seen import read_rule
from recsys_assets.lib.raw.rows import scan_interactions
from recsys_assets.local_time import day_number, local_days
from recsys_assets.release_files import SEEN_RULE


@dataclass(frozen=True)
class Split:
    """Holds queries, and the clicks that they are answered from.

    Attributes:
        log: clicks up to the last query.
        first_day: days since 1970; the clicks of earlier days are for training.
        queries: to answer.
    """

    log: ClickLog
    first_day: int
    queries: Queries

    def file(self) -> SplitFile:
        """Return what the peers receive: all but the clicked items of the queries."""
        frame = self.queries.frame
        start, end = self.log.spans(self.log.codes(frame[USER_ID]), frame[TIMESTAMP].to_numpy())
        return SplitFile(
            visitor=self.log.code,
            item=self.log.item,
            time=self.log.time,
            training=local_days(self.log.time, self.log.zone) < self.first_day,
            start=start,
            end=end,
            hidden_start=self.queries.seen_start,
            hidden_item=self.queries.seen_items,
            items=np.array(self.queries.items),
        )


def splits(held_out: HeldOut, tuning_clicks: int) -> tuple[Split, Split]:
    """Return the split of the figures and the inner split, on which settings are tuned.

    Args:
        held_out: of a shop's home.
        tuning_clicks: held-out clicks of the inner split, about, at most.
    """
    asked = held_out.asked()
    counted = asked.subset(np.flatnonzero(asked.overall))
    zone = asked.time_zone
    log = ClickLog.of(scan_interactions(held_out.interactions), asked.item_ids, zone)
    training = set(held_out.training_days)
    inner = inner_queries(
        held_out.inner_features,
        [day for day in held_out.interactions if day.partition in training],
        held_out.items,
        seed=held_out.seed,
        rule=read_rule(held_out.seen_rule.path(SEEN_RULE)),
        zone=zone,
        limit=tuning_clicks,
    )
    return (
        Split(log, day_number(held_out.training_days[-1]) + 1, counted),
        Split(log, first_inner_day(held_out.inner_features, held_out.training_days), inner),
    )

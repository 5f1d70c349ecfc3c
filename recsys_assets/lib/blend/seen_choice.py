"""Choose the seen rule of a shop by held-out clicks, repeats included.

A *hard* rule hides what a visitor has had from every list. Where nothing is hidden, the filter is
*learned*: fitted weights say how much the visitor's own items count. The clicks of the last
training days are the questions. Item-to-item lists fitted on the days before, the visitor's own
items and recent popularity answer them, once under each rule, with weights of its own that were
fitted on other visitors. A click on a hidden item is missed. The strictest rule is the default; a
weaker one takes its place where the lower bound of the difference is above 0.

Dismissals are left out: they hide items under each rule alike.

What is bought is often not wanted again, although it is looked at again: so a rule between the two
hides purchases alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, TypedDict

import numpy as np
import polars as pl

from recsys_assets import columns as c
from recsys_assets.artifacts import Artifact
from recsys_assets.columns import PURCHASE, VIEW, EventType
from recsys_assets.files import write_json
from recsys_assets.lib.blend import weights as w
from recsys_assets.lib.blend.fit import default_params, fit_source
from recsys_assets.lib.blend.labels import ClickLabels
from recsys_assets.lib.evaluation import list_metrics, seen_filter
from recsys_assets.lib.evaluation.click_log import ClickLog
from recsys_assets.lib.evaluation.latest_clicks import LatestClicks, read_clicks
from recsys_assets.lib.evaluation.measures import PRIMARY, Estimate, QueryCounts
from recsys_assets.lib.evaluation.queries import SIMULATED, VISITOR, Queries, own_items
from recsys_assets.lib.features.seen import ACTS, DEFAULT_RULE, NEVER, SeenRule, nothing_seen
from recsys_assets.lib.figures.tables import markdown_table
from recsys_assets.lib.raw.rows import scan_interactions
from recsys_assets.lib.sources.blend import Blend
from recsys_assets.lib.sources.sources import MostPopular, Source
from recsys_assets.lib.sources.union import RETRIEVED
from recsys_assets.local_time import day_number
from recsys_assets.partitions import INNER_DAYS
from recsys_assets.release_files import SEEN_RULE
from recsys_assets.source_names import FOLLOW_UPS, ITEM_KNN, OWN_ITEMS, POPULARITY

CHOICE_FILE = "choice.json"
#: Known visitors with held-out clicks, below which nothing is decided by them.
LEAST_VISITORS = 30
#: What answers beside recent popularity, which stands for retrieval: cheap to fit, untuned.
_ASKED = (FOLLOW_UPS, ITEM_KNN, OWN_ITEMS)
_NOTHING = pl.DataFrame(schema={"query": pl.Int64, "item": pl.Int32})
#: Held-out clicks, and visitors that the lists are fitted on, at most.
_CLICKS, _USERS = 3_000, 20_000
#: Held-out clicks of a visitor, above which they are not asked.
_MOST_OF_ONE = 300


class RuleFigures(TypedDict):
    """Holds the figures of one rule on held-out clicks."""

    rule: str  # in words
    hidden: float  # share of the clicks on items that it hides
    ndcg: float  # nDCG@10, cross-fitted
    against: str | None  # the rule chosen so far; None: this is the first
    difference: Estimate | None  # nDCG@10, this − that, paired
    new: Estimate | None  # the same, of clicks on items that the first rule does not hide


class SeenFigures(TypedDict):
    """Holds the choice of a seen rule."""

    rule: str  # in words
    reason: str
    clicks: int  # held out, of known visitors
    visitors: int
    rules: list[RuleFigures]  # strictest first; empty where nothing was judged


def judge_rules(
    interactions: Sequence[Artifact],
    rules: Sequence[SeenRule],
    *,
    zone: str,
    look_back_days: int,
    seed: int,
) -> tuple[int, SeenFigures]:
    """Choose between rules by the clicks of the last days.

    Args:
        interactions: ``raw/interactions`` of the training days, in order.
        rules: strictest first.
        zone: time zone of the shop.
        look_back_days: days of clicks that a visitor has.
        seed: draws the visitors that are asked, and the bootstrap.

    Returns:
        the chosen rule's place, and the figures.
    """
    catalogue = _catalogue(interactions)
    held_out = interactions[max(1, len(interactions) - INNER_DAYS) :]
    asked = _asked(held_out, catalogue, seed)
    visitors = asked[c.USER_ID].n_unique()
    known = None
    if visitors >= LEAST_VISITORS:
        known = _blend(interactions, held_out, catalogue, zone, seed)
    if known is None:
        reason = (
            f"too few to judge: {asked.height:,} clicks of {visitors} known visitors on the last "
            f"{INNER_DAYS} training days, of {LEAST_VISITORS} visitors needed"
        )
        return 0, _figures(rules[0], reason, asked.height, visitors, [])
    blend, popular = known
    item_ids = catalogue[c.ITEM_ID].to_numpy().astype(str)
    latest = LatestClicks.of(read_clicks(interactions), item_ids, look_back_days)
    chosen, best, found = 0, np.zeros(0), list[RuleFigures]()
    new = np.ones(asked.height, bool)

    def labelled(hidden: pl.DataFrame) -> ClickLabels:
        queries, places = _queries(asked, item_ids, hidden), np.arange(len(item_ids))
        same = np.tile(popular, (list_metrics.chunk_of(queries), 1))
        return ClickLabels.gather(blend, queries, latest, lambda rows: same[: len(rows)], places)

    users = asked[c.USER_ID].rank("dense").to_numpy().astype(np.int64) - 1
    free = labelled(_NOTHING)
    for place, rule in enumerate(rules):
        hidden = seen_filter.seen_pairs(asked, interactions, catalogue, rule, zone)
        ranks = _ranks(labelled(hidden) if hidden.height else free, free, users)
        missed = own_items(hidden, asked)
        figures: RuleFigures = {
            "rule": rule.text(),
            "hidden": missed.height / asked.height,
            "ndcg": w.ndcg(ranks, users),
            "against": None,
            "difference": None,
            "new": None,
        }
        if not place:
            best = ranks
            new[missed["query"].to_numpy()] = False
        else:
            difference = list_metrics.paired_difference(ranks, best, users, PRIMARY, seed)
            figures["against"], figures["difference"] = rules[chosen].text(), difference
            if new.any():
                figures["new"] = list_metrics.paired_difference(
                    ranks[new], best[new], users[new], PRIMARY, seed
                )
            if difference["low"] > 0:
                chosen, best = place, ranks
        found.append(figures)
    reason = _reason(found, chosen)
    return chosen, _figures(rules[chosen], reason, asked.height, visitors, found)


def _ranks(labels: ClickLabels, free: ClickLabels, users: np.ndarray) -> np.ndarray:
    """Return the ranks under a rule, by its own weights or those without a rule.

    The better weights count: else a rule that hides no clicked item could lose by its fit alone.
    """
    fits: list[w.Fit] = [w.listwise]
    if labels is not free:
        fits.append(lambda _, learned: w.listwise(free, learned))
    ranks = [w.cross_fitted(labels, labels.logs, fit) for fit in fits]
    return max(ranks, key=lambda one: w.ndcg(one, users))


def _figures(
    rule: SeenRule, reason: str, clicks: int, visitors: int, rules: list[RuleFigures]
) -> SeenFigures:
    return {
        "rule": rule.text(),
        "reason": reason,
        "clicks": clicks,
        "visitors": visitors,
        "rules": rules,
    }


def _reason(rules: Sequence[RuleFigures], chosen: int) -> str:
    """Return why a rule was chosen, and what it costs clicks on new items."""
    first, taken = rules[0], rules[chosen]
    if not chosen:
        weakest = _written(rules[-1]["difference"])
        return f"no weaker rule is surely better: nDCG@10 is {weakest} higher if nothing is hidden"
    said = (
        f"nDCG@10 is {_written(taken['difference'])} higher than with the rule "
        f'"{taken["against"]}"; {first["hidden"]:.1%} of the held-out clicks are on an item with '
        "an earlier event"
    )
    if taken["new"] is not None:
        said += (
            f"; on the other clicks it is {_written(taken['new'])}, so for a page that shows what "
            "is new set RECSYS_SEEN_EVENTS=any"
        )
    return said


def _written(one: Estimate | None) -> str:
    if one is None:
        return "unknown"
    return f"{one['value']:+.4f} [{one['low']:+.4f}, {one['high']:+.4f}]"


def _catalogue(interactions: Sequence[Artifact]) -> pl.DataFrame:
    """Return the items of a log: {item_id, item}."""
    return (
        scan_interactions(interactions)
        .filter(pl.col(c.EVENT_TYPE) != c.DISMISS)
        .select(pl.col(c.ITEM_ID).unique().sort())
        .collect()
        .with_row_index("item")
        .cast({"item": pl.Int32})
    )


def _asked(held_out: Sequence[Artifact], catalogue: pl.DataFrame, seed: int) -> pl.DataFrame:
    """Return clicks of whole known visitors, about _CLICKS: {query, user_id, timestamp, item}."""
    if not held_out:
        return pl.DataFrame(
            schema={
                "query": pl.Int64,
                c.USER_ID: pl.String,
                c.TIMESTAMP: pl.Int64,
                "item": pl.Int32,
            }
        )
    clicks = (
        scan_interactions(held_out)
        .filter(pl.col(c.EVENT_TYPE) == VIEW, pl.col(c.USER_ID) != c.MISSING)
        .select(c.USER_ID, c.TIMESTAMP, c.ITEM_ID, c.EVENT_ID)
        .collect()
        .join(catalogue, on=c.ITEM_ID)
        .sort(c.TIMESTAMP, c.EVENT_ID)
    )
    # one with very many clicks, such as a robot, would stand for all
    users = clicks.group_by(c.USER_ID).agg(count=pl.len()).sort(c.USER_ID)
    users = users.filter(pl.col("count") <= _MOST_OF_ONE)
    drawn = users[np.random.default_rng([seed, 23]).permutation(users.height)]
    before = pl.col("count").cum_sum() - pl.col("count")
    return (
        clicks.join(drawn.filter(before < _CLICKS), on=c.USER_ID, how="semi", maintain_order="left")
        .with_row_index("query")
        .cast({"query": pl.Int64})
        .select("query", c.USER_ID, c.TIMESTAMP, "item")
    )


def _blend(
    interactions: Sequence[Artifact],
    held_out: Sequence[Artifact],
    catalogue: pl.DataFrame,
    zone: str,
    seed: int,
) -> tuple[Blend, np.ndarray] | None:
    """Return what answers, and the popular items, int64 [N]; None without a click before."""
    if not held_out:
        return None
    day = day_number(min(str(one.partition) for one in held_out))
    item_ids = catalogue[c.ITEM_ID].to_numpy().astype(str)
    log = ClickLog.of(scan_interactions(interactions), item_ids, zone).before(day)
    if not len(log.code):
        return None
    fitted = log.sampled(_USERS, seed)

    def fit(name: str) -> Source | None:
        nothing = np.zeros((0, 0), np.float32)  # no content is read
        return fit_source(name, fitted, day, default_params(name), nothing, seed)

    popular = fit(POPULARITY)
    assert isinstance(popular, MostPopular)
    sources = tuple(one for one in map(fit, _ASKED) if one is not None)
    return Blend(sources, {}, np.zeros(len(item_ids), bool)), popular.ranked[:RETRIEVED]


def _queries(asked: pl.DataFrame, item_ids: np.ndarray, hidden: pl.DataFrame) -> Queries:
    """Return the clicks as queries, with the items that a rule hides."""
    size = np.bincount(hidden["query"].to_numpy(), minlength=asked.height)
    frame = asked.select(
        c.USER_ID, c.TIMESTAMP, pl.col(c.USER_ID).alias(VISITOR), pl.lit(False).alias(SIMULATED)
    )
    counts: QueryCounts = {
        "rows": asked.height,
        "queries": asked.height,
        "users": asked[c.USER_ID].n_unique(),
        "items": len(item_ids),
        "clicks": asked.height,
        "sampled_clicks": asked.height,
        "seen_share": 0.0,
        "cold_queries": 0,
        "cold_users_simulated": False,
        "seen_rule": "",
        "slices": {},
    }
    return Queries(
        frame,
        item_ids,
        np.zeros(len(item_ids), np.int64),
        asked["item"].to_numpy().astype(np.int64),
        np.concatenate([[0], np.cumsum(size)]),
        hidden["item"].to_numpy().astype(np.int32),
        {},
        counts,
    )


def forced_rule(
    events: Sequence[EventType] | None, days: int | Literal["auto"]
) -> tuple[SeenRule, str] | None:
    """Return the rule of the settings and the reason; None: held-out clicks decide.

    Args:
        events: of the setting ``seen_events``; None: auto.
        days: of the setting ``seen_days``.
    """
    chosen = DEFAULT_RULE.days if days == "auto" else days
    if not chosen:
        return NEVER, "RECSYS_SEEN_DAYS is 0"
    if events is None:
        return None
    if not events:
        return nothing_seen(chosen), "RECSYS_SEEN_EVENTS is none"
    rule = SeenRule(tuple(event for event in ACTS if event in events), chosen)
    named = "any" if rule.events == ACTS else ",".join(rule.events)
    return rule, f"RECSYS_SEEN_EVENTS is {named}"


def write_seen_rule(
    interactions: Sequence[Artifact],
    target: Path,
    *,
    seen_events: Sequence[EventType] | None,
    seen_days: int | Literal["auto"],
    time_zone: str,
    look_back_days: int,
    seed: int,
) -> SeenFigures:
    """Write seen.json and choice.json; return the figures.

    Args:
        interactions: ``raw/interactions`` of the training days.
        target: folder of the files.
        seen_events: of the setting; None: auto.
        seen_days: of the setting.
        time_zone: of the shop.
        look_back_days: days of clicks that a visitor has.
        seed: of all draws.
    """
    forced = forced_rule(seen_events, seen_days)
    if forced is not None:
        rule, reason = forced
        figures = _figures(rule, reason, 0, 0, [])
    else:
        days = DEFAULT_RULE.days if seen_days == "auto" else seen_days
        rules = [SeenRule(ACTS, days), nothing_seen(days)]
        if _has_purchases(interactions):
            rules.insert(1, SeenRule((PURCHASE,), days))
        place, figures = judge_rules(
            interactions, rules, zone=time_zone, look_back_days=look_back_days, seed=seed
        )
        rule = rules[place]
    write_json(target / SEEN_RULE, rule.as_json())
    write_json(target / CHOICE_FILE, figures)
    if figures["rules"]:
        (target / "figures").mkdir()
        (target / "figures" / "rules_table.md").write_text(markdown_table(_table(figures)))
    return figures


def _has_purchases(interactions: Sequence[Artifact]) -> bool:
    log = scan_interactions(interactions)
    return bool(log.select((pl.col(c.EVENT_TYPE) == PURCHASE).any()).collect().item())


def _table(figures: SeenFigures) -> pl.DataFrame:
    rows: list[dict[str, Any]] = [
        {
            "hides": ("→ " if one["rule"] == figures["rule"] else "") + one["rule"],
            "clicks hidden": f"{one['hidden']:.1%}",
            "nDCG@10": f"{one['ndcg']:.4f}",
            "difference": "" if one["difference"] is None else _written(one["difference"]),
            "on clicks that are no repeats": "" if one["new"] is None else _written(one["new"]),
        }
        for one in figures["rules"]
    ]
    return pl.DataFrame(rows)

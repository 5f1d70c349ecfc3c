"""Compares served lists with the evaluation's lists of the same queries, item by item.

A list agrees if it has the same items in the same order. Two causes of a difference are no fault.
Both are looked for in each list, and counted apart:

- *rounding*: matrices of many queries are multiplied in another order than one query alone, so
  that numbers differ in their last digits and near ties change places. The evaluation's list of
  the query alone, with the inner products of the index, is the served one, or only items whose
  own scores are equal up to TOLERANCE have changed places. So may a new item that has a reserved
  place and one that was nearly as good. Or near ties have changed places in the list of retrieval,
  whose ranks the weights of a blend count. This is tried with lists whose inner products differ by
  errors of that size: they give each item a lowest and a highest score. The served list is right if
  scores within these bounds put its items in this order. A new item in a reserved place does not
  follow the order, and is compared with other new items alone.
- *Bloom filter*: it takes some items for seen that were not (see ``lib.feature_store.bloom``). The
  filters' wrong answers are known, and the evaluation's list without these items is the served one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypedDict

import numpy as np
import polars as pl

from recsys_assets import columns as c
from recsys_assets.lib.evaluation.list_metrics import Scorer, chunk_of, highest
from recsys_assets.lib.evaluation.placed import HasPlaces
from recsys_assets.lib.evaluation.queries import Queries
from recsys_assets.lib.feature_store import bloom
from recsys_assets.lib.feature_store.hidden import hidden
from recsys_assets.lib.features.seen import SeenRule
from recsys_assets.lib.ranking.places import NewItemPlaces

#: Largest difference of two scores that count as equal, as a share of the larger one.
TOLERANCE = 1e-5
#: The same of log-odds: those of a ranker that is nearly sure (.9999) have three digits in float32.
ODDS_TOLERANCE = 1e-3
#: Share of lists in which near ties may change places; at most 2.4 % did on eleven shops. Where a
#: nudge itself changes more lists, as many as it and half as many again.
ROUNDED_SHARE, OF_NUDGED = 0.1, 1.5
#: Largest difference of an unlisted item's score and a listed one's, as a share of the larger one,
#: at which the two are compared.
_NEAR = 0.01
#: Share of lists that a Bloom filter may change. A list has 100 items, and a filter of 100 pairs
#: takes less than one item in 10^7 for seen; only visitors near its capacity meet the 1 %.
BLOOM_SHARE = 0.01

#: Lists of a query with nudged inner products: of two near ties, each comes first in half of them.
#: Where hundreds of items are near ties, few lists do not show how far each one moves, so a list
#: that these do not explain gets more.
NUDGES, MOST_NUDGES = 32, 512

Cause = Literal["equal", "rounding", "bloom_filter", "degraded", "different"]
CAUSES: tuple[Cause, ...] = ("equal", "rounding", "bloom_filter", "degraded", "different")


@dataclass(frozen=True)
class ServedList:
    """The answer of a gateway to one query."""

    item_ids: list[str]
    reasons: list[str]  # the parts that failed


@dataclass(frozen=True)
class EvaluatedList:
    """The list of the evaluation, best first, and the scores of its items, float64."""

    item_ids: list[str]
    scores: np.ndarray  # their own, also where the list has an item in a reserved place
    beyond: Mapping[str, float]  # scores of unlisted items that are near to a listed one's


@dataclass(frozen=True)
class ReservedPlaces:
    """Holds the places of a release for new items, and which items of the catalogue are new."""

    places: NewItemPlaces
    new: np.ndarray  # bool [I], of the catalogue

    def of(self, alone: Queries, length: int) -> tuple[frozenset[int], frozenset[str]]:
        """Return the reserved places of one query's list, from 1, and the ids of the new items."""
        visitor, moment = alone.frame.select(c.USER_ID, c.TIMESTAMP).row(0)
        ends = self.places.ends(visitor, moment, length)
        return frozenset(ends), frozenset(alone.item_ids[self.new].tolist())


class ListDifference(TypedDict):
    """Names a query whose lists differ, and the first place at which they do."""

    cause: Cause
    event_id: str
    timestamp: int
    place: int  # from 1
    evaluated: list[str]
    served: list[str]
    reasons: list[str]


class Agreement(TypedDict):
    """Holds the result of a check."""

    release: int
    rung: str
    queries: int
    held_out: int  # queries that they were drawn from
    list_length: int
    causes: dict[str, int]  # Cause → lists
    changed_by_a_nudge: int  # lists; 0 where few are rounded, so that it was not looked for
    seen_wrongly: int  # items of the catalogue that a visitor's filters take for seen, all queries
    bloom_share_allowed: float
    passed: bool
    first: ListDifference | None  # the worst cause comes first
    diversity: str  # what the release does to a list after the part that is compared; "" nothing


def evaluated_lists(
    scorer: Scorer, queries: Queries, length: int, dropped: np.ndarray | None = None
) -> list[EvaluatedList]:
    """Return the lists of a scorer, as the evaluation orders them, cut as serving cuts them.

    Args:
        scorer: of the release.
        queries: Q queries.
        length: items per list at most.
        dropped: bool [Q, I], items that are left out beside those that the seen filter drops.
    """
    found, size = [], chunk_of(queries)
    unplaced = scorer.unplaced if isinstance(scorer, HasPlaces) else None

    def scores(of: Scorer, rows: np.ndarray) -> np.ndarray:
        values = queries.mask(np.array(of.scores(queries, rows), np.float64), rows)
        if dropped is not None:
            values[dropped[rows]] = -np.inf
        return values

    for start in range(0, len(queries), size):
        rows = np.arange(start, min(start + size, len(queries)))
        ordered = scores(scorer, rows)
        own = ordered if unplaced is None else scores(unplaced, rows)
        best = highest(ordered, length)
        for by, values, columns in zip(ordered, own, best, strict=True):
            listed = columns[by[columns] > -np.inf]
            beyond = _near(values, listed)
            found.append(
                EvaluatedList(
                    queries.item_ids[listed].tolist(),
                    values[listed],
                    dict(
                        zip(queries.item_ids[beyond].tolist(), values[beyond].tolist(), strict=True)
                    ),
                )
            )
    return found


def _near(scores: np.ndarray, listed: np.ndarray) -> np.ndarray:
    """Return the unlisted items whose scores are near to a listed one's, int64.

    Args:
        scores: float64 [I], -inf: never shown.
        listed: int64 [n].
    """
    others = scores > -np.inf
    others[listed] = False
    unlisted, edges = others.nonzero()[0], np.sort(scores[listed])
    if not len(edges):
        return unlisted[:0]
    at = np.searchsorted(edges, scores[unlisted])
    near = np.stack([edges[np.maximum(at - 1, 0)], edges[np.minimum(at, len(edges) - 1)]])
    found: np.ndarray = unlisted[np.isclose(near, scores[unlisted], rtol=_NEAR, atol=0).any(axis=0)]
    return found


def wrongly_seen(queries: Queries, acts: pl.DataFrame, rule: SeenRule) -> np.ndarray:
    """Return which items each query's Bloom filters take for seen without reason, bool [Q, I].

    Args:
        queries: Q queries.
        acts: of ``Moments``: what the filters hold.
        rule: of the release.
    """
    wrong = np.zeros((len(queries), queries.items), bool)
    prints = bloom.fingerprints(queries.item_ids.tolist())
    for (query,), own in acts.filter(pl.col("age") < rule.dismissed_days).group_by("query"):
        of_age = {int(str(age)): _bitmap(of_day) for (age,), of_day in own.group_by("age")}
        bitmaps = [of_age.get(age) for age in range(rule.dismissed_days)]
        wrong[int(str(query))] = np.logical_or(*hidden(bitmaps, prints, rule))
    wrong &= ~queries.seen(np.arange(len(queries)))
    return wrong


def _bitmap(acts: pl.DataFrame) -> bytes:
    """Return the filter of one visitor and day."""
    bits = np.zeros(bloom.BITS, bool)
    for item, event in acts.select(c.ITEM_ID, c.EVENT_TYPE).iter_rows():
        bits[bloom.positions(item, event)] = True
    return np.packbits(bits).tobytes()


def compare(
    scorer: Scorer,
    rounded: Callable[[], Scorer],
    nudged: Callable[[], Scorer],
    queries: Queries,
    served: Sequence[ServedList],
    length: int,
    wrong: np.ndarray,
    places: ReservedPlaces | None = None,
) -> tuple[dict[str, int], ListDifference | None]:
    """Return cause → number of lists, and the first query of the worst cause.

    Args:
        scorer: of the release.
        rounded: opens the same, with inner products rounded as the index rounds them.
        nudged: opens the same, whose inner products are nudged in another way at each call.
        queries: Q queries.
        served: their answers.
        length: items per list at most.
        wrong: of ``wrongly_seen``.
        places: that the release reserves for new items; None: it reserves none.
    """
    expected = evaluated_lists(scorer, queries, length)
    causes = [_cause(own, one) for own, one in zip(expected, served, strict=True)]
    again = [n for n, one in enumerate(causes) if one == "different"]
    exact = rounded() if again else scorer
    for n in again:  # alone, as serving answers it
        alone = queries.subset(np.array([n]))
        (own,) = evaluated_lists(exact, alone, length)
        causes[n] = _explained(_cause(own, served[n]), "rounding")
        if causes[n] == "different" and wrong[n].any():
            (without,) = evaluated_lists(exact, alone, length, wrong[[n]])
            causes[n] = _explained(_cause(without, served[n]), "bloom_filter")
    left = [n for n in again if causes[n] == "different"]
    other = nudged() if left else scorer
    for n in left:
        alone = queries.subset(np.array([n]))
        whole = len(served[n].item_ids) == len(expected[n].item_ids)
        reserved = None if places is None else places.of(alone, len(served[n].item_ids))
        if not whole or not _explained_by_nudges(served[n].item_ids, other, alone, reserved):
            break  # one fault is enough: the others count as one too
        causes[n] = "rounding"
    counts: dict[str, int] = {name: causes.count(name) for name in CAUSES}
    worst = next((name for name in reversed(CAUSES[1:]) if counts[name]), None)
    if worst is None:
        return counts, None
    at = causes.index(worst)
    return counts, _difference(queries, at, worst, expected[at], served[at])


def _explained(found: Cause, by: Cause) -> Cause:
    return by if found in ("equal", "rounding") else found


def _cause(expected: EvaluatedList, served: ServedList) -> Cause:
    if served.reasons:
        return "degraded"
    if expected.item_ids == served.item_ids:
        return "equal"
    if len(expected.item_ids) != len(served.item_ids):
        return "different"
    if len(set(served.item_ids)) < len(served.item_ids):
        return "different"
    score = dict(zip(expected.item_ids, expected.scores.tolist(), strict=True)) | dict(
        expected.beyond
    )
    if not set(served.item_ids) <= set(score):
        return "different"
    own = np.array([score[item] for item in served.item_ids])
    return "rounding" if _tied(own, expected.scores) else "different"


def _explained_by_nudges(
    served: Sequence[str],
    nudged: Scorer,
    alone: Queries,
    reserved: tuple[frozenset[int], frozenset[str]] | None,
) -> bool:
    """Return whether nudged scores of one query give the served list; see ``_ordered``."""
    low: dict[str, float] = {}
    high: dict[str, float] = {}
    for _ in range(0, MOST_NUDGES, NUDGES):
        lowest, highest_ = _bounds(nudged, alone)
        low = {item: min(value, low.get(item, value)) for item, value in lowest.items()}
        high = {item: max(value, high.get(item, value)) for item, value in highest_.items()}
        if _ordered(served, low, high, reserved):
            return True
    return False


def changed_by_a_nudge(
    scorer: Scorer, nudged: Callable[[], Scorer], queries: Queries, length: int
) -> int:
    """Return in how many lists near ties change places by a nudge alone; as for ``compare``."""
    exact, other = (
        [one.item_ids for one in evaluated_lists(of, queries, length)] for of in (scorer, nudged())
    )
    return sum(own != nudge for own, nudge in zip(exact, other, strict=True))


def _bounds(nudged: Scorer, alone: Queries) -> tuple[dict[str, float], dict[str, float]]:
    """Return the lowest and the highest score of each item, over NUDGES lists of one query.

    Of a probability it is that of the log-odds. An item that is no candidate in some list has -inf.
    """
    unplaced = nudged.unplaced if isinstance(nudged, HasPlaces) else None
    scorer, row = unplaced or nudged, np.zeros(1, np.int64)
    values = np.concatenate(
        [alone.mask(np.array(scorer.scores(alone, row), np.float64), row) for _ in range(NUDGES)]
    )
    shown = values > -np.inf
    if ((values[shown] > 0) & (values[shown] < 1)).all():
        values[shown] = np.log(values[shown]) - np.log1p(-values[shown])
    items = alone.item_ids.tolist()
    low, high = values.min(axis=0), values.max(axis=0)
    return dict(zip(items, low.tolist(), strict=True)), dict(zip(items, high.tolist(), strict=True))


def _ordered(
    served: Sequence[str],
    low: Mapping[str, float],
    high: Mapping[str, float],
    reserved: tuple[frozenset[int], frozenset[str]] | None,
) -> bool:
    """Return whether scores within the bounds give the served list.

    There are such scores where no item can be surely below one that follows it, for each pair. A
    new item in a reserved place is compared with the new items that follow alone.

    Args:
        served: item ids.
        low: lowest score of each item; -inf: it is no candidate of some list.
        high: highest score of each item; -inf: never shown.
        reserved: of ``ReservedPlaces.of``; None: no place is reserved.
    """
    places, new = reserved or (frozenset(), frozenset())
    if len(set(served)) < len(served) or any(high.get(item, -np.inf) == -np.inf for item in served):
        return False
    unlisted = [item for item in low.keys() - set(served) if low[item] > -np.inf]
    # from the end: the highest of the lowest scores of what follows
    below = max((low[item] for item in unlisted), default=-np.inf)
    below_new = max((low[item] for item in unlisted if item in new), default=-np.inf)
    for place, item in zip(range(len(served), 0, -1), reversed(served), strict=True):
        moved = place in places and item in new
        bound = below_new if moved else below
        if high[item] + TOLERANCE * abs(high[item]) < bound:
            return False
        if not moved:
            below = max(below, low[item])
        if item in new:
            below_new = max(below_new, low[item])
    return True


def _tied(scores: np.ndarray, others: np.ndarray) -> bool:
    """Return whether no place has two scores that differ by more than rounding explains."""
    both = np.stack([scores, others])
    if ((both > 0) & (both < 1)).all():  # click probabilities: their log-odds are rounded
        odds = np.log(both) - np.log1p(-both)
        return bool((np.abs(odds[0] - odds[1]) <= ODDS_TOLERANCE).all())
    return bool(np.allclose(scores, others, rtol=TOLERANCE, atol=0))


def _difference(
    queries: Queries, at: int, cause: Cause, expected: EvaluatedList, served: ServedList
) -> ListDifference:
    pairs = list(zip(expected.item_ids, served.item_ids, strict=False))
    place = next((n for n, (a, b) in enumerate(pairs) if a != b), len(pairs))
    row: dict[str, Any] = queries.frame.row(at, named=True)
    return {
        "cause": cause,
        "event_id": str(row[c.EVENT_ID]),
        "timestamp": int(row[c.TIMESTAMP]),
        "place": place + 1,
        "evaluated": expected.item_ids,
        "served": served.item_ids,
        "reasons": served.reasons,
    }


def passes(causes: dict[str, int], nudged: int = 0) -> bool:
    """Return whether no list differs; few may by rounding or a Bloom filter.

    nudged: of ``changed_by_a_nudge``.
    """
    asked = sum(causes.values())
    return (
        not causes["different"]
        and not causes["degraded"]
        and causes["bloom_filter"] <= BLOOM_SHARE * asked
        and causes["rounding"] <= max(ROUNDED_SHARE * asked, 1, OF_NUDGED * nudged)
    )

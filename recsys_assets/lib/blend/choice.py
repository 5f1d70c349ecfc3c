"""Choose the blend of a release on held-out clicks, and say what each source is worth."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from recsys_assets.lib.blend import weights as w
from recsys_assets.lib.blend.choice_figures import Alternative, ChoiceFigures, Worth
from recsys_assets.lib.blend.labels import ClickLabels
from recsys_assets.lib.blend.list_net_fit import FittedNet, fit_net
from recsys_assets.lib.blend.shipped_prior import net_of_other_shops
from recsys_assets.lib.evaluation import list_metrics
from recsys_assets.lib.evaluation.measures import PRIMARY, Estimate
from recsys_assets.lib.evaluation.query_sources import FOLDS
from recsys_assets.lib.sources.list_net import ListNet
from recsys_assets.lib.sources.stored import BY_SIMILARITY, BY_SOURCES
from recsys_assets.source_names import RETRIEVAL

#: The alternatives: retrieval (and ranker) as they are; ranks weighted by how well a source does
#: alone; the best source alone; fitted weights; fitted weights and a net.
AS_IS, BY_QUALITY, BEST_ALONE, LISTWISE = "as_is", "by_quality", "best_alone", "listwise"
LIST_NET = "list_net"
#: The default weights and the net that other shops gave, and fitted weights of both (decision 15).
PRIOR, PRIOR_LISTWISE = "prior", "prior_listwise"
#: Below this many held-out clicks that some list has, nothing is chosen by them.
MINIMUM_LABELS = 50
#: Below so many, no net is tried, and none of other shops is the default.
NET_LABELS = 300
#: Share of nDCG@10 below which a source does not earn its milliseconds. With nine sources more are
#: kept by chance than by worth: on clicks that did not choose, the blends of the fewer sources are
#: as good (six shops: from -2 % to +2 %, +0.2 % on average).
EARNED = 0.005
#: Least weight of the ranker's logit, by which the others are divided.
_LEAST = 0.02
#: Held-out clicks by which the worth of a source is judged, at most: one fit per source.
_WORTH_LABELS = 1_500


@dataclass(frozen=True)
class BlendChoice:
    """Holds the chosen blend."""

    figures: ChoiceFigures
    ranks: np.ndarray  # int64 [Q], cross-fitted, of the chosen alternative
    #: first the net that serves, which all visitors gave; then one per fold, which the visitors of
    #: the others gave (PRIOR: the same, which no visitor of this shop gave); empty: no net was
    #: chosen
    nets: tuple[ListNet, ...] = ()


@dataclass(frozen=True)
class _Candidate:
    """Holds an alternative that is fitted."""

    inputs: np.ndarray  # float32 [N, D], the columns that are weighted, those of the lists last
    fit: w.Fit
    net: ListNet | None = None  # whose values are the first column; None: there is no such column

    def ranks(self, labels: ClickLabels, ranked: int | None) -> np.ndarray:
        """Return the cross-fitted ranks of the clicked items, int64 [Q]."""
        return w.cross_fitted(labels, self.inputs, self.fit, ranked)


def choose(
    labels: ClickLabels,
    as_is: np.ndarray,
    logit: np.ndarray | None,
    seed: int,
    ranked: int | None = None,
) -> BlendChoice:
    """Choose between the alternatives.

    The default is PRIOR, BY_QUALITY below NET_LABELS clicks and where clicks have values, and
    LISTWISE where there is a ranker. Another takes its place where the lower bound of its
    difference is above 0, and LIST_NET where that of its difference from the best of these is. All
    are judged with weights that the clicks of other visitors gave. With a ranker, LISTWISE has a
    weight for its logit beside those of the sources.

    Args:
        labels: of the held-out clicks.
        as_is: int64 [Q], ranks of the clicked items without sources.
        logit: float32 [N], the ranker's log-odds of each item; None: there is no ranker.
        seed: of the bootstrap.
        ranked: items of a list that the ranker gets, those of the highest weighted ranks; None:
            all.
    """
    labels = replace(labels, logit=logit)
    count = int(labels.learnable.sum())
    if labels.names == (RETRIEVAL,):
        return BlendChoice(similarity_alone(count, "no other source could be fitted"), as_is)
    if count < MINIMUM_LABELS:
        why = f"{count} held-out clicks are too few to weigh sources ({MINIMUM_LABELS} are needed)"
        return BlendChoice(similarity_alone(count, why), as_is)
    few = labels.first(_WORTH_LABELS)
    worth = _worth(few)
    kept = _kept(few, worth)
    used = labels
    for name in labels.names:
        if name not in kept:
            worth[name]["kept"] = False
            used = used.without(name)
    if used.names == (RETRIEVAL,) and used.logit is None:
        return BlendChoice(
            {**similarity_alone(count, "no source adds half a percent"), "sources": worth}, as_is
        )
    fits = _candidates(used, count)
    ranks = {name: one.ranks(used, ranked) for name, one in fits.items()} | {AS_IS: as_is}
    default = next(iter(fits))
    chosen, alternatives = _best(ranks, default, labels, seed)
    nets, minus = _Nets(used, fits[LISTWISE].inputs, seed), decisive(alternatives[chosen])
    over = default
    if count >= NET_LABELS:
        fits[LIST_NET] = fits[LISTWISE]
        own = w.cross_fitted(used, fits[LISTWISE].inputs, fits[LISTWISE].fit, ranked, nets.added)
        alternatives[LIST_NET] = alternative_of(own, ranks[default], labels, seed)
        # it must earn its milliseconds beside what would serve without it
        earned = difference_of(own, ranks[chosen], labels, seed)
        if earned["low"] > 0:
            ranks[LIST_NET], minus = own, earned
            chosen, over = LIST_NET, chosen
    figures, served = _figures(used, fits.get(chosen), logit is not None, chosen, nets)
    figures |= {
        "labels": count,
        "alternatives": alternatives,
        "sources": worth,
        "why": _why(chosen, over, minus, count, labels.value is not None),
        "runner_up": _runner_up(chosen, alternatives),
    }
    if labels.value is not None:
        figures["valued"] = True
    return BlendChoice(figures, ranks[chosen], served)


def similarity_alone(count: int, why: str) -> ChoiceFigures:
    """Return the figures of a choice of no source: retrieval (and ranker) as they are."""
    return {
        "mode": BY_SIMILARITY,
        "chosen": AS_IS,
        "runner_up": None,
        "why": why,
        "labels": count,
        "alternatives": {},
        "sources": {},
        "weights": {},
        "fold_weights": [{} for _ in range(FOLDS)],
        "net": None,
    }


class _Nets:
    """Fits nets beside weights, each once.

    Args:
        labels: of Q queries and N items.
        inputs: float32 [N, D], the columns that are weighted.
        seed: of the fits.
    """

    def __init__(self, labels: ClickLabels, inputs: np.ndarray, seed: int) -> None:
        self._labels, self._inputs, self._seed = labels, inputs, seed
        self._fitted: dict[bytes, FittedNet] = {}

    def fitted(self, weights: np.ndarray, learned: np.ndarray) -> FittedNet:
        """Return the net of the weights that the queries ``learned`` gave."""
        key = learned.tobytes()
        if key not in self._fitted:
            with threadpool_limits(1, "blas"):  # threads would round differently in each run
                base = self._inputs @ weights.astype(np.float32)
            self._fitted[key] = fit_net(self._labels, base, learned, self._seed)
        return self._fitted[key]

    def added(self, weights: np.ndarray, learned: np.ndarray) -> np.ndarray:
        """Return what the net adds to each item, float32 [N]; see ``weights.Add``."""
        return self.fitted(weights, learned).net.of(self._labels.net_inputs)


def _candidates(labels: ClickLabels, count: int) -> dict[str, _Candidate]:
    """Return the alternatives that are fitted, the default first.

    Args:
        labels: of the sources that are kept.
        count: of the held-out clicks that some list has.
    """
    if labels.logit is not None:
        inputs = np.concatenate([labels.logit[:, None], labels.logs], axis=1)
        return {
            LISTWISE: _Candidate(inputs, _with_ranker(inputs)),
            BY_QUALITY: _Candidate(inputs, _hardly_ranked),
        }
    logs, net = labels.logs, net_of_other_shops(labels.names)
    both = np.concatenate([net.of(labels.net_inputs)[:, None], logs], axis=1)
    prior = {PRIOR: _Candidate(both, one_first, net)}
    own = {
        BY_QUALITY: _Candidate(logs, w.by_quality),
        BEST_ALONE: _Candidate(logs, w.best_alone),
        LISTWISE: _Candidate(logs, w.listwise),
        PRIOR_LISTWISE: _Candidate(both, from_one_first(both), net),
    }
    # other shops say nothing of what the clicks are worth here; and of 120 clicks the weights
    # themselves are so unsure that the net was surely worse on one shop of fourteen
    first = labels.value is None and count >= NET_LABELS
    return {**prior, **own} if first else {**own, **prior}


def one_first(labels: ClickLabels, learned: np.ndarray) -> np.ndarray:
    """Return 1 for the first column, and the default weights of the sources.

    The column is the ranker's logit, or what the net of other shops gives.
    """
    return np.concatenate([[1.0], w.by_quality(labels, learned)])


def from_one_first(inputs: np.ndarray) -> w.Fit:
    """Return a fit that starts from ``one_first``."""

    def fit(labels: ClickLabels, learned: np.ndarray) -> np.ndarray:
        return w.fit_listwise(labels, inputs, one_first(labels, learned), learned)

    return fit


def _with_ranker(inputs: np.ndarray) -> w.Fit:
    """Return a fit of the ranker's logit beside the sources."""
    free = from_one_first(inputs)

    def fit(labels: ClickLabels, learned: np.ndarray) -> np.ndarray:
        weights = free(labels, learned)
        weights[0] = max(weights[0], _LEAST)  # serving divides by it
        return weights

    return fit


def _hardly_ranked(labels: ClickLabels, learned: np.ndarray) -> np.ndarray:
    """Return the default weights of the sources, beside the least weight of the ranker's logit."""
    return np.concatenate([[_LEAST], w.by_quality(labels, learned)])


def _worth(labels: ClickLabels) -> dict[str, Worth]:
    everyone = np.ones(len(labels), bool)
    alone = w.alone(labels, everyone)
    clicks = max(len(labels), 1)
    return {
        name: {
            "alone": float(alone[k]),
            "listed": float((labels.hit & labels.listed[:, k]).sum() / clicks),
            "without": _blended(labels.without(name)) if len(labels.names) > 1 else 0.0,
            "kept": True,
        }
        for k, name in enumerate(labels.names)
    }


def _blended(labels: ClickLabels) -> float:
    """Return the cross-fitted nDCG@10 of fitted weights."""
    return w.ndcg_of(labels, w.cross_fitted(labels, labels.logs, w.listwise))


def _kept(labels: ClickLabels, worth: Mapping[str, Worth]) -> set[str]:
    """Return the sources that earn their place, and retrieval, which always stays.

    One after the other is left out, the least valuable first, if the blend of the rest is at most
    EARNED below the best blend so far. So two that find the same do not keep each other, and all
    that are left out together cost no more than one may.
    """
    less, kept, best = labels, set(labels.names), _blended(labels)
    others = [name for name in labels.names if name != RETRIEVAL]
    for name in sorted(others, key=lambda one: -worth[one]["without"]):
        tried = less.without(name)
        value = worth[name]["without"] if less is labels else _blended(tried)
        if value >= best * (1 - EARNED):
            less, best = tried, max(best, value)
            kept.remove(name)
    return kept


def _best(
    ranks: Mapping[str, np.ndarray], default: str, labels: ClickLabels, seed: int
) -> tuple[str, dict[str, Alternative]]:
    """Return the chosen alternative, and the figures of all."""
    found = {
        name: alternative_of(own, None if name == default else ranks[default], labels, seed)
        for name, own in ranks.items()
    }
    surely = [
        name
        for name, one in found.items()
        if (minus := decisive(one)) is not None and minus["low"] > 0
    ]
    return max(surely, key=lambda one: quality(found[one]), default=default), found


def alternative_of(
    own: np.ndarray, other: np.ndarray | None, labels: ClickLabels, seed: int
) -> Alternative:
    """Return the figures of ranks [Q] beside those of another alternative; None: it is that."""
    plain = replace(labels, value=None)

    def minus(of: ClickLabels) -> Estimate | None:
        return None if other is None or not len(of) else difference_of(own, other, of, seed)

    found: Alternative = {"ndcg": w.ndcg_of(plain, own), "difference": minus(plain)}
    if labels.value is not None:
        found["value_ndcg"] = w.ndcg_of(labels, own)
        found["value_difference"] = minus(labels)
    return found


def quality(one: Alternative) -> float:
    """Return the figure by which alternatives are compared."""
    return one.get("value_ndcg", one["ndcg"])


def decisive(one: Alternative) -> Estimate | None:
    """Return the difference by which alternatives are compared; None: of the default."""
    return one["value_difference"] if "value_difference" in one else one["difference"]


def difference_of(own: np.ndarray, others: np.ndarray, labels: ClickLabels, seed: int) -> Estimate:
    """Return the paired difference in nDCG@10 of two alternatives by their ranks."""
    return list_metrics.paired_difference(
        own, others, labels.users, PRIMARY, seed, values=labels.value
    )


def _why(chosen: str, over: str, minus: Estimate | None, count: int, valued: bool) -> str:
    """Return the reason in words; minus: nDCG@10 of chosen − over, None: chosen is the default."""
    if minus is None:
        return f"no alternative is surely above {over} on {count:,} held-out clicks"
    metric = f"{'value-weighted ' if valued else ''}nDCG@10"
    return (
        f"{metric} of {chosen} − {over} is {minus['value']:+.4f} "
        f"[{minus['low']:+.4f}, {minus['high']:+.4f}] on {count:,} held-out clicks"
    )


def _runner_up(chosen: str, alternatives: Mapping[str, Alternative]) -> str | None:
    others = [name for name in alternatives if name != chosen]
    return max(others, key=lambda name: quality(alternatives[name]), default=None)


def _figures(
    labels: ClickLabels, fitted: _Candidate | None, ranker: bool, chosen: str, nets: _Nets
) -> tuple[Any, tuple[ListNet, ...]]:
    """Return mode, choice and weights: of all visitors, and per fold of the others; and the nets.

    With a ranker, weights and nets are in units of its logit.
    """
    if fitted is None:
        return {**similarity_alone(0, ""), "chosen": chosen}, ()
    weights: list[dict[str, float]] = []
    found: list[FittedNet] = []
    served: list[ListNet] = []
    everyone = np.ones(len(labels), bool)
    for learned in (everyone, *(labels.fold != fold for fold in range(FOLDS))):
        values = fitted.fit(labels, learned)
        unit = values[0] if ranker else 1.0
        if chosen == LIST_NET:
            found.append(nets.fitted(values, learned))
            net = found[-1].net
            served.append(replace(net, out=(net.out / unit).astype(np.float32)))
        elif fitted.net is not None:
            served.append(replace(fitted.net, out=(fitted.net.out * values[0]).astype(np.float32)))
            values = values[1:]
        if ranker:
            values = values[1:] / unit
        weights.append(dict(zip(labels.names, values.tolist(), strict=True)))
    return {
        "mode": BY_SOURCES,
        "chosen": chosen,
        "weights": weights[0],
        "fold_weights": weights[1:],
        "net": {"epochs": found[0].epochs, "held_out": found[0].held_out} if found else None,
    }, tuple(served)

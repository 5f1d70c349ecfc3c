"""Fit a net to the clicks of several shops, and measure what it is worth on another one.

It is fitted as the net of one shop (``list_net_fit``), beside the default weights of each. The one
that comes with the package is the default of small shops; see decision 15.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypedDict

import numpy as np

from recsys_assets.files import write_json
from recsys_assets.lib.blend import weights as w
from recsys_assets.lib.blend.labels import ClickLabels
from recsys_assets.lib.blend.list_net_fit import fit_net
from recsys_assets.lib.blend.shipped_prior import FIGURES, NET
from recsys_assets.lib.evaluation import list_metrics
from recsys_assets.lib.evaluation.measures import PRIMARY, Estimate
from recsys_assets.lib.sources.list_net import ListNet
from recsys_assets.lib.sources.stored import write_net
from recsys_assets.lib.sources.union import LAST
from recsys_assets.source_names import ALL_SOURCES

#: Held-out clicks of one shop that the net learns from, at most: no shop counts for much more.
CLICKS = 1_500
#: Share of the fitted net that is added. On shops that the net does not know, from 1,000 held-out
#: clicks on half of it was better than none on all of six, the whole net on four (decision 15).
SHARE = 0.5


#: Held-out clicks by which a shop's figures are measured, beside all.
FEW = (120, 300, 1_000)


class PriorShop(TypedDict):
    """Holds what a net of all other shops is worth on one."""

    clicks: int  # held out
    default: float  # nDCG@10 of the weights by quality, cross-fitted
    difference: Estimate  # nDCG@10, with the net − without it, paired


class PriorFigures(TypedDict):
    """Holds the content of ``prior.json``."""

    lists: list[str]  # that the net reads, in its order
    seed: int
    shops: dict[str, list[PriorShop]]  # by its first clicks, FEW and all


def write_prior(folder: Path, shops: Mapping[str, ClickLabels], seed: int) -> PriorFigures:
    """Fit the net on all shops, and for its figures on all but one; write both files.

    Args:
        folder: exists.
        shops: name → held-out clicks with what all lists have for them; at least two.
        seed: of the draws.

    Raises:
        ValueError: there are fewer than two shops.
    """
    if len(shops) < 2:
        raise ValueError(f"a prior needs clicks of two shops or more, got {len(shops)}")
    figures: PriorFigures = {
        "lists": list(ALL_SOURCES),
        "seed": seed,
        "shops": {
            name: _worths(
                labels, fit_prior({one: shops[one] for one in shops if one != name}, seed), seed
            )
            for name, labels in shops.items()
        },
    }
    write_net(folder / NET, fit_prior(shops, seed))
    write_json(folder / FIGURES, figures)
    return figures


def fit_prior(shops: Mapping[str, ClickLabels], seed: int) -> ListNet:
    """Fit a net of ALL_SOURCES beside the default weights of each shop, and take SHARE of it.

    shops: name → held-out clicks.
    """
    few = [labels.first(CLICKS) for _, labels in sorted(shops.items())]
    base = np.concatenate([labels.logs @ _default(labels) for labels in few])
    labels = _pooled(few)
    net = fit_net(labels, base, np.ones(len(labels), bool), seed).net
    return replace(net, out=(SHARE * net.out).astype(np.float32))


def _worths(labels: ClickLabels, net: ListNet, seed: int) -> list[PriorShop]:
    counts = [*(few for few in FEW if few < len(labels)), len(labels)]
    return [_worth(labels.first(count), net, seed) for count in counts]


def _worth(labels: ClickLabels, net: ListNet, seed: int) -> PriorShop:
    own = net.of_lists(ALL_SOURCES, labels.names).of(labels.net_inputs)
    without = w.cross_fitted(labels, labels.logs, w.by_quality)
    added = w.cross_fitted(labels, labels.logs, w.by_quality, add=lambda weights, learned: own)
    return {
        "clicks": len(labels),
        "default": w.ndcg(without, labels.users),
        "difference": list_metrics.paired_difference(added, without, labels.users, PRIMARY, seed),
    }


def _default(labels: ClickLabels) -> np.ndarray:
    """Return the default weights of the lists, float32 [K]."""
    return w.by_quality(labels, np.ones(len(labels), bool)).astype(np.float32)


def _pooled(shops: Sequence[ClickLabels]) -> ClickLabels:
    """Return the clicks of several shops as those of one, with the lists of ALL_SOURCES.

    A list that a shop lacks has none of its items.
    """
    start, visitors = [np.zeros(1, np.int64)], 0
    users = []
    for labels in shops:
        start.append(start[-1][-1] + labels.start[1:])
        _, user = np.unique(labels.users, return_inverse=True)
        users.append(user + visitors)
        visitors += int(user.max(initial=-1)) + 1
    columns = [[ALL_SOURCES.index(name) for name in labels.names] for labels in shops]
    logs = [np.full((len(labels.rows), len(ALL_SOURCES)), LAST, np.float32) for labels in shops]
    listed = [np.zeros(one.shape, bool) for one in logs]
    for labels, own, places, has in zip(shops, columns, logs, listed, strict=True):
        places[:, own], has[:, own] = labels.logs, labels.listed
    return replace(
        shops[0],
        names=tuple(ALL_SOURCES),
        start=np.concatenate(start),
        rows=np.concatenate([labels.rows for labels in shops]),
        logs=np.concatenate(logs),
        listed=np.concatenate(listed),
        hit=np.concatenate([labels.hit for labels in shops]),
        users=np.concatenate(users),
        fold=np.concatenate([labels.fold for labels in shops]),
        items=max(labels.items for labels in shops),
        more=np.concatenate([labels.more for labels in shops]),
        logit=None,
        value=None,
    )

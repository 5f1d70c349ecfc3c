"""Run ``recsys bench ranker``: a ranker trained on candidates as served, on kept shops."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TypedDict

import numpy as np

from recsys_assets.artifacts import ArtifactStore
from recsys_assets.bench.harness.part import BenchFailed, refuse_unknown
from recsys_assets.bench.peers.run import chosen_shops
from recsys_assets.bench.ranker.judge import (
    ALL_LISTS,
    BASE,
    BlendWorth,
    base_inputs,
    blended_ranks,
    default_ranks,
    judge,
    mean_scores,
)
from recsys_assets.bench.ranker.kept import FULL, FUSION, KeptShop
from recsys_assets.bench.ranker.learning import ListVariant, Trained, base_weights, scores, train
from recsys_assets.bench.ranker.moments import Moment
from recsys_assets.files import read_json, write_json
from recsys_assets.lib.blend.blend_artifacts import LABELS
from recsys_assets.lib.evaluation.measures import Estimate
from recsys_assets.settings import Settings

#: What is trained. ``numbers``: the fallback, a net over the dense inputs alone. ``tower``: vectors
#: of items are those of the item tower, which has learnt the label days too. ``scratch``: from
#: chance and not from the blend.
VARIANTS: Mapping[str, ListVariant] = {
    "numbers": ListVariant("none"),
    "learned": ListVariant("learned"),
    "tower": ListVariant("tower"),
    "scratch": ListVariant("learned", residual=False),
    "numbers_shown": ListVariant("none", shown=True),
    "learned_shown": ListVariant("learned", shown=True),
}
SEEDS = 3
#: Label windows of two days each, the last training days first.
WINDOWS = 2

Say = Callable[[str], None]


class SeedFigures(BlendWorth):
    """Holds what one training is worth, with the weights of the mean's blend."""

    epochs: int  # whose weights stay
    held_out: list[float]  # loss of the visitors that end the training: before, and per epoch
    seconds: float


class ListVariantFigures(TypedDict):
    """Holds what a variant is worth."""

    seeds: list[SeedFigures]
    mean: BlendWorth  # of the mean of the seeds' scores


class ShopFigures(TypedDict):
    """Holds the figures of one shop."""

    clicks: int  # held out, that judge
    labels: list[int]  # clicks of each label window, that are learnt
    current: dict[str, BlendWorth]  # rung → what serves, beside the other
    better: str  # rung of the highest nDCG@10: the higher bar
    without: dict[str, BlendWorth]  # BASE and ALL_LISTS, without a ranker
    variants: dict[str, ListVariantFigures]


class ListRankerReport(TypedDict):
    """Holds the content of ``ranker.json``."""

    shops: dict[str, ShopFigures]
    skipped: dict[str, str]  # shop → why


def bench_ranker(
    settings: Settings,
    say: Say,
    only: Collection[str] = (),
    variants: Collection[str] = (),
    seeds: int = SEEDS,
    windows: int = WINDOWS,
    clicks: int = LABELS,
) -> ListRankerReport:
    """Train rankers on the kept shops; write and return ``home/bench/ranker.json``.

    A run of some shops or variants keeps the figures of the others.

    Args:
        settings: of the home.
        say: receives a line per training.
        only: names of shops; empty: all.
        variants: names of VARIANTS; empty: all.
        seeds: trainings per variant.
        windows: label windows.
        clicks: held out, that judge, at most about.

    Raises:
        BenchFailed: a name is unknown, or there is no shop.
    """
    shops = chosen_shops(settings, only, "train")
    refuse_unknown("variant", variants, list(VARIANTS))
    if min(seeds, windows, clicks) < 1:
        raise BenchFailed("a ranker needs one seed, label window and held-out click or more")
    file = settings.home / "bench" / "ranker.json"
    report: ListRankerReport = read_json(file) if file.is_file() else {"shops": {}, "skipped": {}}
    for name, home in shops.items():
        kept = KeptShop.open(ArtifactStore(home.artifacts), clicks)
        labelled = [] if kept is None else kept.labelled(windows)
        if kept is None or not any(len(one.labels) for one in labelled):
            report["skipped"][name] = "no full models, or no click on a label day"
            say(f"{name}: skipped: {report['skipped'][name]}")
        else:
            report["skipped"].pop(name, None)
            chosen = [one for one in VARIANTS if not variants or one in variants]
            found, known = _measured(name, kept, labelled, chosen, seeds, say), report["shops"]
            if name in known and _learnt(known[name]) == _learnt(found):
                found["variants"] = {**known[name]["variants"], **found["variants"]}
            known[name] = found
        write_json(file, report)
    return report


def _learnt(shop: ShopFigures) -> tuple[int, list[int]]:
    """Return what must be equal, so that figures can stand beside each other."""
    return shop["clicks"], shop["labels"]


def _measured(
    name: str, kept: KeptShop, labelled: list[Moment], variants: Sequence[str], seeds: int, say: Say
) -> ShopFigures:
    """Train the variants on one shop and judge them."""
    held_out, catalogue, seed = kept.held_out(), kept.catalogue, kept.fusion.params["seed"]
    labels, learnt = held_out.labels, [len(one.labels) for one in labelled]
    serving = kept.current(labels)
    current = {
        rung: judge(labels, serving[rung], {other: serving[other]}, seed)
        for rung, other in ((FUSION, FULL), (FULL, FUSION))
    }
    better = max(current, key=lambda rung: current[rung]["ndcg"])
    base = base_inputs(labels) @ base_weights(labelled[0].labels).astype(np.float32)
    alone = {BASE: blended_ranks(labels, base)[0], ALL_LISTS: default_ranks(labels)}
    others = {**serving, **alone}
    figures: ShopFigures = {
        "clicks": len(labels),
        "labels": learnt,
        "current": current,
        "better": better,
        "without": {name: judge(labels, ranks, serving, seed) for name, ranks in alone.items()},
        "variants": {},
    }
    say(
        f"{name}: {len(labels):,} held-out and {sum(learnt):,} label clicks, {better} "
        f"{current[better]['ndcg']:.4f}; {BASE} {_said(figures['without'][BASE], better)}; "
        f"{ALL_LISTS} {_said(figures['without'][ALL_LISTS], better)}"
    )
    for variant in variants:
        what = VARIANTS[variant]
        if what.shown and held_out.shown is None:
            continue
        found: list[Trained] = []
        scored, seconds = [], []
        for number in range(seeds):
            started = time.perf_counter()
            found.append(train(labelled, catalogue, what, number))
            scored.append(scores(found[-1], held_out, catalogue))
            seconds.append(round(time.perf_counter() - started, 1))
            say(f"{name}: {variant} seed {number}: {seconds[-1]} s, epoch {found[-1].epochs} stays")
        mean = mean_scores(labels, scored)
        of_mean, *of_each = (
            judge(labels, ranks, others, seed) for ranks in blended_ranks(labels, mean, scored)
        )
        figures["variants"][variant] = {
            "mean": of_mean,
            "seeds": [
                {**judged, "epochs": one.epochs, "held_out": one.held_out, "seconds": spent}
                for judged, one, spent in zip(of_each, found, seconds, strict=True)
            ],
        }
        say(f"{name}: {variant} mean of {seeds}: {_said(of_mean, better)}")
    return figures


def table_rows(report: ListRankerReport) -> Sequence[tuple[str, ...]]:
    """Return the printed table: a row per shop and variant."""
    return [
        (
            name,
            f"{shop['clicks']:,}",
            f"{shop['better']} {shop['current'][shop['better']]['ndcg']:.4f}",
            variant,
            f"{found['mean']['ndcg']:.4f}",
            _interval(found["mean"]["minus"][shop["better"]]),
            _interval(found["mean"]["minus"][BASE]),
            " ".join(f"{one['minus'][BASE]['value']:+.4f}" for one in found["seeds"]),
        )
        for name, shop in report["shops"].items()
        for variant, found in shop["variants"].items()
    ]


def _said(judged: BlendWorth, better: str) -> str:
    against = [name for name in (better, BASE) if name in judged["minus"]]
    return f"nDCG@10 {judged['ndcg']:.4f}" + "".join(
        f", − {name} {_interval(judged['minus'][name])}" for name in against
    )


def _interval(one: Estimate) -> str:
    return f"{one['value']:+.4f} [{one['low']:+.4f}, {one['high']:+.4f}]"

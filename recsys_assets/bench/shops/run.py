"""Run ``recsys bench shops``: small shops, each from its files to a recommendation over HTTP.

Each shop is taken by the commands of the README and nothing else, in a home of its own.
"""

from __future__ import annotations

import math
import os
import re
import shlex
import shutil
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, TypedDict

from recsys_assets.bench.harness.part import BenchFailed, refuse_unknown
from recsys_assets.bench.shops.all_shops import SHOPS
from recsys_assets.bench.shops.baselines import baseline_figures
from recsys_assets.bench.shops.figures import ChoiceOfShop, choices, held_out_figures
from recsys_assets.bench.shops.pooled import Pooled, Visitors, pool
from recsys_assets.bench.shops.seeds import OfSeeds, of_seeds
from recsys_assets.bench.shops.shop import Shop, ShopSkipped, Written
from recsys_assets.bench.shops.terminal import StepFailed, Terminal, free_offset
from recsys_assets.files import write_json
from recsys_assets.lib.evaluation.summary import label
from recsys_assets.settings import Settings

SERVED, SKIPPED = "served", "skipped"
STRANGER = "a-visitor-never-seen"
#: The last line of the report of `recsys ingest`.
_NEXT = re.compile(r"^next: recsys (materialize\b.*)$", re.MULTILINE)

Say = Callable[[str], None]

ShopFigures = TypedDict(
    "ShopFigures",
    {
        "form": str,
        "ended": str,  # served, skipped, or the step that failed
        "why": str | None,  # the last lines of the step that failed
        "rung": str | None,
        "rows": int | None,
        "seconds": float,
        "steps": dict[str, float],
        "served_ndcg@10": float | None,
        "popularity_ndcg@10": float | None,
        "best_baseline": str | None,
        "best_baseline_ndcg@10": float | None,
        # bounds of the 95 % interval of nDCG@10, what serves − the best baseline, paired
        "difference_low": float | None,
        "difference_high": float | None,
        "recall@300": float | None,
        "new_item_recall@50": float | None,
        "baselines": dict[str, float],  # name → nDCG@10
        "choices": ChoiceOfShop | None,
    },
)


def bench_shops(
    settings: Settings,
    say: Say,
    only: Collection[str] = (),
    keep: bool = False,
    draws: Sequence[int] = (0,),
    seeds: Sequence[int | None] = (None,),
) -> dict[str, Any]:
    """Run the shops one after the other; write and return ``home/bench/shops.json``.

    The file is written again after each shop.

    Args:
        settings: of the home.
        say: receives a line per step.
        only: names of shops; empty: all.
        keep: keep the files and homes of the shops.
        draws: their numbers; another draw has other visitors. Of more than one, ``pooled`` has the
            figures of all visitors together, and the last one's homes are kept.
        seeds: RECSYS_SEED of each run of a draw; None: the default. Of more than one, ``seeds``
            compares the runs, ``shops`` has those of the last seed, and its homes are kept.

    Raises:
        BenchFailed: a name is unknown, several draws have several seeds, or no ports are free.
    """
    if len(draws) > 1 and len(seeds) > 1:
        raise BenchFailed("give several draws or several seeds, not both")
    refuse_unknown("shop", only, [shop.name for shop in SHOPS])
    folder = settings.home / "bench"
    report: dict[str, Any] = {}
    shops: dict[str, ShopFigures] = {}
    of_draws: dict[int, dict[str, ShopFigures]] = {draw: {} for draw in draws}
    of_each_seed: dict[int | None, dict[str, ShopFigures]] = {seed: {} for seed in seeds}
    visitors: dict[str, dict[int, Visitors]] = {}
    for shop in SHOPS:
        if only and shop.name not in only:
            continue
        for draw, seed in ((draw, seed) for draw in draws for seed in seeds):
            found, of_visitors = _run_shop(shop, settings, say, keep, draw, seed)
            shops[shop.name] = of_draws[draw][shop.name] = of_each_seed[seed][shop.name] = found
            if of_visitors:
                visitors.setdefault(shop.name, {})[draw] = of_visitors
            say(f"{shop.name}: {found['ended']} after {found['seconds']:.0f} s")
            report = {
                "shops": shops,
                "draw": draw,
                "cpu_count": os.cpu_count(),
                "served": served_share(shops),
                "ratio_geometric_mean": mean_ratio(shops),
            }
            if len(draws) > 1:
                pooled = {name: pool(one) for name, one in visitors.items()}
                report |= {
                    "draws": of_draws,
                    "served": served_share(*of_draws.values()),
                    "pooled": pooled,
                    "ratio_geometric_mean": mean_ratio(pooled),
                }
            if len(seeds) > 1:
                report |= {
                    "served": served_share(*of_each_seed.values()),
                    "seeds": compared(of_each_seed),
                    "ratio_of_seed": {
                        str(seed): mean_ratio(one) for seed, one in of_each_seed.items()
                    },
                }
            write_json(folder / "shops.json", report)
    return report


def compared(runs: Mapping[int | None, Mapping[str, ShopFigures]]) -> dict[str, OfSeeds]:
    """Return shop → the comparison of its seeds; a shop that no run judged is left out."""
    names = dict.fromkeys(name for shops in runs.values() for name in shops)
    found = {
        name: of_seeds({seed or 0: shops[name] for seed, shops in runs.items() if name in shops})
        for name in names
    }
    return {name: one for name, one in found.items() if one is not None}


def served_share(*draws: Mapping[str, ShopFigures]) -> float | None:
    """Return the share of the shops that ended in recommendations; skipped ones do not count."""
    every = [one["ended"] for shops in draws for one in shops.values()]
    ended = [one for one in every if one != SKIPPED]
    return sum(one == SERVED for one in ended) / len(ended) if ended else None


def mean_ratio(shops: Mapping[str, ShopFigures | Pooled]) -> float | None:
    """Return the geometric mean of served nDCG@10 / that of the best tuned baseline.

    None without a shop that has both.
    """
    ratios = [
        one["served_ndcg@10"] / one["best_baseline_ndcg@10"]
        for one in shops.values()
        if one["served_ndcg@10"] and one["best_baseline_ndcg@10"]
    ]
    return math.exp(sum(map(math.log, ratios)) / len(ratios)) if ratios else None


def _run_shop(
    shop: Shop, settings: Settings, say: Say, keep: bool, draw: int, seed: int | None
) -> tuple[ShopFigures, Visitors]:
    """Take one shop from its files to an answer, and end its parts in any case."""
    folder = settings.home / "bench" / "shops" / shop.name
    terminal = Terminal(folder / "home", folder / "files", free_offset(), seed)
    if folder.exists():  # kept, or left by a run that was killed, whose parts may still run
        folder.joinpath("files").mkdir(exist_ok=True)
        terminal.recsys(["down"])
        shutil.rmtree(folder)
    terminal.files.mkdir(parents=True)
    terminal.seconds.clear()
    figures: ShopFigures = {
        "form": shop.form,
        "ended": SERVED,
        "why": None,
        "rung": None,
        "rows": None,
        "seconds": 0.0,
        "steps": terminal.seconds,
        "served_ndcg@10": None,
        "popularity_ndcg@10": None,
        "best_baseline": None,
        "best_baseline_ndcg@10": None,
        "difference_low": None,
        "difference_high": None,
        "recall@300": None,
        "new_item_recall@50": None,
        "baselines": {},
        "choices": None,
    }
    began: float | None = None
    visitors: Visitors = {}
    try:
        written = shop.write(terminal.files, settings.home / "cache", draw)
        figures["rows"], began = written.rows, time.monotonic()
        figures["rung"] = _serve(shop, written, terminal, say)
        own = {} if seed is None else {"seed": seed}
        home = settings.model_copy(update={"home": terminal.home, "artifacts_uri": None, **own})
        visitors = _judge(home, figures)
    except (StepFailed, ShopSkipped) as error:
        figures["ended"] = error.step if isinstance(error, StepFailed) else SKIPPED
        figures["why"] = str(error)
        say(f"{shop.name}: {error}")
    finally:
        _end(terminal, say, keep)
        figures["seconds"] = 0.0 if began is None else round(time.monotonic() - began, 1)
    return figures, visitors


def _judge(home: Settings, figures: ShopFigures) -> Visitors:
    """Add the figures on held-out clicks of what serves and of the baselines."""
    found, tuned = held_out_figures(home), baseline_figures(home)
    figures["served_ndcg@10"], figures["popularity_ndcg@10"] = found["served"], found["popularity"]
    figures["best_baseline"], figures["best_baseline_ndcg@10"] = tuned["best"], tuned["best_ndcg"]
    if tuned["served_minus"] is not None:
        figures["difference_low"] = tuned["served_minus"]["low"]
        figures["difference_high"] = tuned["served_minus"]["high"]
    figures["recall@300"], figures["new_item_recall@50"] = tuned["recall"], tuned["new_recall"]
    figures["baselines"], figures["choices"] = tuned["ndcg"], choices(home)
    return tuned["by_visitor"]


def _end(terminal: Terminal, say: Say, keep: bool) -> None:
    """End the parts of a home and remove it."""
    try:
        terminal.recsys(["down"])
    except StepFailed as error:
        say(f"{error}\n{terminal.home} is kept: its parts may still run")
        return
    if not keep:
        shutil.rmtree(terminal.home.parent)


def _serve(shop: Shop, written: Written, terminal: Terminal, say: Say) -> str:
    """Type the commands of the README, then ask for two visitors; return the rung.

    Raises:
        StepFailed: a command failed, or an answer is not as it must be.
    """

    def command(arguments: Sequence[str]) -> str:
        say(f"{shop.name}: recsys {shlex.join(arguments)}")
        return terminal.recsys(arguments)

    command(materialize_command(command(shop.ingest)))
    command(["up"])
    command(["promote"])
    for visitor in (written.visitor, STRANGER):
        answer = terminal.recommend(visitor)
        if fault := answer_fault(answer, written.items):
            raise StepFailed("recommend", f"the answer for {visitor!r} {fault}")
    return str(answer["release"]["rung"])


def materialize_command(report: str) -> list[str]:
    r"""Return the command that the report of `recsys ingest` names as the next one.

    >>> materialize_command("…\nnext: recsys materialize --as-of 2025-04-12\n")
    ['materialize', '--as-of', '2025-04-12']
    """
    named = _NEXT.search(report)
    return shlex.split(named.group(1)) if named else ["materialize"]


def answer_fault(answer: dict[str, Any], items: Collection[str]) -> str | None:
    """Return what is wrong with an answer, in words; None if nothing is.

    Args:
        answer: of POST /recommend.
        items: ids of the catalogue.
    """
    if answer["degraded"]:
        return f"is degraded: {', '.join(answer['reasons'])}"
    if not answer["items"]:
        return "has no items"
    if strange := [item["item_id"] for item in answer["items"] if item["item_id"] not in items]:
        return f"has items that the catalogue lacks: {', '.join(strange)}"
    return None


def table_rows(report: dict[str, Any]) -> Sequence[tuple[str, ...]]:
    """Return the printed table.

    Its columns are shop, form, rows, rung (or, in brackets, where the shop ended), seconds and
    nDCG@10: of what serves, of popularity and of the best tuned baseline, a line each.
    """
    return [
        (
            name,
            one["form"],
            "" if one["rows"] is None else f"{one['rows']:,}",
            one["rung"] or f"({one['ended']})",
            f"{one['seconds']:.0f}",
            "\n".join(
                f"{value:.4f} {what}".rstrip()
                for value, what in (
                    (one["served_ndcg@10"], ""),
                    (one["popularity_ndcg@10"], "popular"),
                    (one["best_baseline_ndcg@10"], label(one["best_baseline"] or "")),
                )
                if value is not None
            ),
        )
        for name, one in report["shops"].items()
    ]

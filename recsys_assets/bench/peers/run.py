"""Run ``recsys bench peers``: other recommenders of the field on the splits of kept shops."""

from __future__ import annotations

import os
import statistics
import tempfile
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import TypedDict

import numpy as np

from recsys_assets.bench.harness.part import BenchFailed, refuse_unknown
from recsys_assets.bench.peers.compare import TIMED, Comparison, PeerFigures
from recsys_assets.bench.peers.process.answer import timed_rows
from recsys_assets.bench.peers.split import splits
from recsys_assets.bench.peers.trials import TRIALS
from recsys_assets.bench.shops.baselines import BUDGET
from recsys_assets.bench.shops.held_out import HeldOut
from recsys_assets.bench.shops.terminal import StepFailed, Terminal, free_offset
from recsys_assets.columns import MISSING, USER_ID
from recsys_assets.files import write_json
from recsys_assets.lib.evaluation import list_metrics
from recsys_assets.lib.evaluation.measures import PRIMARY, Estimate
from recsys_assets.lib.evaluation.queries import Queries
from recsys_assets.operations.usage import graph_usage
from recsys_assets.settings import Settings

#: The name of the measuring home itself, beside the kept shops.
OWN_HOME = "home"

Say = Callable[[str], None]

ServedFigures = TypedDict(
    "ServedFigures",
    {
        "rung": str,
        "queries": int,
        "visitors": int,
        "items": int,
        "training_clicks": int,
        "ndcg@10": Estimate | None,  # None: what serves has answered other queries
        "train_seconds": float | None,  # of all artifacts of the home
        "answer_ms": float | None,  # median of POST /recommend; None: it was not asked
        "answer_p95_ms": float | None,
    },
)


class PeersReport(TypedDict):
    """Holds the content of ``peers.json``."""

    peers: dict[str, dict[str, PeerFigures]]  # peer → shop → figures
    served: dict[str, ServedFigures]  # shop → figures
    skipped: dict[str, str]  # shop → why it was not compared
    versions: dict[str, str]
    cpu_count: int | None


def bench_peers(
    settings: Settings,
    say: Say,
    only: Collection[str] = (),
    peers: Collection[str] = (),
    ask: bool = True,
) -> PeersReport:
    """Compare the peers with what serves; write and return ``home/bench/peers.json``.

    The shops are those that `recsys bench shops --keep` left in this home, and the home itself if
    it has a champion. The file is written again after each shop.

    Args:
        settings: of the home.
        say: receives a line per step.
        only: names of shops; empty: all.
        peers: names of peers; empty: all.
        ask: start each kept shop, and time its answers over HTTP.

    Raises:
        BenchFailed: the peers' environment is missing, a name is unknown, or there is no shop.
    """
    if not settings.peers_python.exists():
        raise BenchFailed(
            f"the peers' environment has no {settings.peers_python}; make it: `make peers`"
        )
    shops = chosen_shops(settings, only, "compare")
    refuse_unknown("peer", peers, list(TRIALS))
    report: PeersReport = {
        "peers": {name: {} for name in TRIALS if not peers or name in peers},
        "served": {},
        "skipped": {},
        "versions": {},
        "cpu_count": os.cpu_count(),
    }
    for shop, home in shops.items():
        _compare(shop, home, settings, report, say, ask)
        write_json(settings.home / "bench" / "peers.json", report)
    return report


def chosen_shops(settings: Settings, only: Collection[str], to: str) -> dict[str, Settings]:
    """Return the kept shops of these names; none: all of them.

    to: what is done on them, for the error.

    Raises:
        BenchFailed: a name is unknown, or there is no shop.
    """
    shops = kept_shops(settings)
    if not shops:
        raise BenchFailed(
            f"{settings.home} has no shop to {to} on; run `recsys bench shops --keep` first"
        )
    refuse_unknown("shop", only, list(shops))
    return {name: home for name, home in shops.items() if not only or name in only}


def kept_shops(settings: Settings) -> dict[str, Settings]:
    """Return the settings of each home to compare on, by the name of its shop."""
    root = settings.home / "bench" / "shops"
    kept = {
        path.parent.name: settings.model_copy(update={"home": path, "artifacts_uri": None})
        for path in sorted(root.glob("*/home"))
    }
    return kept | ({OWN_HOME: settings} if HeldOut.open(settings) else {})


def _compare(
    shop: str, home: Settings, settings: Settings, report: PeersReport, say: Say, ask: bool
) -> None:
    """Add the figures of a shop to the report."""
    held_out = HeldOut.open(home)
    if held_out is None or not held_out.asked().overall.any():
        report["skipped"][shop] = "no champion, or no held-out click"
        say(f"{shop}: skipped: {report['skipped'][shop]}")
        return
    asked, served = held_out.asked(), held_out.served()
    outer, inner = splits(held_out, BUDGET.clicks)
    milliseconds: list[float] = []
    if ask and shop != OWN_HOME:
        milliseconds = _answer_times(home.home, outer.queries, say)
    report["served"][shop] = {
        "rung": held_out.release.rung["name"],
        "queries": len(outer.queries),
        "visitors": len(np.unique(outer.queries.users)),
        "items": outer.queries.items,
        "training_clicks": int(outer.file().training.sum()),
        "ndcg@10": None if served is None else list_metrics.judge(served.ranks, asked)[PRIMARY],
        "train_seconds": graph_usage(home)["seconds"],
        "answer_ms": round(statistics.median(milliseconds), 3) if milliseconds else None,
        "answer_p95_ms": round(float(np.quantile(milliseconds, 0.95)), 3) if milliseconds else None,
    }
    say(f"{shop}: {_served_line(report['served'][shop])}")
    with tempfile.TemporaryDirectory(dir=settings.home / "bench", prefix="peers-") as scratch:
        comparison = Comparison(
            outer,
            inner,
            None if served is None else served.ranks[asked.overall],
            settings,
            Path(scratch),
            held_out.seed,
        )
        found, report["versions"] = comparison.run(
            lambda line: say(f"{shop}: {line}"), list(report["peers"])
        )
    for name, figures in found.items():
        report["peers"][name][shop] = figures


def _answer_times(home: Path, queries: Queries, say: Say) -> list[float]:
    """Start a kept shop; return the milliseconds of its answers, for visitors of the queries.

    A shop that does not start has none.
    """
    terminal = Terminal(home, home.parent / "files", free_offset())
    terminal.files.mkdir(exist_ok=True)
    asked = queries.frame[USER_ID][timed_rows(len(queries), TIMED)].to_list()
    visitors = [visitor for visitor in asked if visitor != MISSING] or [MISSING]
    try:
        terminal.recsys(["up"])
        return terminal.answer_times(visitors)
    except StepFailed as error:
        say(f"{home.parent.name}: not asked: {error}")
        return []
    finally:
        terminal.recsys(["down"])


def _served_line(found: ServedFigures) -> str:
    ndcg, answer = found["ndcg@10"], found["answer_ms"]
    parts = [
        f"serves {found['rung']}",
        "not judged" if ndcg is None else f"nDCG@10 {ndcg['value']:.4f}",
        f"{found['queries']:,} queries of {found['visitors']:,} visitors",
        *([] if answer is None else [f"an answer in {answer:.1f} ms"]),
    ]
    return ", ".join(parts)


def table_rows(report: PeersReport) -> Sequence[tuple[str, ...]]:
    """Return the printed table.

    Its columns are shop, system, nDCG@10, the interval of served − it, seconds to train and
    milliseconds to answer.
    """
    rows = []
    for shop, served in report["served"].items():
        rows.append(
            (
                shop,
                f"served ({served['rung']})",
                "" if served["ndcg@10"] is None else f"{served['ndcg@10']['value']:.4f}",
                "",
                "" if served["train_seconds"] is None else f"{served['train_seconds']:.1f}",
                "" if served["answer_ms"] is None else f"{served['answer_ms']:.1f}",
            )
        )
        rows += [
            (
                "",
                name,
                f"{of[shop]['ndcg@10']['value']:.4f}",
                _interval(of[shop]["served_minus"]),
                f"{of[shop]['train_seconds']:.1f}",
                f"{of[shop]['answer_ms']:.1f}",
            )
            for name, of in report["peers"].items()
            if shop in of
        ]
    return rows


def _interval(difference: Estimate | None) -> str:
    return "" if difference is None else f"{difference['low']:+.4f} … {difference['high']:+.4f}"

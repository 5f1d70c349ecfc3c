"""Fit one peer by each of some settings, and answer all queries of a split.

Runs in the peers' environment, as ``python -m recsys_assets.bench.peers.process.answer REQUEST``.

In: ``split`` (of ``SplitFile``), ``peer``, ``settings`` (a list), ``popular`` (settings of the
popularity that answers where the visitor has no click, and fills short lists), ``seed``,
``output``, ``timed`` (number of queries that are also answered one at a time, by the last
settings).
Out: ``output`` (npz; the lists of setting n under "n", int32 [Q, SHOWN], -1 where a list ends). The
last line of the standard output holds the seconds of each fit and the milliseconds of each timed
query.
"""

from __future__ import annotations

import json
import sys
import time
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from recsys_assets.bench.peers.process.models import (
    EMPTY,
    FITS,
    POPULAR,
    AskedClicks,
    Peer,
    PopularOrder,
)
from recsys_assets.bench.peers.process.split_file import SplitFile
from recsys_assets.exits import run_and_leave

SHOWN = 10  # items of a list
_CHUNK = 1_024  # queries at a time
_WARM_UP = 5  # untimed queries before the timed ones
PACKAGES = ("implicit", "rectools", "torch", "pytorch-lightning", "numpy")


def answer(
    peer: Peer, popular: PopularOrder, split: SplitFile, fitted: np.ndarray, rows: np.ndarray
) -> np.ndarray:
    """Return the lists of the queries ``rows``, int32 [n, SHOWN], without their hidden items.

    Args:
        peer: answers where a query has clicks on fitted items.
        popular: answers elsewhere, and fills lists that end earlier.
        split: of the queries.
        fitted: bool [I], items with a click in the training days.
        rows: int64 [n].
    """
    owner, position = split.clicks_before(rows)
    known = fitted[split.item[position]]
    asked = AskedClicks(
        owner[known], split.item[position][known], split.time[position][known], len(rows)
    )
    most = int(np.diff(split.hidden_start)[rows].max(initial=0))
    if len(asked.item) or isinstance(peer, PopularOrder):
        found = peer.lists(asked, SHOWN + most)
    else:
        found = np.full((len(rows), 0), EMPTY, np.int64)
    lists = np.full((len(rows), SHOWN), EMPTY, np.int32)
    for place, row in enumerate(rows):
        hidden = split.hidden(row)
        own = found[place][found[place] != EMPTY]
        own = own[~np.isin(own, hidden)][:SHOWN]
        if len(own) < SHOWN:
            missing = ~np.isin(popular.best, np.concatenate([hidden, own]))
            own = np.concatenate([own, popular.best[missing]])[:SHOWN]
        lists[place, : len(own)] = own
    return lists


def answer_all(
    peer: Peer, popular: PopularOrder, split: SplitFile, fitted: np.ndarray
) -> np.ndarray:
    """Return the lists of all queries, int32 [Q, SHOWN]."""
    parts = [
        answer(peer, popular, split, fitted, np.arange(start, min(start + _CHUNK, len(split))))
        for start in range(0, len(split), _CHUNK)
    ]
    return np.concatenate([np.zeros((0, SHOWN), np.int32), *parts])


def timed_rows(queries: int, number: int) -> np.ndarray:
    """Return the rows of at most ``number`` queries, evenly spread.

    >>> timed_rows(10, 4).tolist(), timed_rows(2, 4).tolist()
    ([0, 3, 6, 9], [0, 1])
    """
    return np.unique(np.linspace(0, queries - 1, min(queries, number)).astype(np.int64))


def can_fit(split: SplitFile) -> bool:
    """Return whether a visitor of the training days has clicked two different items."""
    visitor, item = split.visitor[split.training], split.item[split.training]
    same = visitor[1:] == visitor[:-1]
    return bool((same & (item[1:] != item[:-1])).any())


def answers(request: dict[str, Any]) -> dict[str, Any]:
    """Fit and answer as the request says; return the measured times."""
    split = SplitFile.read(Path(request["split"]))
    fitted = np.zeros(int(split.items), bool)
    fitted[split.item[split.training]] = True
    popular = PopularOrder.fit(split, request["popular"], request["seed"])
    fit = FITS[request["peer"]] if can_fit(split) else FITS[POPULAR]
    lists: dict[str, Any] = {}  # arrays; numpy 1 has no other argument of savez
    seconds: list[float] = []
    peer: Peer = popular
    for number, settings in enumerate(request["settings"]):
        began = time.perf_counter()
        own = settings if fit is FITS[request["peer"]] else request["popular"]
        peer = fit(split, own, request["seed"])
        seconds.append(round(time.perf_counter() - began, 3))
        print(f"{request['peer']} {settings}: {seconds[-1]} s", file=sys.stderr, flush=True)
        lists[str(number)] = answer_all(peer, popular, split, fitted)
    milliseconds: list[float] = []
    if request["timed"] and len(split):
        rows = timed_rows(len(split), request["timed"])
        for row in [*rows[:_WARM_UP], *rows]:
            began = time.perf_counter()
            answer(peer, popular, split, fitted, np.array([row]))
            milliseconds.append((time.perf_counter() - began) * 1_000)
        milliseconds = milliseconds[len(milliseconds) - len(rows) :]
    np.savez(request["output"], **lists)
    return {
        "seconds": seconds,
        "milliseconds": milliseconds,
        "fitted": bool(can_fit(split)),
        "versions": {name: metadata.version(name) for name in PACKAGES},
    }


def _main() -> None:
    request = json.loads(Path(sys.argv[1]).read_text())
    print(json.dumps(answers(request)), flush=True)


if __name__ == "__main__":
    run_and_leave(_main)

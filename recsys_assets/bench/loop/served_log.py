"""Measure what the log of answers costs an answer, and whether it holds every answer.

Two gateways serve one release from one Triton and one Valkey, one with the log and one without.
They are asked in turns, so that a busy moment of the machine affects both. After a round with the
log, the next one begins only when its answers are in the stream: all of its work falls into its own
rounds. Half of the rounds run on new processes that start in the other order, because two processes
of one program differ by some percent too. The consumer lands the log meanwhile.
"""

from __future__ import annotations

import json
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import polars as pl
import redis

from recsys_assets.bench.harness.part import BenchFailed
from recsys_assets.bench.harness.requests import Request, choose
from recsys_assets.bench.harness.workers import Workers
from recsys_assets.bench.serving import home as serving_home
from recsys_assets.bench.serving.measured import WARM_UP
from recsys_assets.lib.landing.served_answers import ANSWER_ID, ITEM_IDS
from recsys_assets.lib.landing.zone import SERVED_FOLDER
from recsys_assets.operations import own_home
from recsys_assets.release_files import TRANSFORMS, model_file
from recsys_assets.serving.events.served_log import SERVED
from recsys_assets.settings import VISITOR_DATABASE, Settings

Say = Callable[[str], None]

#: The log may cost 5 % of the median answer, and lose no answer.
BARS = {"p50_ratio": 1.05, "missing": 0}
REQUESTS, ROUNDS = 400, 10
OFF, ON = "off", "on"
#: Seconds until the log of a round is in the stream, and all of it in the landing zone.
LIMIT = 60.0


def measure(
    settings: Settings, scratch: Path, say: Say, requests: int = REQUESTS, rounds: int = ROUNDS
) -> dict[str, Any]:
    """Serve this home's release twice, with the log and without.

    Args:
        settings: of the real home, which is only read.
        scratch: for the bench's own homes.
        say: receives a line per step.
        requests: per round of each gateway.
        rounds: of both, on each pair of processes.

    Returns:
        ``p50_ms`` and ``off_p50_ms``; ``p50_ratio``, with the log over without; ``answers`` given
        with the log; ``missing`` answers that did not land; ``doubled`` answers that landed twice;
        ``bytes_per_answer`` of the landed files.

    Raises:
        BenchFailed: there is no release, or the log did not land in time.
    """
    release = serving_home.release_of(settings)
    own = own_home.own_settings(settings, scratch / "home", landing_uri=None, triton_models="fused")
    payload = release.artifact.local
    transforms = json.loads((payload / model_file("nvt_user_transform", TRANSFORMS)).read_text())
    asked = choose(transforms, requests, int(time.time()), own.seed)
    laps: dict[str, list[float]] = {OFF: [], ON: []}
    given = 0
    with own_home.running(own, ["valkey"]):
        serving_home.fill_online_store(own)
        with own_home.running(own, ["triton"]):
            own_home.promote(own, release.artifact)
            say(f"release {release.number} is served")
            homes = {OFF: own, ON: _with_log(own, scratch / "with-log")}
            with own_home.running(homes[ON], ["consumer"]):
                for order in ((OFF, ON), (ON, OFF)):
                    given += _rounds(homes, order, asked, rounds, laps, scratch)
                    say(f"{rounds} rounds were asked, the gateway {order[0]} first")
                _wait(lambda: _waiting(own) == 0, "the consumer did not land the log")
    landed = _landed(homes[ON])
    p50 = {name: float(np.median(values)) * 1e3 for name, values in laps.items()}
    return {
        "p50_ratio": round(p50[ON] / p50[OFF], 3),
        "p50_ms": round(p50[ON], 3),
        "off_p50_ms": round(p50[OFF], 3),
        "answers": given,
        "missing": given - landed[ANSWER_ID].n_unique(),
        "doubled": landed.height - landed[ANSWER_ID].n_unique(),
        "items_per_answer": round(float(landed[ITEM_IDS].list.len().mean() or 0), 1),  # type: ignore[arg-type]
        "bytes_per_answer": round(
            sum(file.stat().st_size for file in _files(homes[ON])) / max(1, landed.height)
        ),
        "release": release.number,
    }


def _with_log(own: Settings, home: Path) -> Settings:
    """Return settings of a home whose gateway logs; it has the Triton and Valkey of the other."""
    shutil.copytree(own.home / "serving", home / "serving")
    (home / "feast").mkdir()
    shutil.copyfile(own.home / "feast" / "registry.db", home / "feast" / "registry.db")
    port = own_home.free_ports()["gateway_port"]
    return own.model_copy(update={"home": home, "gateway_port": port, "served_log": "on"})


def _rounds(
    homes: dict[str, Settings],
    order: tuple[str, str],
    asked: list[Request],
    rounds: int,
    laps: dict[str, list[float]],
    scratch: Path,
) -> int:
    """Start both gateways, ask them in turns, and add to the laps.

    Returns:
        Number of answers that the gateway with the log gave.
    """
    first, second = order
    given = 0
    with (
        own_home.running(homes[first], ["gateway"]),
        own_home.running(homes[second], ["gateway"]),
        _client(homes[OFF], asked, scratch) as off,
        _client(homes[ON], asked, scratch) as on,
    ):
        clients = {OFF: off.ready(), ON: on.ready()}
        for number in range(rounds + 1):  # the first one warms up
            for name in order:
                count = len(asked) if number else min(WARM_UP, len(asked))
                measured = clients[name].run(1, 1, count=count).laps
                if number:
                    laps[name] += measured
                if name == ON:
                    given += len(measured)
                    _wait_until_logged(homes[ON], given)
    return given


def _client(settings: Settings, asked: list[Request], scratch: Path) -> Workers:
    return Workers(
        f"client-{settings.gateway_port}-{time.monotonic_ns()}",
        sys.executable,
        "recsys_assets.bench.harness.client",
        {"address": f"{settings.gateway_host}:{settings.gateway_port}", "requests": asked},
        1,
        serving_home.other_environment(settings),
        scratch,
    )


def _logged(settings: Settings) -> float:
    """Return how many answers the gateway has logged or dropped since it started."""
    text = httpx.get(f"{settings.gateway_url}/metrics", timeout=10, trust_env=False).text
    names = ("gateway_served_logged_total", "gateway_served_dropped_total")
    return sum(
        float(line.rsplit(" ", 1)[1]) for line in text.splitlines() if line.startswith(names)
    )


def _wait_until_logged(settings: Settings, given: int) -> None:
    _wait(lambda: _logged(settings) >= given, "the gateway did not log its answers")


def _waiting(settings: Settings) -> int:
    """Return how many entries of the stream are not landed."""
    with redis.Redis.from_url(settings.valkey_url(VISITOR_DATABASE)) as client:
        return int(client.xlen(SERVED.name))


def _wait(done: Callable[[], bool], otherwise: str) -> None:
    end = time.monotonic() + LIMIT
    while not done():
        if time.monotonic() > end:
            raise BenchFailed(f"{otherwise} within {LIMIT:.0f} s")
        time.sleep(0.1)


def _files(settings: Settings) -> list[Path]:
    return sorted(Path(settings.landing).glob(f"{SERVED_FOLDER}/*/*.parquet"))


def _landed(settings: Settings) -> pl.DataFrame:
    """Return the landed answers that hold items."""
    rows = pl.concat([pl.read_parquet(file) for file in _files(settings)])
    return rows.filter(pl.col(ITEM_IDS).list.len() > 0)

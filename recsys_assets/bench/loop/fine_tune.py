"""Measure what three daily fine-tunes are worth on the day after, and how long one takes.

Two shops, each in a home of its own, by the commands of the README: the simulator's, whose
visitors change their interests within its fourteen days, and one of clicks alone of ``bench
shops``. The models are trained as of a day. Three days are fine-tuned and promoted one after the
other. Then a full training as of the last of them starts from nothing. The clicks of the next day
judge the model of the first training (frozen), the last fine-tune and the new training, each with
the features that are online that day.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path
from typing import Any

from recsys_assets import partitions
from recsys_assets.artifacts import ArtifactStore
from recsys_assets.bench.harness.part import BenchFailed
from recsys_assets.bench.loop.next_day import (
    FROZEN,
    RETRAINED,
    TUNED,
    Figures,
    figures_of,
    ranks_on,
    trained_release,
)
from recsys_assets.bench.shops import clicks
from recsys_assets.bench.shops.shop import Shop
from recsys_assets.bench.shops.terminal import StepFailed, Terminal, free_offset
from recsys_assets.lib.release import releases
from recsys_assets.lib.release.champion import read_champion
from recsys_assets.lib.release.releases import Release
from recsys_assets.operations import full_graph
from recsys_assets.settings import Settings

Say = Callable[[str], None]

DAYS = 3  # that are fine-tuned
CLICKS_ONLY = "clicks_only"
#: Scale of the simulated shop → the shop of clicks alone beside it, where it is not CLICKS_ONLY.
SMALLER = {"tiny": "week"}
_BARS = {
    "seconds": 15 * 60.0,
    # the tuned model is surely better, and reaches 95 % of the retrained one
    "frozen_minus_tuned_high": 0.0,
    "retrained_over_tuned": round(1 / 0.95, 4),
}
#: For the reference's scale (RECSYS_SCALE=seed) on two cores. A smaller shop has too few clicks to
#: be sure.
BARS = {f"{prefix}{name}": bar for prefix in ("", f"{CLICKS_ONLY}_") for name, bar in _BARS.items()}


def measure(settings: Settings, scratch: Path, say: Say) -> dict[str, Any]:
    """Take both shops through their days.

    Args:
        settings: of the real home, which is not read: its scale is that of the simulated shop.
        scratch: for the bench's own homes.
        say: receives a line per step.

    Returns:
        the figures of ``next_day.figures_of`` for the simulated shop, and with the prefix
        ``clicks_only_`` for the other; ``seconds`` of the longest fine-tune, its promotion
        included; ``blocked`` fine-tunes; ``rung`` of the frozen release; ``scale``; and
        ``clicks_only_shop``, its name in ``bench shops``.

    Raises:
        BenchFailed: a command failed, or the first training made no release that can be tuned.
    """
    simulated = ["materialize", "--scale", settings.scale]
    first = _through("simulated", scratch, say, [["simulate", *simulated[1:]]], simulated, None)
    name = SMALLER.get(settings.scale, CLICKS_ONLY)
    (shop,) = (one for one in clicks.SHOPS if one.name == name)
    second = _through(name, scratch, say, [shop.ingest], ["materialize"], shop)
    second["shop"] = name
    named = {f"{CLICKS_ONLY}_{name}": value for name, value in second.items()}
    return {"scale": settings.scale, **first, **named}


def _through(
    name: str,
    scratch: Path,
    say: Say,
    landing: list[list[str]],
    materialize: list[str],
    shop: Shop | None,
) -> Figures:
    """Take one shop through its days, and end its parts in any case.

    Args:
        name: of the shop.
        scratch: for its home.
        say: receives a line per step.
        landing: commands that fill the landing zone.
        materialize: command that trains, without its day.
        shop: writes files first; None: there are none.
    """
    terminal = Terminal(scratch / name / "home", scratch / name / "files", free_offset())
    terminal.files.mkdir(parents=True)
    if shop is not None:
        shop.write(terminal.files, scratch, 0)

    def command(*arguments: str) -> None:
        say(f"{name}: recsys {' '.join(arguments)}")
        terminal.recsys(arguments)

    try:
        for arguments in landing:
            command(*arguments)
        home = Settings(home=terminal.home, artifacts_uri=None, landing_uri=None, start_day=None)
        *_, day, last = full_graph.history(home)
        end = date.fromisoformat(day)
        tuned_days = partitions.days_between(end - timedelta(days=DAYS - 1), end)
        trained = partitions.previous_day(tuned_days[0])
        command(*materialize, "--as-of", trained)
        command("up")
        command("promote")
        frozen, seconds, blocked = _champion(home), 0.0, 0
        for one in tuned_days:
            blocked += _fine_tune(home, one, command)
            seconds = max(seconds, terminal.seconds["fine-tune"])
        tuned = _champion(home)
        command(*materialize, "--as-of", day)
        compared = {
            FROZEN: frozen,
            TUNED: tuned,
            RETRAINED: trained_release(ArtifactStore(home.artifacts), day),
        }
        say(f"{name}: {', '.join(f'{key} {one.number}' for key, one in compared.items())}")
        asked, ranks = ranks_on(home, compared, last)
    except StepFailed as error:
        raise BenchFailed(f"{name}: {error}") from error
    finally:
        terminal.recsys(["down"])
    whole = asked.overall
    found = figures_of(
        {key: own[whole] for key, own in ranks.items()}, asked.users[whole], home.seed
    )
    return {**found, "seconds": seconds, "blocked": blocked, "rung": frozen.rung["name"]}


def _fine_tune(home: Settings, day: str, command: Callable[..., None]) -> int:
    """Fine-tune a day; return 1 if its gate blocked the release, else 0."""
    try:
        command("fine-tune", day)
    except StepFailed:
        newest = releases.list_releases(ArtifactStore(home.artifacts))[-1]
        if (newest.kind, newest.day) != ("fine_tune", day) or not newest.failed_checks:
            raise
        return 1
    return 0


def _champion(home: Settings) -> Release:
    champion = read_champion(home)
    if champion is None:
        raise BenchFailed(f"{home.home} has no champion: the promotion left none")
    return releases.open_release(ArtifactStore(home.artifacts), champion.release)

"""Write the simulated shop as a landing zone.

It has a catalogue, images, users, a truth and daily interactions. All random draws depend only on
seed, first day and day, so each day can be written again alone, in any order, with equal bytes.
``truth`` models the visitors, ``exposures`` simulates a day. Memory holds one day at a time.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from recsys_assets.columns import (
    AGE,
    CLICK,
    EVENT_TYPE,
    EXPOSURE_EVENTS,
    GENDER,
    GENDERS,
    ITEM_ID,
    RAW_USERS,
    USER_ID,
)
from recsys_assets.files import sha256_file, sha256_json, write_json
from recsys_assets.lib.landing.retail_demo_store import read_retail_demo_store
from recsys_assets.lib.landing.zone import (
    IMAGES_FILE,
    INTERACTIONS_FOLDER,
    ITEMS_FILE,
    PARAMETERS_FILE,
    SERVED_FOLDER,
    SIMULATED_FILE,
    SUPERSEDED_FOLDER,
    TRUTH_FOLDER,
    USERS_FILE,
)
from recsys_assets.lib.simulator.catalogue import synthetic_catalogue
from recsys_assets.lib.simulator.exposures import calibrated, simulate_day
from recsys_assets.lib.simulator.pictures import draw_catalogue
from recsys_assets.lib.simulator.population import make_truth
from recsys_assets.lib.simulator.truth import TRUTH_VERSION, Truth
from recsys_assets.local_time import UTC
from recsys_assets.partitions import SIMULATED_DAYS

SIMULATOR_VERSION = 2

Progress = Callable[[str, int, int], None]  # (message, steps done, number of steps)


@dataclass(frozen=True)
class Scale:
    """Holds the size of a simulated shop."""

    name: str
    users: int
    items: int  # of the synthetic catalogue; a given catalogue has its own number
    exposures_per_day: int  # mean; the funnel adds about 3 %


SCALES = {
    scale.name: scale
    for scale in (
        Scale("tiny", 300, 120, 900),
        Scale("demo", 5_000, 600, 20_000),
        Scale("seed", 300_000, 2_465, 905_000),  # 13 million interactions in 14 days
    )
}


class SimulationError(RuntimeError):
    """Raised if a landing zone cannot be simulated; names cause and remedy."""


def users_of(truth: Truth) -> pl.DataFrame:
    """Return the users of a truth as RAW_USERS."""
    return pl.DataFrame(
        {
            USER_ID: truth.user_ids,
            AGE: truth.age.astype(np.int32),
            GENDER: np.array(GENDERS)[truth.user_gender],
        },
        schema={name: getattr(pl, kind) for name, kind in RAW_USERS.items()},
    )


def load_truth(landing: Path) -> Truth:
    """Read the truth of a simulated landing zone.

    Raises:
        FileNotFoundError: the landing zone has no truth.
        TruthError: the truth has another version.
    """
    return Truth.read(Path(landing) / TRUTH_FOLDER)


def simulate(
    landing: Path,
    scale: Scale | str,
    days: Sequence[str],
    seed: int,
    catalogue: Path | None = None,
    progress: Progress | None = None,
    start: str | None = None,
    zone: str = UTC,
) -> dict[str, Any]:
    """Write catalogue, users, truth and the given days into a landing zone.

    Files of the same parameters are kept. Simulated files of other parameters are replaced; the
    visitors' own event files, which name items and users of the old shop, then move to
    ``superseded/<fingerprint>/``.

    Args:
        landing: the landing zone's folder.
        scale: the size of the shop, or its name in SCALES.
        days: ISO days to write.
        seed: random seed.
        catalogue: a ``products.yaml`` of the Retail Demo Store; by default, a synthetic catalogue.
        progress: called after each step.
        start: first day (ISO) of the SIMULATED_DAYS over which items launch and interests shift.
            Default: the landing zone's own start if the first of the days lies in its
            SIMULATED_DAYS, or else the first of the days.
        zone: time zone of the days.

    Returns:
        ``landing_summary`` with ``written`` and ``kept`` (names of parts) and ``superseded``
        (number of event files moved).

    Raises:
        SimulationError: the scale is unknown, there are no days, or the landing zone holds data
            that no simulator wrote.
        CatalogueError: the catalogue cannot be read.
    """
    landing, scale = Path(landing), _scale(scale)
    if not days:
        raise SimulationError("no days to simulate: name at least one")
    parameters = {
        "version": [SIMULATOR_VERSION, TRUTH_VERSION],
        **dataclasses.asdict(scale),
        "seed": seed,
        "catalogue": None if catalogue is None else sha256_file(catalogue),
        "start": start or _start(landing, min(days)),
        # UTC is left out, so that older landing zones keep their fingerprint
        **({} if zone == UTC else {"time_zone": zone}),
    }
    superseded = _prepare(landing, parameters)
    report = progress or (lambda message, done, total: None)
    total, written, kept = len(days) + 1, [], []
    if (landing / TRUTH_FOLDER / "truth.json").exists():
        truth = load_truth(landing)
        kept.append("catalogue")
    else:
        truth = _write_shop(landing, scale, seed, catalogue, parameters["start"])
        written.append("catalogue")
    report("catalogue, images, users", 1, total)
    for number, day in enumerate(days, start=2):
        path = landing / INTERACTIONS_FOLDER / day / SIMULATED_FILE
        if path.exists():
            kept.append(day)
        else:
            write_parquet(simulate_day(truth, scale.exposures_per_day, day, zone), path)
            written.append(day)
        report(f"interactions of {day}", number, total)
    return {**landing_summary(landing), "written": written, "kept": kept, "superseded": superseded}


def _scale(scale: Scale | str) -> Scale:
    if isinstance(scale, Scale):
        return scale
    if scale not in SCALES:
        raise SimulationError(f"unknown scale {scale!r}: choose one of {', '.join(SCALES)}")
    return SCALES[scale]


def _start(landing: Path, first_day: str) -> str:
    """Return the landing zone's own start if the day lies in its days, or the day."""
    path = landing / PARAMETERS_FILE
    known: str | None = json.loads(path.read_text()).get("start") if path.exists() else None
    if (
        known
        and 0 <= (date.fromisoformat(first_day) - date.fromisoformat(known)).days < SIMULATED_DAYS
    ):
        return known
    return first_day


def _prepare(landing: Path, parameters: dict[str, Any]) -> int:
    """Clear a landing zone of other parameters; return how many event files moved.

    The parameters are written last. If the process dies before, the next one clears again.

    Raises:
        SimulationError: the landing zone holds data that no simulator wrote.
    """
    path = landing / PARAMETERS_FILE
    previous = json.loads(path.read_text()) if path.exists() else None
    if previous == parameters:
        return 0
    if previous is None and any((landing / name).exists() for name in (ITEMS_FILE, USERS_FILE)):
        raise SimulationError(
            f"{landing} holds a catalogue or users that no simulator wrote ({PARAMETERS_FILE} is "
            "missing): choose another RECSYS_LANDING_URI, or move them away"
        )
    moved = 0
    if previous is not None:
        aside = landing / SUPERSEDED_FOLDER / sha256_json(previous)[:16]
        for file in sorted((landing / INTERACTIONS_FOLDER).glob("*/*.parquet")):
            if file.name == SIMULATED_FILE:
                file.unlink()
            else:
                (aside / file.parent.name).mkdir(parents=True, exist_ok=True)
                file.replace(aside / file.parent.name / file.name)
                moved += 1
        for file in sorted((landing / SERVED_FOLDER).glob("*/*.parquet")):
            target = aside / file.relative_to(landing)
            target.parent.mkdir(parents=True, exist_ok=True)
            file.replace(target)
            moved += 1
        for part in (TRUTH_FOLDER, "catalogue", "users"):
            shutil.rmtree(landing / part, ignore_errors=True)
    write_json(path, parameters)
    return moved


def _write_shop(
    landing: Path, scale: Scale, seed: int, catalogue: Path | None, start: str
) -> Truth:
    """Write catalogue, images, users and the truth.

    The truth is written last: if it exists, the other files are complete.
    """
    items = (
        synthetic_catalogue(scale.items, seed)
        if catalogue is None
        else read_retail_demo_store(catalogue)
    )
    # images are drawn here, so a given catalogue's file names do not apply
    items = items.with_columns(image=pl.col(ITEM_ID) + ".png")
    truth = calibrated(make_truth(items, scale.users, seed, start), start)
    write_parquet(items, landing / ITEMS_FILE)
    write_parquet(draw_catalogue(items), landing / IMAGES_FILE)
    write_parquet(users_of(truth), landing / USERS_FILE)
    truth.save(landing / TRUTH_FOLDER)
    return truth


def write_parquet(frame: pl.DataFrame, path: Path) -> None:
    """Write a Parquet file atomically: readers see no file or the whole one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    frame.write_parquet(temporary)
    temporary.replace(path)


def landing_summary(landing: Path) -> dict[str, Any]:
    """Return the content of a landing zone in numbers.

    These are its parameters, users, items and images, and per day rows, exposures, clicks and click
    rate.
    """
    landing = Path(landing)
    days: dict[str, dict[str, Any]] = {}
    for folder in sorted(p for p in (landing / INTERACTIONS_FOLDER).glob("*") if p.is_dir()):
        files = sorted(folder.glob("*.parquet"))
        if not files:
            continue
        exposure = pl.col(EVENT_TYPE).is_in(EXPOSURE_EVENTS)
        # read each file alone: visitors' own events have no position column
        rows = pl.concat([pl.scan_parquet(file).select(EVENT_TYPE, CLICK) for file in files])
        counts = (
            rows.select(
                rows=pl.len(),
                exposures=exposure.sum(),
                clicks=(exposure & (pl.col(CLICK) == 1)).sum(),
            )
            .collect()
            .row(0, named=True)
        )
        days[folder.name] = {
            **counts,
            "click_rate": round(counts["clicks"] / max(counts["exposures"], 1), 4),
        }
    sizes = {
        name: pl.scan_parquet(landing / file).select(pl.len()).collect().item()
        if (landing / file).exists()
        else 0
        for name, file in (("users", USERS_FILE), ("items", ITEMS_FILE), ("images", IMAGES_FILE))
    }
    path = landing / PARAMETERS_FILE
    return {
        "landing": str(landing),
        "parameters": json.loads(path.read_text()) if path.exists() else None,
        **sizes,
        "rows": sum(day["rows"] for day in days.values()),
        "days": days,
    }

"""The simulated shop, written as a landing zone: catalogue, images, users, truth and daily
interactions.

Everything is drawn from (seed, start of the fortnight, day), so that any day can be made again
alone, in any order, to equal bytes. The model of the visitors is ``truth``, what happens on a day
is ``exposures``. One day is in memory at a time.
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
from recsys_assets.partitions import SIMULATED_DAYS

SIMULATOR_VERSION = 2

Progress = Callable[[str, int, int], None]  # (what was done, steps done, steps in all)


@dataclass(frozen=True)
class Scale:
    name: str
    users: int
    items: int  # of the synthetic catalogue; a real one brings its own
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
    """The landing zone cannot be simulated into; the message says why and what to do."""


def users_of(truth: Truth) -> pl.DataFrame:
    """The users' table (RAW_USERS)."""
    return pl.DataFrame(
        {
            USER_ID: truth.user_ids,
            AGE: truth.age.astype(np.int32),
            GENDER: np.array(GENDERS)[truth.user_gender],
        },
        schema={name: getattr(pl, kind) for name, kind in RAW_USERS.items()},
    )


def load_truth(landing: Path) -> Truth:
    """The truth of a simulated landing zone; raises FileNotFoundError where there is none."""
    return Truth.read(Path(landing) / TRUTH_FOLDER)


def simulate(
    landing: Path,
    scale: Scale | str,
    days: Sequence[str],
    seed: int,
    catalogue: Path | None = None,
    progress: Progress | None = None,
    start: str | None = None,
) -> dict[str, Any]:
    """Write catalogue, users, truth and the given days; keep what is there of the same parameters.

    Where the landing zone was simulated with other parameters, its simulated files are replaced,
    and the visitors' own event files, which name items and users of the old shop, move to
    ``superseded/<fingerprint>/``.

    Args:
        start: first day (ISO) of the fortnight over which items launch and interests shift.
            Default: the landing zone's own where the first of the days lies in its fortnight, or
                else the first of the days.

    Returns ``landing_summary`` with ``written`` and ``kept`` (names of parts) and ``superseded``
    (event files moved).

    Raises:
        SimulationError: an unknown scale, no days, or a landing zone that holds data which no
            simulator wrote.
        catalogue.CatalogueError: the catalogue cannot be read.
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
            write_parquet(simulate_day(truth, scale.exposures_per_day, day), path)
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
    path = landing / PARAMETERS_FILE
    known = json.loads(path.read_text()).get("start") if path.exists() else None
    if (
        known
        and 0 <= (date.fromisoformat(first_day) - date.fromisoformat(known)).days < SIMULATED_DAYS
    ):
        return known
    return first_day


def _prepare(landing: Path, parameters: dict[str, Any]) -> int:
    """Make the landing zone one of these parameters; how many event files were set aside.

    The parameters are written last: a process that dies before leaves the old ones, and the next
    clears again.
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
        for part in (TRUTH_FOLDER, "catalogue", "users"):
            shutil.rmtree(landing / part, ignore_errors=True)
    write_json(path, parameters)
    return moved


def _write_shop(
    landing: Path, scale: Scale, seed: int, catalogue: Path | None, start: str
) -> Truth:
    """Catalogue, images, users and, last, the truth: its presence says that the others are
    whole.
    """
    items = (
        synthetic_catalogue(scale.items, seed)
        if catalogue is None
        else read_retail_demo_store(catalogue)
    )
    items = items.with_columns(
        image=pl.col(ITEM_ID) + ".png"
    )  # drawn here, whatever the catalogue's file is called
    truth = calibrated(make_truth(items, scale.users, seed, start), start)
    write_parquet(items, landing / ITEMS_FILE)
    write_parquet(draw_catalogue(items), landing / IMAGES_FILE)
    write_parquet(users_of(truth), landing / USERS_FILE)
    truth.save(landing / TRUTH_FOLDER)
    return truth


def write_parquet(frame: pl.DataFrame, path: Path) -> None:
    """Write atomically: readers see no file or the whole one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    frame.write_parquet(temporary)
    temporary.replace(path)


def landing_summary(landing: Path) -> dict[str, Any]:
    """What a landing zone holds: parameters, users, items, and per day rows, exposures, clicks and
    click rate.
    """
    landing = Path(landing)
    days: dict[str, dict[str, Any]] = {}
    for folder in sorted(p for p in (landing / INTERACTIONS_FOLDER).glob("*") if p.is_dir()):
        files = sorted(folder.glob("*.parquet"))
        if not files:
            continue
        exposure = pl.col(EVENT_TYPE).is_in(EXPOSURE_EVENTS)
        # file by file: visitors' own events have no position
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

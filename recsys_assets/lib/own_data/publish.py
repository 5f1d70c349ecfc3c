"""Stage ingested files, move them into the landing zone, and remove what they replace."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from recsys_assets.files import sha256_file
from recsys_assets.lib.landing.zone import (
    INTERACTIONS_FOLDER,
    ITEMS_FILE,
    PARAMETERS_FILE,
    QUARANTINE_FOLDER,
    REPORT_FILE,
    SERVED_FOLDER,
    SIMULATED_FILE,
    SUPERSEDED_FOLDER,
    TRUTH_FOLDER,
    USERS_FILE,
    IngestError,
)

_STAGING = ".ingest-"


@contextmanager
def staging_folder(landing: Path) -> Iterator[Path]:
    """Open the staging folder of one ingest, and remove those of dead processes.

    Raises:
        IngestError: another ingest is running.
    """
    folder = os.open(landing, os.O_RDONLY)
    try:
        _lock(folder, landing)
        for stale in landing.glob(f"{_STAGING}*/"):
            shutil.rmtree(stale)
        staging = Path(tempfile.mkdtemp(prefix=_STAGING, dir=landing))
        try:
            yield staging
        finally:
            shutil.rmtree(staging)
    finally:
        os.close(folder)


def _lock(folder: int, landing: Path) -> None:
    try:
        # The kernel releases the lock when the process ends, also after a crash.
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise IngestError(
            f"another `recsys ingest` is writing to {landing}: wait until it has ended"
        ) from error


def refuse_mixture(landing: Path, replace: bool) -> None:
    """Refuse a landing zone with other data than ingested, unless it may be replaced.

    Raises:
        IngestError: there is such data and ``replace`` is false.
    """
    if replace or (landing / REPORT_FILE).exists():
        return
    if (landing / PARAMETERS_FILE).exists():
        raise IngestError(
            f"{landing} holds a simulated shop, which cannot be mixed with your data: use a fresh "
            "RECSYS_HOME, or add --replace to remove the simulated shop"
        )
    for name in (ITEMS_FILE, USERS_FILE):
        if (landing / name).exists():
            raise IngestError(
                f"{landing / name} exists, but {REPORT_FILE} does not: the file was not ingested, "
                "or an ingest with --replace was interrupted; use a fresh RECSYS_HOME, or add "
                "--replace to remove the old files"
            )


def clear(landing: Path) -> None:
    """Remove simulated and ingested files from the landing zone.

    Visitors' own events, the log of answers and the quarantine move to
    ``superseded/ingest-<n>/``. The files that describe the landing zone are removed first. Without
    them, the simulator and a later ingest refuse the landing zone until the replacement is
    complete.
    """
    for name in (PARAMETERS_FILE, REPORT_FILE):
        (landing / name).unlink(missing_ok=True)
    shelf = landing / SUPERSEDED_FOLDER
    aside = shelf / f"ingest-{sum(1 for _ in shelf.glob('ingest-*')) + 1:04d}"
    for file in sorted((landing / INTERACTIONS_FOLDER).glob("*/*.parquet")):
        if file.name == SIMULATED_FILE or file.name.startswith("ingested-"):
            file.unlink()
        else:
            (aside / file.parent.name).mkdir(parents=True, exist_ok=True)
            file.replace(aside / file.parent.name / file.name)
    for folder in (landing / INTERACTIONS_FOLDER).glob("*/"):
        if not any(folder.iterdir()):  # readers take every folder for a day
            folder.rmdir()
    for part in (SERVED_FOLDER, QUARANTINE_FOLDER):
        if (landing / part).exists():
            aside.mkdir(parents=True, exist_ok=True)
            (landing / part).replace(aside / part)
    for part in (TRUTH_FOLDER, "catalogue", "users"):
        shutil.rmtree(landing / part, ignore_errors=True)


def publish(staging: Path, landing: Path, quarantines: Sequence[Path]) -> None:
    """Move each staged file to its place atomically, except files of equal bytes.

    Args:
        staging: the folder with the new files.
        landing: the landing zone's folder.
        quarantines: relative paths of the quarantine files of this ingest; a file that has no rows
            any more is removed.
    """
    staged = sorted(path for path in staging.rglob("*") if path.is_file())
    for file in staged:
        target = landing / file.relative_to(staging)
        if target.exists() and sha256_file(target) == sha256_file(file):
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        file.replace(target)
    for relative in quarantines:
        if staging / relative not in staged:
            (landing / relative).unlink(missing_ok=True)

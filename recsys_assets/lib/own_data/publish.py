"""The landing zone's files while data is brought in: what may be mixed, what gives way, what moves
in.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from recsys_assets.files import sha256_file
from recsys_assets.lib.landing.zone import (
    INTERACTIONS_FOLDER,
    ITEMS_FILE,
    PARAMETERS_FILE,
    QUARANTINE_FOLDER,
    REPORT_FILE,
    SIMULATED_FILE,
    SUPERSEDED_FOLDER,
    TRUTH_FOLDER,
    USERS_FILE,
    IngestError,
)


def refuse_mixture(landing: Path, replace: bool) -> None:
    """Raises IngestError where the landing zone holds other data than ingested, and may not be
    replaced.
    """
    if replace or (landing / REPORT_FILE).exists():
        return
    if (landing / PARAMETERS_FILE).exists():
        raise IngestError(
            f"{landing} holds a simulated shop, which does not mix with your data: use a fresh "
            "RECSYS_HOME, "
            "or add --replace to remove the simulated shop"
        )
    for name in (ITEMS_FILE, USERS_FILE):
        if (landing / name).exists():
            raise IngestError(
                f"{landing / name} exists, but {REPORT_FILE} does not: it was not ingested, or an "
                "ingest died "
                "while it replaced another; use a fresh RECSYS_HOME, or add --replace to remove "
                "what is there"
            )


def clear(landing: Path) -> None:
    """Remove what was simulated or ingested; visitors' own events and the quarantine move to
    ``superseded/<n>/``.

    The files that say what the landing zone holds go first: without them it is nobody's, and both
    the simulator and a later ingest refuse it until the replacement is complete.
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
        if not any(folder.iterdir()):  # a folder is a day to its readers
            folder.rmdir()
    if (landing / QUARANTINE_FOLDER).exists():
        aside.mkdir(parents=True, exist_ok=True)
        (landing / QUARANTINE_FOLDER).replace(aside / QUARANTINE_FOLDER)
    for part in (TRUTH_FOLDER, "catalogue", "users"):
        shutil.rmtree(landing / part, ignore_errors=True)


def publish(staging: Path, landing: Path, quarantines: Sequence[Path]) -> None:
    """Move every staged file to its place, each at once; one of equal bytes stays as it is.

    Args:
        quarantines: files (relative) that this ingest renews; one that has no rows any more is
            removed.
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

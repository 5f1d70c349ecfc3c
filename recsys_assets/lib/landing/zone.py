"""Names of the files in the landing zone, where every log comes in."""

from __future__ import annotations

from pathlib import Path

REPORT_FILE = "ingested.json"

PARAMETERS_FILE = "simulation.json"
SIMULATED_FILE = "simulated.parquet"
SUPERSEDED_FOLDER = "superseded"

ITEMS_FILE, IMAGES_FILE = "catalogue/items.parquet", "catalogue/images.parquet"
CATEGORIES_FILE = "catalogue/categories.json"
USERS_FILE = "users/users.parquet"
INTERACTIONS_FOLDER, TRUTH_FOLDER, QUARANTINE_FOLDER = "interactions", "truth", "quarantine"


def was_ingested(landing: str | Path) -> bool:
    """Whether a landing zone holds a person's own data, so that nothing may be simulated into
    it.
    """
    return "://" not in str(landing) and (Path(landing) / REPORT_FILE).exists()


class IngestError(ValueError):
    """A source cannot be taken; the message names file or column, and the remedy. Nothing was
    changed.
    """

"""Name the files of the landing zone."""

from __future__ import annotations

from pathlib import Path

REPORT_FILE = "ingested.json"

PARAMETERS_FILE = "simulation.json"
SIMULATED_FILE = "simulated.parquet"
SUPERSEDED_FOLDER = "superseded"

ITEMS_FILE, IMAGES_FILE = "catalogue/items.parquet", "catalogue/images.parquet"
#: Every category that the shop's catalogue names for an item: {item_id, tag}, in the shop's order.
TAGS_FILE = "catalogue/tags.parquet"
CATEGORIES_FILE = "catalogue/categories.json"
USERS_FILE = "users/users.parquet"
INTERACTIONS_FOLDER, TRUTH_FOLDER, QUARANTINE_FOLDER = "interactions", "truth", "quarantine"
#: The gateway's answers by day, one row per answer.
SERVED_FOLDER = "served"
#: Logs of shown ads by day, and the click probabilities of simulated ones.
ADS_FOLDER, ADS_TRUTH_FOLDER = "ads", "truth/ads"
#: The gateway's predictions for ads by day, and their labels by the day of the prediction.
ADS_PREDICTIONS_FOLDER, ADS_LABELS_FOLDER = "ads_predictions", "ads_labels"


def was_ingested(landing: str | Path) -> bool:
    """Return whether a landing zone holds ingested data.

    The simulator writes nothing into such a landing zone.
    """
    return "://" not in str(landing) and (Path(landing) / REPORT_FILE).exists()


class IngestError(ValueError):
    """Raised if a source cannot be ingested; the landing zone is unchanged.

    The message names the file or column, and the remedy.
    """

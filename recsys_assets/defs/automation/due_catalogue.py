"""Find whether the catalogue is to be imported; shared by a sensor and a schedule."""

from typing import TYPE_CHECKING

import dagster as dg

from recsys_assets.orchestration import work

from .due_days import CHANGED, Days
from .jobs import catalogue

if TYPE_CHECKING:
    from recsys_assets.lib.raw.changed_catalogue import LandedCatalogue


def import_of(landed: "LandedCatalogue") -> dg.RunRequest:
    """Return the request of the run that imports a landed catalogue."""
    return work.request(
        f"catalogue-{landed.digest}",
        catalogue.name,
        tags={CHANGED: ", ".join(landed.differs)} if landed.differs else None,
    )


def due(days: Days) -> list[dg.RunRequest]:
    """Return the run that imports the catalogue, if one is due.

    It is due if the files differ from those that were imported. It stays due after a run that
    failed, because that run may have imported the tables without what follows from them.
    """
    landed = days.catalogue
    if not landed.digest:
        return []
    request = import_of(landed)
    runs = work.runs_of(days.context.instance, str(request.run_key))
    if landed.differs or (runs and not any(run.is_success for run in runs)):
        return [request]
    return []


def why_not(days: Days) -> str:
    """Return why no catalogue is imported."""
    if not days.catalogue.digest:
        return f"no catalogue has landed in {days.platform.settings.landing}"
    return "the landed catalogue is imported"

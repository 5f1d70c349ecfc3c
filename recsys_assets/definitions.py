"""Assemble the Dagster definitions: the defs folder, resources and the executor."""

from pathlib import Path

import dagster as dg

from recsys_assets.orchestration import compute
from recsys_assets.orchestration.pipes import TrainingClient
from recsys_assets.orchestration.resources import Platform
from recsys_assets.settings import get_settings


@dg.definitions
def defs() -> dg.Definitions:
    """Return all definitions of this code location."""
    settings = get_settings()
    return dg.Definitions.merge(
        dg.load_from_defs_folder(path_within_project=Path(__file__).parent),
        dg.Definitions(
            resources={"platform": Platform.of(settings), "training": TrainingClient()},
            executor=compute.executor_for(settings),
        ),
    )

"""Build the values of clicks for the assets that weigh clicks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import dagster as dg

from recsys_assets.artifacts import Artifact
from recsys_assets.event_values import EventValues
from recsys_assets.lib.figures.tables import markdown_table
from recsys_assets.orchestration.resources import Platform, StepContext

KIND = "features/click_values"


def click_values(
    context: StepContext,
    platform: Platform,
    *,
    partition: str,
    training_days: Sequence[str],
    log: Sequence[Artifact],
    items: Artifact,
) -> dict[str, Artifact]:
    """Return {"values": the values of the clicks of a window}; empty where each counts once.

    So the default adds no input, and what was built without values is not built again. Assets of
    one window share the artifact.

    Args:
        context: of the asset, for its log.
        platform: settings and artifact store.
        partition: of the asset.
        training_days: ISO; the values of their clicks have no event of the other days.
        log: ``raw/interactions`` of the window.
        items: ``raw/items``.
    """
    from recsys_assets.lib.features.click_values import write_click_values

    setting = EventValues.parse(platform.settings.event_values)
    if setting.plain:
        return {}
    values = setting.clicks
    training = [one for one in log if one.partition in set(training_days)]
    validation = [one for one in log if one.partition not in set(training_days)]
    inputs = {"training": training, "validation": validation, "items": items}
    built = platform.build(
        context,
        KIND,
        partition=partition,
        inputs=inputs,
        params={"event_values": values},
        write=lambda staged: write_click_values(
            training=training,
            validation=validation,
            items=items,
            target=staged.path,
            event_values=values,
        ),
    )
    return {"values": built.artifact}


def dismissal_params(platform: Platform) -> dict[str, float]:
    """Return the weight of dismissals as a parameter; empty where nothing is learnt from them.

    So the default changes no parameter.
    """
    weight = -EventValues.parse(platform.settings.event_values).dismissed
    return {"dismissal_weight": weight} if weight else {}


def values_metadata(values: Artifact | None) -> dict[str, Any]:
    """Return what the UI shows of the values; empty where each click counts once."""
    import polars as pl

    if values is None:
        return {}
    metrics = values.metrics
    table = pl.DataFrame(
        [
            {
                "event": event,
                "value": one["value"],
                "events": one["events"],
                "add to a click": one["counted"],
            }
            for event, one in metrics["events"].items()
        ]
    )
    return {
        "event values": dg.MetadataValue.md(markdown_table(table)),
        "mean value of a click": metrics["mean_value"],
    }

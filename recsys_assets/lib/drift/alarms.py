"""Read what the monitor found on a day as an alarm."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from recsys_assets.artifacts import ArtifactStore
from recsys_assets.lib.monitor.alarms import Alarm


def read_alarm(store: ArtifactStore, day: str, *, logged: bool) -> Alarm:
    """Return the findings of ``monitor/quality`` and ``monitor/inputs`` of a day.

    Where answers are logged, a day says that earlier drift has gone only if its answers could be
    judged.

    Args:
        store: of the artifacts.
        day: ISO.
        logged: answers are logged.

    Raises:
        ArtifactMissing: the day was not monitored.
    """
    quality, inputs = (
        store.current(f"monitor/{name}", day).metrics for name in ("quality", "inputs")
    )
    return Alarm(
        day,
        (*_of_answers(quality), *_of_inputs(inputs)),
        judged=bool(quality["judged"] or (inputs["judged"] and not logged)),
        needs_training=bool(inputs["vocabularies"]),
    )


def _of_answers(quality: Mapping[str, Any]) -> list[str]:
    return [f"{name} {quality['verdicts'][name]['reason']}" for name in quality["drifted"]]


def _of_inputs(inputs: Mapping[str, Any]) -> list[str]:
    return [
        *(
            f"{name} diverges by {inputs['divergence'][name]:.3f} bits (limit "
            f"{inputs['limit'][name]:.3f})"
            for name in inputs["drifted"]
        ),
        *(
            f"{inputs['unknown'][name]:.0%} of the rows have an unknown {name} (usual: "
            f"{inputs['usual_unknown'][name]:.0%})"
            for name in inputs["vocabularies"]
        ),
    ]

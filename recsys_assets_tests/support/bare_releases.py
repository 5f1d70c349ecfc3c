"""Write releases without models, and put them into service by their champion.json alone."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from recsys_assets.artifacts import Artifact, ArtifactStore
from recsys_assets.files import write_json
from recsys_assets.lib.release import releases
from recsys_assets.lib.release.champion import champion_path
from recsys_assets.lib.release.rung import OLDER
from recsys_assets.release_files import RELEASE_FILE
from recsys_assets.settings import Settings


def write_release(
    store: ArtifactStore,
    settings: Settings,
    number: int,
    day: str,
    *,
    kind: str = "full",
    generation: int | None = None,
    passed: bool = True,
    rung: Mapping[str, Any] = OLDER,
    form: str = releases.CODE_VERSION,
    look_back_days: int | None = None,
    inputs: Mapping[str, Any] | None = None,
    check: str = "auc",
) -> Artifact:
    """Publish the release.json of a release; by default of this form and look-back.

    check: name of the one check of its verdict, which ``passed`` is of.
    """
    judged = {"name": check, "value": 0.7 if passed else 0.4, "threshold": 0.6, "passed": passed}
    content = {
        "form": form,
        "release": number,
        "kind": kind,
        "day": day,
        "generation": generation or number,
        "versions": {},
        "gate": {"passed": passed, "checks": [judged]},
        "metrics": {},
        "known_user": None,
        "rung": rung,
        "look_back_days": look_back_days or settings.look_back_days,
    }
    with store.stage(releases.RELEASE, f"{number:06d}", inputs=inputs) as staged:
        write_json(staged.path / RELEASE_FILE, content)
        return staged.publish({})


def serve(settings: Settings, number: int, before: Sequence[int] = (), at: int = 0) -> None:
    """Write champion.json of a release.

    Args:
        settings: of the home.
        number: of the release.
        before: the releases that were in service before.
        at: of the promotion, unix seconds.
    """
    path = champion_path(settings)
    known = json.loads(path.read_text())["history"] if path.exists() else []
    times = {one["release"]: one["at"] for one in known}  # promoted before, at their own times
    history = [
        {"release": one, "at": moment, "event": "promote", "forced": False}
        for one, moment in [*((one, times.get(one, at)) for one in before), (number, at)]
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(
        path,
        {
            "release": number,
            "generation": number,
            "digest": "",
            "versions": {},
            "promoted_at": at,
            "previous": [*before][::-1],
            "history": history,
        },
    )

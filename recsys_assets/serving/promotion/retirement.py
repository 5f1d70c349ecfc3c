"""Set aside champions that this version of the code cannot run.

The servers can then start without them.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable

from recsys_assets.artifacts import ArtifactStore
from recsys_assets.lib.release import champion, releases
from recsys_assets.lib.release.champion import read_champion
from recsys_assets.lib.release.lines import ADS, LINES, ReleaseLine
from recsys_assets.serving.triton.served import ADS_MODELS
from recsys_assets.settings import Settings


def retire_older_form(settings: Settings, log: Callable[[str], None]) -> list[int]:
    """Set aside champion.json and the live models of each champion of an older form.

    Its models take other inputs than today's stages give, so Triton would refuse to load them and
    end. The files go to ``home/serving/retired/<release>``; the release stays among the artifacts.
    Call this while no server runs on the repository.

    Returns:
        The numbers of the releases that were set aside, at most one per line.
    """
    found = [_retire(settings, line, log) for line in LINES]
    return [number for number in found if number is not None]


def _retire(settings: Settings, line: ReleaseLine, log: Callable[[str], None]) -> int | None:
    """Set the champion of a line aside; return its number, None if it is of today's form."""
    present = read_champion(settings, line)
    if present is None:
        return None
    store = ArtifactStore(settings.artifacts)
    if releases.open_release(store, present.release, line).of_this_form:
        return None
    aside = settings.home / "serving" / "retired" / f"{line.prefix}{present.release:06d}"
    (aside / "model_repository").mkdir(parents=True, exist_ok=True)
    if settings.model_repository.is_dir():
        for folder in sorted(settings.model_repository.iterdir()):
            if (folder.name in ADS_MODELS) == (line == ADS):
                shutil.move(folder, aside / "model_repository" / folder.name)
        with contextlib.suppress(OSError):  # the other line has models there
            settings.model_repository.rmdir()
    # last, so that a process that dies before is repeated
    champion.champion_path(settings, line).replace(aside / "champion.json")
    log(
        f"release {present.release} of the {line.name} was built by an older version of this code, "
        f"and this version cannot run it: it is set aside in {aside}; nothing of it is served "
        "until a new release is promoted"
    )
    return present.release

"""Set aside a champion that this version of the code cannot run.

The servers can then start without it.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable

from recsys_assets.artifacts import ArtifactStore
from recsys_assets.lib.release import champion, releases
from recsys_assets.lib.release.champion import read_champion
from recsys_assets.settings import Settings


def retire_older_form(settings: Settings, log: Callable[[str], None]) -> int | None:
    """Set aside champion.json and the live repository of a champion of an older form.

    Its models take other inputs than today's stages give, so Triton would refuse to load them and
    end. The files go to ``home/serving/retired/<release>``; the release stays among the artifacts.
    Call this while no server runs on the repository.

    Returns:
        The number of the release that was set aside; None if the champion is of today's form.
    """
    present = read_champion(settings)
    if (
        present is None
        or releases.open_release(ArtifactStore(settings.artifacts), present.release).of_this_form
    ):
        return None
    aside = settings.home / "serving" / "retired" / f"{present.release:06d}"
    aside.mkdir(parents=True, exist_ok=True)
    if settings.model_repository.is_dir():
        shutil.move(settings.model_repository, aside / "model_repository")
    # last, so that a process that dies before is repeated
    champion.champion_path(settings).replace(aside / "champion.json")
    log(
        f"release {present.release} was built by an older version of this code, and this version "
        f"cannot run it: it is set aside in {aside}; nothing is served until a new release is "
        "promoted"
    )
    return present.release

"""A champion that this version of the code cannot run any more is set aside, so that the servers
start without it.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable

from recsys_assets.artifacts import ArtifactStore
from recsys_assets.lib.release import champion, releases
from recsys_assets.lib.release.champion import read_champion
from recsys_assets.settings import Settings


def retire_older_form(settings: Settings, log: Callable[[str], None]) -> int | None:
    """Set champion.json and the live model repository aside where the champion was built by an
    older version of the code.

    Its models take other inputs than today's stages give, so that Triton would refuse to load them
    and end. What is set aside lies in ``home/serving/retired/<release>``; the release itself stays
    among the artifacts. Call it while no server runs on the repository.

    Returns:
        The number of the release that was set aside, or None where there was no reason to.
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
    champion.champion_path(settings).replace(
        aside / "champion.json"
    )  # last: a process that dies before does it again
    log(
        f"release {present.release} was built by an older version of this code, which alone can "
        f"run it: it is set aside in {aside}; "
        "nothing is served until a new release is promoted"
    )
    return present.release

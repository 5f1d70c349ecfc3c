"""What a promotion is about to do, written down first: from it, whoever comes after a crash
finishes or undoes it.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from recsys_assets.files import write_json
from recsys_assets.serving.triton.served import ENSEMBLE
from recsys_assets.settings import Settings

Step = Literal["planned", "published", "loaded", "smoked", "switched", "verified", "committed"]
STEPS: tuple[Step, ...] = (
    "planned",
    "published",
    "loaded",
    "smoked",
    "switched",
    "verified",
    "committed",
)
#: From this step on every replica is known to answer with the new release: a crash after it is
#: finished, not undone.
POINT_OF_NO_RETURN: Step = "verified"
LOCK_LIMIT = 300.0  # seconds to wait for another promotion


class PromotionError(RuntimeError):
    """Base of every error of a promotion."""


class PromotionRefused(PromotionError):
    """The release may not be promoted; nothing was touched. The message names the failed checks."""


class PromotionFailed(PromotionError):
    """The promotion was begun and undone (or could not begin); the former release serves. The
    message says why.
    """


class PromotionBusy(PromotionError):
    """Another promotion held the lock for too long."""


def journal_path(settings: Settings) -> Path:
    return settings.home / "serving" / "promotion.json"


@dataclass
class Journal:
    """``<home>/serving/promotion.json``; exists only while a promotion is under way, or after it
    crashed.
    """

    path: Path
    release: int
    leaving: int | None  # the release in force when it began
    champion: dict[str, Any]  # champion.json as it shall be
    new_versions: list[tuple[str, int]]  # directories that did not exist before
    configs: dict[str, str | None]  # config.pbtxt of every model before; None: it did not exist
    ensembles: dict[str, str | None]  # the same of the ensembles that pin the versions
    step: Step = "planned"
    started: float = field(default_factory=time.time)

    def reach(self, step: Step) -> None:
        self.step = step
        write_json(self.path, {key: value for key, value in asdict(self).items() if key != "path"})

    @property
    def to_be_finished(self) -> bool:
        return STEPS.index(self.step) >= STEPS.index(POINT_OF_NO_RETURN)

    def close(self) -> None:
        self.path.unlink(missing_ok=True)


def read_journal(settings: Settings) -> Journal | None:
    """The journal of a promotion that did not end, or None."""
    path = journal_path(settings)
    if not path.is_file():
        return None
    content = json.loads(path.read_text())
    if "ensemble" in content:  # as an older version of this code wrote it, which knew one ensemble
        content["ensembles"] = {ENSEMBLE: content.pop("ensemble")}
    content["new_versions"] = [(model, version) for model, version in content["new_versions"]]
    return Journal(path=path, **content)


@contextlib.contextmanager
def promotion_lock(
    settings: Settings, log: Callable[[str], None], limit: float = LOCK_LIMIT
) -> Iterator[None]:
    """One promotion at a time; the system lets go of the lock when its holder dies.

    Raises:
        PromotionBusy: the lock was not free within ``limit`` seconds.
    """
    path = settings.home / "serving" / "promotion.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        deadline, told = time.monotonic() + limit, False
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if not told:
                    log("waiting for another promotion to end")
                    told = True
                if time.monotonic() > deadline:
                    raise PromotionBusy(
                        f"another promotion has held {path} for {limit:.0f} s; see its log, or end "
                        "it"
                    ) from None
                time.sleep(0.1)
        yield
    finally:
        os.close(descriptor)

"""Record a promotion before it begins, so that a crash can be finished or undone."""

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
from recsys_assets.lib.release.lines import RECOMMENDER, ReleaseLine
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
#: After this step every replica answers with the new release, so a crash is finished, not undone.
POINT_OF_NO_RETURN: Step = "verified"
LOCK_LIMIT = 300.0  # seconds to wait for another promotion


class PromotionError(RuntimeError):
    """Base of every error of a promotion."""


class PromotionRefused(PromotionError):
    """The release may not be promoted; nothing was changed. The message says why."""


class PromotionFailed(PromotionError):
    """The promotion was undone, or could not begin; the former release serves.

    The message gives the cause.
    """


class PromotionBusy(PromotionError):
    """Another promotion held the lock for too long."""


def journal_path(settings: Settings, line: ReleaseLine = RECOMMENDER) -> Path:
    """Return the path of a line's journal."""
    return settings.home / "serving" / f"{line.prefix}promotion.json"


@dataclass
class Journal:
    """``<home>/serving/promotion.json``, or another line's: the record of one promotion.

    The file exists only during a promotion, or after one crashed.
    """

    path: Path
    release: int
    leaving: int | None  # the release in force when it began
    champion: dict[str, Any]  # the champion.json to be written
    new_versions: list[tuple[str, int]]  # directories that did not exist before
    configs: dict[str, str | None]  # former config.pbtxt of every model; None: it did not exist
    ensembles: dict[str, str | None]  # the same for the ensembles that pin the versions
    step: Step = "planned"
    started: float = field(default_factory=time.time)

    def reach(self, step: Step) -> None:
        """Record that a step is done."""
        self.step = step
        write_json(self.path, {key: value for key, value in asdict(self).items() if key != "path"})

    @property
    def to_be_finished(self) -> bool:
        """Return whether a crash is finished from here, and not undone."""
        return STEPS.index(self.step) >= STEPS.index(POINT_OF_NO_RETURN)

    def close(self) -> None:
        """Delete the journal."""
        self.path.unlink(missing_ok=True)


def read_journal(settings: Settings, line: ReleaseLine = RECOMMENDER) -> Journal | None:
    """Return the journal of a line's promotion that did not end, or None."""
    path = journal_path(settings, line)
    if not path.is_file():
        return None
    content = json.loads(path.read_text())
    if "ensemble" in content:  # written by an older version of this code, which had one ensemble
        content["ensembles"] = {ENSEMBLE: content.pop("ensemble")}
    content["new_versions"] = [(model, version) for model, version in content["new_versions"]]
    return Journal(path=path, **content)


@contextlib.contextmanager
def promotion_lock(
    settings: Settings, log: Callable[[str], None], limit: float = LOCK_LIMIT
) -> Iterator[None]:
    """Hold the lock that allows one promotion at a time, of any line: they share one repository.

    The system releases the lock when its holder dies.

    Raises:
        PromotionBusy: the lock was not free within ``limit`` seconds.
    """
    path = settings.home / "serving" / "promotion.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        deadline, logged = time.monotonic() + limit, False
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if not logged:
                    log("waiting for another promotion to end")
                    logged = True
                if time.monotonic() > deadline:
                    raise PromotionBusy(
                        f"another promotion has held {path} for {limit:.0f} s; see its log, or "
                        "end it"
                    ) from None
                time.sleep(0.1)
        yield
    finally:
        os.close(descriptor)

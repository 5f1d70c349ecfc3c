"""Releases: the only thing that can be promoted, and each of them whole.

A release is an artifact ``serving/release`` [``NNNNNN``] that carries everything that online
serving needs: ``models/<model>/<files>``, the display data, each item's similar ones, and
``release.json``. A *full* release starts a generation (vocabularies, embedding tables, towers,
index, ranker, compiled transforms: all that must agree); a *fine-tune* release keeps the
generation's files and brings a query tower and a ranker of its own.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from recsys_assets.artifacts import Artifact, ArtifactStore
from recsys_assets.release_files import DISPLAY_FILE, MODEL_FILES, QUERY_TOWER, RANKER, RELEASE_FILE

RELEASE = "serving/release"
#: Form of a release's files, which decides whether this code can run its models. Raise it by hand
#: where their inputs change: a derived fingerprint would refuse every release of the past after
#: each change of code, and a rollback with it.
CODE_VERSION = "4"

#: Models whose version is the release's own; all others carry the number of their generation.
RELEASE_BOUND = (QUERY_TOWER, RANKER)
COMPONENTS = tuple(MODEL_FILES)


class ReleaseError(RuntimeError):
    """A release cannot be assembled or read; the message names the part and the remedy."""


@dataclass(frozen=True)
class Release:
    """``release.json`` of a release, and its artifact."""

    artifact: Artifact
    number: int
    kind: Literal["full", "fine_tune"]
    day: str  # the as-of day of a full training, or the day that was learnt
    generation: int  # number of the full release whose files it uses
    versions: Mapping[str, int]  # model → version directory
    gate: (
        Mapping[str, Any] | None
    )  # {"passed", "checks": [{"name", "value", "threshold", "passed"}]}
    metrics: Mapping[str, Any]
    known_user: str | None  # a visitor of the training data, for the smoke request
    form: str | None = CODE_VERSION  # of the code that built it; None: before forms were written

    @property
    def of_this_form(self) -> bool:
        """Whether this version of the code can run the release's models: their inputs have not
        changed since it was built.
        """
        return self.form == CODE_VERSION

    @property
    def failed_checks(self) -> list[str]:
        """The gate's failed checks, readable; empty where it passed."""
        checks = self.gate["checks"] if self.gate else []
        return [
            f"{c['name']} = {c['value']} (threshold {c['threshold']})"
            for c in checks
            if not c["passed"]
        ]


def read_release(artifact: Artifact) -> Release:
    content = json.loads(artifact.path(RELEASE_FILE).read_text())
    return Release(
        artifact,
        content["release"],
        content["kind"],
        content["day"],
        content["generation"],
        content["versions"],
        content["gate"],
        content["metrics"],
        content["known_user"],
        content.get("form"),
    )


def open_release(store: ArtifactStore, number: int) -> Release:
    """A release by its number; raises ArtifactMissing."""
    return read_release(store.current(RELEASE, f"{number:06d}"))


def list_releases(store: ArtifactStore) -> list[Release]:
    """All releases, oldest first."""
    return [open_release(store, int(name)) for name in store.partitions(RELEASE)]


def newest_passed(store: ArtifactStore) -> int:
    """Number of the newest release whose gate passed; raises ReleaseError when there is none."""
    numbers = sorted(map(int, store.partitions(RELEASE)), reverse=True)
    for number in numbers:
        release = open_release(store, number)
        if release.gate and release.gate["passed"]:
            return number
    raise ReleaseError(
        "no release has passed its gate"
        if numbers
        else "there is no release; materialise the full graph first (`recsys materialize`)"
    )


# --- building -------------------------------------------------------------------------------------


# --- derived payload ------------------------------------------------------------------------------


def read_display(release: Release) -> dict[str, dict[str, Any]]:
    """item id → what a page shows of it; its keys are the release's whole catalogue."""
    return json.loads(release.artifact.path(DISPLAY_FILE).read_text())["items"]


# --- parts ----------------------------------------------------------------------------------------


# --- the champion ---------------------------------------------------------------------------------

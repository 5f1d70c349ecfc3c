"""Reads releases, the only artifacts that can be promoted, each as a whole.

A release is an artifact ``serving/release`` [``NNNNNN``] that holds everything that online serving
needs: ``models/<model>/<files>``, the display data, the similar items, and ``release.json``. A
*full* release starts a generation: vocabularies, embedding tables, towers, index, ranker and
compiled transforms, which must agree. A *simple* release starts a generation too; its models are
those of a simple rung (popularity or item-to-item) in the same form. A *fine-tune* release has the
generation's files with its own query tower, ranker, sources and weights.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from recsys_assets.artifacts import Artifact, ArtifactStore
from recsys_assets.columns import OLDER_LOOK_BACK_DAYS
from recsys_assets.lib.features.look_back import look_back_of
from recsys_assets.lib.features.seen import SeenRule, read_rule
from recsys_assets.lib.release.champion import read_champion
from recsys_assets.lib.release.learnt import LearntDays, read_learnt
from recsys_assets.lib.release.lines import ADS, RECOMMENDER, ReleaseLine, line_of
from recsys_assets.lib.release.rung import OLDER, RUNGS, Rung, read_rung
from recsys_assets.lib.release.verdict import Check, Verdict, blocks, stops
from recsys_assets.release_files import (
    CANDIDATE_SOURCES,
    DISPLAY_FILE,
    MODEL_FILES,
    QUERY_TOWER,
    RANKER,
    RELEASE_FILE,
    SAMPLER,
    SEEN_RULE,
    model_file,
    models_with,
)
from recsys_assets.settings import Settings

RELEASE = RECOMMENDER.kind
#: Result of the check of a release, under the release's own partition; see ``lib.served_check``.
SERVED_CHECK = "serving/served_check"
#: Form of a release's files. This code runs only models of this form. Raise it by hand where the
#: inputs of the models change. A derived fingerprint would refuse every older release after each
#: change of code, and so every rollback.
CODE_VERSION = "8"
#: The same of the ads ranker's releases.
ADS_CODE_VERSION = "1"

#: Models that a fine-tune replaces; all others carry the number of their generation.
REFRESHED = (
    QUERY_TOWER,
    CANDIDATE_SOURCES,
    "filter_seen_items",
    "feast_item_lookup",
    RANKER,
    SAMPLER,
)
COMPONENTS = tuple(MODEL_FILES)


_NONE_YET = {
    RECOMMENDER: "there is no release; materialise the full graph first (`recsys materialize`)",
    ADS: "there is no release of the ads ranker; run the job ads_training first",
}


class ReleaseError(RuntimeError):
    """A release cannot be assembled or read. The message names the part and the remedy."""


@dataclass(frozen=True)
class Release:
    """Holds a release's artifact and the content of its ``release.json``."""

    artifact: Artifact
    number: int
    kind: Literal["full", "fine_tune", "simple"]
    day: str  # the as-of day of a full training, or the day that was learnt
    generation: int  # number of the full release whose files it uses
    versions: Mapping[str, int]  # model → version directory
    gate: Verdict | None
    metrics: Mapping[str, Any]
    known_user: str | None  # a visitor of the training data, for the smoke request
    form: str | None = CODE_VERSION  # of the code that built it; None: before forms were written
    rung: Rung = field(default_factory=lambda: OLDER)
    look_back_days: int = OLDER_LOOK_BACK_DAYS  # days of clicks that its models' features cover
    text_encoder: Mapping[str, str | None] | None = None  # name and version; None: not recorded
    learnt_days: LearntDays | None = None  # of each of its parts; None: not recorded

    @property
    def line(self) -> ReleaseLine:
        """Return the line that the release belongs to."""
        return line_of(self.artifact.kind)

    @property
    def of_this_form(self) -> bool:
        """Return whether this version of the code can run the release's models."""
        return self.form == (ADS_CODE_VERSION if self.line == ADS else CODE_VERSION)

    def fits(self, settings: Settings) -> bool:
        """Return whether the home's online features cover the days that the models expect.

        The ads ranker reads no features of the home.
        """
        return self.line == ADS or self.look_back_days == settings.look_back_days

    @property
    def failed_checks(self) -> list[str]:
        """Failed checks that block, as lines of text; empty where the gate passed."""
        return [_line(check) for check in self._checks if stops(check)]

    @property
    def warnings(self) -> list[str]:
        """Failed checks that do not block, as lines of text."""
        return [_line(check) for check in self._checks if not (check["passed"] or blocks(check))]

    @property
    def _checks(self) -> list[Check]:
        return self.gate["checks"] if self.gate else []


def _line(check: Check) -> str:
    return f"{check['name']} = {check['value']} (threshold {check['threshold']})"


def read_release(artifact: Artifact) -> Release:
    """Read the ``release.json`` of a release."""
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
        read_rung(content),
        look_back_of(content),
        content.get("text_encoder"),
        read_learnt(content),
    )


def open_release(store: ArtifactStore, number: int, line: ReleaseLine = RECOMMENDER) -> Release:
    """Open a release of a line by its number.

    Raises:
        ArtifactMissing: there is none of this number.
    """
    return read_release(store.current(line.kind, f"{number:06d}"))


def list_releases(store: ArtifactStore, line: ReleaseLine = RECOMMENDER) -> list[Release]:
    """Return all releases of a line, oldest first."""
    return [open_release(store, int(name), line) for name in store.partitions(line.kind)]


def lists_differ(store: ArtifactStore, number: int, line: ReleaseLine = RECOMMENDER) -> bool:
    """Return whether a release was found to serve other lists than the evaluation judges.

    A release that was not checked, such as one of an older version, counts as equal. The ads ranker
    serves no lists.
    """
    if line == ADS:
        return False
    found = store.manifest(SERVED_CHECK, f"{number:06d}")
    return found is not None and not found["metrics"]["passed"]


def newest_passed(store: ArtifactStore, settings: Settings, line: ReleaseLine = RECOMMENDER) -> int:
    """Return the number of the best release of a line whose gate passed.

    It is of the newest day, of the highest rung of that day, and the newest of those. Releases
    whose lists differ from the evaluation's are left out. Releases of an older form or of another
    look-back count only where there is no other; their promotion is refused, with the remedy.

    Raises:
        ReleaseError: there is none.
    """
    releases = list_releases(store, line)
    passed = [
        one
        for one in releases
        if one.gate and one.gate["passed"] and not lists_differ(store, one.number, line)
    ]
    if not passed:
        raise ReleaseError(
            f"no release of the {line.name} has passed its gate"
            + ("" if line == ADS else " and serves the lists that were evaluated")
            if releases
            else _NONE_YET[line]
        )
    fitting = [one for one in passed if one.of_this_form and one.fits(settings)]
    best = max(
        fitting or passed, key=lambda one: (one.day, RUNGS.index(one.rung["name"]), one.number)
    )
    return best.number


def training_days(store: ArtifactStore, release: Release) -> list[str]:
    """Return the training days of a release's generation, as its workflows record them."""
    generation = open_release(store, release.generation).artifact
    workflows = store.open(generation.manifest["inputs"]["workflows"])
    return [day["partition"] for day in workflows.manifest["inputs"]["train"]]


def champion_artifact(store: ArtifactStore, settings: Settings) -> Artifact | None:
    """Return the champion's artifact; None where there is none or it is of an older form.

    Models of an older form take other inputs than today's transforms make, so they cannot answer
    the queries.
    """
    present = read_champion(settings)
    if present is None:
        return None
    release = open_release(store, present.release)
    return release.artifact if release.of_this_form else None


def seen_rule(release: Artifact) -> SeenRule:
    """Return the rule by which a release hides what a visitor has seen.

    A fine-tune has that of its generation.
    """
    return read_rule(release.path(model_file(models_with(SEEN_RULE)[0], SEEN_RULE)))


def read_display(release: Release) -> dict[str, dict[str, Any]]:
    """Return what a page shows of each item of the catalogue: item id → columns."""
    items: dict[str, dict[str, Any]] = json.loads(release.artifact.path(DISPLAY_FILE).read_text())[
        "items"
    ]
    return items

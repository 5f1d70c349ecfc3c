"""Promote a release whole, on every replica, verified, or not at all.

Steps: publish version directories → load the models → smoke requests through candidate ensembles →
write the ensembles' pinned versions and load them (the switch: one file each) → verify →
champion.json. A failure before the verification is undone on every replica. ``recover`` finishes or
undoes a crash, from the journal.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from recsys_assets.artifacts import Artifact, ArtifactError, ArtifactMissing, ArtifactStore
from recsys_assets.lib.release.champion import Champion, read_champion
from recsys_assets.lib.release.lines import LINES, RECOMMENDER, ReleaseLine
from recsys_assets.lib.release.releases import Release, lists_differ, open_release, read_release
from recsys_assets.lib.release.rung import described
from recsys_assets.serving.promotion import steps
from recsys_assets.serving.promotion.journal import (
    Journal,
    PromotionError,
    PromotionFailed,
    PromotionRefused,
    Step,
    journal_path,
    promotion_lock,
    read_journal,
)
from recsys_assets.serving.promotion.line_parts import Smoke, smoke_of
from recsys_assets.serving.promotion.steps import Log, PromotionTarget
from recsys_assets.serving.triton.ensemble import EnsembleError
from recsys_assets.serving.triton.replicas import ReplicaError, Replicas, load_release
from recsys_assets.serving.triton.repository import TEMPLATES, ModelRepository, RepositoryError
from recsys_assets.serving.triton.served import loaded_versions, published_versions
from recsys_assets.settings import Settings

__all__ = [
    "PromotionError",
    "PromotionFailed",
    "PromotionRefused",
    "PromotionReport",
    "champion_number",
    "promote",
    "recover",
    "rollback",
]

#: Errors that undo a promotion. Any other error leaves the journal for ``recover``.
FAILURES = (ReplicaError, RepositoryError, EnsembleError, ArtifactError, OSError)
PREVIOUS_KEPT, HISTORY_KEPT = 10, 100


@dataclass
class PromotionReport:
    """Report of a promotion: the release, its replicas and the times of its steps."""

    release: int
    generation: int
    previous: int | None
    event: Literal["promote", "rollback"]
    versions: dict[str, int]
    replicas: list[str]
    published: list[str] = field(default_factory=list)  # model/version
    pruned: list[str] = field(default_factory=list)
    steps: dict[str, float] = field(default_factory=dict)  # step → seconds since the start
    seconds: float = 0.0

    def metadata(self) -> dict[str, Any]:
        """Return plain values for a run's metadata."""
        return asdict(self)


def _platform(
    settings: Settings,
    templates: Path,
    log: Log,
    line: ReleaseLine,
    on_step: Callable[[Step], None] | None = None,
) -> PromotionTarget:
    """Return what the steps need, from the settings."""
    store = ArtifactStore(settings.artifacts, cache=settings.home / "cache" / "artifacts")
    return PromotionTarget(
        settings, store, ModelRepository(settings.model_repository, templates), log, line, on_step
    )


# --- what is called from outside ------------------------------------------------------------------
def promote(
    settings: Settings,
    release: Artifact | int,
    line: ReleaseLine = RECOMMENDER,
    *,
    force_gate: bool = False,
    log: Log = print,
    templates: Path = TEMPLATES,
    on_step: Callable[[Step], None] | None = None,
) -> PromotionReport:
    """Make a release the champion on every replica of ``settings.triton_grpc``.

    Args:
        settings: of the home.
        release: its number or artifact.
        line: that the release belongs to.
        force_gate: promote in spite of a failed or absent verdict; the champion's history records
            it.
        log: gets one line per step.
        templates: the models' configuration and code.
        on_step: called after each step was written to the journal.

    Raises:
        PromotionRefused: the gate's verdict is absent or failed, or the release has an older form
            or another look-back than the settings.
        PromotionFailed: a replica, a file or an answer was wrong; undone on all replicas.
        PromotionBusy: another promotion held the lock for too long.
    """
    platform = _platform(settings, templates, log, line, on_step)
    with promotion_lock(settings, log):
        _recover(platform)
        return _promote(platform, _resolve(platform, release), "promote", force_gate)


def rollback(
    settings: Settings,
    line: ReleaseLine = RECOMMENDER,
    *,
    log: Log = print,
    templates: Path = TEMPLATES,
    on_step: Callable[[Step], None] | None = None,
) -> PromotionReport:
    """Promote the former champion again; its gate passed when it was promoted.

    Raises:
        PromotionRefused: there is no previous champion, or it has another look-back than the
            settings.
        PromotionFailed: as for ``promote``; the present champion serves on.
        PromotionBusy: another promotion held the lock for too long.
    """
    platform = _platform(settings, templates, log, line, on_step)
    with promotion_lock(settings, log):
        _recover(platform)
        present = read_champion(settings, line)
        if present is None or not present.previous:
            raise PromotionRefused("there is no previous champion to roll back to")
        return _promote(platform, _resolve(platform, present.previous[0]), "rollback", True)


def recover(
    settings: Settings, *, log: Log = print, templates: Path = TEMPLATES
) -> Literal["finished", "undone"] | None:
    """Finish or undo promotions that died, of every line; return None if there was none.

    Where no server runs, this changes only the files.
    """
    with promotion_lock(settings, log):
        found = [_recover(_platform(settings, templates, log, line)) for line in LINES]
    return next((one for one in found if one is not None), None)


def champion_number(settings: Settings, line: ReleaseLine = RECOMMENDER) -> int | None:
    """Return the number of a line's release in force; None before the first promotion."""
    present = read_champion(settings, line)
    return present.release if present is not None else None


# --- the steps ------------------------------------------------------------------------------------
def _resolve(platform: PromotionTarget, release: Artifact | int) -> Release:
    """Open a release; raise PromotionRefused if it does not exist."""
    try:
        return (
            read_release(release)
            if isinstance(release, Artifact)
            else open_release(platform.store, release, platform.line)
        )
    except ArtifactMissing as error:
        raise PromotionRefused(str(error)) from error


def _promote(
    platform: PromotionTarget,
    release: Release,
    event: Literal["promote", "rollback"],
    force_gate: bool,
) -> PromotionReport:
    """Run all steps of a promotion, and undo them if one fails."""
    started = time.monotonic()
    _require_promotable(platform.store, release, platform.settings, force_gate)
    present = read_champion(platform.settings, platform.line)
    report = PromotionReport(
        release.number,
        release.generation,
        present.release if present else None,
        event,
        published_versions(release),
        platform.settings.triton_grpc,
    )

    def step(journal: Journal, name: Step) -> None:
        """Record a step in the journal and in the report."""
        report.steps[name] = round(time.monotonic() - started, 3)
        platform.reach(journal, name)

    with platform.replicas() as replicas:
        try:
            release.artifact.verify()
            replicas.require_live()
            smoke = smoke_of(release)
            journal = _plan(
                platform, release, present, event, forced=force_gate and event == "promote"
            )
        except FAILURES as error:
            raise PromotionFailed(f"release {release.number} was not begun: {error}") from error
        try:
            step(journal, "planned")
            report.published = [f"{model}/{version}" for model, version in journal.new_versions]
            _go_live(platform, replicas, release, journal, smoke, step)
        except FAILURES as error:
            platform.log(f"release {release.number} failed, undoing: {error}")
            steps.undo(platform, journal, replicas)
            serving = f"release {present.release} still serves" if present else "nothing is served"
            raise PromotionFailed(
                f"release {release.number} was undone, {serving}: {error}"
            ) from error
        step(journal, "verified")
        steps.commit(platform, journal, release)
        step(journal, "committed")
        report.pruned = steps.clean_up(platform, journal, release, replicas.members)
        journal.close()
    report.seconds = round(time.monotonic() - started, 3)
    platform.log(
        f"release {release.number} is the champion on {', '.join(report.replicas)} "
        f"({report.seconds:.1f} s)"
    )
    return report


def _require_promotable(
    store: ArtifactStore, release: Release, settings: Settings, force_gate: bool
) -> None:
    """Raise PromotionRefused unless form, look-back, verdict and served lists allow promotion."""
    if not release.of_this_form:
        raise PromotionRefused(
            f"release {release.number} was built by an older version of this code, whose models "
            "take other inputs: run full training to build a new release"
        )
    if not release.fits(settings):
        raise PromotionRefused(
            f"release {release.number} was trained on features of {release.look_back_days} days of "
            f"clicks, but RECSYS_LOOK_BACK_DAYS of this home is {settings.look_back_days}, so "
            "visitors would get other features than in training: run `recsys materialize` to build "
            f"a release of {settings.look_back_days} days, or set RECSYS_LOOK_BACK_DAYS back to "
            f"{release.look_back_days}"
        )
    if force_gate:
        return
    if release.gate is None:
        raise PromotionRefused(
            f"release {release.number} has no gate verdict: evaluate it, then build it again"
        )
    if not release.gate["passed"]:
        raise PromotionRefused(
            f"release {release.number} failed its gate: {'; '.join(release.failed_checks)}"
        )
    if lists_differ(store, release.number, release.line):
        raise PromotionRefused(
            f"release {release.number} serves other lists than the evaluation judged: run `recsys "
            f"check-served {release.number}` to see the first one, and report it as a fault"
        )


def _go_live(
    platform: PromotionTarget,
    replicas: Replicas,
    release: Release,
    journal: Journal,
    smoke: Smoke,
    step: Callable[[Journal, Step], None],
) -> None:
    """Publish, load, try, switch and verify a release on every replica."""
    changed = steps.publish(platform, release, journal)
    step(journal, "published")
    platform.log(
        f"release {release.number}: {len(journal.new_versions)} version directories published"
    )
    replicas.each(
        lambda replica: load_release(
            replica, loaded_versions(release, platform.mode), changed, platform.log
        )
    )
    step(journal, "loaded")
    steps.try_candidates(platform, replicas, release, smoke)
    step(journal, "smoked")
    platform.log(
        f"release {release.number}: smoke requests passed on {len(replicas.members)} replica(s)"
    )
    steps.switch(platform, replicas, release, journal)
    step(journal, "switched")
    replicas.each(lambda replica: smoke(replica, platform.entrances))


def _plan(
    platform: PromotionTarget, release: Release, present: Champion | None, event: str, forced: bool
) -> Journal:
    """Return the journal of a promotion: the present state and the champion to come."""
    previous = list(present.previous) if present else []
    if event == "rollback":
        previous = previous[1:]
    elif present is not None and present.release != release.number:
        previous = [present.release, *(n for n in previous if n != release.number)][:PREVIOUS_KEPT]
    now = int(time.time())
    history = [
        *(present.history if present else []),
        {"release": release.number, "at": now, "event": event, "forced": forced},
    ][-HISTORY_KEPT:]
    after = Champion(
        release.number,
        release.generation,
        release.artifact.digest,
        dict(release.versions),
        now,
        previous,
        history,
        described(release.rung),
    )
    repository = platform.repository
    return Journal(
        journal_path(platform.settings, platform.line),
        release.number,
        present.release if present else None,
        asdict(after),
        repository.missing_versions(release),
        {model: repository.config(model) for model in published_versions(release)},
        {entrance: repository.config(entrance) for entrance in platform.candidates},
    )


def _recover(platform: PromotionTarget) -> Literal["finished", "undone"] | None:
    """Finish or undo the promotion of the journal, if there is one."""
    journal = read_journal(platform.settings, platform.line)
    if journal is None:
        return None
    with platform.replicas() as replicas:
        if not journal.to_be_finished:
            platform.log(
                f"a promotion of release {journal.release} died after the step {journal.step!r}: "
                "undoing it"
            )
            steps.undo(platform, journal, replicas)
            return "undone"
        platform.log(
            f"a promotion of release {journal.release} died after the step {journal.step!r}: "
            "finishing it"
        )
        release = open_release(platform.store, journal.release, platform.line)
        steps.commit(platform, journal, release)
        steps.clean_up(platform, journal, release, replicas.live())
        journal.close()
        return "finished"

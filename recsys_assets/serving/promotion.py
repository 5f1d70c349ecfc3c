"""Promotion: a release goes live whole, on every replica, verified, or not at all.

publish version directories → load the components → smoke requests through a candidate ensemble → write the
ensemble's pinned versions and load it (the switch: one file) → verify → champion.json. A failure before the
verification is undone on every replica; a crash is finished or undone by ``recover``, from the journal.
"""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import polars as pl

from recsys_assets.artifacts import Artifact, ArtifactError, ArtifactMissing, ArtifactStore, write_json
from recsys_assets.lib.releases import (
    IMAGES_FILE,
    Champion,
    Release,
    champion,
    champion_path,
    open_release,
    read_display,
    read_release,
)
from recsys_assets.serving.ensemble import EnsembleError
from recsys_assets.serving.promotion_journal import Journal, PromotionError, Step, promotion_lock, read_journal
from recsys_assets.serving.replicas import Replica, ReplicaError, Replicas, load_release, smoke
from recsys_assets.serving.repository import ENSEMBLE, TEMPLATES, ModelRepository, RepositoryError
from recsys_assets.serving.triton_server import CANDIDATE_ENSEMBLE
from recsys_assets.settings import Settings

Log = Callable[[str], None]
#: What may go wrong on the way; each of these is undone. Anything else leaves the journal for ``recover``.
FAILURES = (ReplicaError, RepositoryError, EnsembleError, ArtifactError, OSError)
PREVIOUS_KEPT, HISTORY_KEPT = 10, 100


class PromotionRefused(PromotionError):
    """The release may not be promoted; nothing was touched. The message names the failed checks."""


class PromotionFailed(PromotionError):
    """The promotion was begun and undone (or could not begin); the former release serves. The message says why."""


@dataclass
class PromotionReport:
    """What a promotion did."""

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
        """Plain values for a run's metadata."""
        return asdict(self)


@dataclass
class _Platform:
    """What every step needs."""

    settings: Settings
    store: ArtifactStore
    repository: ModelRepository
    log: Log
    on_step: Callable[[Step], None] | None = None

    def reach(self, journal: Journal, step: Step) -> None:
        journal.reach(step)
        if self.on_step is not None:
            self.on_step(step)


def _platform(settings: Settings, templates: Path, log: Log,
              on_step: Callable[[Step], None] | None = None) -> _Platform:
    store = ArtifactStore(settings.artifacts, cache=settings.home / "cache" / "artifacts")
    return _Platform(settings, store, ModelRepository(settings.model_repository, templates), log, on_step)


# --- what is called from outside -----------------------------------------------------------------------------------
def promote(settings: Settings, release: Artifact | int, *, force_gate: bool = False, log: Log = print,
            templates: Path = TEMPLATES, on_step: Callable[[Step], None] | None = None) -> PromotionReport:
    """Make a release the champion on every replica of ``settings.triton_grpc``.

    Args:
        release: its number or artifact.
        force_gate: promote in spite of a failed or absent verdict; the champion's history says so.
        log: gets one line a step.
        templates: the models' configuration and code.
        on_step: called after each step was written to the journal.

    Raises:
        PromotionRefused: the gate's verdict is absent or failed.
        PromotionFailed: a replica, a file or the answer was not as it must be; undone on all replicas.
    """
    platform = _platform(settings, templates, log, on_step)
    with promotion_lock(settings, log):
        _recover(platform)
        return _promote(platform, _resolve(platform, release), "promote", force_gate)


def rollback(settings: Settings, *, log: Log = print, templates: Path = TEMPLATES,
             on_step: Callable[[Step], None] | None = None) -> PromotionReport:
    """Re-promote the champion before the present one; its gate was passed when it was promoted.

    Raises:
        PromotionRefused: there is no previous champion.
        PromotionFailed: as for ``promote``; the present champion goes on.
    """
    platform = _platform(settings, templates, log, on_step)
    with promotion_lock(settings, log):
        _recover(platform)
        present = champion(settings)
        if present is None or not present.previous:
            raise PromotionRefused("there is no previous champion to roll back to")
        return _promote(platform, _resolve(platform, present.previous[0]), "rollback", True)


def recover(settings: Settings, *, log: Log = print,
            templates: Path = TEMPLATES) -> Literal["finished", "undone"] | None:
    """Finish or undo a promotion that died; on disk alone where no server runs. None: there was nothing to do."""
    with promotion_lock(settings, log):
        return _recover(_platform(settings, templates, log))


def champion_number(settings: Settings) -> int | None:
    """Number of the release in force, or None before the first promotion."""
    present = champion(settings)
    return present.release if present is not None else None


# --- the steps -----------------------------------------------------------------------------------------------------
def _resolve(platform: _Platform, release: Artifact | int) -> Release:
    try:
        return read_release(release) if isinstance(release, Artifact) else open_release(platform.store, release)
    except ArtifactMissing as error:
        raise PromotionRefused(str(error)) from error


def _promote(platform: _Platform, release: Release, event: Literal["promote", "rollback"],
             force_gate: bool) -> PromotionReport:
    started = time.monotonic()
    if not force_gate and release.gate is None:
        raise PromotionRefused(f"release {release.number} has no gate verdict: evaluate it, then build it again")
    if not force_gate and not release.gate["passed"]:
        raise PromotionRefused(f"release {release.number} failed its gate: {'; '.join(release.failed_checks)}")
    present = champion(platform.settings)
    report = PromotionReport(release.number, release.generation, present.release if present else None, event,
                             dict(release.versions), platform.settings.triton_grpc)

    def step(journal: Journal, name: Step) -> None:
        report.steps[name] = round(time.monotonic() - started, 3)
        platform.reach(journal, name)

    with Replicas(platform.settings.triton_grpc) as replicas:
        try:
            release.artifact.verify()
            replicas.require_live()
            catalogue = set(read_display(release))
            journal = _plan(platform, release, present, event, forced=force_gate and event == "promote")
        except FAILURES as error:
            raise PromotionFailed(f"release {release.number} was not begun: {error}") from error
        try:
            step(journal, "planned")
            report.published = [f"{model}/{version}" for model, version in journal.new_versions]
            changed = _publish(platform, release, journal)
            step(journal, "published")
            platform.log(f"release {release.number}: {len(journal.new_versions)} version directories published")
            replicas.each(lambda replica: load_release(replica, release.versions, changed, platform.log))
            step(journal, "loaded")
            _try_candidate(platform, replicas, release, catalogue)
            step(journal, "smoked")
            platform.log(f"release {release.number}: smoke requests passed on {len(replicas.members)} replica(s)")
            _publish_display(platform, release, leaving=_leaving(platform, journal))
            platform.repository.write_ensemble(ENSEMBLE, platform.repository.ensemble_config(release, ENSEMBLE))
            replicas.each(lambda replica: replica.load(ENSEMBLE))
            step(journal, "switched")
            replicas.each(lambda replica: smoke(replica, ENSEMBLE, release, catalogue))
        except FAILURES as error:
            platform.log(f"release {release.number} failed, undoing: {error}")
            _undo(platform, journal, replicas)
            serving = f"release {present.release} serves on" if present else "nothing is served"
            raise PromotionFailed(f"release {release.number} was undone, {serving}: {error}") from error
        step(journal, "verified")
        _commit(platform, journal, release)
        step(journal, "committed")
        report.pruned = _clean_up(platform, journal, release, replicas.members)
        journal.close()
    report.seconds = round(time.monotonic() - started, 3)
    platform.log(f"release {release.number} is the champion on {', '.join(report.replicas)} ({report.seconds:.1f} s)")
    return report


def _plan(platform: _Platform, release: Release, present: Champion | None, event: str, forced: bool) -> Journal:
    previous = list(present.previous) if present else []
    if event == "rollback":
        previous = previous[1:]
    elif present is not None and present.release != release.number:
        previous = [present.release, *(n for n in previous if n != release.number)][:PREVIOUS_KEPT]
    now = int(time.time())
    history = [*(present.history if present else []),
               {"release": release.number, "at": now, "event": event, "forced": forced}][-HISTORY_KEPT:]
    after = Champion(release.number, release.generation, release.artifact.digest, dict(release.versions), now, previous,
                     history)
    repository = platform.repository
    return Journal(platform.settings.home / "serving" / "promotion.json", release.number,
                   present.release if present else None, asdict(after), repository.missing_versions(release),
                   {model: repository.config(model) for model in release.versions}, repository.config(ENSEMBLE))


def _publish(platform: _Platform, release: Release, journal: Journal) -> list[str]:
    """Returns the models whose configuration changed."""
    repository = platform.repository
    for model, _ in journal.new_versions:
        repository.publish(release, model)
    return [model for model in release.versions if repository.write_config(model)]


def _try_candidate(platform: _Platform, replicas: Replicas, release: Release, catalogue: set[str]) -> None:
    repository = platform.repository
    repository.write_ensemble(CANDIDATE_ENSEMBLE, repository.ensemble_config(release, CANDIDATE_ENSEMBLE))
    replicas.each(lambda replica: replica.load(CANDIDATE_ENSEMBLE))
    replicas.each(lambda replica: smoke(replica, CANDIDATE_ENSEMBLE, release, catalogue))


def _leaving(platform: _Platform, journal: Journal) -> Release | None:
    """The release that is being left; None where there is none, or its artifact is gone."""
    if journal.leaving is None:
        return None
    try:
        return open_release(platform.store, journal.leaving)
    except ArtifactMissing:
        return None


def _commit(platform: _Platform, journal: Journal, release: Release) -> None:
    _publish_display(platform, release)
    write_json(champion_path(platform.settings), journal.champion)


def _publish_display(platform: _Platform, release: Release, leaving: Release | None = None) -> None:
    """Write what the gateway shows. Around the switch it covers both releases, so that no answer lacks its display."""
    folder = platform.settings.home / "serving"
    both = [release] if leaving is None else [leaving, release]
    items: dict[str, Any] = {}
    for one in both:
        items |= read_display(one)
    images = pl.concat([pl.read_parquet(one.artifact.path(IMAGES_FILE)) for one in both])
    temporary = folder / f".{IMAGES_FILE}.{uuid.uuid4().hex}"
    folder.mkdir(parents=True, exist_ok=True)
    images.unique("image", keep="last", maintain_order=True).write_parquet(temporary)
    os.replace(temporary, folder / IMAGES_FILE)
    write_json(folder / "display.json", {"release": both[0].number, "items": items})


def _clean_up(platform: _Platform, journal: Journal, release: Release, members: list[Replica]) -> list[str]:
    """Unload the candidate and drop the versions that nobody needs; a failure leaves surplus, never a wrong answer.

    Kept: the champion, the one that a rollback goes back to, and the one just left, whose requests may be in flight.
    """
    repository = platform.repository
    keep = {model: {version} for model, version in release.versions.items()}
    for number in {*journal.champion["previous"][:1], *([journal.leaving] if journal.leaving else [])}:
        try:
            for model, version in open_release(platform.store, number).versions.items():
                keep.setdefault(model, set()).add(version)
        except ArtifactMissing:
            platform.log(f"release {number} is no longer among the artifacts: it cannot be rolled back to")
    surplus = repository.surplus(keep)
    repository.remove_model(CANDIDATE_ENSEMBLE)
    for model, version in surplus:
        repository.remove_version(model, version)
    repository.clear_staging()
    for replica in members:
        try:
            replica.unload(CANDIDATE_ENSEMBLE)
            for model in dict.fromkeys(model for model, _ in surplus):
                replica.load(model)
        except ReplicaError as error:
            platform.log(f"cleaning up: {error}")
    return [f"{model}/{version}" for model, version in surplus]


# --- undoing and recovering ------------------------------------------------------------------------------------------
def _recover(platform: _Platform) -> Literal["finished", "undone"] | None:
    journal = read_journal(platform.settings)
    if journal is None:
        return None
    with Replicas(platform.settings.triton_grpc) as replicas:
        if not journal.to_be_finished:
            platform.log(f"a promotion of release {journal.release} died after the step {journal.step!r}: undoing it")
            _undo(platform, journal, replicas)
            return "undone"
        platform.log(f"a promotion of release {journal.release} died after the step {journal.step!r}: finishing it")
        release = open_release(platform.store, journal.release)
        _commit(platform, journal, release)
        _clean_up(platform, journal, release, replicas.live())
        journal.close()
        return "finished"


def _undo(platform: _Platform, journal: Journal, replicas: Replicas) -> None:
    """Back to what was before, on disk first (what a restarted server would read), then on every living replica.

    Raises:
        PromotionFailed: a living replica would not go back; the journal stays, so that the next call tries again.
    """
    repository, touched = platform.repository, {model for model, _ in journal.new_versions}
    touched |= {model for model, text in journal.configs.items() if text != repository.config(model)}
    members, faults = replicas.live(), []

    def attempt(action: Callable[[Replica], None]) -> None:
        for replica in members:
            try:
                action(replica)
            except ReplicaError as error:
                faults.append(str(error))

    repository.remove_model(CANDIDATE_ENSEMBLE)
    if journal.ensemble is None:
        repository.remove_model(ENSEMBLE)
        attempt(lambda replica: replica.unload(ENSEMBLE))
    else:
        repository.write_ensemble(ENSEMBLE, journal.ensemble)
        attempt(lambda replica: replica.load(ENSEMBLE))
    attempt(lambda replica: replica.unload(CANDIDATE_ENSEMBLE))
    for model, version in journal.new_versions:
        repository.remove_version(model, version)
    for model in sorted(touched):
        repository.restore_config(model, journal.configs[model])
        if repository.versions(model):
            attempt(lambda replica, model=model: replica.load(model))
        else:
            attempt(lambda replica, model=model: replica.unload(model))
    repository.clear_staging()
    former = _leaving(platform, journal)
    if former is not None:
        _publish_display(platform, former)
    else:
        for name in ("display.json", IMAGES_FILE):
            (platform.settings.home / "serving" / name).unlink(missing_ok=True)
    if faults:
        raise PromotionFailed(f"undoing the promotion of release {journal.release} is not complete, run `recsys up` or "
                              f"promote again to repeat it: {'; '.join(faults)}")
    journal.close()

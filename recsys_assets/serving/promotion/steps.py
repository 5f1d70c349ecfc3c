"""Run and undo the steps of a promotion, first on disk, then on the replicas."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from recsys_assets.artifacts import ArtifactMissing, ArtifactStore
from recsys_assets.files import write_json
from recsys_assets.lib.release.champion import champion_path
from recsys_assets.lib.release.lines import ReleaseLine
from recsys_assets.lib.release.releases import Release, open_release
from recsys_assets.serving.promotion.journal import Journal, PromotionFailed, Step
from recsys_assets.serving.promotion.line_parts import Smoke, publication_of
from recsys_assets.serving.triton.model_control import grpc_headers
from recsys_assets.serving.triton.replicas import Replica, ReplicaError, Replicas
from recsys_assets.serving.triton.repository import ModelRepository
from recsys_assets.serving.triton.served import (
    Mode,
    candidates_of,
    entrances,
    idle_models,
    is_loaded,
    published_versions,
)
from recsys_assets.settings import Settings

Log = Callable[[str], None]


#: Runs an action for a model on every live replica; an error is noted and not raised.
Attempt = Callable[[Callable[[Replica, str], None], str], None]


@dataclass
class PromotionTarget:
    """Context that every step of a promotion needs."""

    settings: Settings
    store: ArtifactStore
    repository: ModelRepository
    log: Log
    line: ReleaseLine
    on_step: Callable[[Step], None] | None = None

    @property
    def mode(self) -> Mode:
        """Return which models Triton loads."""
        return self.settings.triton_models

    @property
    def entrances(self) -> tuple[str, ...]:
        """Return the served ensembles of the line."""
        return entrances(self.mode, self.line)

    @property
    def candidates(self) -> Mapping[str, str]:
        """Return ensemble → its name while a promotion tries it, whether it is served or not."""
        return candidates_of(self.line)

    def replicas(self) -> Replicas:
        """Return the present replicas, with the headers for their model control."""
        return Replicas(self.settings.triton_grpc, grpc_headers(self.settings))

    def reach(self, journal: Journal, step: Step) -> None:
        """Record a step in the journal and call ``on_step``."""
        journal.reach(step)
        if self.on_step is not None:
            self.on_step(step)

    def leaving(self, journal: Journal) -> Release | None:
        """Return the former release; None if there is none, or its artifact is gone."""
        if journal.leaving is None:
            return None
        try:
            return open_release(self.store, journal.leaving, self.line)
        except ArtifactMissing:
            return None


# --- forward --------------------------------------------------------------------------------------
def publish(platform: PromotionTarget, release: Release, journal: Journal) -> list[str]:
    """Publish the version directories; return the models whose configuration changed."""
    repository = platform.repository
    for model, _ in journal.new_versions:
        repository.publish(release, model)
    return [model for model in published_versions(release) if repository.write_config(model)]


def try_candidates(
    platform: PromotionTarget, replicas: Replicas, release: Release, smoke: Smoke
) -> None:
    """Send smoke requests through candidate ensembles, which no client asks."""
    repository = platform.repository
    names = {entrance: platform.candidates[entrance] for entrance in platform.entrances}
    for entrance, name in names.items():
        repository.write_ensemble(name, repository.ensemble_config(release, entrance, name))

    def try_on(replica: Replica) -> None:
        for name in names.values():
            replica.load(name)
        smoke(replica, list(names.values()))

    replicas.each(try_on)


def switch(
    platform: PromotionTarget, replicas: Replicas, release: Release, journal: Journal
) -> None:
    """Make the replicas answer with the release; what is published covers both."""
    publication_of(platform.line).around_switch(
        platform.settings, release, platform.leaving(journal)
    )
    for entrance in platform.candidates:
        platform.repository.write_ensemble(
            entrance, platform.repository.ensemble_config(release, entrance)
        )

    def switch_on(replica: Replica) -> None:
        for entrance in platform.entrances:
            replica.load(entrance)

    replicas.each(switch_on)


def commit(platform: PromotionTarget, journal: Journal, release: Release) -> None:
    """Publish the files of the release alone, and write champion.json."""
    publication_of(platform.line).committed(platform.settings, release)
    write_json(champion_path(platform.settings, platform.line), journal.champion)


def clean_up(
    platform: PromotionTarget, journal: Journal, release: Release, members: list[Replica]
) -> list[str]:
    """Unload the candidates and remove versions that nobody needs; return these.

    A failure leaves surplus files, but never a wrong answer. These versions are kept: the champion,
    the one that a rollback goes back to, and the one just left, which may still have requests.
    """
    repository = platform.repository
    keep = {model: {version} for model, version in published_versions(release).items()}
    for number in {
        *journal.champion["previous"][:1],
        *([journal.leaving] if journal.leaving else []),
    }:
        try:
            for model, version in published_versions(
                open_release(platform.store, number, platform.line)
            ).items():
                keep.setdefault(model, set()).add(version)
        except ArtifactMissing:
            platform.log(
                f"release {number} is no longer among the artifacts: it cannot be rolled back to"
            )
    surplus = repository.surplus(keep)
    for name in platform.candidates.values():
        repository.remove_model(name)
    # the fused model first, because its versions read those of the other models
    for model, version in reversed(surplus):
        repository.remove_version(model, version)
    repository.clear_staging()
    # models that another setting had loaded would keep releases that are gone
    unloaded = [*platform.candidates.values(), *idle_models(release, platform.mode)]
    reloaded = [
        model
        for model in dict.fromkeys(model for model, _ in reversed(surplus))
        if is_loaded(model, platform.mode)
    ]
    for replica in members:
        try:
            for model in unloaded:
                replica.unload(model)
            for model in reloaded:
                replica.load(model)
        except ReplicaError as error:
            platform.log(f"cleaning up: {error}")
    return [f"{model}/{version}" for model, version in surplus]


# --- back -----------------------------------------------------------------------------------------
def undo(platform: PromotionTarget, journal: Journal, replicas: Replicas) -> None:
    """Restore the former state, on disk first, then on every live replica.

    A restarted server reads the disk.

    Raises:
        PromotionFailed: a live replica refused. The journal stays, so that the next call tries
            again.
    """
    members, faults = replicas.live(), []

    def attempt(action: Callable[[Replica, str], None], model: str) -> None:
        """Run an action on every live replica and note its errors."""
        for replica in members:
            try:
                action(replica, model)
            except ReplicaError as error:
                faults.append(str(error))

    _undo_ensembles(platform, journal, attempt)
    _undo_models(platform, journal, attempt)
    platform.repository.clear_staging()
    publication_of(platform.line).undone(platform.settings, platform.leaving(journal))
    if faults:
        raise PromotionFailed(
            f"undoing the promotion of release {journal.release} is not complete; run `recsys up` "
            f"or promote again to repeat it: {'; '.join(faults)}"
        )
    journal.close()


def _undo_ensembles(platform: PromotionTarget, journal: Journal, attempt: Attempt) -> None:
    """Remove the candidates and restore the former ensembles."""
    repository = platform.repository
    for name in platform.candidates.values():
        repository.remove_model(name)
    for entrance, text in journal.ensembles.items():
        repository.restore_ensemble(entrance, text)
        if text is None:
            attempt(Replica.unload, entrance)
        elif entrance in platform.entrances:
            attempt(Replica.load, entrance)
    for name in platform.candidates.values():
        attempt(Replica.unload, name)


def _undo_models(platform: PromotionTarget, journal: Journal, attempt: Attempt) -> None:
    """Remove the new versions and restore the former configurations."""
    repository = platform.repository
    touched = {model for model, _ in journal.new_versions}
    touched |= {
        model for model, text in journal.configs.items() if text != repository.config(model)
    }
    for model, version in reversed(journal.new_versions):
        repository.remove_version(model, version)
    # reverse order of loading: the fused model before the models that it reads
    for model in sorted(touched, key=list(journal.configs).index, reverse=True):
        repository.restore_config(model, journal.configs[model])
        if not repository.versions(model):
            attempt(Replica.unload, model)
        elif is_loaded(model, platform.mode):
            attempt(Replica.load, model)

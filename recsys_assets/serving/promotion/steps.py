"""The steps of a promotion and their undoing, each on the repository first and then on the
replicas.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from recsys_assets.artifacts import ArtifactMissing, ArtifactStore
from recsys_assets.files import write_json
from recsys_assets.lib.release.champion import champion_path
from recsys_assets.lib.release.releases import Release, open_release
from recsys_assets.serving.promotion.journal import Journal, PromotionFailed, Step
from recsys_assets.serving.promotion.publication import (
    publish_committed,
    publish_display,
    withdraw_display,
)
from recsys_assets.serving.triton.model_control import grpc_headers
from recsys_assets.serving.triton.replicas import Replica, ReplicaError, Replicas, smoke
from recsys_assets.serving.triton.repository import ModelRepository
from recsys_assets.serving.triton.served import (
    CANDIDATES,
    ENTRANCES,
    Mode,
    entrances,
    idle_models,
    is_loaded,
    published_versions,
)
from recsys_assets.settings import Settings

Log = Callable[[str], None]


@dataclass
class PromotionTarget:
    """What every step needs."""

    settings: Settings
    store: ArtifactStore
    repository: ModelRepository
    log: Log
    on_step: Callable[[Step], None] | None = None

    @property
    def mode(self) -> Mode:
        return self.settings.triton_models

    def replicas(self) -> Replicas:
        """Those of this moment, with what their model control asks for."""
        return Replicas(self.settings.triton_grpc, grpc_headers(self.settings))

    def reach(self, journal: Journal, step: Step) -> None:
        journal.reach(step)
        if self.on_step is not None:
            self.on_step(step)

    def leaving(self, journal: Journal) -> Release | None:
        """The release that is being left; None where there is none, or its artifact is gone."""
        if journal.leaving is None:
            return None
        try:
            return open_release(self.store, journal.leaving)
        except ArtifactMissing:
            return None


# --- forward --------------------------------------------------------------------------------------
def publish(platform: PromotionTarget, release: Release, journal: Journal) -> list[str]:
    """The version directories; returns the models whose configuration changed."""
    repository = platform.repository
    for model, _ in journal.new_versions:
        repository.publish(release, model)
    return [model for model in published_versions(release) if repository.write_config(model)]


def try_candidates(
    platform: PromotionTarget, replicas: Replicas, release: Release, catalogue: set[str]
) -> None:
    """Smoke requests through ensembles of other names, which nobody else asks."""
    repository, served = platform.repository, entrances(platform.mode)
    for entrance in served:
        repository.write_ensemble(
            CANDIDATES[entrance],
            repository.ensemble_config(release, entrance, CANDIDATES[entrance]),
        )

    def try_on(replica: Replica) -> None:
        for entrance in served:
            replica.load(CANDIDATES[entrance])
        smoke(replica, [CANDIDATES[entrance] for entrance in served], release, catalogue)

    replicas.each(try_on)


def switch(
    platform: PromotionTarget, replicas: Replicas, release: Release, journal: Journal
) -> None:
    """From here on visitors are answered by the release; what pages show covers both."""
    publish_display(platform.settings, release, leaving=platform.leaving(journal))
    for entrance in ENTRANCES:
        platform.repository.write_ensemble(
            entrance, platform.repository.ensemble_config(release, entrance)
        )

    def switch_on(replica: Replica) -> None:
        for entrance in entrances(platform.mode):
            replica.load(entrance)

    replicas.each(switch_on)


def commit(platform: PromotionTarget, journal: Journal, release: Release) -> None:
    publish_committed(platform.settings, release)
    write_json(champion_path(platform.settings), journal.champion)


def clean_up(
    platform: PromotionTarget, journal: Journal, release: Release, members: list[Replica]
) -> list[str]:
    """Unload the candidates and drop the versions that nobody needs; a failure leaves surplus,
    never a wrong answer.

    Kept: the champion, the one that a rollback goes back to, and the one just left, whose requests
    may be in flight.
    """
    repository = platform.repository
    keep = {model: {version} for model, version in published_versions(release).items()}
    for number in {
        *journal.champion["previous"][:1],
        *([journal.leaving] if journal.leaving else []),
    }:
        try:
            for model, version in published_versions(open_release(platform.store, number)).items():
                keep.setdefault(model, set()).add(version)
        except ArtifactMissing:
            platform.log(
                f"release {number} is no longer among the artifacts: it cannot be rolled back to"
            )
    surplus = repository.surplus(keep)
    for name in CANDIDATES.values():
        repository.remove_model(name)
    # the fused model first: what its versions read goes after them
    for model, version in reversed(surplus):
        repository.remove_version(model, version)
    repository.clear_staging()
    # what another setting had loaded would go on with releases that are gone
    unloaded = [*CANDIDATES.values(), *idle_models(release, platform.mode)]
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
    """Back to what was before, on disk first (what a restarted server would read), then on every
    living replica.

    Raises:
        PromotionFailed: a living replica would not go back; the journal stays, so that the next
            call tries again.
    """
    repository, mode = platform.repository, platform.mode
    touched = {model for model, _ in journal.new_versions}
    touched |= {
        model for model, text in journal.configs.items() if text != repository.config(model)
    }
    members, faults = replicas.live(), []

    def attempt(action: Callable[[Replica, str], None], model: str) -> None:
        for replica in members:
            try:
                action(replica, model)
            except ReplicaError as error:
                faults.append(str(error))

    for name in CANDIDATES.values():
        repository.remove_model(name)
    for entrance, text in journal.ensembles.items():
        repository.restore_ensemble(entrance, text)
        if text is None:
            attempt(Replica.unload, entrance)
        elif entrance in entrances(mode):
            attempt(Replica.load, entrance)
    for name in CANDIDATES.values():
        attempt(Replica.unload, name)
    for model, version in reversed(journal.new_versions):
        repository.remove_version(model, version)
    # new versions in the reverse order of their loading: the fused model before the parts that it
    # reads
    for model in sorted(touched, key=list(journal.configs).index, reverse=True):
        repository.restore_config(model, journal.configs[model])
        if not repository.versions(model):
            attempt(Replica.unload, model)
        elif is_loaded(model, mode):
            attempt(Replica.load, model)
    repository.clear_staging()
    former = platform.leaving(journal)
    if former is not None:
        publish_display(platform.settings, former)
    else:
        withdraw_display(platform.settings)
    if faults:
        raise PromotionFailed(
            f"undoing the promotion of release {journal.release} is not complete, run `recsys "
            "up` or "
            f"promote again to repeat it: {'; '.join(faults)}"
        )
    journal.close()

"""Give assets the settings, the artifact store and ``build``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import dagster as dg
from pydantic import Field

from recsys_assets import fingerprints
from recsys_assets.artifacts import Artifact, ArtifactStore, Staged
from recsys_assets.settings import Settings, get_settings

#: Context of an asset, or of a plain op such as a search trial.
StepContext = dg.AssetExecutionContext | dg.OpExecutionContext


#: Settings that a run may override.
WINDOWS = (
    "train_days",
    "validation_days",
    "replay_recent_days",
    "replay_older_days",
    "popularity_days",
    "look_back_days",
)


@dataclass(frozen=True)
class Built:
    """An artifact, and whether it was reused."""

    artifact: Artifact
    reused: bool


class BuildConfig(dg.Config):
    """Config of every asset that builds an artifact."""

    force: bool = Field(
        default=False,
        description="Build again even if an artifact of the same inputs, parameters and code "
        "exists.",
    )


def _window(setting: str) -> Any:
    """Return the field that overrides a setting of a number of days."""
    known = Settings.model_fields[setting]
    bounds: dict[str, Any] = {
        name: getattr(one, name)
        for one in known.metadata
        for name in ("ge", "le")
        if hasattr(one, name)
    }
    allowed = f"{bounds['ge']} to {bounds['le']}"
    return Field(
        None,
        description=f"{known.description} Allowed: {allowed}. Empty: RECSYS_{setting.upper()}.",
        **bounds,
    )


class Platform(dg.ConfigurableResource["Platform"]):
    """Settings and artifact store of this home; a run may have windows of its own."""

    train_days: int | None = _window("train_days")
    validation_days: int | None = _window("validation_days")
    replay_recent_days: int | None = _window("replay_recent_days")
    replay_older_days: int | None = _window("replay_older_days")
    popularity_days: int | None = _window("popularity_days")
    look_back_days: int | None = _window("look_back_days")

    @classmethod
    def of(cls, settings: Settings) -> Platform:
        """Return the resource with the windows of the settings, which the launchpad shows."""
        return cls(**{name: getattr(settings, name) for name in WINDOWS})

    @property
    def settings(self) -> Settings:
        """Return the settings of this home, with this run's windows."""
        return get_settings().model_copy(update=self._own_windows())

    @property
    def home_settings(self) -> Settings:
        """Return the settings that this home serves with, without this run's windows."""
        home = get_settings()
        return self.settings.model_copy(
            update={name: getattr(home, name) for name in self._own_windows()}
        )

    def _own_windows(self) -> dict[str, int]:
        """Return the windows that the config of this run sets."""
        own = {name: getattr(self, name) for name in WINDOWS}
        return {name: days for name, days in own.items() if days is not None}

    @property
    def store(self) -> ArtifactStore:
        """Return the artifact store of this home."""
        return ArtifactStore(
            self.settings.artifacts, cache=self.settings.home / "cache" / "artifacts"
        )

    def build(
        self,
        context: StepContext,
        kind: str,
        *,
        inputs: Mapping[str, Any],
        write: Callable[[Staged], Mapping[str, Any]],
        partition: str | None = None,
        params: Mapping[str, Any] | None = None,
        force: bool = False,
        step: str | None = None,
    ) -> Built:
        """Build an artifact, or reuse the one of the same inputs, parameters and code.

        Args:
            context: of the asset or op, for its log.
            kind: kind of the artifact, ``stage/name``.
            inputs: role → upstream artifacts or digests.
            write: fills ``staged.path`` and returns the metrics for the manifest. The modules that
                it uses, and all that they import, are the artifact's code.
            partition: partition of the artifact; None: it has none.
            params: plain JSON values, recorded in the manifest.
            force: build again even if the artifact exists.
            step: module that writes the artifact in another environment; its imports are then the
                artifact's code.

        Raises:
            FingerprintError: ``write`` uses no module of the project.
        """
        store = self.store
        code_version = fingerprints.digest(step) if step else fingerprints.code_of(write, kind)
        with store.stage(
            kind, partition, code_version=code_version, inputs=inputs, params=params
        ) as staged:
            found = None if force else store.find(kind, partition, staged.fingerprint)
            if found is not None:
                context.log.info(
                    f"{kind} [{partition or 'all'}]: same inputs, parameters and code as "
                    f"{found.uri}; reused"
                )
                return Built(store.reuse(found.verify()), True)
            metrics = write(staged)
            return Built(staged.publish(metrics), False)

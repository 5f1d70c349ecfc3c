"""What assets are given: settings, the artifact store, and one way to build an artifact once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import dagster as dg

from recsys_assets import fingerprints
from recsys_assets.artifacts import Artifact, ArtifactStore, Staged
from recsys_assets.settings import Settings, get_settings

#: Of whatever builds an artifact: an asset, or a plain op such as a trial of the search.
StepContext = dg.AssetExecutionContext | dg.OpExecutionContext


@dataclass(frozen=True)
class Built:
    artifact: Artifact
    reused: bool


class BuildConfig(dg.Config):
    """Config of every asset that builds an artifact."""

    force: bool = (
        False  # build again though the same inputs, parameters and code gave an artifact before
    )


class Platform(dg.ConfigurableResource):
    """Settings and artifact store of this home."""

    @property
    def settings(self) -> Settings:
        return get_settings()

    @property
    def store(self) -> ArtifactStore:
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
        """Build an artifact unless the same inputs, parameters and code have built it before.

        Args:
            inputs: role → upstream artifacts or digests.
            write: fills ``staged.path`` and returns the metrics for the manifest. The modules that
                it uses, and all that they import, are the artifact's code.
            step: module that writes the artifact in another environment; its imports are the
                artifact's code instead.

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

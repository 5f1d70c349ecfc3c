"""What assets are given: settings, the artifact store, and one way to build an artifact once."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import dagster as dg

from recsys_assets.artifacts import Artifact, ArtifactStore, Staged, sha256_file, sha256_json
from recsys_assets.settings import Settings, get_settings

#: Of whatever builds an artifact: an asset, or a plain op such as a trial of the search.
StepContext = dg.AssetExecutionContext | dg.OpExecutionContext


@dataclass(frozen=True)
class Built:
    artifact: Artifact
    reused: bool


class BuildConfig(dg.Config):
    """Config of every asset that builds an artifact."""

    force: bool = False  # build again though the same inputs, parameters and code gave an artifact before


@lru_cache(maxsize=256)
def _module_digest(module: str) -> str:
    """Digest of a module's source, found without importing it (a training module cannot be imported here)."""
    spec = importlib.util.find_spec(module)
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(f"code of {module} not found; is the module's name right?")
    paths = sorted(Path(spec.origin).parent.rglob("*.py")) if spec.submodule_search_locations else [Path(spec.origin)]
    return sha256_json([sha256_file(path) for path in paths])


class Platform(dg.ConfigurableResource):
    """Settings and artifact store of this home."""

    @property
    def settings(self) -> Settings:
        return get_settings()

    @property
    def store(self) -> ArtifactStore:
        return ArtifactStore(self.settings.artifacts, cache=self.settings.home / "cache" / "artifacts")

    def build(self, context: StepContext, kind: str, *, inputs: Mapping[str, Any],
              code: Sequence[str], write: Callable[[Staged], Mapping[str, Any]], partition: str | None = None,
              params: Mapping[str, Any] | None = None, force: bool = False) -> Built:
        """Build an artifact unless the same inputs, parameters and code have built it before.

        Args:
            inputs: role → upstream artifacts or digests.
            code: modules whose source decides whether an older artifact still counts.
            write: fills ``staged.path`` and returns the metrics for the manifest.
        """
        store = self.store
        code_version = sha256_json([_module_digest(module) for module in code])
        with store.stage(kind, partition, code_version=code_version, inputs=inputs, params=params) as staged:
            found = None if force else store.find(kind, partition, staged.fingerprint)
            if found is not None:
                context.log.info(f"{kind} [{partition or 'all'}]: same inputs, parameters and code as {found.uri}; reused")
                return Built(store.reuse(found.verify()), True)
            metrics = write(staged)
            return Built(staged.publish(metrics), False)

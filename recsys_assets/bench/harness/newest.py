"""Open what the newest artifact of a kind was made from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from recsys_assets.artifacts import Artifact, ArtifactStore
from recsys_assets.lib.blend.blend_artifacts import BlendParts
from recsys_assets.source_names import SOURCE_NAMES


@dataclass(frozen=True)
class Newest:
    """Holds parameters and inputs of the newest artifact of a kind."""

    params: dict[str, Any]
    inputs: dict[str, Any]  # role → artifact, or artifacts

    @classmethod
    def of(cls, store: ArtifactStore, kind: str) -> Newest | None:
        """Open the newest one; None: there is none."""
        days = store.partitions(kind)
        if not days:
            return None
        manifest = store.current(kind, max(days)).manifest
        return cls(
            manifest["params"],
            {
                role: [store.open(one) for one in made_from]
                if isinstance(made_from, list)
                else store.open(made_from)
                for role, made_from in manifest["inputs"].items()
            },
        )

    @property
    def sources(self) -> dict[str, Artifact]:
        """Return the sources among the inputs, by their names."""
        return {name: one for name, one in self.inputs.items() if name in SOURCE_NAMES}

    def blend_parts(self) -> BlendParts:
        """Return what a blend is made from; the artifact is a fusion or a full blend."""
        return BlendParts(
            self.inputs["log"],
            self.sources,
            self.inputs["workflows"],
            self.inputs["aligned"],
            self.params["train_days"],
            self.params["time_zone"],
        )

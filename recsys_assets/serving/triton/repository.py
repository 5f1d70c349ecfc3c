"""Publish releases into the model repository that Triton reads.

Version directories appear and vanish whole, and are never changed. ``<root>/<model>/`` holds
``config.pbtxt`` and one ``<version>/`` per version. A version holds ``model.py`` (from
``triton_repo/``), the release's files, ``files.json`` (their digests, checked at load) and an empty
file ``__pycache__``. The last one keeps Python from writing bytecode there, which Triton would take
for a changed version and reload. A version of the fused model has no files of its own: its
``parts.json`` names the version directories beside it that it opens.

Models of one release that have a file in common share its bytes by a hard link, so that a process
which maps it twice holds it in memory once.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Mapping
from pathlib import Path

from recsys_assets.files import write_text
from recsys_assets.lib.release.releases import Release
from recsys_assets.release_files import CODE, FILES, PARTS, model_file
from recsys_assets.serving.triton.ensemble import render_ensemble
from recsys_assets.serving.triton.fused_model import FUSED
from recsys_assets.serving.triton.served import pinned_versions, published_versions
from recsys_assets.settings import PROJECT_ROOT

CONFIG = "config.pbtxt"
TEMPLATES = PROJECT_ROOT / "triton_repo"
ENSEMBLE_VERSION = 1  # an ensemble has no files: its versions are in its configuration


class RepositoryError(RuntimeError):
    """The repository and a release do not match.

    The message names the folder and the remedy.
    """


class ModelRepository:
    """Publishes releases into a folder that Triton reads.

    Args:
        root: the live repository.
        templates: one folder per model with ``config.pbtxt`` and, except for the ensembles,
            ``model.py``.
    """

    def __init__(self, root: Path, templates: Path = TEMPLATES) -> None:
        self.root = Path(root)
        self.templates = Path(templates)

    # --- reading
    def versions(self, model: str) -> set[int]:
        """Return the published versions of a model."""
        folder = self.root / model
        return (
            {int(v.name) for v in folder.iterdir() if v.name.isdigit()}
            if folder.is_dir()
            else set()
        )

    def config(self, model: str) -> str | None:
        """Return the configuration of a model in the repository; None if it has none."""
        path = self.root / model / CONFIG
        return path.read_text() if path.is_file() else None

    def template(self, model: str, file: str = CONFIG) -> str:
        """Return a file of a model's template.

        Raises:
            RepositoryError: this code has no such model.
        """
        path = self.templates / model / file
        if not path.is_file():
            raise RepositoryError(
                f"{path} does not exist; this code cannot serve the release's model {model!r}"
            )
        return path.read_text()

    def missing_versions(self, release: Release) -> list[tuple[str, int]]:
        """Return the release's version directories that are not published yet.

        Raises:
            RepositoryError: a directory of that number holds other files.
        """
        missing = []
        for model, version in published_versions(release).items():
            folder = self.root / model / str(version)
            if not folder.is_dir():
                missing.append((model, version))
            elif json.loads((folder / FILES).read_text()) != version_digests(release, model):
                raise RepositoryError(
                    f"{folder} holds other files than release {release.number} "
                    f"({release.artifact.digest[:8]}), so it belongs to artifacts that are gone: "
                    f"stop the services (`recsys down`), remove {self.root}, promote again"
                )
        return missing

    # --- versions
    def publish(self, release: Release, model: str) -> Path:
        """Make one version directory of a release beside its place, then rename it."""
        version = published_versions(release)[model]
        staging = self.root / ".staging" / f"{model}-{version}-{uuid.uuid4().hex}"
        staging.mkdir(parents=True)
        digests = version_digests(release, model)
        for name in digests:
            if model == FUSED:
                (staging / name).write_text(parts(release))
            elif not self._linked(release, digests[name], staging / name):
                # a copy: the live folder must not share bytes with the artifact
                shutil.copyfile(release.artifact.path(model_file(model, name)), staging / name)
        (staging / FILES).write_text(json.dumps(digests, indent=2, sort_keys=True) + "\n")
        (staging / CODE).write_text(self.template(model, CODE))
        (staging / "__pycache__").touch()
        target = self.root / model / str(version)
        target.parent.mkdir(parents=True, exist_ok=True)
        os.replace(staging, target)
        return target

    def _linked(self, release: Release, digest: str, target: Path) -> bool:
        """Link a published file of the release with these bytes; return whether that was done.

        No file of a version is ever written again, and the system deletes the bytes with the last
        link, so that either version can be removed.
        """
        for model, version in published_versions(release).items():
            folder = self.root / model / str(version)
            if not folder.is_dir():
                continue
            for name, found in json.loads((folder / FILES).read_text()).items():
                if found == digest:
                    try:
                        os.link(folder / name, target)
                    except OSError:  # the file system has no hard links, or the file is gone
                        return False
                    return True
        return False

    def write_config(self, model: str) -> bool:
        """Copy a model's configuration from its template; return whether it changed."""
        text = self.template(model)
        if text == self.config(model):
            return False
        write_text(self.root / model / CONFIG, text)
        return True

    def restore_config(self, model: str, text: str | None) -> None:
        """Write back what ``config`` returned before; None removes the model."""
        if text is None:
            shutil.rmtree(self.root / model, ignore_errors=True)
        elif text != self.config(model):
            write_text(self.root / model / CONFIG, text)

    def remove_version(self, model: str, version: int) -> None:
        """Remove a version directory: rename it away, then delete it."""
        folder = self.root / model / str(version)
        if folder.is_dir():
            doomed = self.root / ".staging" / f"{model}-{version}-{uuid.uuid4().hex}"
            doomed.parent.mkdir(parents=True, exist_ok=True)
            os.replace(folder, doomed)
            shutil.rmtree(doomed)

    def clear_staging(self) -> None:
        """Remove what a crash left half-written; only under the promotion lock."""
        shutil.rmtree(self.root / ".staging", ignore_errors=True)

    def surplus(self, keep: Mapping[str, set[int]]) -> list[tuple[str, int]]:
        """Return published versions of the given models that are not to be kept."""
        return [
            (model, version)
            for model, kept in keep.items()
            for version in sorted(self.versions(model) - kept)
        ]

    def refresh_code(self) -> list[str]:
        """Give every published version the current ``model.py`` and configuration.

        Call this only while Triton is not running: a running one would see changed versions.

        Returns:
            The models that changed.
        """
        changed = set()
        for model in sorted(p.name for p in self.templates.iterdir() if (p / CODE).is_file()):
            versions = self.versions(model)
            for version in versions:
                path = self.root / model / str(version) / CODE
                if not path.is_file() or path.read_text() != self.template(model, CODE):
                    write_text(path, self.template(model, CODE))
                    changed.add(model)
            if versions and self.write_config(model):
                changed.add(model)
        return sorted(changed)

    # --- ensembles
    def ensemble_config(self, release: Release, entrance: str, name: str | None = None) -> str:
        """Return an ensemble with each step pinned to the release's version.

        Args:
            release: whose versions are pinned.
            entrance: the ensemble.
            name: under which it is written; None: its own.
        """
        return render_ensemble(
            self.template(entrance), pinned_versions(release, entrance), name or entrance
        )

    def write_ensemble(self, name: str, text: str) -> None:
        """Write the configuration of an ensemble."""
        (self.root / name / str(ENSEMBLE_VERSION)).mkdir(parents=True, exist_ok=True)
        write_text(self.root / name / CONFIG, text)

    def restore_ensemble(self, name: str, text: str | None) -> None:
        """Write back what ``config`` returned before; None removes the ensemble."""
        if text is None:
            self.remove_model(name)
        else:
            self.write_ensemble(name, text)

    def remove_model(self, name: str) -> None:
        """Remove a model and all its versions."""
        shutil.rmtree(self.root / name, ignore_errors=True)


def parts(release: Release) -> str:
    """Return parts.json of a release's fused model."""
    return json.dumps({"versions": dict(release.versions)}, indent=2, sort_keys=True) + "\n"


def version_digests(release: Release, model: str) -> dict[str, str]:
    """Return {file name: sha256} of the files of a version directory.

    These are files of the release, or the one file of the fused model.
    """
    if model == FUSED:
        return {PARTS: hashlib.sha256(parts(release).encode()).hexdigest()}
    prefix = model_file(model, "")
    return {
        name.removeprefix(prefix): entry["sha256"]
        for name, entry in release.artifact.manifest["files"].items()
        if name.startswith(prefix)
    }

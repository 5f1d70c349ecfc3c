"""Read the memory of a served Triton: its own, and that of the files mapped into it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import psutil

from recsys_assets.bench.harness.part import BenchFailed
from recsys_assets.operations.processes import read_record
from recsys_assets.operations.usage import MEGABYTE, gib
from recsys_assets.settings import Settings

#: Counts of /proc/PID/smaps_rollup (proc_pid_smaps(5)). Each is a proportional share: a page that
#: several processes share counts once in their sum.
_PRIVATE, _MAPPED = ("Pss_Anon", "Pss_Shmem", "SwapPss"), "Pss_File"


@dataclass(frozen=True)
class ServerMemory:
    """The memory of a server's processes in bytes; a page that they share counts once.

    Attributes:
        private: anonymous memory and shared memory, also where it is swapped out. It is needed as
            long as the processes run.
        mapped: resident pages of mapped files, the program's libraries included. The kernel can
            drop these pages at any time, and reads them again when they are needed.
    """

    private: int
    mapped: int

    @classmethod
    def of_rollups(cls, rollups: Iterable[str]) -> ServerMemory:
        """Add up the contents of ``smaps_rollup``, one per process.

        Raises:
            BenchFailed: a content lacks a count; the message names the remedy.
        """
        private = mapped = 0
        for text in rollups:
            kib = {
                name: int(size)
                for name, size in re.findall(r"^(\w+):\s+(\d+) kB$", text, re.MULTILINE)
            }
            lacking = {*_PRIVATE, _MAPPED} - set(kib)
            if lacking:
                raise BenchFailed(
                    f"smaps_rollup lacks {', '.join(sorted(lacking))}; run the bench on Linux 5.3 "
                    "or later"
                )
            private += 1024 * sum(kib[name] for name in _PRIVATE)
            mapped += 1024 * kib[_MAPPED]
        return cls(private, mapped)

    @classmethod
    def of_triton(cls, settings: Settings) -> ServerMemory:
        """Read the memory of a home's Triton and its models' processes."""
        return cls.of_rollups(
            Path(f"/proc/{member.pid}/smaps_rollup").read_text() for member in _members(settings)
        )

    @property
    def total(self) -> int:
        """Return private and mapped memory together."""
        return self.private + self.mapped

    def mib(self) -> dict[str, float]:
        """Return ``private_mib`` and ``mapped_mib``."""
        return {
            "private_mib": round(self.private / MEGABYTE, 1),
            "mapped_mib": round(self.mapped / MEGABYTE, 1),
        }


def resident_gib(settings: Settings) -> float:
    """Return the resident GiB of Triton's processes; shared pages count in each process."""
    return gib(sum(member.memory_info().rss for member in _members(settings)))


def mapped_gib(settings: Settings, model: str) -> float:
    """Return the resident GiB of the files that are mapped from folders of a model.

    A page that is mapped several times counts as a share in each mapping: half of the pages of a
    file that another model has too.
    """
    return gib(
        sum(
            area.pss
            for member in _members(settings)
            for area in member.memory_maps()
            if model in Path(area.path).parts
        )
    )


def _members(settings: Settings) -> list[psutil.Process]:
    """Return the server and its models' processes; none where it does not run."""
    record = read_record(settings.home / "run", "triton")
    process = record.process() if record else None
    return [process, *process.children(recursive=True)] if process else []

"""The memory of a server, read from /proc: what is its own, and what the kernel can drop."""

from __future__ import annotations

import mmap
import os
from pathlib import Path

import pytest

from recsys_assets.bench.harness.part import BenchFailed
from recsys_assets.bench.serving.memory import ServerMemory, mapped_gib, resident_gib
from recsys_assets.settings import Settings

ROLLUP = """\
55cc0ac04000-7ffdab35f000 ---p 00000000 00:00 0                          [rollup]
Rss:             1748992 kB
Pss:             1100000 kB
Pss_Dirty:        500112 kB
Pss_Anon:         500000 kB
Pss_File:         590000 kB
Pss_Shmem:         10000 kB
Shared_Clean:     700596 kB
Private_Clean:    500040 kB
Private_Dirty:    500112 kB
Anonymous:        500112 kB
Swap:               4000 kB
SwapPss:            2000 kB
Locked:                0 kB
"""


def test_private_and_mapped_are_of_the_right_counts():
    memory = ServerMemory.of_rollups([ROLLUP])
    assert memory == ServerMemory(private=512_000 * 1024, mapped=590_000 * 1024)
    assert memory.total == 1_102_000 * 1024
    assert memory.mib() == {"private_mib": 500.0, "mapped_mib": 576.2}


def test_processes_add_up():
    one, two = ServerMemory.of_rollups([ROLLUP]), ServerMemory.of_rollups([ROLLUP, ROLLUP])
    assert (two.private, two.mapped) == (2 * one.private, 2 * one.mapped)
    assert ServerMemory.of_rollups([]) == ServerMemory(0, 0)


def test_a_kernel_without_the_counts_is_refused():
    with pytest.raises(BenchFailed, match=r"lacks Pss_Anon; run the bench on Linux 5.3"):
        ServerMemory.of_rollups([ROLLUP.replace("Pss_Anon", "Other")])


def test_this_kernel_counts_a_mapped_file_as_mapped(tmp_path: Path):
    def now() -> ServerMemory:
        return ServerMemory.of_rollups([Path("/proc/self/smaps_rollup").read_text()])

    size, path = 64 * 2**20, tmp_path / "array"
    path.write_bytes(os.urandom(size))
    before = now()
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        assert sum(mapped[at] for at in range(0, size, mmap.PAGESIZE))  # touches each page
        after = now()
    assert after.mapped - before.mapped == pytest.approx(size, rel=0.1)
    assert after.private - before.private < size / 4


def test_a_home_without_a_triton_has_no_memory(tmp_path: Path):
    settings = Settings(home=tmp_path)
    assert ServerMemory.of_triton(settings) == ServerMemory(0, 0)
    assert resident_gib(settings) == mapped_gib(settings, "candidate_sources") == 0

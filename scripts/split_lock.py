"""Split the platform's full resolution into `platform.lock` and `torch.lock`.

`scripts/setup.sh` chooses the build of torch: the package index's build with NVIDIA's runtime
(`torch.lock`), a local wheel, or the CPU build. So torch, and the packages that only its CUDA build
needs, have a lock of their own.

Usage: split_lock.py FULL PLATFORM_LOCK TORCH_LOCK
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

# torch, and the packages that hold or bind NVIDIA's runtime. triton is OpenAI's compiler for torch,
# not the inference server.
TORCH = re.compile(r"^(torch|torchvision|triton|cuda-[a-z-]+|nvidia-[a-z0-9-]+)==")


def entries(text: str) -> list[str]:
    """Return the entries of a lock file, each a pin with its hashes."""
    return re.findall(r"^\S.*?\n(?:[ \t].*\n)*", text, re.MULTILINE)


def split(full: str) -> tuple[str, str]:
    """Return the texts of `platform.lock` and `torch.lock`."""
    parts: tuple[list[str], list[str]] = ([], [])
    for entry in entries(full):
        parts[bool(TORCH.match(entry))].append(entry)
    return "".join(parts[0]), "".join(parts[1])


if __name__ == "__main__":
    platform, torch = split(Path(sys.argv[1]).read_text())
    Path(sys.argv[2]).write_text(platform)
    Path(sys.argv[3]).write_text(torch)

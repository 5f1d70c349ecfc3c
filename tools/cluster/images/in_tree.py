"""Run the RUN lines of a Dockerfile in the tree of an image."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from tools.cluster.commands import ClusterError, die_with_parent
from tools.cluster.images.layers import Kept
from tools.cluster.images.oci import PATH

DOUBLES = Path(__file__).parent / "doubles"


def in_tree(
    layers: Sequence[Kept],
    upper: Path,
    command: str,
    *,
    folder: str,
    variables: Mapping[str, str],
    environment: Path,
) -> str:
    """Run a shell command in an image's tree; what it writes goes into a folder of its own.

    ``pip`` and ``apt-get`` are doubles that take from this machine what an index would bring.

    Args:
        layers: the lowest first.
        upper: takes what the command writes.
        command: for ``/bin/sh``.
        folder: the working directory in the tree.
        variables: of the command.
        environment: the Python environment that the double of pip copies from.
    """
    work = upper.parent / "work"
    for part in ("work", "merged"):
        (work / part).mkdir(parents=True, exist_ok=True)
    script = """
        set -eu
        mount -t overlay overlay -o "lowerdir=$1,upperdir=$2,workdir=$3/work" "$3/merged"
        cd "$3/merged"
        mount -t tmpfs tmpfs run && mkdir run/environment
        mount --bind "$4" run/environment
        mount --bind "$5/pip" usr/local/bin/pip
        mount --bind "$5/apt-get" usr/bin/apt-get
        mount -t proc proc proc
        mount --rbind /dev dev
        mkdir -p "./$6"
        exec chroot . /bin/sh -c 'cd "$0" && eval "$1"' "$6" "$7"
    """
    lower = ":".join(str(layer.tree) for layer in reversed(layers))
    given = {"PATH": PATH, "HOME": "/root", "PYTHONDONTWRITEBYTECODE": "1", **variables}
    done = subprocess.run(
        [
            *("unshare", "--mount", "--pid", "--fork", "--kill-child", "--propagation", "private"),
            *("sh", "-c", script, "sh", lower, upper, work, environment, DOUBLES, folder, command),
        ],
        env={**given, "LC_ALL": "C.UTF-8"},
        preexec_fn=die_with_parent,  # a killed build must not go on
        capture_output=True,
        text=True,
        check=False,
        timeout=1800,
    )
    shutil.rmtree(work, ignore_errors=True)
    if done.returncode != 0:
        raise ClusterError(f"RUN {command}\nended with {done.returncode}: {done.stderr[-2000:]}")
    return done.stdout

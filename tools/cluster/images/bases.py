"""Make what stands for the base images of the Dockerfiles, which no registry brings here.

Each is Debian with Python 3.11 at /usr/local, as the official Python image has it. The serving base
adds the Triton server at /opt/tritonserver, the training base what Merlin's container brings: all
packages of the training environment but those that the Dockerfile adds.
"""

from __future__ import annotations

import re
import shutil
import stat
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path
from shlex import quote

from tools.cluster.commands import ClusterError, run
from tools.cluster.images.in_tree import in_tree
from tools.cluster.images.layers import Kept, kept, key_of
from tools.cluster.images.oci import PATH, Config

#: Libraries that Python's own modules are linked with, and what any base image has.
LIBRARIES = (
    "ca-certificates",
    "libbz2-1.0",
    "libffi8",
    "liblzma5",
    "libncursesw6",
    "libreadline8",
    "libsqlite3-0",
    "libssl3",
    "libuuid1",
    "netbase",
    "tzdata",
    "zlib1g",
)
PYTHON_PARTS = shutil.ignore_patterns("__pycache__", "site-packages", "test", "config-*")
SMOKE = "import bz2, ctypes, lzma, readline, sqlite3, ssl, uuid, zlib"
TRITON = Path("opt/tritonserver")


@dataclass(frozen=True)
class Base:
    """Layers and configuration that a Dockerfile's FROM stands for."""

    layers: tuple[Kept, ...]
    config: Config


def _suite() -> str:
    """Return the name of this machine's Debian or Ubuntu, whose C library Python needs."""
    found = re.search(r"^VERSION_CODENAME=(\S+)", Path("/etc/os-release").read_text(), re.MULTILINE)
    if found is None:
        raise ClusterError("/etc/os-release names no VERSION_CODENAME: no base can be made here")
    return found[1]


def debian(packages: tuple[str, ...]) -> Kept:
    """Return a minimal Debian with the packages that the Dockerfiles install."""
    included = ",".join(sorted({*LIBRARIES, *packages}))

    def fill(tree: Path) -> None:
        if shutil.which("debootstrap") is None:
            raise ClusterError("images need: apt-get install --no-install-recommends debootstrap")
        run("debootstrap", "--variant=minbase", f"--include={included}", _suite(), tree, limit=900)
        shutil.rmtree(tree / "var/cache/apt/archives", ignore_errors=True)
        for device in (tree / "dev").rglob("*"):
            if stat.S_ISCHR(device.lstat().st_mode):  # every container gets its own
                device.unlink()

    return kept(key_of("debian", _suite(), included), fill)


def python(below: Kept) -> Kept:
    """Return the running interpreter's Python at /usr/local, with pip."""

    def fill(tree: Path) -> None:
        version = sysconfig.get_python_version()
        to = tree / "usr/local"
        (to / "bin").mkdir(parents=True)
        real = Path(sys.executable).resolve()
        shutil.copy2(real, to / "bin" / f"python{version}")
        for name in ("python", "python3"):
            (to / "bin" / name).symlink_to(f"python{version}")
        standard = Path(sysconfig.get_path("stdlib"))
        shutil.copytree(standard, to / f"lib/python{version}", ignore=PYTHON_PARTS, symlinks=True)
        library = Path(sys.base_prefix, "lib")
        for file in library.glob(f"libpython{version}.so*"):
            shutil.copy2(file, to / "lib", follow_symlinks=False)
        site = to / f"lib/python{version}/site-packages"
        shutil.copytree(_pip(standard), site / "pip", ignore=shutil.ignore_patterns("__pycache__"))
        (to / "bin/pip").write_text(
            "#!/usr/local/bin/python3\nfrom pip._internal.cli.main import main\nmain()\n"
        )
        (to / "bin/pip").chmod(0o755)
        for path in to.rglob("*"):
            if path.is_file() and not path.is_symlink():
                path.chmod(path.stat().st_mode | stat.S_IRUSR | stat.S_IRGRP | stat.S_IROTH)
        _link_libraries(below.tree, tree)

    return kept(key_of("python", below.key, sys.version, sys.base_prefix), fill)


def _pip(standard: Path) -> Path:
    """Return the folder of the base interpreter's pip."""
    for folder in (standard / "site-packages", Path("/usr/lib/python3/dist-packages")):
        if (folder / "pip/_internal").is_dir():
            return folder / "pip"
    raise ClusterError(
        f"{standard} has no pip: python3 -m ensurepip, or apt-get install python3-pip"
    )


def _link_libraries(below: Path, tree: Path) -> None:
    """Write the linker's cache with /usr/local/lib in it, and try Python's own modules."""
    (tree / "etc").mkdir(exist_ok=True)
    work = tree.parent / "link"
    script = (
        'mkdir -p "$3/upper" "$3/work" "$3/merged" && '
        'mount -t overlay overlay -o "lowerdir=$1,upperdir=$2,workdir=$3/work" "$3/merged" && '
        'ldconfig -r "$3/merged" && chroot "$3/merged" /usr/local/bin/python3 -B -c "$4"'
    )
    run("unshare", "--mount", "--pid", "--fork", "sh", "-c", script, "sh", below, tree, work, SMOKE)
    shutil.rmtree(work, ignore_errors=True)


def plain(packages: tuple[str, ...]) -> Base:
    """Return what stands for the Python image."""
    system = debian(packages)
    return Base((system, python(system)), Config())


def triton(packages: tuple[str, ...], environment: Path) -> Base:
    """Return what stands for NVIDIA's Triton container: the wheel's server at its place."""
    below = plain(packages)
    version = sysconfig.get_python_version()
    site = environment / f"lib/python{version}/site-packages"
    wheel = site / "pytriton/tritonserver"
    if not wheel.is_dir():
        raise ClusterError(f"{site} holds no tritonserver: make setup")

    def fill(tree: Path) -> None:
        to = tree / TRITON
        for part in ("bin", "caches"):
            shutil.copytree(wheel / part, to / part)
        shutil.copytree(site / "nvidia_pytriton.libs", to / "lib")
        backend = to / "backends/python"
        backend.mkdir(parents=True)
        for name in ("libtriton_python.so", "triton_python_backend_utils.py"):
            shutil.copy2(wheel / "backends/python" / name, backend)
        stub = wheel / "python_backend_stubs" / version / "triton_python_backend_stub"
        shutil.copyfile(stub, backend / stub.name)
        (backend / stub.name).chmod(0o755)

    (stamp,) = site.glob("nvidia_pytriton-*.dist-info")
    layer = kept(key_of("triton", below.layers[-1].key, stamp.name), fill)
    paths = {"PATH": f"/{TRITON}/bin:{PATH}", "LD_LIBRARY_PATH": f"/{TRITON}/lib"}
    return Base((*below.layers, layer), Config(environment=paths))


def merlin(packages: tuple[str, ...], environment: Path, lock: str, added: frozenset[str]) -> Base:
    """Return what stands for Merlin's container.

    Args:
        packages: Debian's, that the Dockerfiles install.
        environment: the training environment of this machine.
        lock: the text of its lock.
        added: the packages that the Dockerfile installs itself.
    """
    below = plain(packages)
    pins = re.findall(r"^([A-Za-z0-9][\w.-]*)(==[^\\\n]+)", lock, re.MULTILINE)
    wanted = "".join(f"{name}{rest.rstrip()}\n" for name, rest in pins if name not in added)

    def fill(tree: Path) -> None:
        command = f"printf %s {quote(wanted)} > /tmp/base.lock && pip install -r /tmp/base.lock"
        in_tree(below.layers, tree, command, folder="/", variables={}, environment=environment)

    layer = kept(key_of("merlin", below.layers[-1].key, wanted), fill)
    return Base((*below.layers, layer), Config())

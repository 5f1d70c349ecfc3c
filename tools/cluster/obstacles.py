"""Say why a cluster cannot run on this machine, one line per reason."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tools.cluster import binaries, cgroups
from tools.cluster.layout import home
from tools.cluster.node_files import CNI_PLUGINS

#: Program → Debian package.
PROGRAMS = {
    "containerd": "containerd",
    "ctr": "containerd",
    "runc": "runc",
    "nft": "nftables",
    "iptables": "iptables",
    "ipset": "ipset",
    "conntrack": "conntrack",
    "ip": "iproute2",
    "openssl": "openssl",
    "nsenter": "util-linux",
    "unshare": "util-linux",
    "mount": "mount",
    "sysctl": "procps",
}
PLUGINS = ("ptp", "portmap", "host-local", "loopback")
LINKS = (
    "ip link add switch type bridge && "
    "ip link add one type veth peer name two && nft add table ip try && "
    "ipset create try hash:ip"
)


def missing_packages() -> list[str]:
    """Return the Debian packages whose programs are missing."""
    found = {package for program, package in PROGRAMS.items() if shutil.which(program) is None}
    if any(not Path(CNI_PLUGINS, plugin).exists() for plugin in PLUGINS):
        found.add("containernetworking-plugins")
    return sorted(found)


def obstacles() -> list[str]:
    """Return the reasons why a cluster cannot run here; none where it can."""
    return list(_obstacles())


def _obstacles() -> Iterator[str]:
    if platform.system() != "Linux" or platform.machine() != "x86_64":
        yield f"a cluster needs Linux on x86-64, and this is {platform.system()} on " + (
            platform.machine()
        )
        return
    if os.geteuid() != 0:
        yield "a cluster needs root: run it as root, for instance with sudo"
        return
    if packages := missing_packages():
        yield (
            "Debian packages are missing: apt-get install --no-install-recommends "
            + " ".join(packages)
        )
        return
    if absent := cgroups.absent():
        yield f"the kernel offers no cgroup controller {', '.join(absent)} here"
    if (binaries.missing()) and shutil.which("go") is None:
        yield "no Go compiler to build Kubernetes: install Go 1.26 or later"
    if why := _overlay():
        yield f"no overlay can be mounted in {home().parent}: {why}"
    if why := _own("--net", "sh", "-c", LINKS):
        yield f"no network of its own can be made: {why}"


def _own(*arguments: str) -> str:
    """Run a program in namespaces of its own; return why that failed, "" where it did not."""
    done = subprocess.run(
        ["unshare", "--mount", "--pid", "--fork", *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    return "" if done.returncode == 0 else (done.stderr.strip() or f"code {done.returncode}")


def _overlay() -> str:
    place = next(folder for folder in home().parents if folder.is_dir())
    with tempfile.TemporaryDirectory(dir=place, prefix=".recsys-cluster-") as name:
        for part in ("lower", "upper", "work", "merged"):
            Path(name, part).mkdir()
        options = f"lowerdir={name}/lower,upperdir={name}/upper,workdir={name}/work"
        return _own("mount", "-t", "overlay", "overlay", "-o", options, f"{name}/merged")

"""Start the components and start them again when they end: process 1 of a cluster's namespaces."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path
from types import FrameType

from tools.cluster import private_network
from tools.cluster.commands import run, without_proxies
from tools.cluster.components import Component, components
from tools.cluster.kubernetes_api import answers
from tools.cluster.layout import Cluster

#: Folders in which containerd, kubelet and the CNI plugins leave files, whatever they are told.
PRIVATE_FOLDERS = (
    "/run/netns",
    "/run/containerd",
    "/var/lib/cni",
    "/var/lib/kubelet",
    "/var/log/containers",
    "/var/log/pods",
)
#: Kernel settings that a kubelet demands. It reads them here and so does not change the machine's.
DEMANDED = {
    "vm/overcommit_memory": "1",
    "vm/panic_on_oom": "0",
    "kernel/panic": "10",
    "kernel/panic_on_oops": "1",
    "kernel/keys/root_maxkeys": "1000000",
    "kernel/keys/root_maxbytes": "25000000",
}
#: Seconds from SIGTERM to the end of all processes.
GRACE = 3.0
#: Seconds until a component that ended starts again.
PAUSE = 1.0


def hide(cluster: Cluster) -> None:
    """Mount private folders and settings, so that nothing of the cluster stays on the host."""
    run("mount", "--make-rprivate", "/")
    run("mount", "--make-rshared", "/")  # a peer group of our own: kubelet wants shared mounts
    made = []
    for name in PRIVATE_FOLDERS:
        folder = Path(name)
        if not folder.exists():
            made.append(name)
            folder.mkdir(parents=True)
        run("mount", "-t", "tmpfs", "tmpfs", name)
    (cluster.folder / "made-folders").write_text("\n".join(made))
    settings = cluster.folder / "kernel"
    settings.mkdir(exist_ok=True)
    for name, value in DEMANDED.items():
        shown = settings / name.replace("/", ".")
        shown.write_text(value + "\n")
        run("mount", "--bind", shown, f"/proc/sys/{name}")


class Supervisor:
    """Keeps the components of a cluster running until it gets SIGTERM."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._ended: dict[str, float] = {}
        self._stop = False
        signal.signal(signal.SIGTERM, self._on_signal)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self._stop = True

    def serve(self) -> None:
        """Start all components, watch them, and end them."""
        parts = list(components(self._cluster))
        for part in parts:
            if not part.needs_api:
                self._start(part)
        while not self._stop and not answers(self._cluster):
            self._watch([part for part in parts if not part.needs_api])
            time.sleep(0.1)
        while not self._stop:
            self._watch(parts)
            time.sleep(0.2)
        self._end()

    def _watch(self, parts: list[Component]) -> None:
        """Start what does not run.

        A kubelet ends without containerd's socket, kube-router without its Node.
        """
        for part in parts:
            process = self._running.get(part.name)
            if process is None:
                self._start(part)
            elif (code := process.poll()) is not None:
                since = self._ended.setdefault(part.name, time.monotonic())
                if time.monotonic() - since > PAUSE:
                    print(f"{part.name} ended with {code}; starting it again", flush=True)
                    del self._ended[part.name]
                    self._start(part)

    def _start(self, part: Component) -> None:
        with (self._cluster.logs / f"{part.name}.log").open("ab") as log:
            self._running[part.name] = subprocess.Popen(
                [*private_network.in_namespace(part.node), *part.command],
                env=without_proxies(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def _end(self) -> None:
        """End the components, the last started first; the kernel ends the pods with this process.

        Pods get no time of their own: a cluster that goes has nobody who waits for their answers.
        """
        for name in reversed(self._running):
            self._running[name].terminate()
        end = time.monotonic() + GRACE
        while time.monotonic() < end and any(p.poll() is None for p in self._running.values()):
            time.sleep(0.05)


def main(name: str, slot: str) -> None:
    """Run as process 1 of the namespaces that the keeper has made."""
    cluster = Cluster(name, int(slot))
    hide(cluster)
    private_network.make_inside(cluster)
    Supervisor(cluster).serve()


if __name__ == "__main__":
    main(*sys.argv[1:])

"""Start, describe and end clusters."""

from __future__ import annotations

import fcntl
import ipaddress
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tools.cluster import binaries, certificates, cgroups, keeper, kubernetes_api, node_files
from tools.cluster.commands import ClusterError, Steps, run, wait_until
from tools.cluster.images import static
from tools.cluster.layout import SLOTS, Cluster, all_recorded, home, recorded
from tools.cluster.obstacles import obstacles

MANIFESTS = Path(__file__).parent / "manifests"
#: Seconds for each wait of the start; an idle machine of two cores needs 9 for all of them.
LIMIT = 180.0
#: Seconds until a keeper that was told to end is killed; it deletes gigabytes of images.
GRACE = 600.0


@contextmanager
def _exclusive() -> Iterator[None]:
    """Let one command at a time choose a slot or clean up."""
    home().parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(home().parent, os.O_RDONLY)  # a folder can be locked, too, and no file is left
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def sweep() -> list[str]:
    """Remove what clusters left whose keeper was killed, and return their names."""
    dead = [cluster for cluster in all_recorded() if not keeper.alive(cluster)]
    for cluster in dead:
        keeper.clean(cluster)
    return [cluster.name for cluster in dead]


def _routes() -> list[ipaddress.IPv4Network]:
    routes = json.loads(run("ip", "-json", "-4", "route", "show", "table", "all") or "[]")
    found = (one["dst"] for one in routes if one.get("dst", "default") != "default")
    return [ipaddress.IPv4Network(one, strict=False) for one in found]


def free_slot() -> int:
    """Return the first slot whose subnets no route of this machine touches.

    Raises:
        ClusterError: all slots are taken.
    """
    taken, routes = {cluster.slot for cluster in all_recorded()}, _routes()
    for slot in SLOTS:
        cluster = Cluster("probe", slot)
        subnets = [
            ipaddress.IPv4Network(one) for one in (cluster.network, cluster.pods, cluster.services)
        ]
        if slot not in taken and not any(s.overlaps(r) for s in subnets for r in routes):
            return slot
    raise ClusterError("every slot is taken: end a cluster, see `recsys cluster status`")


def up(name: str, say: Callable[[str], None] = print) -> Cluster:
    """Start a cluster and wait until its nodes and its DNS are ready.

    A cluster of that name that runs is left alone.

    Raises:
        ClusterError: it cannot run here, or a part did not become ready; the message says which
            log to read.
    """
    if (running := recorded(name)) is not None and keeper.alive(running):
        say(f"{name}: runs already")
        return running
    if reasons := obstacles():
        raise ClusterError("; ".join(reasons))
    steps = Steps(name, say)
    if binaries.missing():
        binaries.build(lambda line: say(f"{name}: {line}"))
        steps.done("programs")
    with _exclusive():
        for swept in sweep():
            say(f"{name}: removed what the killed cluster {swept} left")
        cluster = Cluster(name, free_slot())
        cluster.logs.mkdir(parents=True)
        cluster.record.write_text(json.dumps({"slot": cluster.slot}))
        try:
            certificates.make(cluster)
            for node in cluster.nodes:
                node_files.write(cluster, node)
                cgroups.make(cluster.cgroup(node))
            steps.done("certificates and files")
            _start_keeper(cluster)
        except BaseException:
            keeper.clean(cluster)
            raise
    try:
        _wait(cluster, steps)
    except ClusterError as error:
        raise ClusterError(f"{error}; read {cluster.logs}") from error
    steps.total("ready")
    return cluster


def _start_keeper(cluster: Cluster) -> None:
    with (cluster.logs / "keeper.log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "tools.cluster.keeper", cluster.name, str(cluster.slot)],
            cwd=keeper.ROOT,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    wait_until(
        lambda: keeper.alive(cluster) or process.poll() is not None, "the keeping process", 30.0
    )
    if process.poll() is not None:
        raise ClusterError((cluster.logs / "keeper.log").read_text()[-2000:])


def _wait(cluster: Cluster, steps: Steps) -> None:
    """Wait for one part after the other, and install what pods need."""

    def until(true: Callable[[], bool], what: str) -> None:
        wait_until(lambda: true() or _check(cluster), what, LIMIT, every=0.2)

    until(lambda: kubernetes_api.answers(cluster), "the API server")
    steps.done("API server")
    until(lambda: all(cluster.socket(node).exists() for node in cluster.nodes), "containerd")
    for program in static.OWN:
        kubernetes_api.load(cluster, static.write(program))
    steps.done("images of its own pods")
    until(lambda: len(kubernetes_api.ready_nodes(cluster)) == len(cluster.nodes), "both nodes")
    gpus = {"op": "add", "path": "/status/capacity/nvidia.com~1gpu", "value": str(node_files.GPUS)}
    patch = ("--subresource=status", "--type=json", f"--patch={json.dumps([gpus])}")
    kubernetes_api.kubectl(cluster, "patch", "node", cluster.nodes[1].name, *patch)
    steps.done("nodes")
    text = (MANIFESTS / "dns.yaml").read_text().replace("ADDRESS", cluster.dns)
    kubernetes_api.kubectl(cluster, "apply", "--server-side", "--filename=-", given=text)
    kubernetes_api.wait_rolled_out(cluster, "kube-system", "coredns", LIMIT)
    steps.done("DNS")


def _check(cluster: Cluster) -> bool:
    """Return False, unless the keeper has ended: then nothing will become ready any more."""
    if not keeper.alive(cluster):
        raise ClusterError("the cluster ended while it started")
    return False


def _ended(process: int) -> bool:
    """Return whether a process has ended; its parent need not have noticed yet."""
    try:
        return not Path(f"/proc/{process}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return True


def down(name: str, say: Callable[[str], None] = print) -> bool:
    """End a cluster and remove everything of it; return whether there was one."""
    steps = Steps(name, say)
    cluster = recorded(name)
    if cluster is None:
        say(f"{name}: there is no such cluster")
        return False
    with _exclusive():
        if keeper.alive(cluster):
            process = int(cluster.lock.read_text())
            os.kill(process, signal.SIGTERM)
            try:
                wait_until(lambda: _ended(process), "the end of the cluster", GRACE)
            except ClusterError:
                os.kill(process, signal.SIGKILL)
        if cluster.folder.exists():
            keeper.clean(cluster)
    steps.done("everything has ended")
    return True


@dataclass(frozen=True)
class Status:
    """Holds one line of ``recsys cluster status``."""

    name: str
    state: str
    address: str
    kubeconfig: str
    detail: str


def status() -> list[Status]:
    """Return one entry per cluster of this machine."""
    found = []
    for cluster in all_recorded():
        state, detail = "dead", "was killed; the next `up` or `down` removes what it left"
        if keeper.alive(cluster):
            state, detail = "starting", f"logs: {cluster.logs}"
            if kubernetes_api.answers(cluster):
                ready = kubernetes_api.ready_nodes(cluster)
                state = "running" if len(ready) == len(cluster.nodes) else "degraded"
                pods = kubernetes_api.get(cluster, "pods", "--all-namespaces")["items"]
                detail = f"nodes ready: {', '.join(ready) or 'none'}; pods: {len(pods)}"
        found.append(Status(cluster.name, state, cluster.url, str(cluster.kubeconfig()), detail))
    return found

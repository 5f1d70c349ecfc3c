"""Define the commands: ``python -m tools.cluster up | down | status | …``."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from tools.cluster import binaries, lifecycle
from tools.cluster.commands import ClusterError
from tools.cluster.helm_program import helm
from tools.cluster.kubernetes_api import kubectl_command, load
from tools.cluster.layout import DEFAULT_NAME, Cluster, recorded
from tools.cluster.obstacles import obstacles


def say(line: str) -> None:
    """Print a line at once."""
    print(line, flush=True)


def running(name: str) -> Cluster:
    """Return a cluster that has a folder.

    Raises:
        ClusterError: there is none.
    """
    cluster = recorded(name)
    if cluster is None:
        raise ClusterError(f"no cluster {name}: start it with `make cluster`")
    return cluster


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    made = argparse.ArgumentParser(prog="recsys cluster", description=lifecycle.__doc__)
    commands = made.add_subparsers(dest="command", required=True)
    for name, text in {
        "up": "start a cluster and wait until it is ready",
        "down": "end a cluster and remove everything of it",
        "status": "list the clusters of this machine",
        "check": "say why a cluster cannot run here",
        "build": "build the programs of a cluster, which the first start does too",
        "load": "import images, given as OCI layout tars",
        "kubectl": "call kubectl as the cluster's administrator",
        "helm": "call helm as the cluster's administrator",
    }.items():
        one = commands.add_parser(name, help=text, description=text)
        if name == "build":
            one.add_argument("--metrics", action="store_true", help="and those that measure")
        elif name not in ("status", "check"):
            one.add_argument("--name", default=DEFAULT_NAME, help=f"default: {DEFAULT_NAME}")
        if name == "load":
            one.add_argument("images", nargs="+", type=Path)
    return made


def parsed(arguments: Sequence[str]) -> argparse.Namespace:
    """Parse a command line; what follows kubectl or helm is theirs, options included.

    >>> parsed(["kubectl", "--name", "other", "-n", "shop", "get", "pods"]).arguments
    ['-n', 'shop', 'get', 'pods']
    """
    if arguments[:1] not in (["kubectl"], ["helm"]):
        return parser().parse_args(arguments)
    own = 3 if arguments[1:2] == ["--name"] else 1
    given = parser().parse_args(arguments[:own])
    given.arguments = list(arguments[own:])
    return given


def act(given: argparse.Namespace) -> int:
    """Run one command and return its exit status."""
    if given.command == "up":
        cluster = lifecycle.up(given.name, say)
        say(f"{given.name}: export KUBECONFIG={cluster.kubeconfig()}")
    elif given.command == "down":
        lifecycle.down(given.name, say)
    elif given.command == "status":
        for one in lifecycle.status():
            say(f"{one.name}  {one.state}  {one.address}  {one.kubeconfig}  {one.detail}")
    elif given.command == "check":
        reasons = obstacles()
        for reason in reasons:
            say(reason)
        return int(bool(reasons))
    elif given.command == "build":
        programs = (*binaries.PROGRAMS, *(binaries.METRICS if given.metrics else ()))
        say(f"programs: {binaries.build(say, programs):.0f} s")
    elif given.command == "load":
        for image in given.images:
            say(f"{image.name} {load(running(given.name), image):.1f} s")
    elif given.command == "kubectl":
        command = [*kubectl_command(running(given.name)), *given.arguments]
        os.execv(command[0], command)
    else:
        program = str(helm())
        os.environ["KUBECONFIG"] = str(running(given.name).kubeconfig())
        os.execv(program, [program, *given.arguments])
    return 0


def main() -> int:
    """Run the command line."""
    try:
        return act(parsed(sys.argv[1:]))
    except ClusterError as error:
        print(f"cluster: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())

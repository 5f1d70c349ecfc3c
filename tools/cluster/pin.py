"""Write the go.mod of the Kubernetes binary for another version.

Usage: ``python -m tools.cluster.pin v1.36.3``.

Kubernetes' own go.mod replaces its staging modules by folders of its repository. A module that
imports Kubernetes must replace each by the published version, v0.36.3 for v1.36.3.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

MODULE = Path(__file__).parent / "go" / "kubernetes"


def go_mod(version: str, upstream: str) -> str:
    """Return our go.mod for a Kubernetes version, made from that version's own go.mod."""
    staging = re.findall(r"^\s*(k8s\.io/\S+) => \./staging/", upstream, re.MULTILINE)
    go = re.search(r"^go (\S+)", upstream, re.MULTILINE)
    etcd = re.search(r"go\.etcd\.io/etcd/client/v3 (\S+)", upstream)
    if not staging or go is None or etcd is None:
        raise ValueError(f"go.mod of Kubernetes {version} has another form: read it, mend this")
    published = "v0." + version.removeprefix("v1.")
    replaced = "\n".join(f"\t{name} => {name} {published}" for name in staging)
    return (
        f"module kubernetes\n\ngo {go[1]}\n\n"
        f"require (\n\tk8s.io/kubernetes {version}\n\tgo.etcd.io/etcd/server/v3 {etcd[1]}\n)\n\n"
        f"replace (\n{replaced}\n)\n"
    )


def main(version: str) -> None:
    """Write go.mod and go.sum."""
    told = subprocess.run(
        ["go", "mod", "download", "-json", f"k8s.io/kubernetes@{version}"],
        check=True,
        capture_output=True,
        text=True,
        cwd="/",
    ).stdout
    upstream = Path(json.loads(told)["GoMod"]).read_text()
    (MODULE / "go.mod").write_text(go_mod(version, upstream))
    (MODULE / "go.sum").unlink(missing_ok=True)
    subprocess.run(["go", "mod", "tidy"], check=True, cwd=MODULE)


if __name__ == "__main__":
    main(sys.argv[1])

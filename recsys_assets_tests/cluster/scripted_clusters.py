"""Start clusters whose Kubernetes is a shell script; all else of them is real."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tools.cluster import binaries, layout, lifecycle
from tools.cluster.obstacles import obstacles

NODES = {
    "items": [
        {
            "metadata": {"name": name},
            "status": {"conditions": [{"type": "Ready", "status": "True"}]},
        }
        for name in ("cpu0", "gpu0")
    ]
}
#: Answers the few questions that the start asks; any other component waits to be ended.
SCRIPT = f"""#!/bin/sh
case "$*" in
  kubectl*readyz*) printf ok ;;
  kubectl*get*nodes*) echo '{json.dumps(NODES)}' ;;
  kubectl*get*pods*) echo '{{"items": []}}' ;;
  kubectl*) ;;
  *) exec sleep 100000 ;;
esac
"""


@pytest.fixture
def scripted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Give the folder of all clusters; their programs are scripts."""
    monkeypatch.setenv(binaries.CACHE_VARIABLE, str(tmp_path / "cache"))
    monkeypatch.setenv(layout.HOME_VARIABLE, str(tmp_path / "clusters"))
    for program in binaries.PROGRAMS:
        program.path.parent.mkdir(parents=True)
        program.path.write_text(SCRIPT)
        program.path.chmod(0o755)
    if reasons := obstacles():
        pytest.skip("; ".join(reasons))
    yield tmp_path / "clusters"
    for cluster in layout.all_recorded():
        lifecycle.down(cluster.name, lambda line: None)

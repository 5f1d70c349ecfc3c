"""Test that Feast imports without typeguard's checks and leaves typeguard unchanged."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from recsys_assets.settings import Settings

pytestmark = pytest.mark.slow

_SCRIPT = """
import sys
from recsys_assets.lib.feature_store.feast_import import import_without_checks
if sys.argv[1] == "quick":
    import_without_checks()
import typeguard
import feast
before = typeguard.typechecked
import_without_checks()
assert typeguard.typechecked is before and before.__module__.startswith("typeguard"), before
try:
    feast.Field(name="n", dtype="no type")
    print("unchecked")
except typeguard.TypeCheckError:
    print("checked")
"""


@pytest.mark.parametrize(
    "python", [sys.executable, str(Settings().serving_python)], ids=["platform", "serving"]
)
@pytest.mark.parametrize(("how", "expected"), [("quick", "unchecked"), ("plain", "checked")])
def test_checks_are_left_out_for_feast_alone(python, how, expected):
    done = subprocess.run([python, "-c", _SCRIPT, how], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == expected


_METRICS = """
import os
import sys
from recsys_assets.lib.feature_store import feast_import
getattr(feast_import, sys.argv[1])()
import prometheus_client
first, second = (prometheus_client.CollectorRegistry() for _ in range(2))
prometheus_client.Counter("asked", "Asked.", registry=first).inc()
prometheus_client.Counter("asked", "Asked.", registry=second)
print(second.get_sample_value("asked_total"), [name for name in os.environ if "MULTIPROC" in name])
"""


@pytest.mark.parametrize("how", ["import_feast", "import_without_checks"])
def test_metrics_stay_in_their_process_and_registry(how: str):
    # another test of this process may have imported Feast plainly
    environment = {name: value for name, value in os.environ.items() if "MULTIPROC" not in name}
    done = subprocess.run(
        [sys.executable, "-c", _METRICS, how],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "0.0 []"

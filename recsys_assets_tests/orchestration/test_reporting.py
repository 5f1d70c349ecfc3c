"""Verdicts in the Dagster UI: what blocks is an error, what warns is a warning."""

from __future__ import annotations

import dagster as dg
import pytest

from recsys_assets.lib.gates.checks import fact
from recsys_assets.orchestration import reporting

FINE = fact("exports: parity of dlrm.onnx", 0.0, 1e-6)
BLOCKING = fact("champion: auc", -0.1, -0.005, passed=False)
WARNING = fact("latency: ranker, ms", 90.0, 25.0, passed=False, blocks=False)
ERROR, WARN = dg.AssetCheckSeverity.ERROR, dg.AssetCheckSeverity.WARN


@pytest.mark.parametrize(
    ("checks", "promoted", "passed", "severity"),
    [
        ([FINE], True, True, WARN),
        ([FINE, WARNING], True, False, WARN),
        ([FINE, WARNING, BLOCKING], False, False, ERROR),
    ],
)
def test_a_group_is_an_error_only_where_a_check_blocks(checks, promoted, passed, severity):
    verdict = {"passed": promoted, "checks": checks}
    gate, group = reporting.gate_checks(verdict, {"group": checks})
    assert (gate.passed, gate.severity) == (promoted, severity)
    assert (group.passed, group.severity) == (passed, severity)


def test_the_table_says_what_each_check_does_if_it_fails():
    verdict = {"passed": False, "checks": [WARNING, BLOCKING]}
    [gate] = reporting.gate_checks(verdict, {})
    lines = gate.metadata["checks"].value.splitlines()
    assert lines[0] == "| check | value | threshold | passed | if not |"
    assert lines[2] == "| latency: ranker, ms | 90 | 25 | **no** | warns |"
    assert lines[3] == "| champion: auc | -0.1 | -0.005 | **no** | blocks |"


def test_a_check_of_an_older_verdict_blocks():
    older = {name: value for name, value in WARNING.items() if name != "blocks"}
    [gate] = reporting.gate_checks({"passed": False, "checks": [older]}, {})
    assert gate.severity == ERROR

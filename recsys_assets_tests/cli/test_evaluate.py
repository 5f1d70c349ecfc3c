"""``recsys evaluate``: bad input is refused before anything runs; what is measured is copied whole
and shown.
"""

from __future__ import annotations

import json
import os

import dagster as dg
import pytest
from pydantic import ValidationError
from rich.console import Console
from typer.testing import CliRunner

from recsys_assets.artifacts import ArtifactStore
from recsys_assets.cli import evaluate
from recsys_assets.cli.main import app
from recsys_assets.operations import evaluate as operations_evaluate
from recsys_assets.operations import jobs
from recsys_assets.settings import get_settings
from recsys_assets_tests.lib.evaluation.test_summary import summarised


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A home whose fortnight begins on 2026-11-01; the process's own settings come back
    afterwards.
    """
    before = dict(os.environ)
    monkeypatch.setenv("RECSYS_HOME", str(tmp_path))
    monkeypatch.setenv("RECSYS_START_DAY", "2026-11-01")
    get_settings.cache_clear()
    yield tmp_path
    for name in [name for name in os.environ if name.startswith("RECSYS_") and name not in before]:
        del os.environ[name]  # a command gives its settings to its children
    os.environ.update(before)
    get_settings.cache_clear()


def said(*arguments: str) -> str:
    result = CliRunner().invoke(app, ["evaluate", *arguments])
    assert result.exit_code == 2, result.output
    return " ".join(result.output.replace("│", " ").split())


def test_a_day_that_is_none_is_refused_with_the_form(home):
    assert "'19.11.2026' must be a day of the form 2026-11-20" in said("--as-of", "19.11.2026")
    assert not (home / "landing").exists()


@pytest.mark.parametrize("day", ["2026-10-31", "2026-11-15", "2030-01-01"])
def test_a_day_outside_the_log_is_refused_with_its_days(home, day):
    assert f"{day} must be from 2026-11-01 to 2026-11-14" in said("--as-of", day)
    assert not (home / "landing").exists()


def test_the_default_day_is_that_of_materialize(home):
    assert operations_evaluate.as_of_day(get_settings(), None) == "2026-11-12"
    assert operations_evaluate.as_of_day(get_settings(), "2026-11-13") == "2026-11-13"


def test_an_unknown_scale_is_refused_as_elsewhere(home):
    result = CliRunner().invoke(app, ["evaluate", "--scale", "huge"])
    assert (
        result.exit_code != 0
        and isinstance(result.exception, ValidationError)
        and "'tiny', 'demo' or 'seed'" in str(result.exception)
    )
    os.environ["RECSYS_SCALE"] = "demo"


def test_both_files_are_copied_into_the_home(home):
    store, summary = ArtifactStore(home / "artifacts"), summarised()
    with store.stage("evaluation/report", "2026-11-12") as staged:
        (staged.path / "evaluation.json").write_text(json.dumps(summary))
        (staged.path / "report.html").write_text("<!doctype html>")
        report = staged.publish()
    assert operations_evaluate.publish(report, home)["served"] == summary["served"]
    assert json.loads((home / "evaluation.json").read_text()) == json.loads(json.dumps(summary))
    assert (home / "evaluation.html").read_text() == "<!doctype html>"
    assert sorted(path.name for path in home.iterdir()) == [
        "artifacts",
        "evaluation.html",
        "evaluation.json",
    ]


def shown(summary: dict) -> str:
    console = Console(width=100, record=True, file=open(os.devnull, "w"))
    evaluate.show(summary, console)
    return console.export_text()


def test_every_target_has_a_line_with_value_target_and_verdict():
    text = shown(summarised())
    assert (
        text.count(" met  ") == 6
        and "0.150 against 0.120 (the strongest of 6 is EASE)" in text
        and "0.150–0.170" in text
    )
    text = shown(summarised(oracle={"available": False}, ablations=None))
    assert text.count("not measured") == 4 and "there is no oracle" in text and "[/]" not in text


def test_only_a_verdict_on_the_models_lets_the_evaluation_go_on():
    clock = jobs.Clock()

    def failing(*blocked: str):
        def run() -> None:
            raise jobs.PipelineFailed("full_training failed", blocked)

        return run

    assert operations_evaluate._unless_blocked(lambda: None, clock)
    assert not operations_evaluate._unless_blocked(failing("serving__release"), clock)
    for other in (
        failing(),
        failing("ranking__dlrm"),
        failing("serving__release", "features__datasets"),
    ):
        with pytest.raises(jobs.PipelineFailed):
            operations_evaluate._unless_blocked(other, clock)


@dg.asset(check_specs=[dg.AssetCheckSpec("gate", asset="judged", blocking=True)])
def judged():
    return dg.MaterializeResult(
        check_results=[dg.AssetCheckResult(check_name="gate", passed=False)]
    )


@dg.asset
def broken():
    raise RuntimeError("a real failure")


@pytest.mark.parametrize(
    ("assets", "blocked"), [([judged], ["judged"]), ([broken], []), ([judged, broken], [])]
)
def test_a_run_that_a_check_ended_is_told_from_one_that_failed(assets, blocked):
    job = dg.Definitions(assets=assets, jobs=[dg.define_asset_job("job", "*")]).resolve_job_def(
        "job"
    )
    assert jobs._blocked(job.execute_in_process(raise_on_error=False)) == blocked

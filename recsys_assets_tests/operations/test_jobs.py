"""Test jobs that run in this process: a range of days is one run in the home's own event log."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import dagster as dg
import pytest

from recsys_assets.operations.jobs import Partition, PipelineFailed, require_days, run_jobs
from recsys_assets.settings import PROJECT_ROOT, Settings

INGEST = """
import dagster as dg
from recsys_assets import partitions
from recsys_assets.artifacts import ArtifactStore
from recsys_assets.bench.data import features, history
from recsys_assets.operations import full_graph, jobs
from recsys_assets.settings import get_settings
import json

settings = get_settings()
days = partitions.days_between(settings.start_day, settings.start_day.replace(day=9))
history.write_log(settings, days, 60)
features.ingest_catalogue(settings, ArtifactStore(settings.artifacts))
[ingest] = [job for job in full_graph.full_graph(days, days[-1]) if job[0] == "daily_ingest"]
jobs.run_jobs(settings, [ingest], config=jobs.accepting([days[3], "all"]))
with dg.DagsterInstance.get() as instance:
    runs = instance.get_runs()
    print(json.dumps({
        "runs": [[run.job_name, run.status.value] for run in runs],
        "log": type(instance.event_log_storage).__name__,
        "days": sorted(instance.get_materialized_partitions(
            dg.AssetKey(["features", "masked_train"]))),
        "config": runs[0].run_config["ops"],
    }))
"""


def test_a_range_is_one_run_and_prints_its_progress(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", INGEST],
        cwd=PROJECT_ROOT,
        env={
            **os.environ,
            "PYTHONPATH": str(PROJECT_ROOT),
            "RECSYS_HOME": str(tmp_path),
            "RECSYS_START_DAY": "2026-01-01",
        },
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["runs"] == [["daily_ingest", "SUCCESS"]] and found["log"] == "EventLog"
    assert found["days"] == [f"2026-01-{day:02}" for day in range(1, 10)]
    accepted = found["config"]["raw__interactions"]["config"]["accept_volume"]
    assert accepted == ["2026-01-04", "all"]
    for line in (
        *(
            f"{asset}: 9 of 9 days (2026-01-09)"
            for asset in ("raw/interactions", "features/interactions", "features/masked_train")
        ),
        "(1/1) daily_ingest [2026-01-01 to 2026-01-09]: 27 assets, 0 reused",
    ):
        assert line in done.stderr


@dg.job(partitions_def=dg.DailyPartitionsDefinition("2026-01-01", end_date="2026-01-10"))
def a_daily_job() -> None:
    """Do nothing."""


@pytest.mark.parametrize(
    ("partition", "refusal"),
    [
        (None, None),
        ("2026-01-09", None),
        (("2026-01-01", "2026-01-09"), None),
        ("2026-01-10", "'2026-01-10': choose one from 2026-01-01 to 2026-01-09"),
        ("foo", "a_daily_job has no day 'foo'"),
        (("2026-01-02", "2026-02-30"), "has no day '2026-02-30'"),
        (("2026-01-03", "2026-01-02"), "2026-01-02 is before 2026-01-03"),
    ],
)
def test_a_day_that_the_calendar_lacks_is_refused_by_name(
    partition: Partition, refusal: str | None
) -> None:
    if refusal is None:
        require_days(a_daily_job, partition)
    else:
        with pytest.raises(PipelineFailed, match=refusal):
            require_days(a_daily_job, partition)


def test_on_a_cluster_no_run_is_kept_in_the_home(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path / "home", executor="k8s")
    with pytest.raises(PipelineFailed, match=r"launch fine_tune \[2026-01-03\], promote in its UI"):
        run_jobs(settings, [("fine_tune", "2026-01-03"), ("promote", None)])
    assert not settings.home.exists()

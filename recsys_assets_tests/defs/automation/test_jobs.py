"""Test the order of backfills, by Dagster's own daemons on an instance of this home's settings."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Iterator
from typing import Any

import dagster as dg
import pytest
import yaml
from dagster._core.execution.backfill import BulkActionStatus, PartitionBackfill
from dagster._core.remote_origin import InProcessCodeLocationOrigin
from dagster._core.test_utils import (
    InProcessTestWorkspaceLoadTarget,
    create_test_daemon_workspace_context,
    instance_for_test,
)
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin
from dagster._daemon.backfill import execute_backfill_iteration
from dagster._daemon.run_coordinator import QueuedRunCoordinatorDaemon

from recsys_assets import partitions
from recsys_assets.definitions import defs
from recsys_assets.operations.dagster_home import INSTANCE
from recsys_assets.orchestration import work
from recsys_assets.settings import PROJECT_ROOT, get_settings

DAYS = partitions.history_days(get_settings())[2:6]


@pytest.fixture
def workspace() -> Iterator[Any]:
    """Return a workspace of the code location; its runs are queued and never really launched."""
    location = InProcessCodeLocationOrigin(
        LoadableTargetOrigin(
            executable_path=sys.executable,
            module_name="recsys_assets.definitions",
            attribute="defs",
        ),
        location_name=PROJECT_ROOT.name,
    )
    overrides = {
        "run_coordinator": {"module": "dagster", "class": "QueuedRunCoordinator"},
        "run_launcher": {"module": "dagster._core.test_utils", "class": "MockedRunLauncher"},
        "concurrency": yaml.safe_load(INSTANCE)["concurrency"],
    }
    with (
        instance_for_test(overrides=overrides) as instance,
        create_test_daemon_workspace_context(
            InProcessTestWorkspaceLoadTarget(location), instance
        ) as context,
    ):
        yield context


def backfill(workspace: Any, job: str) -> list[dg.DagsterRun]:
    """Start a backfill of a job over DAYS, as its page in the UI does; return its runs."""
    [location] = workspace.create_request_context().code_locations
    [repository] = location.get_repositories().values()
    [wanted] = [one for one in repository.get_partition_sets() if one.job_name == job]
    workspace.instance.add_backfill(
        PartitionBackfill(
            job,
            BulkActionStatus.REQUESTED,
            from_failure=False,
            tags={},
            backfill_timestamp=time.time(),
            partition_set_origin=wanted.get_remote_origin(),
            partition_names=DAYS,
        )
    )
    return iterated(workspace, job)


def iterated(workspace: Any, backfill_id: str) -> list[dg.DagsterRun]:
    """Let the backfill daemon work once; return the runs of a backfill in their order."""
    log = logging.getLogger("backfill")
    assert [one for one in execute_backfill_iteration(workspace, log) if one] == []
    return workspace.instance.get_runs(
        dg.RunsFilter(tags={"dagster/backfill": backfill_id}), ascending=True
    )


@pytest.mark.slow
def test_a_backfill_of_days_is_one_run_and_one_of_fine_tunes_runs_in_order(workspace: Any) -> None:
    for job in ("daily_ingest", "daily_features"):
        [run] = backfill(workspace, job)
        assert work.days_of(run) == DAYS, job
        workspace.instance.report_run_canceled(run)
    for job in ("feature_store_refresh", "fine_tune"):
        runs = backfill(workspace, job)
        assert [work.days_of(run) for run in runs] == [[day] for day in DAYS], job
        assert launched(workspace) == [[day] for day in DAYS], job


@pytest.mark.slow
def test_a_backfill_of_daily_assets_takes_one_asset_after_the_other(workspace: Any) -> None:
    """Each asset takes all days in one run: the features start after the run of the raw days."""
    keys = [["raw", "interactions"], ["features", "interactions"], ["features", "masked_train"]]
    request = workspace.create_request_context()
    workspace.instance.add_backfill(
        PartitionBackfill.from_asset_partitions(
            asset_graph=request.asset_graph,
            backfill_id="assets",
            tags={},
            backfill_timestamp=time.time(),
            asset_selection=[dg.AssetKey(key) for key in keys],
            partition_names=DAYS,
            dynamic_partitions_store=workspace.instance,
            all_partitions=False,
            title=None,
            description=None,
            run_config=None,
        )
    )
    [run] = iterated(workspace, "assets")
    assert work.days_of(run) == DAYS and run.asset_selection == {dg.AssetKey(keys[0])}


def launched(workspace: Any) -> list[list[str]]:
    """Let the queue launch what it may and end it, until it is empty; return the days of each."""
    daemon, found = QueuedRunCoordinatorDaemon(interval_seconds=0), []
    queue = workspace.instance.run_launcher.queue()
    while True:
        before = len(queue)
        assert [one for one in daemon.run_iteration(workspace) if one] == []
        if len(queue) == before:
            return found
        [run] = queue[before:]  # the lane lets one run at a time
        found.append(work.days_of(run))
        workspace.instance.report_dagster_event(
            dg.DagsterEvent(dg.DagsterEventType.RUN_SUCCESS.value, run.job_name), run.run_id
        )


def test_jobs_of_days_run_in_lanes() -> None:
    definitions = defs()
    lanes = {
        job.name: job.run_tags.get("recsys/lane")
        for job in definitions.resolve_all_job_defs()
        if job.run_tags.get("recsys/lane")
    }
    assert lanes == {
        "ads_incremental": "ads_incremental",
        "ads_ingest": "ads_days",
        "catalogue": "days",
        "daily_ingest": "days",
        "daily_features": "days",
        "feature_store_refresh": "online",
        "fine_tune": "fine_tune",
        "monitor": "monitor",
    }

"""Test the work that runs name, and which of it a sensor or a schedule starts."""

from __future__ import annotations

from collections.abc import Iterator

import dagster as dg
import pytest
from dagster._core.utils import make_new_run_id

from recsys_assets.orchestration import work


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    """Return an instance."""
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


def add(
    instance: dg.DagsterInstance,
    request: dg.RunRequest,
    status: dg.DagsterRunStatus,
    job: str | None = None,
    assets: frozenset[dg.AssetKey] | None = None,
) -> str:
    """Add the run of a request."""
    tags = {**request.tags}
    if request.partition_key:
        tags["dagster/partition"] = request.partition_key
    run = dg.DagsterRun(
        job or str(request.job_name),
        make_new_run_id(),
        tags=tags,
        status=status,
        asset_selection=assets,
    )
    return instance.add_run(run).run_id


DAY = work.request("ingest-a", "daily_ingest", ("2026-03-02", "2026-03-02"))
RANGE = work.request("ingest-b", "daily_ingest", ("2026-03-03", "2026-03-05"), {"recsys/x": "y"})
ALONE = work.request("promote-1", "promote", config={"ops": {}})


def test_a_request_names_its_work_and_takes_a_day_a_range_or_none() -> None:
    assert DAY.partition_key == "2026-03-02" and DAY.tags == {work.WORK: "ingest-a"}
    assert RANGE.partition_key_range == dg.PartitionKeyRange("2026-03-03", "2026-03-05")
    assert RANGE.partition_key is None and RANGE.tags["recsys/x"] == "y"
    assert ALONE.partition_key is None and ALONE.tags == {work.WORK: "promote-1"}
    assert [one.run_key for one in (DAY, RANGE, ALONE)] == ["ingest-a", "ingest-b", "promote-1"]


def test_a_sensor_starts_work_once_and_a_schedule_tries_failed_work_again(
    instance: dg.DagsterInstance,
) -> None:
    every = [DAY, RANGE, ALONE]
    assert work.never_started(instance, every) == every == work.due(instance, every)[0]
    failed = add(instance, DAY, dg.DagsterRunStatus.FAILURE)
    running = add(instance, RANGE, dg.DagsterRunStatus.NOT_STARTED)
    done = add(instance, ALONE, dg.DagsterRunStatus.SUCCESS)
    assert work.never_started(instance, every) == []
    wanted, reasons = work.due(instance, every)
    assert wanted == [DAY] and failed
    assert reasons == [
        f"ingest-b is pending in run {running[:8]}",
        f"promote-1 was done by run {done[:8]}",
    ]
    add(instance, DAY, dg.DagsterRunStatus.CANCELED)
    assert work.due(instance, [DAY])[0] == [DAY]
    again = add(instance, DAY, dg.DagsterRunStatus.STARTED)
    assert work.due(instance, [DAY]) == ([], [f"ingest-a is pending in run {again[:8]}"])


def test_pending_days_are_those_of_runs_by_job_or_by_hand(instance: dg.DagsterInstance) -> None:
    key = dg.AssetKey(["raw", "interactions"])
    add(instance, DAY, dg.DagsterRunStatus.SUCCESS)
    queued = add(instance, RANGE, dg.DagsterRunStatus.NOT_STARTED)
    other = frozenset({dg.AssetKey("x")})
    add(instance, DAY, dg.DagsterRunStatus.STARTED, "__ASSET_JOB", other)
    three = ["2026-03-03", "2026-03-04", "2026-03-05"]
    assert work.pending_days(instance, "daily_ingest", asset=key) == dict.fromkeys(three, queued)
    by_hand = add(instance, DAY, dg.DagsterRunStatus.STARTED, "__ASSET_JOB", other | {key})
    found = work.pending_days(instance, "daily_ingest", asset=key)
    assert found == {**dict.fromkeys(three, queued), "2026-03-02": by_hand}
    assert work.pending_days(instance, "fine_tune") == {}

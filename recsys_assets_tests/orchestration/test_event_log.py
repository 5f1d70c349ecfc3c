"""Test the event log: Dagster's own class reads what it writes, and back."""

from __future__ import annotations

from pathlib import Path

import dagster as dg
from dagster._core.storage.event_log import SqliteEventLogStorage

from recsys_assets.operations import dagster_home
from recsys_assets.orchestration import event_log
from recsys_assets.settings import Settings

NUMBERS = dg.AssetKey("numbers")


@dg.asset
def numbers() -> dg.MaterializeResult[None]:
    """Materialise nothing."""
    return dg.MaterializeResult(metadata={"n": 1})


def test_a_home_uses_it_and_dagsters_own_class_reads_the_same_files(tmp_path: Path) -> None:
    home = dagster_home.write(Settings(home=tmp_path))
    for _ in range(event_log.OPEN_DATABASES + 2):  # each run has a database of its own
        with dg.DagsterInstance.from_config(str(home)) as instance:
            assert isinstance(instance.event_log_storage, event_log.EventLog)
            assert dg.materialize([numbers], instance=instance).success
    with dg.DagsterInstance.from_config(str(home)) as instance:
        runs = [dg.materialize([numbers], instance=instance) for _ in range(6)]
        assert len(instance.event_log_storage._engines) <= event_log.OPEN_DATABASES
        assert all(instance.all_logs(run.run_id) for run in runs)
    (home / "dagster.yaml").write_text(dagster_home.INSTANCE)
    with dg.DagsterInstance.from_config(str(home)) as plain:
        assert type(plain.event_log_storage) is SqliteEventLogStorage
        assert len(plain.fetch_materializations(NUMBERS, limit=50).records) == 12
        assert dg.materialize([numbers], instance=plain).success
    dagster_home.write(Settings(home=tmp_path))
    with dg.DagsterInstance.from_config(str(home)) as instance:
        assert len(instance.fetch_materializations(NUMBERS, limit=50).records) == 13
        instance.event_log_storage.wipe()
        assert instance.fetch_materializations(NUMBERS, limit=50).records == []

"""Bench: measure NVTabular itself on the training rows.

The compiled transform is compared with it.

In: ``workflows``, ``train`` (folders with masked.parquet).
Out: transformed/: Parquet as NVTabular writes it, in the order of the days and of the rows within a
day.

The clock covers ``Workflow.transform`` and ``to_parquet`` alone, on existing files in plain types,
with the workflow loaded and warmed up. NVTabular runs in one process unless ``processes`` asks for
a Dask cluster, whose start is not counted either.
"""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from recsys_assets.training.step import Step, run

WARM_UP_ROWS = 1_000


@dataclass(frozen=True)
class TransformParams:
    """Parameters of the step.

    Attributes:
        processes: of the Dask cluster; 1: no cluster.
    """

    processes: int = 1


@contextlib.contextmanager
def dask_cluster(processes: int) -> Iterator[None]:
    """Run a local Dask cluster, which Merlin finds; none for one process.

    Its processes have one thread each.
    """
    if processes == 1:
        yield
        return
    from dask.distributed import Client, LocalCluster

    from recsys_assets.training.features import tables

    with (
        LocalCluster(n_workers=processes, threads_per_worker=1, dashboard_address=None) as cluster,
        Client(cluster) as client,
    ):
        client.run(tables.without_tensorflow)
        yield


def bench_transform(step: Step[TransformParams]) -> None:
    """Transform the rows and report the seconds."""
    from recsys_assets.training.features import tables

    tables.without_tensorflow()
    from merlin.io import Dataset

    from recsys_assets.training.features import workflows

    ready, target, warm = (step.output / name for name in ("ready", "transformed", "warm"))
    ready.mkdir()
    rows = 0
    for number, path in enumerate(step.files("train", "masked.parquet")):
        day = tables.read(path, tables.ROW_COLUMNS)
        tables.write_part(day, ready, number)
        rows += day.num_rows
        del day

    def transform(parts: str, to: Path) -> None:
        workflow.transform(Dataset(str(ready / parts), engine="parquet", cpu=True)).to_parquet(
            str(to)
        )

    with dask_cluster(step.params.processes):
        # loaded inside, because a workflow uses the cluster that it finds
        workflow = workflows.load(step.input("workflows"), workflows.COMBINED)
        transform("part_0000.parquet", warm)
        started = time.perf_counter()
        transform("*.parquet", target)
        seconds = time.perf_counter() - started
    step.report(transform_seconds=seconds, rows=rows, processes=step.params.processes)
    step.log(f"{rows} rows, {rows / seconds:,.0f} rows/s")
    for folder in (ready, warm):
        shutil.rmtree(folder)


if __name__ == "__main__":
    run(bench_transform, TransformParams)

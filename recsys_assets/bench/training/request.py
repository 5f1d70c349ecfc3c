"""Bench: measure NVTabular itself on one request.

The user, context, item and affinity workflows run one after the other.

In: ``workflows``, ``request`` (user.parquet, context.parquet: one row each; item.parquet,
affinity.parquet: one row per candidate; raw columns).
Out: the same four files, transformed.

NVTabular offers two ways. Both are measured, and the faster one counts:

- "frame": ``Workflow.transform`` of a pandas DataFrame, which runs the operators in this thread,
  without dask;
- "dataset": ``Workflow.transform(Dataset(frame)).to_ddf().compute()``.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

from recsys_assets.training.step import Step, run


@dataclass(frozen=True)
class RequestParams:
    """Parameters of the step.

    Attributes:
        repetitions: measured requests per way.
    """

    repetitions: int = 25


def bench_request(step: Step[RequestParams]) -> None:
    """Measure both ways and write the transformed files."""
    from recsys_assets.training.features import tables

    tables.without_tensorflow()
    import pandas as pd
    from merlin.io import Dataset

    from recsys_assets.training.features import workflows

    names = (workflows.USER, workflows.CONTEXT, workflows.ITEM, workflows.AFFINITY)
    loaded = {name: workflows.load(step.input("workflows"), name) for name in names}
    raw = {name: pd.read_parquet(step.file("request", f"{name}.parquet")) for name in names}

    def as_frame(name: str) -> pd.DataFrame:
        return loaded[name].transform(raw[name])

    def as_dataset(name: str) -> pd.DataFrame:
        return (
            loaded[name]
            .transform(Dataset(raw[name], cpu=True))
            .to_ddf()
            .compute(scheduler="synchronous")
        )

    def seconds(way: Callable[[str], pd.DataFrame]) -> dict[str, float]:
        """Return the median seconds of each workflow and of the whole request.

        The first request reads files and is not counted.
        """
        laps: dict[str, list[float]] = {"request": [], **{name: [] for name in names}}
        for repetition in range(1 + step.params.repetitions):
            clock = [time.perf_counter()]
            for name in names:
                way(name)
                clock.append(time.perf_counter())
            if repetition:
                laps["request"].append(clock[-1] - clock[0])
                for n, name in enumerate(names):
                    laps[name].append(clock[n + 1] - clock[n])
        return {name: statistics.median(values) for name, values in laps.items()}

    ways = {"frame": seconds(as_frame), "dataset": seconds(as_dataset)}
    fastest = min(ways, key=lambda name: ways[name]["request"])
    for name in names:
        as_frame(name).reset_index(drop=True).to_parquet(step.output / f"{name}.parquet")
    step.report(
        way=fastest,
        request_seconds=ways[fastest]["request"],
        ways=ways,
        repetitions=step.params.repetitions,
    )


if __name__ == "__main__":
    run(bench_request, RequestParams)

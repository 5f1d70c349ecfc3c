"""Transform the training and validation rows of the ads ranker with its workflow.

In: ``workflow``, ``train`` and ``valid`` (folders with ads.parquet).
Out: {train,valid}_cat.npy int32 [N, 26] CATEGORIES, {train,valid}_cont.npy float32 [N, 13]
INTEGERS, {train,valid}_label.npy int8 [N], in the order of the days and of the rows within a day.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from recsys_assets.release_files import ADS_FILE
from recsys_assets.training.step import Step, StepError, run

if TYPE_CHECKING:
    import nvtabular as nvt


@dataclass(frozen=True)
class AdsDatasetsParams:
    """The data sets have no parameters of their own."""


def make_datasets(step: Step[AdsDatasetsParams]) -> None:
    """Write both splits.

    Raises:
        StepError: a split has no row.
    """
    from recsys_assets.training.features import tables

    tables.without_tensorflow()

    from recsys_assets.training.ads_ctr.ads_workflow import ADS
    from recsys_assets.training.features import workflows

    workflow = workflows.load(step.input("workflow"), ADS, step.log)
    for split in ("train", "valid"):
        started = time.monotonic()
        rows = _transform(workflow, step.files(split, ADS_FILE), step.output, split)
        rate = rows / (time.monotonic() - started)
        step.log(f"{split}: {rows} rows, {rate:,.0f} rows/s")
        step.report(**{f"{split}_rows": rows, f"{split}_rows_per_second": round(rate)})


def _transform(workflow: nvt.Workflow, paths: Sequence[Path], target: Path, split: str) -> int:
    """Write the arrays of a split; return its rows."""
    import numpy as np
    import pandas as pd
    from merlin.io import Dataset

    from recsys_assets.ads_columns import CATEGORIES, INTEGERS, LABEL
    from recsys_assets.training.ads_ctr import ads_rows

    with tempfile.TemporaryDirectory() as scratch:
        rows = ads_rows.write_parts(paths, Path(scratch))
        if not rows:
            raise StepError(
                f"none of the {len(paths)} days of {split} has a row: choose another as-of day"
            )
        made = {
            name: np.lib.format.open_memmap(
                target / f"{split}_{name}.npy", "w+", dtype=dtype, shape=shape
            )
            for name, dtype, shape in (
                ("cat", np.int32, (rows, len(CATEGORIES))),
                ("cont", np.float32, (rows, len(INTEGERS))),
                ("label", np.int8, (rows,)),
            )
        }
        start = 0
        # part by part: NVTabular's own writer holds a whole split in memory
        for part in sorted(Path(scratch).glob("*.parquet")):
            raw = pd.read_parquet(part)
            ready = workflow.transform(Dataset(raw, cpu=True)).compute(scheduler="synchronous")
            end = start + len(raw)
            made["cat"][start:end] = ready[list(CATEGORIES)].to_numpy(np.int32)
            made["cont"][start:end] = ready[list(INTEGERS)].to_numpy(np.float32)
            made["label"][start:end] = raw[LABEL].to_numpy(np.int8)
            start = end
        for array in made.values():
            array.flush()
    return rows


if __name__ == "__main__":
    run(make_datasets, AdsDatasetsParams)

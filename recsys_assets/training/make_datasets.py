"""Transform the training and validation rows with the combined workflow.

In: ``workflows``, ``train`` (folders with masked.parquet), ``valid`` (folders with features.parquet), ``items``.
Out: train/ and valid/: Parquet with a Merlin schema; RANKER_CATEGORICAL int32, RANKER_CONTINUOUS float32, click
int32, timestamp int64. The rows of valid/ keep the order of the days and of the rows within a day.
"""

from __future__ import annotations

import dataclasses
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from recsys_assets.training.step import Step, StepError, run

if TYPE_CHECKING:
    import nvtabular as nvt


@dataclass(frozen=True)
class Params:
    """This step has no parameters of its own."""


def make_datasets(step: Step[Params]) -> None:
    from recsys_assets.training import tables

    tables.without_tensorflow()
    import nvtabular as nvt
    from merlin.schema import Tags
    from nvtabular import ops

    from recsys_assets import columns as c
    from recsys_assets.training import workflows

    combined = workflows.load(step.input("workflows"), workflows.COMBINED)
    click = [c.CLICK] >> ops.AddTags([Tags.BINARY_CLASSIFICATION, Tags.TARGET])
    workflow = nvt.Workflow(combined.output_node + click + [c.TIMESTAMP])
    _check_catalogue(step)
    for split, name in (("train", "masked.parquet"), ("valid", "features.parquet")):
        started = time.monotonic()
        rows = _transform(workflow, step.files(split, name), step.output / split)
        rate = rows / (time.monotonic() - started)
        step.log(f"{split}: {rows} rows, {rate:,.0f} rows/s")
        step.report(**{f"{split}_rows": rows, f"{split}_rows_per_second": round(rate)})


def _check_catalogue(step: Step[Params]) -> None:
    """The workflows must know every item of the catalogue; raises StepError naming those that they do not."""
    from recsys_assets import columns as c
    from recsys_assets.training import tables, workflows

    known = set(workflows.vocabulary(step.input("workflows"), workflows.ITEM, c.ITEM_ID))
    items = tables.read(step.file("items", "items.parquet"), [c.ITEM_ID]).column(0).to_pylist()
    unknown = sorted(set(items) - known)
    if unknown:
        raise StepError(f"{len(unknown)} items have no index ({', '.join(unknown[:5])}, …): they are newer than the "
                        f"workflows; materialise features/workflows again")


def _transform(workflow: nvt.Workflow, paths: Sequence[Path], target: Path) -> int:
    """Write the transformed rows of some days; gives the number of rows."""
    from merlin.io import Dataset

    from recsys_assets.training import tables

    rows = 0
    with tempfile.TemporaryDirectory() as scratch:
        for number, path in enumerate(paths):
            day = tables.read(path, tables.ROW_COLUMNS)
            tables.write_part(day, Path(scratch), number)
            rows += day.num_rows
        source = Dataset(str(Path(scratch) / "*.parquet"), engine="parquet", cpu=True)
        workflow.fit_schema(source.schema)
        result = workflow.transform(source)
        for column in result.schema:  # where the vocabulary lay on this machine: not part of the data
            kept = {k: v for k, v in column.properties.items() if k != "cat_path"}
            result.schema[column.name] = dataclasses.replace(column, properties=kept, dims=column.shape.as_tuple)
        result.to_parquet(str(target), output_files=1)
    for name in ("_file_list.txt", "_metadata.json"):  # HugeCTR's; the first holds absolute paths
        (target / name).unlink()
    return rows


if __name__ == "__main__":
    run(make_datasets, Params)

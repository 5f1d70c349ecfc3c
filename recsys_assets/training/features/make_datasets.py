"""Transform the training and validation rows and count their visitors' clicks.

In: ``workflows``, ``train`` (folders with masked.parquet), ``valid`` (folders with
features.parquet), ``history`` (folders with click_history.parquet of the days of train and then of
those of valid), ``items``, and where clicks have values ``values`` (click_values.parquet).
Out: train/ and valid/: Parquet with a Merlin schema; RANKER_CATEGORICAL int32, RANKER_CONTINUOUS
float32, click int32, timestamp int64, and where clicks have values value float32 (1 in unclicked
rows), in the order of the days and of the rows within a day.
{train,valid}_history.npy: uint8 [clicked rows, 2·K], one row per clicked row of train/ and valid/
in their order: the visitor's clicks by category_l1 index (K = its cardinality), of the look-back
days and then of 24 hours.
{train,valid}_items.npy: int32 [clicked rows, 50], item_id indices of the visitor's latest clicks,
newest first, 0 where there are fewer. {train,valid}_ages.npy: float32, hours since each of them.
dismissed/: where dismissals have a weight and train's folders have some (dismissed.parquet), their
rows as those of train/, with the weight as value.
"""

from __future__ import annotations

import dataclasses
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from recsys_assets.release_files import CLICK_VALUES, DISMISSALS, DISMISSED, TRANSFORMS
from recsys_assets.training.step import Step, StepError, run

if TYPE_CHECKING:
    import numpy as np
    import nvtabular as nvt
    import pyarrow as pa

    from recsys_assets.training.features import tables


@dataclass(frozen=True)
class MakeDatasetsParams:
    """Parameters of the data sets.

    Attributes:
        train_name: file of a training day's rows; "features.parquet" (in folders of
            features/interactions) masks no visitor, to measure the effect of the masking.
        dismissal_weight: weight of a dismissal's row in the ranker's loss; 0: there is no such row.
    """

    train_name: str = "masked.parquet"
    dismissal_weight: float = 0.0


TRAIN_NAMES = ("masked.parquet", "features.parquet")


def make_datasets(step: Step[MakeDatasetsParams]) -> None:
    """Write both splits and their click histories.

    Raises:
        StepError: a parameter or the number of histories is wrong, a split has no row, the
            catalogue has items without an index, or a history does not fit its rows.
    """
    if step.params.train_name not in TRAIN_NAMES:
        raise StepError(
            f"train_name must be {' or '.join(TRAIN_NAMES)}, got {step.params.train_name!r}"
        )
    files = {
        "train": step.files("train", step.params.train_name),
        "valid": step.files("valid", "features.parquet"),
    }
    histories = step.files("history", "click_history.parquet")
    if len(histories) != sum(map(len, files.values())):
        raise StepError(
            f"input 'history' must be {sum(map(len, files.values()))} addresses, one per day of "
            f"train and then of valid, got {len(histories)}"
        )
    from recsys_assets.training.features import tables

    tables.without_tensorflow()
    import numpy as np
    import nvtabular as nvt
    from merlin.schema import Tags
    from nvtabular import ops

    from recsys_assets import columns as c
    from recsys_assets.training.features import click_history, workflows

    vocabularies = {
        name: workflows.vocabulary(step.input("workflows"), workflows.ITEM, name)
        for name in (c.CATEGORY_L1, c.ITEM_ID)
    }
    combined = workflows.load(step.input("workflows"), workflows.COMBINED, step.log)
    click = [c.CLICK] >> ops.AddTags([Tags.BINARY_CLASSIFICATION, Tags.TARGET])
    zone = tables.time_zone(step.file("workflows", TRANSFORMS))
    values = None
    kept = [c.TIMESTAMP]
    if step.has("values"):
        values = tables.ClickValues.read(step.file("values", CLICK_VALUES))
        kept.append(c.VALUE)
    workflow = nvt.Workflow(combined.output_node + click + kept)
    _check_catalogue(step)
    for split, paths in files.items():
        started = time.monotonic()
        rows = _transform(workflow, paths, step.output / split, partial(_day, values))
        if not rows:
            raise StepError(
                f"none of the {len(paths)} days of {split} has a row: choose another as-of day"
            )
        rate = rows / (time.monotonic() - started)
        step.log(f"{split}: {rows} rows, {rate:,.0f} rows/s")
        of_split, histories = histories[: len(paths)], histories[len(paths) :]
        found = click_history.of_days(paths, of_split, vocabularies, zone)
        _check_order(step.output / split, found.timestamps)
        parts = found.history, found.items, found.ages
        for name, matrix in zip(c.HISTORY_PARTS, parts, strict=True):
            np.save(step.output / f"{split}_{name}.npy", matrix)
        step.log(f"{split}: click histories of {len(found.history)} clicked rows")
        step.report(
            **{
                f"{split}_rows": rows,
                f"{split}_rows_per_second": round(rate),
                f"{split}_clicked_rows": len(found.history),
            }
        )

    if step.params.dismissal_weight:
        _write_dismissed(step, combined.output_node + click + [c.TIMESTAMP, c.VALUE])


def _write_dismissed(step: Step[MakeDatasetsParams], columns: nvt.WorkflowNode) -> None:
    """Write the rows of the training days' dismissals; nothing where there is none."""
    import nvtabular as nvt
    import pyarrow as pa

    from recsys_assets import columns as c
    from recsys_assets.training.features import tables

    def weighed(path: Path) -> pa.Table:
        rows = tables.read(path, tables.ROW_COLUMNS)
        weight = pa.scalar(step.params.dismissal_weight, pa.float32())
        return rows.append_column(c.VALUE, pa.repeat(weight, rows.num_rows))

    paths = [folder / DISMISSALS for folder in step.inputs("train")]
    paths = [path for path in paths if path.exists()]
    rows = _transform(nvt.Workflow(columns), paths, step.output / DISMISSED, weighed)
    step.log(f"{rows} dismissals of {len(paths)} training days")
    step.report(dismissed_rows=rows)


def _check_catalogue(step: Step[MakeDatasetsParams]) -> None:
    """Verify that the workflows have an index for every item of the catalogue.

    Raises:
        StepError: some have none; the message names up to five.
    """
    from recsys_assets import columns as c
    from recsys_assets.training.features import tables, workflows

    known = set(workflows.vocabulary(step.input("workflows"), workflows.ITEM, c.ITEM_ID))
    items = tables.read(step.file("items", "items.parquet"), [c.ITEM_ID]).column(0).to_pylist()
    unknown = sorted(set(items) - known)
    if unknown:
        raise StepError(
            f"{len(unknown)} items have no index ({', '.join(unknown[:5])}, …): they are newer "
            "than the workflows; materialise features/workflows again"
        )


def _check_order(folder: Path, timestamps: np.ndarray) -> None:
    """Verify that the clicked rows were written in the order in which they were read.

    Histories find their rows by position.

    Raises:
        StepError: the order differs.
    """
    import numpy as np
    import pyarrow.parquet as pq

    from recsys_assets import columns as c

    written = pq.read_table(
        sorted(folder.glob("*.parquet")), columns=[c.TIMESTAMP], filters=[(c.CLICK, "==", 1)]
    )
    if not np.array_equal(written.column(0).to_numpy(), timestamps):
        raise StepError(
            f"NVTabular wrote {folder.name}/ in another order than that of the days and their "
            "rows, so the click histories would not fit; is this another NVTabular?"
        )


def _day(values: tables.ClickValues | None, path: Path) -> pa.Table:
    """Return the rows of a day, with the values of its clicks; None: clicks have none."""
    from recsys_assets import columns as c
    from recsys_assets.training.features import tables

    if values is None:
        return tables.read(path, tables.ROW_COLUMNS)
    return values.added(tables.read(path, (c.EVENT_ID, *tables.ROW_COLUMNS)), path)


def _transform(
    workflow: nvt.Workflow, paths: Sequence[Path], target: Path, read: Callable[[Path], pa.Table]
) -> int:
    """Write the transformed rows of some days and return their number; write nothing for 0.

    read: returns the rows of a file.
    """
    from merlin.io import Dataset

    from recsys_assets.training.features import tables

    rows = 0
    with tempfile.TemporaryDirectory() as scratch:
        for number, path in enumerate(paths):
            day = read(path)
            if day.num_rows:  # Categorify fails on a part without rows
                tables.write_part(day, Path(scratch), number)
            rows += day.num_rows
        if not rows:
            return 0
        source = Dataset(str(Path(scratch) / "*.parquet"), engine="parquet", cpu=True)
        workflow.fit_schema(source.schema)
        result = workflow.transform(source)
        for column in result.schema:
            # cat_path is a path of this machine and not part of the data
            kept = {k: v for k, v in column.properties.items() if k != "cat_path"}
            result.schema[column.name] = dataclasses.replace(
                column, properties=kept, dims=column.shape.as_tuple
            )
        result.to_parquet(str(target), output_files=1)
    # for HugeCTR alone; the first holds absolute paths
    for name in ("_file_list.txt", "_metadata.json"):
        (target / name).unlink()
    return rows


if __name__ == "__main__":
    run(make_datasets, MakeDatasetsParams)

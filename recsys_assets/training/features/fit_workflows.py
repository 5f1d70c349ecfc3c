"""Fit the user, item and context workflows and join them with affinity's.

The affinity workflow needs no fit.

In: ``train`` (folders with features.parquet: unmasked rows of the training days), ``items``
(items.parquet).
Out: workflow_user/, workflow_item/, workflow_context/, workflow_affinity/, workflow_combined/ and
transforms.json.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from recsys_assets.hyper_parameters import WorkflowsParams
from recsys_assets.release_files import TRANSFORMS
from recsys_assets.training.step import Step, StepError, run

#: Folder in which NVTabular counts values; inside the output, so that its path is relative.
FITTING = "fitting"


@contextlib.contextmanager
def working_directory(path: Path) -> Iterator[None]:
    """Change the working directory to ``path`` and back."""
    before = os.getcwd()
    os.chdir(path)
    try:
        yield
    finally:
        os.chdir(before)


def fit_workflows(step: Step[WorkflowsParams]) -> None:
    """Fit and save all workflows and their plain form, transforms.json.

    Raises:
        StepError: no training day has a row.
    """
    buckets, zone = step.params.hashed_buckets, step.time_zone
    from recsys_assets import columns as c
    from recsys_assets.training.features import tables

    tables.without_tensorflow()
    import nvtabular as nvt
    from merlin.io import Dataset

    from recsys_assets.training.features import workflows

    rows, ages = 0, []
    with tempfile.TemporaryDirectory() as scratch, working_directory(step.output):
        for number, path in enumerate(step.files("train", "features.parquet")):
            day = tables.missing_to_null(tables.read(path, tables.ROW_COLUMNS))
            if day.num_rows:
                tables.write_part(day, Path(scratch), number)
            rows += day.num_rows
            users = day.select([c.USER_ID, c.AGE])
            ages.append(users.group_by(users.column_names).aggregate([]))
        if not rows:
            raise StepError(
                "no training day has a row: choose a later as-of day, or more training days"
            )
        if empty := tables.name_the_nameless(Path(scratch)):
            step.log(f"{', '.join(empty)}: no known value on any training day")
        tables.join_until_known(Path(scratch))
        mean_age = tables.mean_age_of_users(ages)
        items = tables.missing_to_null(
            tables.read(step.file("items", "items.parquet"), tables.ITEM_COLUMNS)
        )
        step.log(f"{rows} training rows, {items.num_rows} items, mean age {mean_age:.2f}")

        visits = Dataset(str(Path(scratch) / "*.parquet"), engine="parquet", cpu=True)
        graphs = {
            workflows.USER: (workflows.user_graph(FITTING, mean_age, buckets), visits),
            workflows.CONTEXT: (workflows.context_graph(FITTING, zone), visits),
            workflows.ITEM: (
                workflows.item_graph(FITTING, buckets),
                Dataset(tables.without_clicks(items).to_pandas(), cpu=True),
            ),
            workflows.AFFINITY: (workflows.affinity_graph(), visits),
        }
        fitted = {}
        for name, (graph, data) in graphs.items():
            fitted[name] = nvt.Workflow(graph).fit(data)
            workflows.save(fitted[name], name)
            step.log(f"saved workflow_{name}")
        # join last: joining links the graphs, and each part must be saved alone
        workflows.save(workflows.join(list(fitted.values()), visits), workflows.COMBINED)
        step.log(f"saved workflow_{workflows.COMBINED}")
        shutil.rmtree(FITTING)
    export = workflows.export_transforms(
        fitted[workflows.USER],
        fitted[workflows.ITEM],
        step.output,
        mean_age,
        buckets,
        zone,
        step.look_back_days,
    )
    (step.output / TRANSFORMS).write_text(json.dumps(export, indent=1) + "\n")
    step.report(
        rows=rows, items=items.num_rows, mean_age=mean_age, cardinality=export["cardinality"]
    )


if __name__ == "__main__":
    run(fit_workflows, WorkflowsParams)

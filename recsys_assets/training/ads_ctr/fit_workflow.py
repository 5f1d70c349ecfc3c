"""Fit the workflow of the ads ranker.

In: ``train`` (folders with ads.parquet).
Out: workflow_ads/ and ads_transforms.json.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path

from recsys_assets.ads_parameters import AdsWorkflowParams
from recsys_assets.release_files import ADS_FILE, ADS_TRANSFORMS
from recsys_assets.training.step import Step, StepError, run


def fit_workflow(step: Step[AdsWorkflowParams]) -> None:
    """Fit and save the workflow and its plain form.

    Raises:
        StepError: no training day has a row.
    """
    from recsys_assets.training.features import tables

    tables.without_tensorflow()
    import nvtabular as nvt
    from merlin.io import Dataset

    from recsys_assets.training.ads_ctr import ads_rows, ads_workflow
    from recsys_assets.training.features import fit_workflows, workflows

    with tempfile.TemporaryDirectory() as scratch, fit_workflows.working_directory(step.output):
        rows = ads_rows.write_parts(step.files("train", ADS_FILE), Path(scratch))
        if not rows:
            raise StepError(
                "no training day has a row: choose a later as-of day, or more training days"
            )
        data = Dataset(str(Path(scratch) / "*.parquet"), engine="parquet", cpu=True)
        graph = ads_workflow.ads_graph(fit_workflows.FITTING, step.params)
        workflow = nvt.Workflow(graph).fit(data)
        workflows.save(workflow, ads_workflow.ADS)
        shutil.rmtree(fit_workflows.FITTING)
    export = ads_workflow.export_ads_transforms(workflow, step.output, step.params)
    (step.output / ADS_TRANSFORMS).write_text(json.dumps(export) + "\n")
    step.log(f"{rows} training rows, {sum(export['cardinality'].values())} embedding rows")
    step.report(rows=rows, cardinality=export["cardinality"])


if __name__ == "__main__":
    run(fit_workflow, AdsWorkflowParams)

"""The NVTabular workflows (user, item, context, and the three joined) and their export to plain tables.

Raw columns in, transformed columns of ``columns.py`` out. The formulas, so that others can repeat them exactly:

- Categorify: null → 1, not in the vocabulary (also "-1") → 2, value i of the vocabulary → 3 + i.
- age: null → mean_age (of the training users). age_binned: Categorify of the bucket number, where bucket b means
  boundaries[b-1] <= age < boundaries[b]. age_norm = float32((age - mean) / std) in float64, over the training rows.
- price_log_norm = float32((ln(price) - mean) / std) in float64, over the catalogue. Standard deviations have ddof 1.
- hour = (timestamp // 3600) mod 24, weekday = (timestamp // 86400 + 3) mod 7 (Monday 0), UTC; sine and cosine of
  2π·hour/24 and 2π·weekday/7 in float64, then float32.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import nvtabular as nvt
import pandas as pd
from merlin.dag import Graph
from merlin.io import Dataset
from merlin.schema import Tags
from nvtabular import ops

from recsys_assets import columns as c

USER, ITEM, CONTEXT, COMBINED = "user", "item", "context", "combined"
SECONDS_PER_HOUR, SECONDS_PER_DAY = 3_600, 86_400
THURSDAY = 3  # the weekday of 1970-01-01


def _hour_angle(timestamp: pd.Series) -> pd.Series:
    return timestamp // SECONDS_PER_HOUR % 24 * (2 * math.pi / 24)


def _weekday_angle(timestamp: pd.Series) -> pd.Series:
    return (timestamp // SECONDS_PER_DAY + THURSDAY) % 7 * (2 * math.pi / 7)


def _hour_sin(timestamp: pd.Series) -> pd.Series:
    return np.sin(_hour_angle(timestamp)).astype("float32")


def _hour_cos(timestamp: pd.Series) -> pd.Series:
    return np.cos(_hour_angle(timestamp)).astype("float32")


def _weekday_sin(timestamp: pd.Series) -> pd.Series:
    return np.sin(_weekday_angle(timestamp)).astype("float32")


def _weekday_cos(timestamp: pd.Series) -> pd.Series:
    return np.cos(_weekday_angle(timestamp)).astype("float32")


def _float64(values: pd.Series) -> pd.Series:
    return values.astype("float64")


def _age_boundaries(_: str) -> list[int]:
    # a function, because NVTabular wraps a dict in a lambda, which is pickled with this machine's paths
    return list(c.AGE_BOUNDARIES)


def _log(price: pd.Series) -> pd.Series:
    return np.log(price.astype("float64"))


def _categorify(names: tuple[str, ...] | list[str], scratch: str, *tags: Tags) -> nvt.WorkflowNode:
    return list(names) >> ops.Categorify(dtype="int32", out_path=scratch) >> ops.AddTags([Tags.CATEGORICAL, *tags])


def user_graph(scratch: str, mean_age: float) -> nvt.WorkflowNode:
    """user_id, gender, top_category, age → USER_CATEGORICAL int32, USER_CONTINUOUS float32."""
    user_id = [c.USER_ID] >> ops.Categorify(dtype="int32", out_path=scratch) >> ops.TagAsUserID()
    others = _categorify([c.GENDER, c.TOP_CATEGORY], scratch, Tags.USER)
    age = [c.AGE] >> ops.FillMissing(fill_val=mean_age) >> ops.LambdaOp(_float64, dtype="float64")
    binned = (age >> ops.Bucketize(_age_boundaries) >> ops.Rename(name=c.AGE_BINNED)
              >> ops.Categorify(dtype="int32", out_path=scratch) >> ops.AddTags([Tags.CATEGORICAL, Tags.USER]))
    normal = (age >> ops.Normalize(out_dtype="float32") >> ops.Rename(name=c.AGE_NORM)
              >> ops.AddTags([Tags.CONTINUOUS, Tags.USER]))
    return user_id + others + binned + normal


def item_graph(scratch: str) -> nvt.WorkflowNode:
    """item_id, category_l1, category_l2, item_gender, price → ITEM_CATEGORICAL int32, ITEM_CONTINUOUS float32."""
    item_id = [c.ITEM_ID] >> ops.Categorify(dtype="int32", out_path=scratch) >> ops.TagAsItemID()
    others = _categorify([c.CATEGORY_L1, c.CATEGORY_L2, c.ITEM_GENDER], scratch, Tags.ITEM)
    price = ([c.PRICE] >> ops.LambdaOp(_log, dtype="float64") >> ops.Normalize(out_dtype="float32")
             >> ops.Rename(name=c.PRICE_LOG_NORM) >> ops.AddTags([Tags.CONTINUOUS, Tags.ITEM]))
    return item_id + others + price


def context_graph(scratch: str) -> nvt.WorkflowNode:
    """device_type, timestamp → CONTEXT_CATEGORICAL int32, CONTEXT_CONTINUOUS float32."""
    node = _categorify(c.CONTEXT_CATEGORICAL, scratch, Tags.CONTEXT)
    waves = {c.HOUR_SIN: _hour_sin, c.HOUR_COS: _hour_cos, c.WEEKDAY_SIN: _weekday_sin, c.WEEKDAY_COS: _weekday_cos}
    for name, function in waves.items():
        node = node + ([c.TIMESTAMP] >> ops.LambdaOp(function, dtype="float32") >> ops.Rename(name=name)
                       >> ops.AddTags([Tags.CONTINUOUS, Tags.CONTEXT]))
    return node


def join(parts: list[nvt.Workflow], rows: Dataset) -> nvt.Workflow:
    """One workflow of several fitted ones, without fitting again: each part can be fitted and replaced alone.

    Args:
        rows: any data set with all raw columns; only its schema is read.
    """
    node = parts[0].output_node
    for part in parts[1:]:
        node = node + part.output_node
    workflow = nvt.Workflow(node)
    workflow.fit_schema(rows.schema)
    return workflow


def save(workflow: nvt.Workflow, name: str) -> None:
    """Save as ``workflow_<name>`` in the working directory, with equal bytes for equal workflows.

    NVTabular pickles the paths that it was given, so they are relative, and notes the time, which is set to zero.
    """
    workflow.save(f"workflow_{name}")
    metadata = Path(f"workflow_{name}", "metadata.json")
    content = json.loads(metadata.read_text())
    content["generated_timestamp"] = 0
    metadata.write_text(json.dumps(content))


def load(folder: Path, name: str) -> nvt.Workflow:
    """Load a saved workflow. It is a pickle: only from an artifact whose digest was verified."""
    return nvt.Workflow.load(str(folder / f"workflow_{name}"))


def vocabulary(folder: Path, name: str, column: str) -> list[str]:
    """Values of a saved workflow's column in index order; value i has index 3 + i.

    Raises:
        ValueError: the index in NVTabular's file does not run from 3 upwards.
    """
    path = folder / f"workflow_{name}" / "categories" / f"unique.{column}.parquet"
    unique = pd.read_parquet(path)
    if list(unique.index) != list(range(c.VOCABULARY_START, c.VOCABULARY_START + len(unique))):
        raise ValueError(f"{path}: the index does not run from {c.VOCABULARY_START}; another NVTabular?")
    return [str(value) for value in unique[column]]


def moments(workflow: nvt.Workflow, column: str) -> dict[str, float]:
    """Mean and standard deviation (ddof 1) of a Normalize operator in float64."""
    for node in Graph.get_nodes_by_op_type([workflow.output_node], ops.Normalize):
        if column in node.op.means:
            std = node.op.stds[column]
            # like NVTabular, which only subtracts the mean where all values are the same
            return {"mean": node.op.means[column], "std": std if std > 0 else 1.0}
    raise KeyError(f"no Normalize of {column} in this workflow")


def export_transforms(user: nvt.Workflow, item: nvt.Workflow, folder: Path, mean_age: float) -> dict[str, Any]:
    """The plain form of the saved workflows, as ``transforms.json`` holds it."""
    sources = {USER: c.USER_CATEGORICAL, CONTEXT: c.CONTEXT_CATEGORICAL, ITEM: c.ITEM_CATEGORICAL}
    words = {column: vocabulary(folder, name, column) for name, names in sources.items() for column in names}
    return {
        "vocabulary": words,
        "cardinality": {column: c.VOCABULARY_START + len(values) for column, values in words.items()},
        "age": moments(user, c.AGE),
        "price_log": moments(item, c.PRICE),
        "age_boundaries": list(c.AGE_BOUNDARIES),
        "mean_age": mean_age,
    }

"""Build the NVTabular workflows and export them to plain tables.

The workflows are user, item, context, affinity, and the four joined. They turn raw columns into the
transformed columns of ``columns.py``. The formulas, for an exact reimplementation:

- Categorify: null → 1, not in the vocabulary (also "-1") → 2, value i of the vocabulary → 3 + i.
  With hashed buckets, an id that is neither in the vocabulary nor null nor "-1" → 3 + size of the
  vocabulary + crc32(UTF-8 bytes) mod buckets.
- age: null → mean_age (of the training users). age_binned: Categorify of the bucket number, where
  bucket b means boundaries[b-1] <= age < boundaries[b]. age_norm = float32((age - mean) / std) in
  float64, over the training rows.
- user_frequency = float32(log(1 + clicks_24h)), user_frequency_look_back = float32(log(1 +
  clicks_look_back)), user_recency = float32(hours_since_click / 24) and item_popularity =
  float32(log(1 + item_clicks)), all in float64.
- category_share_look_back = float32(category_clicks_look_back / (clicks_look_back + 2)),
  category_share_24h = float32(category_clicks_24h / (clicks_24h + 1)), category_frequency_* =
  float32(log(1 + category_clicks_*)), all in float64.
- price_log_norm = float32((ln(price) - mean) / std) in float64, over the known prices of the
  catalogue; null → 0, the mean.
- Standard deviations have ddof 1; 1 if all values are equal. The mean is 0 if no value is known.
- local = timestamp + the time zone's offset from UTC at that moment; hour = (local // 3600) mod 24,
  weekday = (local // 86400 + 3) mod 7 (Monday 0); sine and cosine of 2π·hour/24 and 2π·weekday/7 in
  float64, then float32.
"""

from __future__ import annotations

import json
import math
import sys
import zlib
from collections.abc import Callable
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
from recsys_assets import local_time
from recsys_assets.training import versions
from recsys_assets.training.features.clock import WAVES, LocalWave

USER, ITEM, CONTEXT, AFFINITY, COMBINED = "user", "item", "context", "affinity", "combined"
#: Share of the mean that a standard deviation must exceed to be more than rounding.
LEAST_DEVIATION = 1e-6


def _float64(values: pd.Series) -> pd.Series:
    return values.astype("float64")


def _age_boundaries(_: str) -> list[int]:
    # NVTabular wraps a dict in a lambda, whose pickle holds paths of this machine
    return list(c.AGE_BOUNDARIES)


def _log(price: pd.Series) -> pd.Series:
    return np.log(price.astype("float64"))


def _log_count(counts: pd.Series) -> pd.Series:
    return np.log1p(counts.astype("float64")).astype("float32")


def _share_of_window(hours: pd.Series) -> pd.Series:
    return (hours.astype("float64") / c.RECENT_HOURS).astype("float32")


def _share_look_back(of_category: pd.Series, rows: pd.DataFrame) -> pd.Series:
    return (
        of_category.astype("float64") / (rows[c.CLICKS_LOOK_BACK].astype("float64") + 2)
    ).astype("float32")


def _share_24h(of_category: pd.Series, rows: pd.DataFrame) -> pd.Series:
    return (of_category.astype("float64") / (rows[c.CLICKS_24H].astype("float64") + 1)).astype(
        "float32"
    )


class HashedCategorify(ops.Categorify):  # type: ignore[misc]  # NVTabular has no types
    """Categorify with further rows after the vocabulary for values newer than the fit.

    NVTabular's own ``num_buckets`` hashes with pandas' hash and puts the buckets before the
    vocabulary, masked values included. Here a masked value stays out-of-vocabulary and every known
    value keeps its index. The rows of a bucket are untrained until a fine-tune has its ids.
    """

    def __init__(self, hashed_buckets: int, out_path: str) -> None:
        super().__init__(dtype="int32", out_path=out_path)
        self.hashed_buckets = hashed_buckets

    def transform(self, col_selector: nvt.ColumnSelector, df: pd.DataFrame) -> pd.DataFrame:
        """Return the index of each value; unknown ids get a bucket's."""
        encoded = super().transform(col_selector, df)
        for name in col_selector.names:
            first, _ = super().get_embedding_sizes([name])[name]
            new = ((encoded[name] == c.OOV_INDEX) & (df[name] != c.MISSING)).to_numpy()
            index = encoded[name].to_numpy().copy()
            index[new] = [
                first + zlib.crc32(value.encode()) % self.hashed_buckets for value in df[name][new]
            ]
            encoded[name] = index
        return encoded

    def get_embedding_sizes(self, columns: list[str]) -> dict[str, tuple[int, int]]:
        """Return rows, buckets included, and width per column."""
        return {
            name: (rows + self.hashed_buckets, width)
            for name, (rows, width) in super().get_embedding_sizes(columns).items()
        }


class SteadyNormalize(ops.Normalize):  # type: ignore[misc]  # NVTabular has no types
    """Normalize that gives finite values also if no value is known or all are equal.

    NVTabular computes the variance from sums of squares. Rounding leaves some 1e-8 of the mean as
    the deviation of equal values, so a later value that differs would become a huge number.
    """

    def fit_finalize(self, dask_stats: pd.DataFrame) -> None:
        """Keep mean and deviation; 0 for the mean of nothing, 1 for a deviation of rounding."""
        super().fit_finalize(dask_stats)
        for name, mean in self.means.items():
            self.means[name] = mean if math.isfinite(mean) else 0.0
            if not self.stds[name] > LEAST_DEVIATION * max(1.0, abs(self.means[name])):
                self.stds[name] = 1.0


def _identify(name: str, scratch: str, hashed_buckets: int) -> nvt.WorkflowNode:
    return [name] >> (
        HashedCategorify(hashed_buckets, scratch)
        if hashed_buckets
        else ops.Categorify(dtype="int32", out_path=scratch)
    )


def _categorify(names: tuple[str, ...] | list[str], scratch: str, *tags: Tags) -> nvt.WorkflowNode:
    return (
        list(names)
        >> ops.Categorify(dtype="int32", out_path=scratch)
        >> ops.AddTags([Tags.CATEGORICAL, *tags])
    )


def _computed(
    source: str,
    function: Callable[..., pd.Series],
    name: str,
    *tags: Tags,
    beside: str | None = None,
) -> nvt.WorkflowNode:
    """Return a float32 column computed by a function that needs no fit.

    Args:
        source: the column that the function reads.
        function: of the column, or of the column and the rows with ``beside``.
        name: of the result.
        tags: further Merlin tags.
        beside: a second column that the function reads.
    """
    operator = ops.LambdaOp(
        function, dependency=None if beside is None else [beside], dtype="float32"
    )
    return [source] >> operator >> ops.Rename(name=name) >> ops.AddTags([Tags.CONTINUOUS, *tags])


def user_graph(scratch: str, mean_age: float, hashed_buckets: int = 0) -> nvt.WorkflowNode:
    """Build the user workflow's graph.

    user_id, gender, top_category, age, clicks_24h, hours_since_click, clicks_look_back →
    USER_CATEGORICAL int32, USER_CONTINUOUS float32.

    Args:
        scratch: folder in which NVTabular counts values.
        mean_age: replaces a missing age.
        hashed_buckets: rows for user ids newer than the fit.
    """
    user_id = _identify(c.USER_ID, scratch, hashed_buckets) >> ops.TagAsUserID()
    others = _categorify([c.GENDER, c.TOP_CATEGORY], scratch, Tags.USER)
    age = [c.AGE] >> ops.FillMissing(fill_val=mean_age) >> ops.LambdaOp(_float64, dtype="float64")
    binned = (
        age
        >> ops.Bucketize(_age_boundaries)
        >> ops.Rename(name=c.AGE_BINNED)
        >> ops.Categorify(dtype="int32", out_path=scratch)
        >> ops.AddTags([Tags.CATEGORICAL, Tags.USER])
    )
    normal = (
        age
        >> SteadyNormalize(out_dtype="float32")
        >> ops.Rename(name=c.AGE_NORM)
        >> ops.AddTags([Tags.CONTINUOUS, Tags.USER])
    )
    frequency = _computed(c.CLICKS_24H, _log_count, c.USER_FREQUENCY, Tags.USER)
    recency = _computed(c.HOURS_SINCE_CLICK, _share_of_window, c.USER_RECENCY, Tags.USER)
    remembered = _computed(c.CLICKS_LOOK_BACK, _log_count, c.USER_FREQUENCY_LOOK_BACK, Tags.USER)
    return user_id + others + binned + normal + frequency + recency + remembered


def item_graph(scratch: str, hashed_buckets: int = 0) -> nvt.WorkflowNode:
    """Build the item workflow's graph.

    item_id, category_l1, category_l2, item_gender, price, item_clicks → ITEM_CATEGORICAL int32,
    ITEM_CONTINUOUS and item_popularity float32. Only the ranker reads item_popularity.

    Args:
        scratch: folder in which NVTabular counts values.
        hashed_buckets: rows for item ids newer than the fit.
    """
    item_id = _identify(c.ITEM_ID, scratch, hashed_buckets) >> ops.TagAsItemID()
    others = _categorify([c.CATEGORY_L1, c.CATEGORY_L2, c.ITEM_GENDER], scratch, Tags.ITEM)
    price = (
        [c.PRICE]
        >> ops.LambdaOp(_log, dtype="float64")
        >> SteadyNormalize(out_dtype="float32")
        >> ops.FillMissing(fill_val=0.0)
        >> ops.Rename(name=c.PRICE_LOG_NORM)
        >> ops.AddTags([Tags.CONTINUOUS, Tags.ITEM])
    )
    return (
        item_id
        + others
        + price
        + _computed(c.ITEM_CLICKS, _log_count, c.ITEM_POPULARITY, Tags.ITEM)
    )


def context_graph(scratch: str, time_zone: str = local_time.UTC) -> nvt.WorkflowNode:
    """Build the context workflow's graph.

    device_type, timestamp → CONTEXT_CATEGORICAL int32, CONTEXT_CONTINUOUS float32.

    Args:
        scratch: folder in which NVTabular counts values.
        time_zone: of hour and weekday.
    """
    node = _categorify(c.CONTEXT_CATEGORICAL, scratch, Tags.CONTEXT)
    for name in WAVES:
        node = node + _computed(c.TIMESTAMP, LocalWave(name, time_zone), name, Tags.CONTEXT)
    return node


def affinity_graph() -> nvt.WorkflowNode:
    """Build the affinity workflow's graph, which fits nothing.

    category_clicks_look_back, category_clicks_24h, clicks_look_back, clicks_24h →
    AFFINITY_CONTINUOUS float32.
    """
    return (
        _computed(
            c.CATEGORY_CLICKS_LOOK_BACK,
            _share_look_back,
            c.CATEGORY_SHARE_LOOK_BACK,
            beside=c.CLICKS_LOOK_BACK,
        )
        + _computed(c.CATEGORY_CLICKS_24H, _share_24h, c.CATEGORY_SHARE_24H, beside=c.CLICKS_24H)
        + _computed(c.CATEGORY_CLICKS_LOOK_BACK, _log_count, c.CATEGORY_FREQUENCY_LOOK_BACK)
        + _computed(c.CATEGORY_CLICKS_24H, _log_count, c.CATEGORY_FREQUENCY_24H)
    )


def join(parts: list[nvt.Workflow], rows: Dataset) -> nvt.Workflow:
    """Join several fitted workflows to one without fitting again.

    Each part can be fitted and replaced alone.

    Args:
        parts: the fitted workflows.
        rows: any data set with all raw columns; only its schema is read.
    """
    node = parts[0].output_node
    for part in parts[1:]:
        node = node + part.output_node
    workflow = nvt.Workflow(node)
    workflow.fit_schema(rows.schema)
    return workflow


def save(workflow: nvt.Workflow, name: str) -> None:
    """Save ``workflow_<name>`` in the working directory, equal bytes if equal.

    NVTabular pickles the paths that it received, so they are relative. It also records the time,
    which is set to zero.
    """
    workflow.save(f"workflow_{name}")
    metadata = Path(f"workflow_{name}", "metadata.json")
    content = json.loads(metadata.read_text())
    content["generated_timestamp"] = 0
    metadata.write_text(json.dumps(content))


def load(
    folder: Path, name: str, log: Callable[[str], None] = lambda line: print(line, file=sys.stderr)
) -> nvt.Workflow:
    """Load a saved workflow.

    It is a pickle, which runs code as it is read: every file of it must have the digest that the
    artifact's manifest records.

    Raises:
        StepError: another version of Python or NVTabular saved it, or a file of it differs from
            the manifest.
    """
    versions.compare(folder, versions.WORKFLOW, log)
    versions.verify(folder, f"workflow_{name}", log)
    return nvt.Workflow.load(str(folder / f"workflow_{name}"))


def vocabulary(folder: Path, name: str, column: str) -> list[str]:
    """Return the values of a saved workflow's column in index order.

    Value i has index 3 + i.

    Raises:
        ValueError: the index in NVTabular's file does not start at 3 or has gaps.
    """
    path = folder / f"workflow_{name}" / "categories" / f"unique.{column}.parquet"
    unique = pd.read_parquet(path)
    if list(unique.index) != list(range(c.VOCABULARY_START, c.VOCABULARY_START + len(unique))):
        raise ValueError(
            f"{path}: the index does not run from {c.VOCABULARY_START}; is this another NVTabular?"
        )
    return [str(value) for value in unique[column]]


def moments(workflow: nvt.Workflow, column: str) -> dict[str, float]:
    """Return mean and standard deviation of a SteadyNormalize operator in float64.

    Raises:
        KeyError: the workflow does not normalise this column.
    """
    for node in Graph.get_nodes_by_op_type([workflow.output_node], SteadyNormalize):
        if column in node.op.means:
            return {"mean": node.op.means[column], "std": node.op.stds[column]}
    raise KeyError(f"no Normalize of {column} in this workflow")


def export_transforms(
    user: nvt.Workflow,
    item: nvt.Workflow,
    folder: Path,
    mean_age: float,
    hashed_buckets: int = 0,
    time_zone: str = local_time.UTC,
    look_back_days: int = c.OLDER_LOOK_BACK_DAYS,
) -> dict[str, Any]:
    """Return the plain form of the saved workflows, the content of transforms.json.

    Args:
        user: fitted user workflow.
        item: fitted item workflow.
        folder: the folder that holds the saved workflows.
        mean_age: replaces a missing age.
        hashed_buckets: as passed to ``user_graph`` and ``item_graph``.
        time_zone: as passed to ``context_graph``.
        look_back_days: days of clicks that the fitted features cover.
    """
    sources = {USER: c.USER_CATEGORICAL, CONTEXT: c.CONTEXT_CATEGORICAL, ITEM: c.ITEM_CATEGORICAL}
    words = {
        column: vocabulary(folder, name, column)
        for name, names in sources.items()
        for column in names
    }
    buckets = {column: hashed_buckets for column in (c.USER_ID, c.ITEM_ID)}
    return {
        "vocabulary": words,
        "hashed_buckets": buckets,
        "cardinality": {
            column: c.VOCABULARY_START + len(values) + buckets.get(column, 0)
            for column, values in words.items()
        },
        "age": moments(user, c.AGE),
        "price_log": moments(item, c.PRICE),
        "age_boundaries": list(c.AGE_BOUNDARIES),
        "mean_age": mean_age,
        "time_zone": time_zone,
        "look_back_days": look_back_days,
    }

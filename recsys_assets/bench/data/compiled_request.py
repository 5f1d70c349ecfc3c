"""Part: run one request through the transform stages that Triton runs.

The request has one visitor, one context and N candidates. The visitor's clicks come as a list and
are counted inside the clock. unroll_features computes the affinities from these counts and repeats
the visitor to the candidates; NVTabular does not do the latter. When served, the candidates come as
indices: the item lookup translates the catalogue's strings once, at its start. For a fair
comparison, "from raw" also translates every candidate's four strings inside the clock.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from recsys_assets import columns as c
from recsys_assets.bench.harness.part import main
from recsys_assets.lib.features.transforms import Transforms
from recsys_assets.release_files import TRANSFORMS
from recsys_assets.serving.stages import tensors as t
from recsys_assets.serving.stages.stage import Stage, Tensors
from recsys_assets.serving.stages.tabular import (
    NvtContextTransform,
    NvtItemTransform,
    NvtUserTransform,
    UnrollFeatures,
)
from recsys_assets.settings import get_settings


def visitor_tensors(
    user: dict[str, Any], history: list[str], context: dict[str, Any]
) -> tuple[Tensors, Tensors]:
    """Return the outputs of feast_user_lookup and context_preprocessor.

    A null age is NaN.
    """
    raw = np.array([[user[name] for name in (c.USER_ID, c.GENDER, c.TOP_CATEGORY)]], dtype=object)
    numbers = np.array(
        [
            [
                np.nan if user[name] is None else user[name]
                for name in (c.AGE, c.CLICKS_24H, c.HOURS_SINCE_CLICK, c.CLICKS_LOOK_BACK)
            ]
        ],
        dtype=np.float32,
    )
    return (
        {
            t.USER_RAW.name: raw,
            t.USER_NUMBERS.name: numbers,
            t.USER_HISTORY_RAW.name: np.array(history, dtype=object),
            # an unknown item takes as long as a known one
            t.USER_ITEMS_RAW.name: np.full(len(history), "", dtype=object),
            t.USER_AGES_RAW.name: np.zeros(len(history), dtype=np.float32),
        },
        {
            t.CONTEXT_DEVICE.name: np.array([context[c.DEVICE_TYPE]], dtype=object),
            t.CONTEXT_TIMESTAMP.name: np.array([context[c.TIMESTAMP]], dtype=np.int64),
        },
    )


def item_tensors(
    items: dict[str, list[Any]], numbers: np.ndarray, transforms: Transforms
) -> Tensors:
    """Return the output of feast_item_lookup."""
    return {
        t.KEPT.name: transforms.vocabulary[c.ITEM_ID].indices(items[c.ITEM_ID]),
        t.ITEM_NUMBERS.name: numbers,
        t.KEPT_COUNTS.name: np.array([len(numbers)], np.int32),
        t.ITEM_CODES.name: transforms.item_codes(
            items[c.CATEGORY_L1], items[c.CATEGORY_L2], items[c.ITEM_GENDER]
        ),
    }


def median_seconds(action: Callable[[], object], repetitions: int) -> float:
    """Return the median seconds of an action."""
    laps = []
    for _ in range(repetitions):
        started = time.perf_counter()
        action()
        laps.append(time.perf_counter() - started)
    return statistics.median(laps)


def body(request: dict[str, Any]) -> dict[str, Any]:
    """Run the transform stages and measure them.

    Args:
        request: ``transforms`` (the folder with transforms.json), ``request`` (the folder with
            user.parquet, history.parquet, context.parquet, item.parquet), ``repetitions``,
            ``target`` (a folder: the same files, transformed, and affinity.parquet in place of
            history.parquet).
    """
    folder, settings = Path(request["transforms"]), get_settings()
    transforms = Transforms.read(folder / TRANSFORMS)
    stages: dict[str, Stage] = {
        kind.name: kind.open(folder, settings, 1)
        for kind in (NvtUserTransform, NvtContextTransform, NvtItemTransform, UnrollFeatures)
    }
    user, context = (
        pl.read_parquet(Path(request["request"], f"{name}.parquet")).row(0, named=True)
        for name in ("user", "context")
    )
    history = pl.read_parquet(Path(request["request"], "history.parquet"))["categories"].to_list()
    items = pl.read_parquet(Path(request["request"], "item.parquet"))
    raw = items.to_dict(as_series=False)
    numbers = items.select(pl.col(c.PRICE, c.ITEM_CLICKS).cast(pl.Float32)).to_numpy()
    visitor, visit = visitor_tensors(user, history, context)
    candidates = item_tensors(raw, numbers, transforms)

    def served(candidates: Tensors = candidates) -> Tensors:
        made = {
            **stages["nvt_user_transform"].run(visitor),
            **stages["nvt_context_transform"].run(visit),
            **stages["nvt_item_transform"].run(candidates),
            t.KEPT_COUNTS.name: candidates[t.KEPT_COUNTS.name],
        }
        return made | stages["unroll_features"].run(made)

    def from_raw() -> Tensors:
        return served(item_tensors(raw, numbers, transforms))

    served()
    seconds = median_seconds(served, request["repetitions"])
    raw_seconds = median_seconds(from_raw, request["repetitions"])
    write(served(), Path(request["target"]))
    return {
        "seconds": seconds,
        "from_raw_seconds": raw_seconds,
        "items": items.height,
        "repetitions": request["repetitions"],
    }


def write(tensors: Tensors, target: Path) -> None:
    """Write the transformed tensors as four tables with NVTabular's column names."""
    target.mkdir(parents=True)
    layout = {
        "user": (c.USER_CATEGORICAL, c.USER_CONTINUOUS),
        "context": (c.CONTEXT_CATEGORICAL, c.CONTEXT_CONTINUOUS),
        "item": (c.ITEM_CATEGORICAL, (*c.ITEM_CONTINUOUS, c.ITEM_POPULARITY)),
    }
    for name, kinds in layout.items():
        columns = {
            column: np.ascontiguousarray(np.atleast_2d(tensors[f"{name}_{kind}"])[:, n])
            for kind, names in zip(("cat", "cont"), kinds, strict=True)
            for n, column in enumerate(names)
        }
        pl.DataFrame(columns).write_parquet(target / f"{name}.parquet")
    affinity = tensors[t.CANDIDATE_CONT.name][:, -len(c.AFFINITY_CONTINUOUS) :]
    pl.DataFrame(affinity, schema=list(c.AFFINITY_CONTINUOUS)).write_parquet(
        target / "affinity.parquet"
    )


if __name__ == "__main__":
    main(body)

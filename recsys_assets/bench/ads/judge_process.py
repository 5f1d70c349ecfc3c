"""Judge a trained ads ranker beside its baselines, in a process of its own."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from recsys_assets.bench.harness.part import main
from recsys_assets.files import read_json
from recsys_assets.lib.ads_ctr.ads_datasets import PackedAds
from recsys_assets.lib.ads_ctr.ads_evaluation import write_evaluation
from recsys_assets.lib.ads_ctr.ads_landing import PROBABILITY
from recsys_assets.release_files import ADS_TRANSFORMS, VALID_SCORES


def judge(request: dict[str, Any]) -> dict[str, Any]:
    """Return the metrics of ``write_evaluation``.

    request: folders ``workflow``, ``datasets``, ``dcn``, ``output``; file ``truth``.
    """

    def packed(split: str) -> PackedAds:
        folder = Path(request["datasets"])
        return PackedAds(
            *(
                np.load(folder / f"{split}_{name}.npy", mmap_mode="r")
                for name in ("cat", "cont", "label")
            )
        )

    return write_evaluation(
        packed("train"),
        packed("valid"),
        np.load(Path(request["dcn"]) / VALID_SCORES),
        pl.read_parquet(request["truth"])[PROBABILITY].to_numpy(),
        read_json(Path(request["workflow"]) / ADS_TRANSFORMS)["cardinality"],
        Path(request["output"]),
        lambda line: print(line, file=sys.stderr, flush=True),
    )


if __name__ == "__main__":
    main(judge)

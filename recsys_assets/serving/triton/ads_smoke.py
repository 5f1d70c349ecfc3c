"""Ask a replica for the scores of a release's sample, before and after it serves the release."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import polars as pl
import tritonclient.grpc as grpcclient

from recsys_assets.ads_columns import CATEGORIES, INTEGERS
from recsys_assets.lib.release.releases import Release
from recsys_assets.release_files import ADS_SAMPLE
from recsys_assets.serving.stages import ads_tensors as t
from recsys_assets.serving.triton.replicas import Replica, SmokeFailed

#: Largest difference from the scores in the release. Batches of other sizes round otherwise.
TOLERANCE = 1e-5


def ads_smoke(release: Release) -> Callable[[Replica, Sequence[str]], None]:
    """Return the smoke requests of a release of the ads ranker.

    Each model must give each row of the sample its score, and the number of the release.
    """
    rows = pl.read_parquet(release.artifact.path(ADS_SAMPLE))
    counts, categories = ads_tensors(rows)
    expected = rows["score"].to_numpy()

    def ask(replica: Replica, models: Sequence[str]) -> None:
        for model in models:
            scores, number = score_ads(replica, model, counts, categories)
            where = f"{model} at {replica.address}"
            if number != release.number:
                raise SmokeFailed(f"{where} answered with release {number}, not {release.number}")
            if scores.shape != expected.shape:
                raise SmokeFailed(f"{where} gave {scores.shape} scores for {len(rows)} ads")
            difference = float(np.abs(scores - expected).max(initial=0.0))
            if not difference <= TOLERANCE:
                raise SmokeFailed(
                    f"{where} gave scores that differ by {difference:.2g} from those of the release"
                )

    return ask


def ads_tensors(rows: pl.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Return counts float64 [N, 13] and categories object [N, 26] of rows with FEATURES."""
    counts = rows.select(pl.col(INTEGERS).cast(pl.Float64).fill_null(float("nan"))).to_numpy()
    texts = rows.select(pl.col(CATEGORIES).fill_null("")).to_numpy()
    return np.ascontiguousarray(counts), texts.astype(np.object_)


def score_ads(
    replica: Replica, model: str, counts: np.ndarray, categories: np.ndarray
) -> tuple[np.ndarray, int]:
    """Return the scores of N ads, float32 [N], and the number of the release.

    Args:
        replica: that is asked.
        model: that answers.
        counts: float64 [N, 13].
        categories: object [N, 26] of str.

    Raises:
        ReplicaError: the request failed.
    """
    inputs = []
    for spec, values, kind in (
        (t.COUNTS, counts, "FP64"),
        (t.CATEGORY_VALUES, categories, "BYTES"),
    ):
        inputs.append(grpcclient.InferInput(spec.name, list(values.shape), kind))
        inputs[-1].set_data_from_numpy(values)
    outputs = [grpcclient.InferRequestedOutput(spec.name) for spec in (t.SCORE, t.RELEASE)]
    result = replica.infer(model, inputs, outputs, f"score {len(counts)} ads by {model}")
    return result.as_numpy(t.SCORE.name), int(result.as_numpy(t.RELEASE.name)[0])

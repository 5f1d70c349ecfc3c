"""Build the releases of the ads ranker: a line of its own, by the modules of every line."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import polars as pl

from recsys_assets import fingerprints
from recsys_assets.ads_columns import FEATURES, LABEL
from recsys_assets.artifacts import Artifact, ArtifactStore
from recsys_assets.lib.ads_ctr.ads_transforms import AdsTransforms
from recsys_assets.lib.evaluation.measures import Estimate
from recsys_assets.lib.evaluation.paired_auc import auc_difference
from recsys_assets.lib.evaluation.ranker_metrics import one_class
from recsys_assets.lib.exports.session import open_model, run_model
from recsys_assets.lib.release import releases
from recsys_assets.lib.release.assembly import checked_gate, dump_release, find_release
from recsys_assets.lib.release.champion import read_champion
from recsys_assets.lib.release.contents import place
from recsys_assets.lib.release.lines import ADS
from recsys_assets.lib.release.numbers import allocate_number
from recsys_assets.lib.release.releases import Release, ReleaseError, open_release
from recsys_assets.lib.release.rung import FULL, Rung
from recsys_assets.lib.release.verdict import Verdict
from recsys_assets.release_files import (
    ADS_DCN,
    ADS_DCN_ONNX,
    ADS_SAMPLE,
    ADS_TRANSFORM,
    ADS_TRANSFORMS,
    MODEL,
    model_file,
)
from recsys_assets.settings import Settings

#: Rows of a release's sample.
SAMPLED = 32
SCORE = "score"


def build_ads_release(
    store: ArtifactStore,
    *,
    day: str,
    workflow: Artifact,
    dcn: Artifact,
    sample: pl.DataFrame,
    gate: Verdict | None,
    metrics: Mapping[str, Any],
    learnt: str,
) -> Artifact:
    """Assemble the release of a full training, the first of a generation.

    Args:
        store: of the artifacts.
        day: the as-of day, ISO.
        workflow: ``ads_ctr/workflow`` (ads_transforms.json).
        dcn: ``ads_ctr/dcn`` (ads_dcn.onnx), trained on that workflow.
        sample: rows with FEATURES; the first SAMPLED are kept with their scores.
        gate: the verdict. A release without one (None) cannot be promoted.
        metrics: figures to show beside the release.
        learnt: what it has learnt, in words.

    Returns:
        the artifact; an existing one where it was made from exactly the same parts.

    Raises:
        ReleaseError: the network was trained on another workflow, or the verdict is malformed.
    """
    made_with = dcn.manifest["inputs"]["workflow"]["digest"]
    if made_with != workflow.digest:
        raise ReleaseError(
            f"ads_ctr/dcn [{dcn.partition}] was trained on another ads_ctr/workflow (digest "
            f"{made_with[:8]}, not {workflow.digest[:8]}); materialise ads_ctr/dcn again"
        )
    transforms = workflow.path(ADS_TRANSFORMS)
    inputs = {"workflow": workflow, "dcn": dcn}
    return _assemble(
        store, inputs, transforms, dcn, sample, _params("full", day, gate, learnt), metrics
    )


def build_tuned_release(
    store: ArtifactStore,
    *,
    day: str,
    base: Release,
    tuned: Artifact,
    sample: pl.DataFrame,
    gate: Verdict | None,
    metrics: Mapping[str, Any],
    learnt: str,
) -> Artifact:
    """Assemble the release of an incremental training: the next version of the base's network.

    Args:
        store: of the artifacts.
        day: the day whose predictions were learnt, ISO.
        base: the release that the training started from, whose workflow serves on.
        tuned: ``ads_ctr/tuned_dcn`` (ads_dcn.onnx).
        sample: as for ``build_ads_release``.
        gate: as for ``build_ads_release``.
        metrics: as for ``build_ads_release``.
        learnt: as for ``build_ads_release``.

    Returns:
        the artifact, as for ``build_ads_release``.

    Raises:
        ReleaseError: the verdict is malformed.
    """
    generation = open_release(store, base.generation, ADS)
    transforms = generation.artifact.path(model_file(ADS_TRANSFORM, ADS_TRANSFORMS))
    return _assemble(
        store,
        {"base": base.artifact, "dcn": tuned},
        transforms,
        tuned,
        sample,
        _params("fine_tune", day, gate, learnt),
        metrics,
        generation.number,
    )


def _params(
    kind: Literal["full", "fine_tune"], day: str, gate: Verdict | None, learnt: str
) -> dict[str, Any]:
    rung: Rung = {"name": FULL, "why": learnt, "next": None}
    return {"kind": kind, "day": day, "gate": checked_gate(gate), "rung": rung}


def _assemble(
    store: ArtifactStore,
    inputs: Mapping[str, Artifact],
    transforms: Path,
    dcn: Artifact,
    sample: pl.DataFrame,
    params: Mapping[str, Any],
    metrics: Mapping[str, Any],
    generation: int | None = None,
) -> Artifact:
    """Write the release's files; generation: None where it begins one."""
    existing = find_release(store, code(), inputs, params, ADS)
    if existing is not None:
        return existing
    number = allocate_number(store, ADS)
    generation = number if generation is None else generation
    with store.stage(
        ADS.kind, f"{number:06d}", code_version=code(), inputs=inputs, params=params
    ) as staged:
        place(transforms, staged.path / model_file(ADS_TRANSFORM, ADS_TRANSFORMS))
        place(dcn.path(ADS_DCN_ONNX), staged.path / model_file(ADS_DCN, MODEL))
        rows = sample.select(FEATURES).head(SAMPLED)
        scores = score_rows(transforms, dcn.path(ADS_DCN_ONNX), rows)
        rows.with_columns(pl.Series(SCORE, scores)).write_parquet(staged.path / ADS_SAMPLE)
        dump_release(
            staged.path,
            number,
            releases.ADS_CODE_VERSION,
            params,
            metrics,
            inputs,
            generation=generation,
            versions={ADS_TRANSFORM: generation, ADS_DCN: number},
            known_user=None,
        )
        return staged.publish(
            {**metrics, "release": number, "rung": params["rung"], "gate": params["gate"]}
        )


def score_rows(transforms: Path, onnx: Path, rows: pl.DataFrame) -> np.ndarray:
    """Return the scores that a network gives to rows with FEATURES, float32 [N]."""
    cat, cont = AdsTransforms.read(transforms).of_frame(rows)
    return run_model(open_model(onnx), {"cat": cat, "cont": cont})


def scores_of(release: Release, rows: pl.DataFrame) -> np.ndarray:
    """Return the scores that a release gives to rows with FEATURES, float32 [N]."""
    files = release.artifact
    return score_rows(
        files.path(model_file(ADS_TRANSFORM, ADS_TRANSFORMS)),
        files.path(model_file(ADS_DCN, MODEL)),
        rows,
    )


def above_champion(
    champion: Release | None, rows: pl.DataFrame, scores: np.ndarray
) -> Estimate | None:
    """Return the AUC of scores − that of the champion, on the same rows.

    Args:
        champion: the release in force; None: there is none.
        rows: COLUMNS, N rows.
        scores: [N].

    Returns:
        the difference with its 95 % interval; None without a champion that this code can run, or
        where the rows have one class.
    """
    labels = rows[LABEL].to_numpy()
    if champion is None or not champion.of_this_form or one_class(labels):
        return None
    return auc_difference(labels, scores, scores_of(champion, rows), np.arange(len(labels)))


def ads_champion(store: ArtifactStore, settings: Settings) -> Release | None:
    """Return the release of the ads ranker in force; None before the first promotion."""
    present = read_champion(settings, ADS)
    return None if present is None else open_release(store, present.release, ADS)


def code() -> str:
    """Return the code version of a release: its form, and the digest of this module's code."""
    return f"{releases.ADS_CODE_VERSION}-{fingerprints.digest(__name__)}"

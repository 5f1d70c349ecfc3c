"""Check data sets and workflows: transform parity, labels, vocabulary growth."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from recsys_assets import columns as c
from recsys_assets.artifacts import Artifact
from recsys_assets.lib.features import batch_transform, vocabulary
from recsys_assets.lib.features.batch_transform import item_vocabulary, read_transforms
from recsys_assets.lib.figures.series import number

#: Part of ``ClickHistories`` → its file of the validation rows.
HISTORY_FILES = {
    field.name: f"valid_{part}.npy"
    for field, part in zip(
        dataclasses.fields(batch_transform.ClickHistories), c.HISTORY_PARTS, strict=True
    )
}


def items_without_index(workflows: Artifact, items: Artifact) -> list[str]:
    """Return up to 20 item ids of the catalogue that the vocabulary lacks, sorted."""
    vocabulary = set(item_vocabulary(workflows))
    catalogue = pl.read_parquet(items.path("items.parquet"), columns=[c.ITEM_ID])[c.ITEM_ID]
    return sorted(set(catalogue) - vocabulary)[:20]


def transform_differences(
    datasets: Artifact, workflows: Artifact, valid: Sequence[Artifact]
) -> dict[str, float]:
    """Return the largest difference per column of NVTabular and compiled transforms.

    Both transform the rows of the validation days. The key "history" is 1.0 if the click histories
    of clicked rows differ between the training step and the platform, otherwise 0.0.

    Raises:
        ValueError: the data set was built from other rows than these days have.
    """
    raw = pl.concat([pl.read_parquet(artifact.path("features.parquet")) for artifact in valid])
    compiled = batch_transform.BatchTransform(read_transforms(workflows))
    ours = compiled.transform_frame(raw)
    theirs = pl.read_parquet(sorted((datasets.local / "valid").glob("*.parquet")))
    if theirs.height != ours.height:
        raise ValueError(
            f"datasets' valid/ has {theirs.height} rows, the features of these days have "
            f"{ours.height}; materialise features/datasets again"
        )
    clicked = raw.filter(pl.col(c.CLICK) == 1)
    lists = pl.concat(
        [pl.read_parquet(artifact.path("click_history.parquet")) for artifact in valid]
    )
    ours_of_clicks = dataclasses.asdict(
        batch_transform.ClickHistories.of(
            compiled.transforms,
            clicked.select(c.CLICKS_LOOK_BACK, c.CLICKS_24H).hstack(lists.drop(c.EVENT_ID)),
        )
    )
    written = {name: np.load(datasets.path(file)) for name, file in HISTORY_FILES.items()}
    for name, counted in ours_of_clicks.items():
        if written[name].shape != counted.shape:
            raise ValueError(
                f"datasets' {HISTORY_FILES[name]} has shape {written[name].shape}, the click "
                f"histories of these days have {counted.shape}; materialise features/datasets again"
            )
    return {
        **{
            name: number((ours[name].cast(pl.Float64) - theirs[name].cast(pl.Float64)).abs().max())
            for name in c.RANKER_CATEGORICAL + c.RANKER_CONTINUOUS
        },
        "history": float(
            any((written[name] != counted).any() for name, counted in ours_of_clicks.items())
        ),
    }


def click_rates(datasets: Artifact) -> dict[str, float | None]:
    """Return the share of clicked rows in train/ and valid/; None for a split without rows."""
    return {
        part: pl.scan_parquet(datasets.local / part / "*.parquet")
        .select(pl.col(c.CLICK).mean())
        .collect()
        .item()
        for part in ("train", "valid")
    }


@dataclass(frozen=True)
class Labels:
    """Says what a ranker learns from data sets of these click rates.

    Attributes:
        usual: both splits are of the same kind: logged exposures, or only clicks.
        usable: both splits have a click, so that models can be trained and judged.
        negatives: where the ranker's negatives come from, in words.
    """

    usual: bool
    usable: bool
    negatives: str


def labels(rates: Mapping[str, float | None]) -> Labels:
    """Judge the ``click_rates`` of data sets.

    A small log may have only clicks on its validation days by chance, and a shop may have begun to
    log impressions in the middle of the window. Both can be trained on.
    """
    clicked = ", ".join(
        f"{part} has no rows" if rate is None else f"{rate:.0%} of {part}'s rows are clicked"
        for part, rate in rates.items()
    )
    if not all(rates.values()):
        return Labels(
            False,
            False,
            f"none: {clicked}. Training and validation days both need a click: choose another "
            "as-of day or more days",
        )
    train, valid = rates["train"], rates["valid"]
    if train == 1:
        drawn = (
            "drawn: training holds clicks alone, so the ranker learns from items that the visitor "
            "did not click that day"
        )
        if valid == 1:
            return Labels(True, True, drawn)
        return Labels(
            False, True, f"{drawn}. Impressions of the validation days are not used ({clicked})"
        )
    logged = "logged: rows that were shown and not clicked"
    if valid != 1:
        return Labels(True, True, logged)
    return Labels(
        False,
        True,
        f"{logged}. The validation days hold clicks alone, so their negatives are drawn and the "
        f"AUC is against random items ({clicked})",
    )


def vocabulary_growth(workflows: Artifact, days: Sequence[Artifact]) -> pl.DataFrame:
    """Return the values of these days that the workflows' vocabularies lack.

    Returns:
        One row per column: {column, unseen_values, rows, share}.
    """
    scanned = pl.scan_parquet([artifact.path("features.parquet") for artifact in days])
    grown = vocabulary.growth(scanned, read_transforms(workflows))
    return pl.DataFrame([{"column": column, **counts} for column, counts in grown.items()])

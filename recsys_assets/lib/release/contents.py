"""Writes the files that a release holds for its models and pages."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from recsys_assets import columns
from recsys_assets.artifacts import Artifact
from recsys_assets.files import read_json
from recsys_assets.lib.features.look_back import look_back_of
from recsys_assets.lib.release.releases import COMPONENTS, Release
from recsys_assets.lib.release.rung import WITH_SOURCES, RungName
from recsys_assets.lib.retrieval.similar_items import similar_items
from recsys_assets.lib.sources.stored import (
    BY_SIMILARITY,
    BY_SOURCES,
    SERVED,
    read_places,
    write_blend,
)
from recsys_assets.release_files import (
    CANDIDATE_SOURCES,
    EMBEDDING_TABLE,
    HISTORY,
    IMAGES_FILE,
    INDEX,
    ITEM_IDS_FILE,
    MODEL,
    MODEL_FILES,
    MODELS,
    POPULARITY,
    QUERY_TOWER,
    QUERY_TOWER_ONNX,
    RANKER,
    RANKER_FILE,
    RANKER_ONNX,
    RANKER_PARTS,
    SAMPLER,
    SAMPLING,
    SEEN_RULE,
    SIMILAR_FILE,
    SNAPSHOT,
    SOURCES,
    TRANSFORMS,
    USER_DEFAULTS,
    YOUNG,
    model_file,
    models_with,
)
from recsys_assets.settings import Settings

SAMPLING_TEMPERATURE = 20.0
_ITEM_SNAPSHOT = (columns.CATEGORY_L1, columns.CATEGORY_L2, columns.ITEM_GENDER, columns.PRICE)


def write_contents(
    folder: Path,
    parts: Mapping[str, Artifact],
    settings: Settings,
    *,
    transforms: Mapping[str, Any],
    items: pl.DataFrame,
    popularity: Sequence[str],
    item_clicks: Mapping[str, float],
    rung: RungName,
) -> None:
    """Write every file of a full release but the display data and release.json.

    Args:
        folder: of the release.
        parts: role → artifact, the inputs of ``build.build_release``.
        settings: of the lists.
        transforms: content of transforms.json.
        items: RAW_ITEMS.
        popularity: item ids, most popular first.
        item_clicks: item id → clicks on the as-of day.
        rung: of the release.
    """
    item_ids: list[str] = transforms["vocabulary"][columns.ITEM_ID]
    for model in COMPONENTS:  # also a model without files has a folder
        (folder / MODELS / model).mkdir(parents=True)
    for name, path in {
        TRANSFORMS: parts["workflows"].path(TRANSFORMS),
        INDEX: parts["faiss_index"].path(INDEX),
        EMBEDDING_TABLE: parts["aligned"].path(EMBEDDING_TABLE),
        SEEN_RULE: parts["seen_rule"].path(SEEN_RULE),
    }.items():
        for model in models_with(name):
            place(path, folder / model_file(model, name))
    for name, path in learnt_files(parts["query_tower"], parts["ranker"]).items():
        place(path, folder / name)
    by_sources = place_sources(parts.get("blend"), folder, rung)
    made: dict[str, Any] = {
        ITEM_IDS_FILE: item_ids,
        SNAPSHOT: item_snapshot(items, item_clicks),
        POPULARITY: popularity_indices(popularity, item_ids),
        USER_DEFAULTS: {
            "mean_age": transforms["mean_age"],
            "look_back_days": look_back_of(transforms),
        },
        SAMPLING: _sampling(settings, by_sources, place_young(parts.get("blend"), folder)),
        # width of the query tower's input "history"
        HISTORY: {"width": 2 * transforms["cardinality"][columns.CATEGORY_L1]},
    }
    for name, content in made.items():
        for model in models_with(name):
            dump(folder / model_file(model, name), content)
    place(parts["raw_items"].path(IMAGES_FILE), folder / IMAGES_FILE)
    dump(folder / ITEM_IDS_FILE, item_ids)
    np.save(
        folder / SIMILAR_FILE,
        similar_items(parts["faiss_index"].path(INDEX), len(item_ids)),
        allow_pickle=False,
    )


def is_refreshed(name: str) -> bool:
    """Return whether ``refresh`` writes a file of a release again."""
    folder, _, file = name.rpartition("/")
    if folder == f"{MODELS}/{CANDIDATE_SOURCES}":
        return file not in MODEL_FILES[CANDIDATE_SOURCES] or file in (SOURCES, YOUNG)
    made = [
        model_file(model, part) for part in (POPULARITY, SNAPSHOT) for model in models_with(part)
    ]
    return name in (*made, model_file(SAMPLER, SAMPLING), model_file(SAMPLER, YOUNG))


def refresh(
    folder: Path,
    generation: Release,
    before: Release,
    new: pl.DataFrame | None,
    blend: Artifact,
    popularity: Sequence[str],
    item_clicks: Mapping[str, float],
) -> None:
    """Write the sources, places, backfill list and items' clicks of a fine-tune into a release.

    Args:
        folder: of the release.
        generation: the release that started the generation.
        before: the release whose items the fine-tune has.
        new: RAW_ITEMS, the items that it adds; None: none.
        blend: ``fine_tune/blend``.
        popularity: item ids, most popular first.
        item_clicks: item id → clicks on the day that was learnt.
    """
    old = generation.artifact
    by_sources = place_sources(blend, folder, generation.rung["name"])
    sampling = read_json(old.path(model_file(SAMPLER, SAMPLING)))
    sampling |= {
        "retrieval_weight": 1.0 if by_sources else old.manifest["params"]["retrieval_weight"],
        "new_item_places": place_young(blend, folder),
    }
    dump(folder / model_file(SAMPLER, SAMPLING), sampling)
    item_ids = read_json(before.artifact.path(ITEM_IDS_FILE))
    if new is not None:
        item_ids += new[columns.ITEM_ID].to_list()
    for model in models_with(POPULARITY):
        dump(folder / model_file(model, POPULARITY), popularity_indices(popularity, item_ids))
    for model in models_with(SNAPSHOT):
        items = read_json(before.artifact.path(model_file(model, SNAPSHOT)))
        if new is not None:
            items |= item_snapshot(new, item_clicks)
        for item, row in items.items():
            row[columns.ITEM_CLICKS] = float(item_clicks.get(item, 0.0))
        dump(folder / model_file(model, SNAPSHOT), items)


def place_sources(blend: Artifact | None, folder: Path, rung: RungName) -> bool:
    """Place the sources of a blend into a release; return whether they order its candidates.

    A release of a rung below the fusion has none.
    """
    target = folder / MODELS / CANDIDATE_SOURCES
    if blend is None or rung not in WITH_SOURCES:
        write_blend(target, BY_SIMILARITY, (), {}, np.zeros(0, bool))
        return False
    stored = blend.local / SERVED
    for path in sorted(stored.iterdir()):
        place(path, target / path.name)
    by_sources: bool = read_json(target / SOURCES)["mode"] == BY_SOURCES
    return by_sources


def place_young(blend: Artifact | None, folder: Path) -> int:
    """Place which items are young where they have places; return how often one is reserved.

    A release of a simple rung has places too, for those of its candidates that are young.
    """
    places = None if blend is None else read_places(blend.local / SERVED)
    if blend is None or places is None:
        return 0
    place(blend.local / SERVED / YOUNG, folder / model_file(SAMPLER, YOUNG))
    return places.every


def _sampling(settings: Settings, by_sources: bool, new_item_places: int) -> dict[str, Any]:
    return {
        "ranking_topk": settings.ranking_topk,
        "diversity": settings.diversity_mode,
        "temperature": SAMPLING_TEMPERATURE,
        "mmr_lambda": settings.mmr_lambda,
        "category_cap": settings.category_cap,
        # the scores of sources are in units of the ranker's logit
        "retrieval_weight": 1.0 if by_sources else settings.retrieval_weight,
        "new_item_places": new_item_places,
    }


def learnt_files(query_tower: Artifact, ranker: Artifact) -> dict[str, Path]:
    """Return the files of the two models that a fine-tune replaces: file of a release → source."""
    return {
        model_file(QUERY_TOWER, MODEL): query_tower.path(QUERY_TOWER_ONNX),
        RANKER_FILE: ranker.path(RANKER_ONNX),
        **{model_file(RANKER, part): ranker.path(name) for part, name in RANKER_PARTS.items()},
    }


def item_snapshot(
    items: pl.DataFrame, item_clicks: Mapping[str, float]
) -> dict[str, dict[str, Any]]:
    """Return the item features that serving uses where the online store has none.

    Returns:
        item id → {category_l1, category_l2, item_gender, price, item_clicks}; the price is null if
            the shop gave none.
    """
    rows = items.select(columns.ITEM_ID, *_ITEM_SNAPSHOT).iter_rows(named=True)
    return {
        item: {**row, columns.ITEM_CLICKS: float(item_clicks.get(item, 0.0))}
        for row in rows
        for item in [row.pop(columns.ITEM_ID)]
    }


def display_data(items: pl.DataFrame) -> dict[str, dict[str, Any]]:
    """Return what a page shows of each item: item id → its catalogue columns.

    The column ``name`` becomes ``title``; ``image`` and ``price`` are null where there is none.
    """
    display = {}
    for row in items.select(*columns.RAW_ITEMS).iter_rows(named=True):
        row["title"], row["image"] = row.pop("name"), row["image"] or None
        display[row[columns.ITEM_ID]] = row
    return display


def popularity_indices(popularity: Sequence[str], item_ids: Sequence[str]) -> list[int]:
    """Return the Categorify indices of the whole catalogue, most popular first.

    >>> popularity_indices(["b", "gone"], ["a", "b", "c"])
    [4, 3, 5]
    """
    index = {item: columns.VOCABULARY_START + position for position, item in enumerate(item_ids)}
    ordered = dict.fromkeys([*popularity, *item_ids])
    return [index[item] for item in ordered if item in index]


def place(source: Path, target: Path) -> None:
    """Hard-link a file, since artifacts are immutable; copy it across file systems."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def dump(path: Path, value: object) -> None:
    """Write a value as JSON; create the folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, ensure_ascii=False))

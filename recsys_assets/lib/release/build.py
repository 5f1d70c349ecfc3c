"""Builds a release from artifacts that belong to one generation."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl

from recsys_assets import columns, fingerprints
from recsys_assets.artifacts import Artifact, ArtifactStore
from recsys_assets.lib.features.look_back import look_back_of
from recsys_assets.lib.release import releases
from recsys_assets.lib.release.assembly import checked_gate, dump_release, find_release
from recsys_assets.lib.release.contents import (
    display_data,
    dump,
    is_refreshed,
    learnt_files,
    place,
    refresh,
    write_contents,
)
from recsys_assets.lib.release.grown import GROWN, display_of, item_files, write_item_files
from recsys_assets.lib.release.item_parts import ADDED, entered
from recsys_assets.lib.release.learnt import LearntDays, of_fine_tune, of_training
from recsys_assets.lib.release.numbers import allocate_number
from recsys_assets.lib.release.one_generation import references, require_one_generation
from recsys_assets.lib.release.releases import (
    COMPONENTS,
    REFRESHED,
    RELEASE,
    ReleaseError,
    open_release,
    read_release,
)
from recsys_assets.lib.release.rung import FULL, OLDER, WITH_SOURCES, Rung
from recsys_assets.lib.release.verdict import Verdict
from recsys_assets.release_files import DISPLAY_FILE, EMBEDDING_TABLE, RELEASE_FILE, TRANSFORMS
from recsys_assets.settings import Settings

#: Settings that a release is made with; other values give another release.
OF_SETTINGS = ("ranking_topk", "diversity_mode", "mmr_lambda", "category_cap", "retrieval_weight")


def build_release(
    store: ArtifactStore,
    settings: Settings,
    *,
    as_of: str,
    raw_items: Artifact,
    workflows: Artifact,
    aligned: Artifact,
    faiss_index: Artifact,
    query_tower: Artifact,
    ranker: Artifact,
    seen_rule: Artifact,
    popularity: Sequence[str],
    item_clicks: Mapping[str, float],
    gate: Verdict | None,
    blend: Artifact | None = None,
    rung: Rung = OLDER,
    metrics: Mapping[str, Any] | None = None,
) -> Artifact:
    """Assemble a full or simple release, the first of a new generation.

    Args:
        store: of the artifacts.
        settings: those of OF_SETTINGS count.
        as_of: the as-of day of the training, ISO.
        raw_items: ``raw/items`` (items.parquet, images.parquet).
        workflows: ``features/workflows`` (transforms.json).
        aligned: ``embeddings/aligned`` (embedding_table.npy, [3 + items, 128]).
        faiss_index: ``retrieval/faiss_index`` (index.faiss).
        query_tower: ``retrieval/two_tower`` (query_tower.onnx).
        ranker: ``ranking/dlrm`` (dlrm.onnx, and its two parts dlrm_items.onnx, dlrm_lists.onnx).
        seen_rule: ``features/seen_rule`` (seen.json).
        popularity: item ids, most popular first. Ids outside the catalogue are left out. Items
            without an interaction follow in the catalogue's order, so that the backfill list has
            every item.
        item_clicks: item id → its clicks on the as-of day, used where the online store has none; 0
            where absent.
        gate: the verdict. A release without one (None) cannot be promoted.
        blend: ``evaluation/blend`` or ``ladder/fusion`` (served/); None: retrieval alone.
        rung: what the models are, and why.
        metrics: figures to show beside the release.

    Returns:
        the artifact; an existing one where it was made from exactly the same parts.

    Raises:
        ReleaseError: the parts do not belong to one generation, or the verdict is malformed.
    """
    inputs = {
        "raw_items": raw_items,
        "workflows": workflows,
        "aligned": aligned,
        "faiss_index": faiss_index,
        "query_tower": query_tower,
        "ranker": ranker,
        "seen_rule": seen_rule,
        **({"blend": blend} if blend is not None else {}),
    }
    require_one_generation({a.kind: a.digest for a in inputs.values()}, list(inputs.values()))
    params = {
        "kind": "full" if rung["name"] == FULL else "simple",
        "rung": rung,
        "day": as_of,
        "gate": checked_gate(gate),
        "popularity": list(popularity),
        "item_clicks": dict(sorted(item_clicks.items())),
        **{name: getattr(settings, name) for name in OF_SETTINGS},
    }
    existing = find_release(store, code(), inputs, params)
    if existing is not None:
        return existing
    transforms = _fitting_transforms(workflows, aligned)
    simple = rung["name"] != FULL
    learnt_days = of_training(
        workflows, blend if rung["name"] in WITH_SOURCES else None, faiss_index if simple else None
    )
    items = pl.read_parquet(raw_items.path("items.parquet"))
    number = allocate_number(store)
    with store.stage(
        RELEASE, f"{number:06d}", code_version=code(), inputs=inputs, params=params
    ) as staged:
        write_contents(
            staged.path,
            inputs,
            settings,
            transforms=transforms,
            items=items,
            popularity=popularity,
            item_clicks=item_clicks,
            rung=rung["name"],
        )
        dump(
            staged.path / DISPLAY_FILE,
            {"release": number, "rung": rung["name"], "items": display_data(items)},
        )
        users = transforms["vocabulary"][columns.USER_ID]
        dump_release(
            staged.path,
            number,
            releases.CODE_VERSION,
            params,
            metrics,
            inputs,
            generation=number,
            known_user=users[0] if users else None,
            look_back_days=look_back_of(transforms),
            text_encoder=_text_encoder(aligned),
            versions=dict.fromkeys(COMPONENTS, number),
            learnt_days=learnt_days,
        )
        return staged.publish(_release_metrics(number, params, metrics, learnt_days))


def _text_encoder(aligned: Artifact) -> dict[str, str | None] | None:
    """Return name and version of the encoder of the items' texts; None: not recorded."""
    if "text_encoder" not in aligned.metrics:
        return None
    metrics = aligned.metrics
    return {"name": metrics["text_encoder"], "version": metrics["text_encoder_version"]}


def _fitting_transforms(workflows: Artifact, aligned: Artifact) -> dict[str, Any]:
    """Return the content of transforms.json; raise where the embedding table does not fit it."""
    transforms: dict[str, Any] = json.loads(workflows.path(TRANSFORMS).read_text())
    items = len(transforms["vocabulary"][columns.ITEM_ID])
    rows = np.load(aligned.path(EMBEDDING_TABLE), mmap_mode="r", allow_pickle=False).shape[0]
    if rows != transforms["cardinality"][columns.ITEM_ID]:
        raise ReleaseError(
            f"{EMBEDDING_TABLE} has {rows} rows for {items} items (needs "
            f"{transforms['cardinality'][columns.ITEM_ID]}); materialise {aligned.kind} again"
        )
    return transforms


def build_fine_tune_release(
    store: ArtifactStore,
    *,
    day: str,
    base: Artifact,
    query_tower: Artifact,
    ranker: Artifact,
    blend: Artifact,
    popularity: Sequence[str],
    item_clicks: Mapping[str, float],
    gate: Verdict | None,
    added: Artifact | None = None,
    metrics: Mapping[str, Any] | None = None,
) -> Artifact:
    """Assemble the release of a fine-tune: the generation with new models, sources and weights.

    Its items are those of ``base``, and the new ones of the day.

    Args:
        store: of the artifacts.
        day: the day that was learnt, ISO.
        base: any release of the generation, usually the champion that the fine-tune started from.
        query_tower: an artifact with query_tower.onnx.
        ranker: an artifact with the three files of a ranker.
        blend: ``fine_tune/blend`` (served/).
        popularity: as for ``build_release``.
        item_clicks: as for ``build_release``, of the day that was learnt.
        gate: as for ``build_release``.
        added: ``fine_tune/items``, where the release has more items than its generation.
        metrics: as for ``build_release``.

    Returns:
        the artifact, as for ``build_release``.

    Raises:
        ReleaseError: tower, ranker or blend were made with another generation's parts, the
            generation is of an older form, the base has items that ``added`` lacks, or the verdict
            is malformed.
    """
    tuned = read_release(base)
    generation = open_release(store, tuned.generation)
    if not generation.of_this_form:
        raise ReleaseError(
            f"generation {generation.number} was built by an older version of this code and lacks "
            "files that today's models need; run full_training"
        )
    recorded = [
        r
        for r in references(generation.artifact)
        # items that came since change no row of the generation's
        if r["kind"] not in (query_tower.kind, ranker.kind, "raw/items")
    ]
    made = [query_tower, ranker, blend]
    require_one_generation({r["kind"]: r["digest"] for r in recorded}, made)
    inputs = {
        "base": base,
        "generation": generation.artifact,
        "query_tower": query_tower,
        "ranker": ranker,
        "blend": blend,
        **({ADDED: added} if added is not None else {}),
    }
    if ADDED in base.manifest["inputs"] and added is None:
        raise ReleaseError(
            f"release {tuned.number} has items that earlier fine-tunes added, which this one "
            "lacks; materialise fine_tune/items again"
        )
    # the item files of the base are its generation's, unless earlier fine-tunes added items
    before, new = tuned if ADDED in base.manifest["inputs"] else generation, entered(added)
    params = {
        "kind": "fine_tune",
        "day": day,
        "gate": checked_gate(gate),
        "rung": generation.rung,
        "popularity": list(popularity),
        "item_clicks": dict(sorted(item_clicks.items())),
    }
    existing = find_release(store, code(), inputs, params)
    if existing is not None:
        return existing
    number = allocate_number(store)
    learnt_days = of_fine_tune(
        store, tuned.learnt_days, {"query_tower": query_tower, "ranker": ranker}, blend
    )
    own = learnt_files(query_tower, ranker)
    replaced = {RELEASE_FILE, DISPLAY_FILE, *own, *(() if new is None else item_files())}
    kept = [
        name
        for name in before.artifact.manifest["files"]
        if name not in replaced and not is_refreshed(name)
    ]
    with store.stage(
        RELEASE, f"{number:06d}", code_version=code(), inputs=inputs, params=params
    ) as staged:
        for name in kept:
            place(before.artifact.path(name), staged.path / name)
        if added is not None and new is not None:
            write_item_files(staged.path, before, added)
        refresh(staged.path, generation, before, new, blend, popularity, item_clicks)
        shown = display_of(before, new)
        dump(
            staged.path / DISPLAY_FILE,
            {"release": number, "rung": generation.rung["name"], "items": shown},
        )
        for name, path in own.items():
            place(path, staged.path / name)
        changed = (*REFRESHED, *(() if new is None else GROWN))
        versions = {**before.versions, **dict.fromkeys(changed, number)}
        dump_release(
            staged.path,
            number,
            releases.CODE_VERSION,
            params,
            metrics,
            inputs,
            generation=generation.number,
            versions=versions,
            known_user=generation.known_user,
            look_back_days=generation.look_back_days,
            text_encoder=generation.text_encoder,
            learnt_days=learnt_days,
        )
        return staged.publish(_release_metrics(number, params, metrics, learnt_days))


def _release_metrics(
    number: int,
    params: Mapping[str, Any],
    metrics: Mapping[str, Any] | None,
    learnt_days: LearntDays | None,
) -> dict[str, Any]:
    return {
        **(metrics or {}),
        "release": number,
        "rung": params["rung"],
        "gate": params["gate"],
        "learnt_days": learnt_days,
    }


def code() -> str:
    """Return the code version of a release: its form, and the digest of this module's code."""
    return f"{releases.CODE_VERSION}-{fingerprints.digest(__name__)}"

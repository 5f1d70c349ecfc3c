"""Builds a release from the artifacts that must agree."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import polars as pl

from recsys_assets import columns, fingerprints
from recsys_assets.artifacts import Artifact, ArtifactStore
from recsys_assets.lib.release import releases
from recsys_assets.lib.release.releases import (
    COMPONENTS,
    RELEASE,
    ReleaseError,
    open_release,
    read_display,
    read_release,
)
from recsys_assets.lib.retrieval.similar_items import similar_items
from recsys_assets.release_files import (
    DISPLAY_FILE,
    EMBEDDING_TABLE,
    HISTORY,
    IMAGES_FILE,
    INDEX,
    ITEM_IDS_FILE,
    MODEL,
    MODELS,
    POPULARITY,
    QUERY_TOWER,
    QUERY_TOWER_ONNX,
    RANKER,
    RANKER_FILE,
    RANKER_ONNX,
    RANKER_PARTS,
    RELEASE_FILE,
    SAMPLING,
    SIMILAR_FILE,
    SNAPSHOT,
    TRANSFORMS,
    USER_DEFAULTS,
    model_file,
    models_with,
)
from recsys_assets.settings import Settings

NUMBERS = "serving/release-numbers"  # one empty file a number that was ever given out
SAMPLING_TEMPERATURE = 20.0
#: Settings that a release is made with: others give another release.
OF_SETTINGS = ("ranking_topk", "diversity_mode", "mmr_lambda", "category_cap", "retrieval_weight")
_ITEM_SNAPSHOT = (columns.CATEGORY_L1, columns.CATEGORY_L2, columns.ITEM_GENDER, columns.PRICE)


def allocate_number(store: ArtifactStore) -> int:
    """The next release number; never given twice, also to two writers at once (exclusive creation
    of a file).
    """
    prefix = f"{fsspec.core.url_to_fs(store.root)[1]}/{NUMBERS}"
    while True:
        # a fresh listing each time: a cached one would offer a taken number for ever
        taken = store.fs.ls(prefix, detail=False, refresh=True) if store.fs.exists(prefix) else []
        names = [Path(path).name for path in taken] + store.partitions(RELEASE)
        number = max(map(int, names), default=0) + 1
        path = f"{prefix}/{number:06d}"
        try:
            if store.is_local:
                Path(prefix).mkdir(parents=True, exist_ok=True)
                os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
            else:
                store.fs.pipe_file(path, b"", mode="create")  # S3: If-None-Match
        except FileExistsError:
            continue
        return number


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
    popularity: Sequence[str],
    item_clicks: Mapping[str, float],
    gate: Mapping[str, Any] | None,
    metrics: Mapping[str, Any] | None = None,
) -> Artifact:
    """Assemble a full release, the first of a new generation.

    Args:
        as_of: the as-of day of the training, ISO.
        raw_items: ``raw/items`` (items.parquet, images.parquet).
        workflows: ``features/workflows`` (transforms.json).
        aligned: ``embeddings/aligned`` (embedding_table.npy, [3 + items, 128]).
        faiss_index: ``retrieval/faiss_index`` (index.faiss).
        query_tower: ``retrieval/two_tower`` (query_tower.onnx).
        ranker: ``ranking/dlrm`` (dlrm.onnx, and the same in two parts: dlrm_items.onnx,
            dlrm_lists.onnx).
        popularity: item ids, most popular first; ids outside the catalogue are left out, items
            without any interaction follow in the catalogue's order, so that backfilling can reach
            every item.
        item_clicks: item id → its clicks on the as-of day, which count where the online store has
            none; 0 where absent.
        gate: the verdict, or None where none was reached (such a release cannot be promoted).
        metrics: figures to show beside the release.

    Returns:
        The artifact; the one that exists already where it was made from exactly the same parts.

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
    }
    _require_one_generation({a.kind: a.digest for a in inputs.values()}, list(inputs.values()))
    params = {
        "kind": "full",
        "day": as_of,
        "gate": _checked_gate(gate),
        "popularity": list(popularity),
        "item_clicks": dict(sorted(item_clicks.items())),
        **{name: getattr(settings, name) for name in OF_SETTINGS},
    }
    existing = _find(store, inputs, params)
    if existing is not None:
        return existing
    transforms = json.loads(workflows.path(TRANSFORMS).read_text())
    item_ids: list[str] = transforms["vocabulary"][columns.ITEM_ID]
    rows = np.load(aligned.path(EMBEDDING_TABLE), mmap_mode="r", allow_pickle=False).shape[0]
    if rows != transforms["cardinality"][columns.ITEM_ID]:
        raise ReleaseError(
            f"{EMBEDDING_TABLE} has {rows} rows for {len(item_ids)} items (needs "
            f"{transforms['cardinality'][columns.ITEM_ID]}); materialise {aligned.kind} again"
        )
    items = pl.read_parquet(raw_items.path("items.parquet"))
    number = allocate_number(store)
    with store.stage(
        RELEASE, f"{number:06d}", code_version=code(), inputs=inputs, params=params
    ) as staged:
        for model in COMPONENTS:  # a model without files has a folder all the same
            (staged.path / MODELS / model).mkdir(parents=True)
        for name, path in {
            TRANSFORMS: workflows.path(TRANSFORMS),
            INDEX: faiss_index.path(INDEX),
            EMBEDDING_TABLE: aligned.path(EMBEDDING_TABLE),
        }.items():
            for model in models_with(name):
                _place(path, staged.path / model_file(model, name))
        for name, path in _learnt(query_tower, ranker).items():
            _place(path, staged.path / name)
        made: dict[str, Any] = {
            ITEM_IDS_FILE: item_ids,
            SNAPSHOT: item_snapshot(items, item_clicks),
            POPULARITY: popularity_indices(popularity, item_ids),
            USER_DEFAULTS: {"mean_age": transforms["mean_age"]},
            SAMPLING: {
                "ranking_topk": settings.ranking_topk,
                "diversity": settings.diversity_mode,
                "temperature": SAMPLING_TEMPERATURE,
                "mmr_lambda": settings.mmr_lambda,
                "category_cap": settings.category_cap,
                "retrieval_weight": settings.retrieval_weight,
            },
            # the query tower's clicks by category must be as wide
            HISTORY: {"width": 2 * transforms["cardinality"][columns.CATEGORY_L1]},
        }
        for name, content in made.items():
            for model in models_with(name):
                _dump(staged.path / model_file(model, name), content)
        _dump(staged.path / DISPLAY_FILE, {"release": number, "items": display_data(items)})
        _place(raw_items.path(IMAGES_FILE), staged.path / IMAGES_FILE)
        _dump(staged.path / ITEM_IDS_FILE, item_ids)
        np.save(
            staged.path / SIMILAR_FILE,
            similar_items(faiss_index.path(INDEX), len(item_ids)),
            allow_pickle=False,
        )
        users = transforms["vocabulary"][columns.USER_ID]
        _dump_release(
            staged.path,
            number,
            params,
            metrics,
            generation=number,
            known_user=users[0] if users else None,
            versions=dict.fromkeys(COMPONENTS, number),
            inputs=inputs,
        )
        return staged.publish(
            metrics={**(metrics or {}), "release": number, "gate": params["gate"]}
        )


def build_fine_tune_release(
    store: ArtifactStore,
    *,
    day: str,
    base: Artifact,
    query_tower: Artifact,
    ranker: Artifact,
    gate: Mapping[str, Any] | None,
    metrics: Mapping[str, Any] | None = None,
) -> Artifact:
    """Assemble the release of a daily fine-tune: the base's generation with a new query tower and
    ranker.

    Args:
        day: the day that was learnt, ISO.
        base: any release of the generation, usually the champion that the fine-tune started from.
        query_tower: an artifact with query_tower.onnx.
        ranker: an artifact with the three files of a ranker.
        gate, metrics: as for ``build_release``.

    Raises:
        ReleaseError: tower or ranker were made with another generation's parts, the generation is
            of an older form, or the verdict is malformed.
    """
    generation = open_release(store, read_release(base).generation)
    if not generation.of_this_form:
        raise ReleaseError(
            f"generation {generation.number} was built by an older version of this code, whose "
            "files are not all that "
            "today's models need; run full_training"
        )
    recorded = [
        r
        for r in _references(generation.artifact)
        if r["kind"] not in (query_tower.kind, ranker.kind)
    ]
    _require_one_generation({r["kind"]: r["digest"] for r in recorded}, [query_tower, ranker])
    inputs = {
        "base": base,
        "generation": generation.artifact,
        "query_tower": query_tower,
        "ranker": ranker,
    }
    params = {"kind": "fine_tune", "day": day, "gate": _checked_gate(gate)}
    existing = _find(store, inputs, params)
    if existing is not None:
        return existing
    number = allocate_number(store)
    own = _learnt(query_tower, ranker)
    replaced = {RELEASE_FILE, DISPLAY_FILE, *own}
    with store.stage(
        RELEASE, f"{number:06d}", code_version=code(), inputs=inputs, params=params
    ) as staged:
        for name in generation.artifact.manifest["files"]:
            if name not in replaced:
                _place(generation.artifact.path(name), staged.path / name)
        _dump(staged.path / DISPLAY_FILE, {"release": number, "items": read_display(generation)})
        for name, path in own.items():
            _place(path, staged.path / name)
        versions = {**generation.versions, QUERY_TOWER: number, RANKER: number}
        _dump_release(
            staged.path,
            number,
            params,
            metrics,
            generation=generation.number,
            versions=versions,
            known_user=generation.known_user,
            inputs=inputs,
        )
        return staged.publish(
            metrics={**(metrics or {}), "release": number, "gate": params["gate"]}
        )


def _learnt(query_tower: Artifact, ranker: Artifact) -> dict[str, Path]:
    """File of a release → where it comes from, of the two models that a fine-tune replaces."""
    return {
        model_file(QUERY_TOWER, MODEL): query_tower.path(QUERY_TOWER_ONNX),
        RANKER_FILE: ranker.path(RANKER_ONNX),
        **{model_file(RANKER, part): ranker.path(name) for part, name in RANKER_PARTS.items()},
    }


def item_snapshot(
    items: pl.DataFrame, item_clicks: Mapping[str, float]
) -> dict[str, dict[str, Any]]:
    """item id → {category_l1, category_l2, item_gender, price, item_clicks}: for where the online
    store has nothing.
    """
    rows = items.select(columns.ITEM_ID, *_ITEM_SNAPSHOT).iter_rows(named=True)
    return {
        item: {**row, columns.ITEM_CLICKS: float(item_clicks.get(item, 0.0))}
        for row in rows
        for item in [row.pop(columns.ITEM_ID)]
    }


def display_data(items: pl.DataFrame) -> dict[str, dict[str, Any]]:
    """item id → what a page shows of it: every catalogue column, ``name`` as ``title``; ``image``
    is null for none.
    """
    display = {}
    for row in items.select(*columns.RAW_ITEMS).iter_rows(named=True):
        row["title"], row["image"] = row.pop("name"), row["image"] or None
        display[row[columns.ITEM_ID]] = row
    return display


def popularity_indices(popularity: Sequence[str], item_ids: Sequence[str]) -> list[int]:
    """Categorify indices of the whole catalogue, most popular first.

    >>> popularity_indices(["b", "gone"], ["a", "b", "c"])
    [4, 3, 5]
    """
    index = {item: columns.VOCABULARY_START + position for position, item in enumerate(item_ids)}
    ordered = dict.fromkeys([*popularity, *item_ids])
    return [index[item] for item in ordered if item in index]


def _place(source: Path, target: Path) -> None:
    """A hard link where both lie on one file system (artifacts are immutable), else a copy."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def _dump(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, ensure_ascii=False))


def _dump_release(
    folder: Path,
    number: int,
    params: Mapping[str, Any],
    metrics: Mapping[str, Any] | None,
    *,
    generation: int,
    known_user: str | None,
    versions: Mapping[str, int],
    inputs: Mapping[str, Artifact],
) -> None:
    _dump(
        folder / RELEASE_FILE,
        {
            "form": releases.CODE_VERSION,
            "release": number,
            "kind": params["kind"],
            "day": params["day"],
            "generation": generation,
            "versions": versions,
            "gate": params["gate"],
            "metrics": dict(metrics or {}),
            "known_user": known_user,
            "artifacts": {role: artifact.reference() for role, artifact in inputs.items()},
        },
    )


def _checked_gate(gate: Mapping[str, Any] | None) -> dict[str, Any] | None:
    if gate is None:
        return None
    checks = [
        {key: check[key] for key in ("name", "value", "threshold", "passed")}
        for check in gate["checks"]
    ]
    if not checks:
        raise ReleaseError("the gate verdict has no checks; give None where nothing was evaluated")
    if bool(gate["passed"]) != all(check["passed"] for check in checks):
        raise ReleaseError(
            f"the gate verdict says passed={gate['passed']} against its own checks: {checks}"
        )
    return {"passed": bool(gate["passed"]), "checks": checks}


def _references(artifact: Artifact) -> Iterator[Mapping[str, Any]]:
    for value in artifact.manifest.get("inputs", {}).values():
        yield from (
            r for r in (value if isinstance(value, list) else [value]) if isinstance(r, Mapping)
        )


def _require_one_generation(given: Mapping[str, str], parts: Sequence[Artifact]) -> None:
    """Every part that was made from a kind in ``given`` must have been made from this very digest
    of it.
    """
    for part in parts:
        for reference in _references(part):
            expected = given.get(reference["kind"])
            if expected is not None and reference["digest"] != expected:
                raise ReleaseError(
                    f"{part.kind} [{part.partition}] was made from another {reference['kind']} "
                    "(digest "
                    f"{reference['digest'][:8]}, not {expected[:8]}); materialise {part.kind} again"
                )


def _find(
    store: ArtifactStore, inputs: Mapping[str, Artifact], params: Mapping[str, Any]
) -> Artifact | None:
    fingerprint = store.fingerprint(code(), inputs, params)
    found = (
        store.find(RELEASE, partition, fingerprint)
        for partition in reversed(store.partitions(RELEASE))
    )
    return next((artifact for artifact in found if artifact is not None), None)


def code() -> str:
    """Return the part of a release's fingerprint that covers its form and the code that assembles
    it.
    """
    return f"{releases.CODE_VERSION}-{fingerprints.digest(__name__)}"

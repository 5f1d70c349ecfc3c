"""Part: build a release with a large synthetic catalogue from a real one.

A synthetic item is a real one with noise: its vector is the real item's plus Gaussian noise,
normalised again, and so are its pretrained embeddings. Category, price, clicks and the ranker's row
of its id are the real item's. So the vectors stay a mixture of the clusters of a real catalogue,
which an index must handle, and are no sphere of noise.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from recsys_assets import columns as c
from recsys_assets.artifacts import MANIFEST, ArtifactStore
from recsys_assets.bench.harness.part import main
from recsys_assets.bench.serving.catalogue_sources import SyntheticSources
from recsys_assets.lib.release import releases
from recsys_assets.lib.retrieval.index import (
    NEIGHBOURS,
    check_index,
    choose_index,
    load_index,
    save_index,
)
from recsys_assets.release_files import (
    CANDIDATE_SOURCES,
    DISPLAY_FILE,
    EMBEDDING_TABLE,
    INDEX,
    ITEM_IDS_FILE,
    MODELS,
    POPULARITY,
    RELEASE_FILE,
    SIMILAR_FILE,
    SNAPSHOT,
    TRANSFORMS,
    YOUNG,
)
from recsys_assets.serving.stages.catalogue import read_item_ids

#: Expected length of the noise, as a share of the length of the vector or of the embedding row.
VECTOR_NOISE, EMBEDDING_NOISE = 0.5, 0.2
_CHUNK = 100_000


def base_items(payload: Path, items: int, seed: int) -> np.ndarray:
    """Return the real item (from 0) of each synthetic one, int64 [items]."""
    real = len(read_item_ids(payload / MODELS / "item_id_decoder"))
    return np.random.default_rng(seed).integers(0, real, items)


def bearers(base: np.ndarray, seed: int) -> tuple[list[int], list[int]]:
    """Return the real items that were drawn, and a synthetic item of each, at random.

    These bear the real items' ids, so the visitors' clicks are of this catalogue, all over it.

    >>> bearers(np.array([2, 0, 2, 2, 2]), 0)
    ([0, 2], [1, 4])
    """
    # another stream than that of ``base_items``
    order = np.random.default_rng([seed, 1]).permutation(len(base))
    real, first = np.unique(base[order], return_index=True)
    return real.tolist(), order[first].tolist()


def real_vectors(path: Path, items: int) -> np.ndarray:
    """Return the vectors of a release's index in item order, float32 [I, 64]."""
    import faiss

    index = load_index(path)
    if isinstance(index, faiss.IndexIVF):
        index.make_direct_map()
    vectors: np.ndarray = np.stack(
        [index.reconstruct(c.VOCABULARY_START + n) for n in range(items)]
    )
    return vectors


def noisy(vectors: np.ndarray, share: float, random: np.random.Generator) -> np.ndarray:
    """Add Gaussian noise of ``share`` times their expected length to rows [N, D]."""
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    noise = random.standard_normal(vectors.shape, np.float32)
    moved: np.ndarray = vectors + noise * (share / np.sqrt(vectors.shape[1]) * length)
    return moved.astype(np.float32)


class Catalogue:
    """A synthetic catalogue made from the items of a release.

    Args:
        payload: a release's folder.
        base: int [I], the real item of each synthetic one (``base_items``).
        seed: of all draws.
    """

    def __init__(self, payload: Path, base: np.ndarray, seed: int) -> None:
        self.payload, self.base, self.random = payload, base, np.random.default_rng(seed)
        self.real_ids = read_item_ids(payload / MODELS / "item_id_decoder")
        self.item_ids = [f"m{n:07d}" for n in range(1, len(base) + 1)]
        real_rows, self.clicked = bearers(base, seed)
        for real_row, row in zip(real_rows, self.clicked, strict=True):
            self.item_ids[row] = self.real_ids[real_row]
        real = real_vectors(payload / MODELS / "faiss_retrieval" / INDEX, len(self.real_ids))
        made = noisy(real[self.base], VECTOR_NOISE, self.random)
        self.vectors = made / np.linalg.norm(made, axis=1, keepdims=True)
        self.indices = np.arange(len(base), dtype=np.int64) + c.VOCABULARY_START

    def write(self, folder: Path, index: Any, models: Path) -> None:
        """Write all files of the release.

        Files that depend on the catalogue are made anew wherever they lie; others are copied.

        Args:
            folder: of the release.
            index: of the catalogue's vectors.
            models: folder of ``larger_catalogue``'s models, whose files take the place of the
                release's.
        """
        made: dict[str, Callable[[Path], None]] = {
            ITEM_IDS_FILE: lambda path: _dump(path, self.item_ids),
            SNAPSHOT: self._items,
            TRANSFORMS: self._transforms,
            POPULARITY: lambda path: _dump(path, self.random.permutation(self.indices).tolist()),
            INDEX: lambda path: save_index(index, path),
            EMBEDDING_TABLE: self._embeddings,
            YOUNG: self._young,
            SIMILAR_FILE: lambda path: np.save(
                path, np.full((len(self.item_ids), 1), -1, np.int32), allow_pickle=False
            ),
            DISPLAY_FILE: lambda path: _dump(
                path, {"release": 1, "items": {item_id: {} for item_id in self.item_ids}}
            ),
            RELEASE_FILE: self._release,
        }
        written: dict[str, Path] = {}
        of_sources = self.payload / MODELS / CANDIDATE_SOURCES
        for source in sorted(
            path for path in self.payload.rglob("*") if path.is_file() and path.name != MANIFEST
        ):
            if source.parent == of_sources and source.name != EMBEDDING_TABLE:
                continue
            target = folder / source.relative_to(self.payload)
            target.parent.mkdir(parents=True, exist_ok=True)
            if source.name in written:
                os.link(written[source.name], target)
            elif source.name in made:
                made[source.name](target)
                written[source.name] = target
            else:
                extended = models / source.parent.name / source.name
                shutil.copyfile(extended if extended.is_file() else source, target)
        for model in releases.COMPONENTS:  # a stage without files has an empty folder
            (folder / MODELS / model).mkdir(parents=True, exist_ok=True)
        made_sources = SyntheticSources(
            self.base, self.random, self.item_ids, np.array(self.clicked)
        )
        made_sources.write(of_sources, folder / MODELS / CANDIDATE_SOURCES)

    def _items(self, path: Path) -> None:
        given = json.loads(
            (self.payload / MODELS / "feast_item_lookup" / path.name).read_text("utf-8")
        )
        rows = [json.dumps(given[item_id]) for item_id in self.real_ids]
        of_items = zip(self.item_ids, self.base.tolist(), strict=True)
        path.write_text("{" + ",".join(f'"{item_id}":{rows[n]}' for item_id, n in of_items) + "}")

    def _transforms(self, path: Path) -> None:
        given = json.loads(
            (self.payload / MODELS / "nvt_item_transform" / path.name).read_text("utf-8")
        )
        given["vocabulary"][c.ITEM_ID] = self.item_ids
        given["hashed_buckets"][c.ITEM_ID] = 0
        given["cardinality"][c.ITEM_ID] = c.VOCABULARY_START + len(self.item_ids)
        _dump(path, given)

    def _embeddings(self, path: Path) -> None:
        real = np.load(
            self.payload / MODELS / "multimodal_embedding_lookup" / EMBEDDING_TABLE,
            allow_pickle=False,
        )
        start, rows = c.VOCABULARY_START, c.VOCABULARY_START + len(self.item_ids)
        table = np.lib.format.open_memmap(
            path, mode="w+", dtype=np.float32, shape=(rows, real.shape[1])
        )
        table[:start] = real[:start]
        for at in range(0, len(self.base), _CHUNK):
            part = self.base[at : at + _CHUNK]
            table[start + at : start + at + len(part)] = noisy(
                real[start:][part], EMBEDDING_NOISE, self.random
            )
        table.flush()

    def _young(self, path: Path) -> None:
        """Write which synthetic items have places: those whose real item has."""
        real = np.load(self.payload / MODELS / "softmax_sampling" / YOUNG, allow_pickle=False)
        np.save(path, real[self.base], allow_pickle=False)

    def _release(self, path: Path) -> None:
        given = json.loads((self.payload / path.name).read_text("utf-8"))
        _dump(
            path,
            {
                **given,
                "release": 1,
                "generation": 1,
                "kind": "full",
                "versions": dict.fromkeys(given["versions"], 1),
            },
        )


def _dump(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, ensure_ascii=False), "utf-8")


def body(request: dict[str, Any]) -> dict[str, Any]:
    """Build the release in an artifact store.

    Args:
        request: ``payload``, ``base`` (.npy, of ``base_items``), ``seed``, ``embeddings`` (.npy, of
            real queries: the first third chooses the index, the others judge it), ``floor`` (of
            recall), ``models`` (folder of ``larger_catalogue``), ``root`` (of the artifact store).
    """
    catalogue = Catalogue(
        Path(request["payload"]), np.load(request["base"], allow_pickle=False), request["seed"]
    )
    queries = np.load(request["embeddings"], allow_pickle=False)
    third = len(queries) // 3
    started = time.perf_counter()
    index, chosen, trials = choose_index(
        catalogue.vectors,
        catalogue.indices,
        queries[:third],
        floor=request["floor"],
        seed=request["seed"],
    )
    seconds = time.perf_counter() - started
    found = check_index(index, catalogue.vectors, catalogue.indices, queries[third:], NEIGHBOURS)
    with ArtifactStore(request["root"]).stage(releases.RELEASE, "000001") as staged:
        catalogue.write(staged.path, index, Path(request["models"]))
        staged.publish()
    return {
        "recall": found["recall"],
        "queries": len(queries) - third,
        "index": asdict(chosen),
        "build_seconds": seconds,
        "trials": [asdict(trial) for trial in trials],
        "noise": {"vectors": VECTOR_NOISE, "embeddings": EMBEDDING_NOISE},
    }


if __name__ == "__main__":
    main(body)

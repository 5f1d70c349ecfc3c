"""Store sources and their blend as a folder: one JSON file, and arrays that are mapped on reading.

A folder lies in the artifact of a source and in a release. No array is pickled.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from recsys_assets.files import FileCorrupt, read_json, write_json
from recsys_assets.lib.ranking.places import NewItemPlaces, is_every
from recsys_assets.lib.sources.blend import Blend
from recsys_assets.lib.sources.cosine_factors import CosineFactors
from recsys_assets.lib.sources.list_net import OF_VISITOR, ListNet
from recsys_assets.lib.sources.popular_now import PopularNow
from recsys_assets.lib.sources.sources import (
    FoldIn,
    MostPopular,
    Neighbours,
    OwnItems,
    Sessions,
    Source,
    Young,
)
from recsys_assets.release_files import EMBEDDING_TABLE, LIST_NET, SOURCES, YOUNG
from recsys_assets.settings import LEAST_OFTEN, MOST_OFTEN
from recsys_assets.source_names import (
    EASE,
    FOLLOW_UPS,
    IALS,
    ITEM_KNN,
    ITEM_TO_ITEM,
    OWN_ITEMS,
    POPULAR_NOW,
    POPULARITY,
    RETRIEVAL,
    SESSION_KNN,
    YOUNG_ITEMS,
)

#: How a release orders its candidates for the ranker: by the inner products of retrieval alone, or
#: by the blend of all sources.
BY_SIMILARITY, BY_SOURCES = "similarity", "sources"

_NEIGHBOURS = {"place": (np.int32, 1), "items": (np.int32, 2), "weights": (np.float32, 2)}
#: Of several types, an array is stored as the first that holds its values.
_BOUNDS = (np.int32, np.int64)
#: Source → its class, and its arrays: field → (type or types, dimensions).
_FORMS: Mapping[str, tuple[Callable[..., Source], Mapping[str, tuple[Any, int]]]] = {
    FOLLOW_UPS: (Neighbours, _NEIGHBOURS),
    ITEM_KNN: (Neighbours, _NEIGHBOURS),
    EASE: (Neighbours, _NEIGHBOURS),
    IALS: (FoldIn, {"factors": (np.float32, 2), "gram": (np.float64, 2)}),
    SESSION_KNN: (
        Sessions,
        {
            "item_start": (_BOUNDS, 1),
            "session": (np.int32, 1),
            "rarity": (np.float64, 1),
            "recency": (np.float64, 1),
            "start": (_BOUNDS, 1),
            "items": (np.int32, 1),
        },
    ),
    POPULARITY: (MostPopular, {"ranked": (np.int64, 1)}),
    OWN_ITEMS: (OwnItems, {}),
    YOUNG_ITEMS: (Young, {"rows": (np.int64, 1)}),
    POPULAR_NOW: (PopularNow, {"prints": (np.uint64, 1), "rows": (np.int32, 1)}),
    ITEM_TO_ITEM: (CosineFactors, {"vectors": (np.float32, 2)}),
}
#: Source → a field with one entry per item, and how many entries more it has.
_BY_ITEM: Mapping[str, tuple[str, int]] = {
    FOLLOW_UPS: ("place", 0),
    ITEM_KNN: ("place", 0),
    EASE: ("place", 0),
    IALS: ("factors", 0),
    SESSION_KNN: ("item_start", 1),
    POPULAR_NOW: ("rows", 0),
    ITEM_TO_ITEM: ("vectors", 0),
}
#: Fields that are numbers.
_NUMBERS: Mapping[str, tuple[str, ...]] = {
    FOLLOW_UPS: ("decay",),
    ITEM_KNN: ("half_life",),
    EASE: ("half_life",),
    IALS: ("alpha", "half_life"),
    SESSION_KNN: ("neighbours", "decay"),
    OWN_ITEMS: ("half_life",),
    POPULAR_NOW: ("half_life",),
    ITEM_TO_ITEM: ("popularity", "half_life"),
}
#: Folders of sources: fitted on the training days, and on all days.
JUDGED, SERVED = "judged", "served"


def array_file(source: str, field: str) -> str:
    """Return the file of an array.

    >>> array_file("ease", "items")
    'ease.items.npy'
    """
    return f"{source}.{field}.npy"


def write_source(folder: Path, source: Source) -> dict[str, Any]:
    """Write the arrays of a source; return its entry in ``sources.json``."""
    for field, (dtype, _) in _FORMS[source.name][1].items():
        values = getattr(source, field)
        stored = np.ascontiguousarray(values, _smallest(values, dtype))
        np.save(folder / array_file(source.name, field), stored, allow_pickle=False)
    numbers = {field: getattr(source, field) for field in _NUMBERS.get(source.name, ())}
    return {"name": source.name, **numbers}


def read_source(folder: Path, entry: Mapping[str, Any], content: Path | None = None) -> Source:
    """Open a source of ``write_source``.

    Args:
        folder: of the arrays.
        entry: of the source.
        content: the embedding table, for young items; None: it lies in ``folder``.

    Raises:
        FileCorrupt: the entry names no source, lacks a number, or an array has another form; the
            message names the file.
    """
    name = str(entry.get("name"))
    if name not in _FORMS:
        raise FileCorrupt(
            f"{folder / SOURCES}: {name!r} is not a source; sources are {', '.join(_FORMS)}; "
            "build the release again"
        )
    kind, forms = _FORMS[name]
    given: dict[str, Any] = {
        field: _array(folder / array_file(name, field), dtype, dimensions)
        for field, (dtype, dimensions) in forms.items()
    }
    for field in _NUMBERS.get(name, ()):
        value = entry.get(field)
        if isinstance(value, bool) or not isinstance(value, (int, float)) or value < 0:
            raise FileCorrupt(
                f"{folder / SOURCES}: {field} of {name} must be a number ≥ 0, got {value!r}; "
                "build the release again"
            )
        given[field] = value
    if name == YOUNG_ITEMS:
        given["content"] = _array(content or folder / EMBEDDING_TABLE, np.float32, 2)
    return kind(name=name, **given)


def write_blend(
    folder: Path,
    mode: str,
    sources: Sequence[Source],
    weights: Mapping[str, float],
    young: np.ndarray,
    new_item_places: int = 0,
    net: ListNet | None = None,
) -> None:
    """Write ``sources.json`` and all arrays.

    Args:
        folder: exists.
        mode: BY_SIMILARITY or BY_SOURCES.
        sources: of the release; none for BY_SIMILARITY.
        weights: of RETRIEVAL and of every source.
        young: bool [I]; see ``Blend``.
        new_item_places: one place in so many is reserved for young items; 0: none.
        net: see ``Blend``.
    """
    entries = [write_source(folder, source) for source in sources]
    np.save(folder / YOUNG, np.ascontiguousarray(young, bool), allow_pickle=False)
    if net is not None:
        write_net(folder / LIST_NET, net)
    write_json(
        folder / SOURCES,
        {
            "mode": mode,
            "weights": {name: float(weight) for name, weight in weights.items()},
            "sources": entries,
            "net": net is not None,
            "new_item_places": new_item_places,
        },
    )


def write_net(path: Path, net: ListNet) -> None:
    """Write the weights of a net as one array; see ``ListNet.stacked``."""
    np.save(path, net.stacked, allow_pickle=False)


def read_net(path: Path, lists: int) -> ListNet:
    """Open a net of ``write_net``.

    Args:
        path: of the file.
        lists: K, whose places the net reads.

    Raises:
        FileCorrupt: it is of another number of lists, or no array of finite float32.
    """
    stacked = _array(path, np.float32, 2)
    rows = lists + len(OF_VISITOR) + 2
    if len(stacked) != rows or not np.isfinite(stacked).all():
        raise FileCorrupt(
            f"{path} must have {rows} rows of finite numbers for {lists} lists, got "
            f"{len(stacked)}; build the release again"
        )
    return ListNet.read(stacked)


def read_blend(folder: Path, content: Path | None = None) -> Blend | None:
    """Open the blend of ``write_blend``; None for BY_SIMILARITY.

    content: see ``read_source``.

    Raises:
        FileCorrupt: as for ``read_source``, or the weights do not fit.
    """
    given = read_json(folder / SOURCES)
    mode = given.get("mode") if isinstance(given, dict) else None
    if mode == BY_SIMILARITY:
        return None
    if mode != BY_SOURCES:
        raise FileCorrupt(
            f"{folder / SOURCES}: mode must be {BY_SIMILARITY!r} or {BY_SOURCES!r}, got {mode!r}; "
            "build the release again"
        )
    sources = tuple(read_source(folder, entry, content) for entry in given.get("sources", ()))
    weights = given.get("weights", {})
    expected = {RETRIEVAL, *(source.name for source in sources)}
    if set(weights) != expected or not all(_finite(value) for value in weights.values()):
        raise FileCorrupt(
            f"{folder / SOURCES}: weights must be a finite number for each of "
            f"{', '.join(sorted(expected))}, got {weights}; build the release again"
        )
    young = read_young(folder / YOUNG)
    for source in sources:
        field = _BY_ITEM.get(source.name)
        items = len(young) if field is None else len(getattr(source, field[0])) - field[1]
        if field is not None and items != len(young):
            raise FileCorrupt(
                f"{folder / array_file(source.name, field[0])} is of {items} items, {YOUNG} of "
                f"{len(young)}; build the release again"
            )
    net = read_net(folder / LIST_NET, len(expected)) if given.get("net") else None
    return Blend(sources, weights, young, _new_item_places(given, folder), net)


def read_young(path: Path) -> np.ndarray:
    """Open which items are young, bool [I]; raise FileCorrupt where it has another form."""
    return _array(path, np.bool_, 1)


def read_places(folder: Path) -> NewItemPlaces | None:
    """Return the places for new items of ``write_blend``; None where there are none.

    Raises:
        FileCorrupt: as for ``read_blend``.
    """
    every = _new_item_places(read_json(folder / SOURCES), folder)
    return NewItemPlaces(every, read_young(folder / YOUNG)) if every else None


def _new_item_places(given: Any, folder: Path) -> int:
    """Return how often a place is reserved; 0: never, as before there were such places."""
    every: Any = given.get("new_item_places", 0) if isinstance(given, dict) else None
    if not is_every(every):
        raise FileCorrupt(
            f"{folder / SOURCES}: new_item_places must be 0 or a whole number from {MOST_OFTEN} to "
            f"{LEAST_OFTEN}, got {every!r}; build the release again"
        )
    return int(every)


def _smallest(values: np.ndarray, types: Any) -> Any:
    """Return the type to store whole numbers of 0 or more in; a single one is returned as it is."""
    if not isinstance(types, tuple):
        return types
    return next(one for one in types if values.max(initial=0) <= np.iinfo(one).max)


def _finite(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value)


def _array(path: Path, dtype: Any, dimensions: int) -> np.ndarray:
    """Map an array into memory.

    Raises:
        FileCorrupt: it is missing or has another form.
    """
    try:
        found: np.ndarray = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, OSError) as error:
        raise FileCorrupt(
            f"{path} is not a plain .npy array ({error}); build the release again"
        ) from error
    types = dtype if isinstance(dtype, tuple) else (dtype,)
    if found.dtype not in types or found.ndim != dimensions:
        names = " or ".join(np.dtype(one).name for one in types)
        raise FileCorrupt(
            f"{path} must be {names} of {dimensions} dimensions, got "
            f"{found.dtype} {list(found.shape)}; build the release again"
        )
    # a plain view of the mapped memory: slices of numpy's memmap class take 5 µs each
    return found.view(np.ndarray)

"""Pack the catalogue for the item tower, and align embeddings by item index.

``transforms`` is the content of ``transforms.json`` (features/workflows): vocabularies in index
order, cardinalities, means and standard deviations of the fitted NVTabular workflows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from typing import Any

import numpy as np
import polars as pl

from recsys_assets.columns import (
    EMBEDDING_DIM,
    ITEM_CATEGORICAL,
    ITEM_ID,
    OOV_INDEX,
    PRICE,
    VOCABULARY_START,
)
from recsys_assets.lib.features.item_index import catalogue_items
from recsys_assets.lib.features.transforms import Transforms


def vocabulary_index(transforms: Mapping[str, Any], column: str) -> dict[str, int]:
    """Return value → index (from 3) of a column; items that fine-tunes added come last.

    Raises:
        KeyError: the column has no vocabulary.
    """
    vocabulary = transforms["vocabulary"]
    if column not in vocabulary:
        raise KeyError(
            f"transforms.json has no vocabulary of {column!r}, only of {sorted(vocabulary)}; "
            "materialise features/workflows again"
        )
    values = catalogue_items(transforms) if column == ITEM_ID else vocabulary[column]
    return {str(value): VOCABULARY_START + i for i, value in enumerate(values)}


def item_tower_inputs(
    transforms: Mapping[str, Any], items: pl.DataFrame, without_clicks: Set[str] = frozenset()
) -> dict[str, np.ndarray]:
    """Return the item tower's inputs for the catalogue, by the transforms of serving.

    Args:
        transforms: the content of ``transforms.json``.
        items: RAW_ITEMS, I rows.
        without_clicks: ids of items without a training row. The embedding of such an id was never
            trained. The item is packed as out-of-vocabulary, which the tower learns by item-id
            dropout, so that its vector depends only on attributes and content.

    Returns:
        index int32 [I]: Categorify index of the item id, also without clicks.
        cat int32 [I, 4]: ITEM_CATEGORICAL.
        cont float32 [I, 1]: ITEM_CONTINUOUS, without popularity, which changes daily and is only
            the ranker's.

    Raises:
        ValueError: an item occurs twice, is not in the vocabulary, or has an invalid price.
    """
    item_ids, price = items[ITEM_ID], items[PRICE].cast(pl.Float64)
    _check_items(transforms, items)
    compiled = Transforms.from_dict(transforms)
    index = compiled.item_index.indices(item_ids.to_list())
    untrained = np.array([i in without_clicks for i in item_ids.to_list()], bool)
    ids = np.where(untrained, np.int32(OOV_INDEX), index)
    codes = compiled.item_codes(*(items[column].to_list() for column in ITEM_CATEGORICAL[1:]))
    cat = np.concatenate([ids[:, None], codes], axis=1)
    cont = compiled.price_log_norm(price.fill_null(float("nan")).to_numpy())[:, None]
    return {"index": index, "cat": cat, "cont": cont}


def _check_items(transforms: Mapping[str, Any], items: pl.DataFrame) -> None:
    """Refuse items that occur twice, are unknown, or have an invalid price.

    Raises:
        ValueError: names up to five such items.
    """
    item_ids = items[ITEM_ID]
    if item_ids.n_unique() != len(item_ids):
        twice = item_ids.filter(item_ids.is_duplicated()).unique().sort().to_list()
        raise ValueError(
            f"{ITEM_ID} must be unique in the catalogue; {len(twice)} occur more than once: "
            f"{twice[:5]}"
        )
    known = vocabulary_index(transforms, ITEM_ID)
    unknown = [i for i in item_ids.to_list() if i not in known]
    if unknown:
        raise ValueError(
            f"{len(unknown)} items are not in the {ITEM_ID} vocabulary: {unknown[:5]}; materialise "
            "features/workflows again, so that every item of the catalogue has an index"
        )
    price = items[PRICE].cast(pl.Float64)
    invalid = items.filter(price.is_nan() | (price <= 0))[ITEM_ID].to_list()
    if invalid:
        raise ValueError(
            f"{PRICE} is not a number above 0 for {len(invalid)} items: {invalid[:5]}; correct "
            "the catalogue and materialise raw/items again"
        )


def align_embeddings(
    transforms: Mapping[str, Any], item_ids: Sequence[str], text: np.ndarray, image: np.ndarray
) -> tuple[np.ndarray, dict[str, int]]:
    """Order pretrained embeddings by Categorify index.

    Args:
        transforms: the content of ``transforms.json``.
        item_ids: I ids, the rows of text and image.
        text: float32 [I, 64].
        image: float32 [I, 64]; a missing image is a row of zeros.

    Returns:
        table float32 [cardinality, 128]: text, then image. Rows 0 to 2, hash buckets and items
            without embedding are zeros.
        counts {"items", "without_text", "without_image", "not_in_vocabulary"}.

    Raises:
        ValueError: numbers of rows differ, or a width is not 64.
    """
    if not len(item_ids) == len(text) == len(image):
        raise ValueError(
            f"{len(item_ids)} item ids, {len(text)} text and {len(image)} image embeddings: the "
            "rows must be the same items; materialise embeddings/items again"
        )
    if text.shape[1] != EMBEDDING_DIM or image.shape[1] != EMBEDDING_DIM:
        raise ValueError(
            f"embeddings have widths {text.shape[1]} and {image.shape[1]}; expected "
            f"{EMBEDDING_DIM} each: materialise embeddings/items again"
        )
    index = vocabulary_index(transforms, ITEM_ID)
    table = np.zeros((int(transforms["cardinality"][ITEM_ID]), 2 * EMBEDDING_DIM), np.float32)
    rows = np.array([index.get(str(i), OOV_INDEX) for i in item_ids], np.int64)
    known = rows >= VOCABULARY_START
    table[rows[known], :EMBEDDING_DIM] = text[known]
    table[rows[known], EMBEDDING_DIM:] = image[known]
    of_items = table[VOCABULARY_START : VOCABULARY_START + len(index)]
    return table, {
        "items": len(index),
        "not_in_vocabulary": int((~known).sum()),
        "without_text": int((~of_items[:, :EMBEDDING_DIM].any(axis=1)).sum()),
        "without_image": int((~of_items[:, EMBEDDING_DIM:].any(axis=1)).sum()),
    }

"""The catalogue as the models take it: packed inputs, the aligned table of pretrained embeddings,
item vectors.

``transforms`` is everywhere the content of ``transforms.json`` (features/workflows): vocabularies
in index order, cardinalities, means and deviations as the NVTabular workflows fitted them.
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
from recsys_assets.lib.features.transforms import Transforms


def vocabulary_index(transforms: Mapping[str, Any], column: str) -> dict[str, int]:
    """Value → Categorify index (from 3); raises KeyError naming a column without a vocabulary."""
    vocabulary = transforms["vocabulary"]
    if column not in vocabulary:
        raise KeyError(
            f"transforms.json has no vocabulary of {column!r}; it has {sorted(vocabulary)}"
        )
    return {str(value): VOCABULARY_START + i for i, value in enumerate(vocabulary[column])}


def item_tower_inputs(
    transforms: Mapping[str, Any], items: pl.DataFrame, without_clicks: Set[str] = frozenset()
) -> dict[str, np.ndarray]:
    """Pack the catalogue (RAW_ITEMS) as the item tower takes it, by the transforms that serving
    runs.

    Args:
        without_clicks: item ids that no training row holds. Their id's embedding was never trained,
            so that it would add noise to the vector; as out-of-vocabulary, what the tower learnt of
            an item of unknown id (item-id dropout in training) takes its place, and the vector
            comes from attributes and content alone.

    Returns:
        index int32 [I] (Categorify index of the item id, also of those without clicks), cat int32
        [I, 4] (ITEM_CATEGORICAL), cont float32 [I, 1] (ITEM_CONTINUOUS: without the popularity,
        which changes daily and is the ranker's alone).

    Raises:
        ValueError: an item occurs twice, is not in the vocabulary, or has no valid price.
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
    invalid = items.filter(price.is_null() | price.is_nan() | (price <= 0))[ITEM_ID].to_list()
    if invalid:
        raise ValueError(
            f"{PRICE} is missing or not above 0 for {len(invalid)} items: {invalid[:5]}; mend "
            "raw/items"
        )
    compiled = Transforms.from_dict(transforms)
    index = compiled.vocabulary[ITEM_ID].indices(item_ids.to_list())
    untrained = np.array([i in without_clicks for i in item_ids.to_list()], bool)
    ids = np.where(untrained, np.int32(OOV_INDEX), index)
    codes = compiled.item_codes(*(items[column].to_list() for column in ITEM_CATEGORICAL[1:]))
    cat = np.concatenate([ids[:, None], codes], axis=1)
    return {"index": index, "cat": cat, "cont": compiled.price_log_norm(price.to_numpy())[:, None]}


def align_embeddings(
    transforms: Mapping[str, Any], item_ids: Sequence[str], text: np.ndarray, image: np.ndarray
) -> tuple[np.ndarray, dict[str, int]]:
    """Order pretrained embeddings by Categorify index, so that a lookup is one row of a matrix.

    Args:
        item_ids: I ids, the rows of text and image.
        text: float32 [I, 64]. image: float32 [I, 64]; a missing image is a row of zeros.

    Returns:
        table float32 [cardinality, 128] (text, then image; rows 0 to 2, hashed buckets and items
        without embedding are zeros), and
        counts {"items", "without_text", "without_image", "not_in_vocabulary"}.
    """
    if not len(item_ids) == len(text) == len(image):
        raise ValueError(
            f"{len(item_ids)} item ids, {len(text)} text and {len(image)} image embeddings: the "
            "rows must "
            "be the same items; materialise embeddings/items again"
        )
    if text.shape[1] != EMBEDDING_DIM or image.shape[1] != EMBEDDING_DIM:
        raise ValueError(
            f"embeddings have widths {text.shape[1]} and {image.shape[1]}; expected "
            f"{EMBEDDING_DIM} each"
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

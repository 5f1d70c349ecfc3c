"""The compiled transforms of the ads ranker: values by hand; parity is tested with the training."""

from __future__ import annotations

import copy
import math
import zlib
from typing import Any

import numpy as np
import polars as pl
import pytest

from recsys_assets.ads_columns import CATEGORIES, INTEGERS
from recsys_assets.lib.ads_ctr.ads_transforms import AdsTransforms
from recsys_assets.lib.features.transforms import TransformsInvalid

CONTENT: dict[str, Any] = {
    "vocabulary": {name: ["aa", "bb"] for name in CATEGORIES},
    "hashed_buckets": 10,
    "cardinality": {name: 3 + 2 + 10 for name in CATEGORIES},
    "log_counts": True,
    "counts": {name: {"mean": 1.0, "std": 2.0} for name in INTEGERS},
}


def changed(*path: str, value: Any) -> dict[str, Any]:
    content = copy.deepcopy(CONTENT)
    part = content
    for name in path[:-1]:
        part = part[name]
    part[path[-1]] = value
    return content


def test_categories_are_null_known_or_hashed() -> None:
    rows = pl.DataFrame({name: ["bb", None, "zz", "aa", "zz"] for name in CATEGORIES})
    found = AdsTransforms.from_dict(CONTENT).categories(rows)
    bucket = 3 + 2 + zlib.crc32(b"zz") % 10
    assert found.dtype == np.int32 and found.shape == (5, 26)
    assert (found == np.array([[4], [1], [bucket], [3], [bucket]])).all()


def test_without_buckets_an_unknown_value_is_out_of_vocabulary() -> None:
    content = changed("hashed_buckets", value=0) | {"cardinality": dict.fromkeys(CATEGORIES, 5)}
    rows = pl.DataFrame({name: ["zz"] for name in CATEGORIES})
    assert (AdsTransforms.from_dict(content).categories(rows) == 2).all()


@pytest.mark.parametrize(
    ("logs", "expected"), [(True, [-0.5, -0.5, (math.log(8) - 1) / 2]), (False, [-0.5, -0.5, 3.0])]
)
def test_counts_are_filled_clipped_and_normalised(logs: bool, expected: list[float]) -> None:
    counts = np.array([[np.nan], [-3.0], [7.0]]).repeat(13, axis=1)
    found = AdsTransforms.from_dict(changed("log_counts", value=logs)).numbers(counts)
    assert found.dtype == np.float32 and found.shape == (3, 13)
    assert (found == np.array(expected, np.float32)[:, None]).all()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (changed("cardinality", "C7", value=4), "cardinality.C7 is 4, but the vocabulary has 15"),
        (changed("vocabulary", "C7", value=["aa", "aa"]), "vocabulary.C7 lists a value twice"),
        (changed("counts", "I2", value={"mean": 1.0, "std": 0.0}), "counts.I2.std must be above 0"),
        ({name: part for name, part in CONTENT.items() if name != "counts"}, "has no 'counts'"),
    ],
)
def test_a_wrong_file_is_refused_by_name(content: dict[str, Any], message: str) -> None:
    with pytest.raises(TransformsInvalid, match=message):
        AdsTransforms.from_dict(content)

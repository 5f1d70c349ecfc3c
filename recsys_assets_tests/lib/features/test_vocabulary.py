from __future__ import annotations

import doctest

import polars as pl
import pytest

from recsys_assets.columns import OOV_INDEX
from recsys_assets.lib.features import vocabulary
from recsys_assets.lib.features.transforms import Transforms
from recsys_assets_tests.support.tiny_payload import transforms


def test_the_docstring_is_true():
    assert doctest.testmod(vocabulary).attempted == 1 and doctest.testmod(vocabulary).failed == 0


def rows(**columns: list[str | None]) -> pl.DataFrame:
    """Return five rows; columns that are not given hold known values."""
    known = {
        name: [values[0]] * 5
        for name, values in transforms()["vocabulary"].items()
        if name != "age_binned"
    }
    return pl.DataFrame({**known, **columns})


def test_known_values_masked_ones_and_nulls_are_no_growth():
    found = vocabulary.growth(rows(gender=["M", "-1", None, "F", "F"]), transforms())
    assert set(found) == set(transforms()["vocabulary"]) - {"age_binned"}
    assert all(
        figures == {"unseen_values": 0, "rows": 0, "share": 0.0} for figures in found.values()
    )


def test_counts_values_and_rows():
    frame = rows(
        item_id=["new-1", "new-1", "new-2", "item-00", "-1"],
        user_id=["user-0", None, "guest", "user-1", "-1"],
    )
    for given in (frame, frame.lazy()):
        found = vocabulary.growth(given, transforms())
        assert found["item_id"] == {"unseen_values": 2, "rows": 3, "share": 0.6}
        assert found["user_id"] == {"unseen_values": 1, "rows": 1, "share": 0.2}
        assert found["category_l1"]["rows"] == 0


def test_the_rows_counted_are_those_that_the_transform_makes_unknown():
    values = ["tools", "toys", "-1", None, "toys"]
    found = vocabulary.growth(rows(category_l1=values), transforms())["category_l1"]
    index = Transforms.from_dict(transforms()).vocabulary["category_l1"].indices(values)
    assert found["rows"] == (index == OOV_INDEX).sum() - values.count("-1") == 2


def test_no_rows_and_missing_columns():
    assert vocabulary.growth(rows().head(0), transforms())["gender"] == {
        "unseen_values": 0,
        "rows": 0,
        "share": 0.0,
    }
    with pytest.raises(ValueError, match="lack gender, item_id"):
        vocabulary.growth(rows().drop("item_id", "gender"), transforms())

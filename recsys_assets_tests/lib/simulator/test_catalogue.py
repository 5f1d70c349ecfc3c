"""The synthetic catalogue and the reader of the Retail Demo Store's."""

import numpy as np
import polars as pl
import pytest

from recsys_assets.columns import ITEM_GENDERS, RAW_ITEMS
from recsys_assets.lib.landing.retail_demo_store import CatalogueError, read_retail_demo_store
from recsys_assets.lib.simulator.catalogue import (
    MAX_PRICE,
    MIN_PRICE,
    STYLES,
    proportional_sizes,
    synthetic_catalogue,
)
from recsys_assets.settings import PROJECT_ROOT

REAL = PROJECT_ROOT.parent / "shared/data/retail-demo-store/products.yaml"
PRODUCT = """\
- id: 6579c22f-be2b-444c-a52b-0116dd82df6c
  name: Expedition Backpack
  category: accessories
  style: backpack
  description: A durable beige backpack.
  price: 129.99
  image: 6579c22f.jpg
  gender_affinity: F
  promoted: true
- id: 2e852905-c6f4-47db-802c-654013571922
  name: Oak Table
  category: furniture
  style: tables
  description: A table.
  price: 500
"""


def _schema() -> dict[str, pl.DataType]:
    return {name: getattr(pl, kind) for name, kind in RAW_ITEMS.items()}


def test_proportional_sizes_golden():
    assert proportional_sizes(10, np.array([5.0, 3.0, 1.0])).tolist() == [5, 3, 2]
    assert proportional_sizes(3, np.array([9.0, 1.0, 0.0])).tolist() == [1, 1, 1]
    with pytest.raises(ValueError, match="ask for 3 or more"):
        proportional_sizes(2, np.ones(3))


def test_synthetic_catalogue_of_the_real_size_has_every_category_and_style():
    items = synthetic_catalogue(2_465, 7)
    assert dict(items.schema) == _schema()
    assert items.height == items["item_id"].n_unique() == items["uuid"].n_unique() == 2_465
    assert items["category_l1"].n_unique() == 20
    assert items["category_l2"].n_unique() == 84
    sizes = dict(items["category_l1"].value_counts().iter_rows())
    assert items["price"].is_between(MIN_PRICE, MAX_PRICE).all()
    assert items["price"].median() == pytest.approx(80, rel=0.25)  # the reference's
    reference = {
        "furniture": 245,
        "apparel": 231,
        "accessories": 228,
        "housewares": 217,
        "seasonal": 217,
        "groceries": 195,
        "homedecor": 194,
        "footwear": 188,
        "instruments": 167,
        "floral": 127,
        "electronics": 104,
        "outdoors": 92,
        "jewelry": 90,
        "beauty": 60,
        "tools": 59,
        "books": 35,
        "food service": 8,
        "salty snacks": 4,
        "cold dispensed": 3,
        "hot dispensed": 1,
    }
    assert sizes == pytest.approx(reference, abs=3)
    assert items["promoted"].mean() == pytest.approx(0.25, abs=0.03)
    assert set(items["item_gender"]) == set(ITEM_GENDERS)
    assert set(items.filter(category_l1="furniture")["item_gender"]) == {"Any"}
    assert sum(items.null_count().row(0)) == 0


def test_a_promoted_products_text_says_so():
    items = synthetic_catalogue(200, 7)
    assert (items["description"].str.contains("reduced price") == items["promoted"]).all()
    assert 0 < items["promoted"].sum() < 200


def test_synthetic_catalogue_follows_its_seed():
    first = synthetic_catalogue(120, 7)
    assert first.equals(synthetic_catalogue(120, 7))
    assert not first.equals(synthetic_catalogue(120, 8))
    assert first["category_l1"].n_unique() == 20


def test_read_retail_demo_store_golden(tmp_path):
    path = tmp_path / "products.yaml"
    path.write_text(PRODUCT)
    items = read_retail_demo_store(path)
    assert dict(items.schema) == _schema()
    assert items.rows() == [
        (
            "6579c22f-be2b-444c-a52b-0116dd82df6c",
            "6579c22f-be2b-444c-a52b-0116dd82df6c",
            "Expedition Backpack",
            "A durable beige backpack.",
            "accessories",
            "backpack",
            129.99,
            "F",
            True,
            "6579c22f.jpg",
        ),
        (
            "2e852905-c6f4-47db-802c-654013571922",
            "2e852905-c6f4-47db-802c-654013571922",
            "Oak Table",
            "A table.",
            "furniture",
            "tables",
            500.0,
            "Any",
            False,
            "",
        ),
    ]


def test_a_product_without_a_price_has_none(tmp_path):
    path = tmp_path / "products.yaml"
    path.write_text(PRODUCT.replace("  price: 500", ""))
    assert read_retail_demo_store(path)["price"].to_list() == [129.99, None]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("  category: furniture", "", r"product 2 \(id '2e852905.*field 'category' is missing"),
        (
            "price: 500",
            "price: cheap",
            r"product 2 .*field 'price' must be int or float, not 'cheap'",
        ),
        ("price: 500", "price: -1", r"product 2 .*field 'price' must be above 0"),
        ("price: 500", "price: .nan", r"product 2 .*field 'price' must be above 0"),
        ("price: 500", "price: true", r"product 2 .*field 'price' must be int or float, not True"),
        ("name: Oak Table", "name: ''", r"product 2 .*field 'name' is empty"),
        (
            "gender_affinity: F",
            "gender_affinity: X",
            r"product 1 .*field 'gender_affinity' must be one of F, M, Any",
        ),
        ("promoted: true", "promoted: 1", r"product 1 .*field 'promoted' must be bool"),
        (
            "2e852905-c6f4-47db-802c-654013571922",
            "6579c22f-be2b-444c-a52b-0116dd82df6c",
            "1 and 2 have the same id",
        ),
        (PRODUCT, "- [1, 2]", "product 1 must be a mapping, not list"),
        (PRODUCT, "[]", "must hold a list of products, not an empty list"),
        (PRODUCT, "a: 1", "must hold a list of products, not dict"),
        (PRODUCT, "- {a: ", "is not valid YAML"),
    ],
)
def test_a_bad_catalogue_is_refused_by_product_and_field(tmp_path, old, new, message):
    path = tmp_path / "products.yaml"
    path.write_text(PRODUCT.replace(old, new))
    with pytest.raises(CatalogueError, match=message):
        read_retail_demo_store(path)


@pytest.mark.skipif(
    not REAL.exists(), reason="the Retail Demo Store's catalogue is not on this machine"
)
def test_the_real_catalogue():
    items = read_retail_demo_store(REAL)
    assert items.height == items["item_id"].n_unique() == 2_465
    assert items["category_l1"].n_unique() == 20
    assert items["category_l2"].n_unique() == 84
    # the synthetic catalogue claims its proportions
    counts = {
        (c, s): n for c, s, n in items.group_by("category_l1", "category_l2").len().iter_rows()
    }
    assert counts == {(c, s): n for c, styles in STYLES.items() for s, n in styles.items()}

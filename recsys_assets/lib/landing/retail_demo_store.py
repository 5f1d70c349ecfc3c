"""Read the product catalogue of the AWS Retail Demo Store."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import yaml

from recsys_assets.columns import (
    CATEGORY_L1,
    CATEGORY_L2,
    ITEM_GENDER,
    ITEM_GENDERS,
    ITEM_ID,
    PRICE,
    RAW_ITEMS,
)

#: field of products.yaml → (column, accepted types, required)
_FIELDS: dict[str, tuple[str, tuple[type, ...], bool]] = {
    "id": (ITEM_ID, (str, int), True),
    "name": ("name", (str,), True),
    "description": ("description", (str,), True),
    "category": (CATEGORY_L1, (str,), True),
    "style": (CATEGORY_L2, (str,), True),
    "price": (PRICE, (int, float), False),
    "gender_affinity": (ITEM_GENDER, (str,), False),
    "promoted": ("promoted", (bool,), False),
    "image": ("image", (str,), False),
}
_DEFAULTS = {PRICE: None, ITEM_GENDER: "Any", "promoted": False, "image": ""}


class CatalogueError(ValueError):
    """Raised if a catalogue file cannot be read; names the product and the field."""


def read_retail_demo_store(products_yaml: Path) -> pl.DataFrame:
    """Read a ``products.yaml`` of the Retail Demo Store into RAW_ITEMS.

    Rows keep the file's order.

    Raises:
        FileNotFoundError: there is no such file.
        CatalogueError: the file is not YAML or not a list, a field is missing or has a wrong type
            or value, or two products have the same id.
    """
    with open(products_yaml, "rb") as stream:
        try:
            products = yaml.load(stream, Loader=yaml.CSafeLoader)
        except yaml.YAMLError as error:
            raise CatalogueError(f"{products_yaml} is not valid YAML: {error}") from error
    if not isinstance(products, list) or not products:
        raise CatalogueError(
            f"{products_yaml} must hold a list of products, not "
            f"{'an empty list' if products == [] else type(products).__name__}"
        )
    rows: list[dict[str, Any]] = []
    seen: dict[str, int] = {}
    for position, product in enumerate(products, start=1):
        row = _read_product(product, position, products_yaml)
        first = seen.setdefault(row[ITEM_ID], position)
        if first != position:
            raise CatalogueError(
                f"{products_yaml}: products {first} and {position} have the same id "
                f"{row[ITEM_ID]!r}"
            )
        rows.append(row)
    return pl.DataFrame(rows, schema={name: getattr(pl, kind) for name, kind in RAW_ITEMS.items()})


def _read_product(product: object, position: int, source: Path) -> dict[str, Any]:
    if not isinstance(product, dict):
        raise CatalogueError(
            f"{source}: product {position} must be a mapping, not {type(product).__name__}"
        )
    where = f"{source}: product {position} (id {product.get('id')!r})"
    row: dict[str, Any] = {}
    for name, (column, types, required) in _FIELDS.items():
        value = product.get(name)
        if value is None:
            if required:
                raise CatalogueError(f"{where}: field {name!r} is missing")
            value = _DEFAULTS[column]
        elif not isinstance(value, types) or (isinstance(value, bool) and bool not in types):
            raise CatalogueError(
                f"{where}: field {name!r} must be {' or '.join(t.__name__ for t in types)}, "
                f"not {value!r}"
            )
        elif isinstance(value, str) and required and not value.strip():
            raise CatalogueError(f"{where}: field {name!r} is empty")
        row[column] = value
    row[ITEM_ID] = row["uuid"] = str(row[ITEM_ID])
    if row[PRICE] is not None:
        row[PRICE] = float(row[PRICE])
        if not 0 < row[PRICE] < float("inf"):
            raise CatalogueError(f"{where}: field 'price' must be above 0, not {row[PRICE]}")
    if row[ITEM_GENDER] not in ITEM_GENDERS:
        raise CatalogueError(
            f"{where}: field 'gender_affinity' must be one of {', '.join(ITEM_GENDERS)}, "
            f"not {row[ITEM_GENDER]!r}"
        )
    return row

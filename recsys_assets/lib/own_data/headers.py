"""Find our columns in a source's header, and name the likely mapping of those that it lacks."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import pyarrow as pa

from recsys_assets.columns import (
    AGE,
    CATEGORY_L1,
    CATEGORY_L2,
    CLICK,
    DEVICE_TYPE,
    EVENT_TYPE,
    GENDER,
    ITEM_GENDER,
    ITEM_ID,
    PRICE,
    TIMESTAMP,
    USER_ID,
)
from recsys_assets.lib.landing.zone import IngestError
from recsys_assets.lib.own_data.batch import TextForm
from recsys_assets.lib.own_data.delimited import plain

#: Our column → other names of it in public logs and shop systems, the likeliest first. They are
#: suggested and never taken unasked: "date" may be the date of birth.
_OTHER_NAMES = {
    USER_ID: "visitor_id customer_id user visitor customer uid client_id member_id account_id"
    " person_id shopper_id full_visitor_id user_pseudo_id session_id",
    ITEM_ID: "product_id sku article_id item product article asin movie_id news_id content_id"
    " stock_code variant_id gtin ean pid id",
    TIMESTAMP: "ts time event_time datetime date created_at event_timestamp order_date"
    " invoice_date t_dat unix_time time_ms",
    EVENT_TYPE: "event action event_name behavior behaviour behavior_type interaction type"
    " activity kind",
    DEVICE_TYPE: "device agent platform",
    CLICK: "clicked is_click",
    "name": "title product_name product_title prod_name item_name",
    "description": "text desc detail_desc long_description body",
    CATEGORY_L1: "category department category_name product_type category_code category_id"
    " genres genre product_type_name",
    CATEGORY_L2: "subcategory sub_category style category_2",
    PRICE: "cost amount unit_price sale_price list_price eur usd gbp",
    "image": "picture image_url image_link image_src photo img images image_file",
    ITEM_GENDER: "gender target_gender sex",
    AGE: "years",
    GENDER: "sex",
}


def resolve(
    path: Path,
    present: Mapping[str, pa.DataType],
    mapping: Mapping[str, str],
    option: str,
    wanted: Sequence[str],
    required: Sequence[str],
    aliases: Mapping[str, str] | None = None,
    form: TextForm | None = None,
    first_rows: Sequence[Sequence[str]] = (),
) -> dict[str, str]:
    """Return our column → the file's: as mapped, or of the same name, or an alias.

    Names that differ in case, blanks or punctuation alone are the same.

    Args:
        path: of the file, for messages.
        present: the file's columns.
        mapping: our column → the file's, as given.
        option: that gives the mapping.
        wanted: our columns.
        required: those of them that must be found.
        aliases: our column → another name of it.
        form: how the file was read.
        first_rows: fields of its first lines.

    Raises:
        IngestError: a mapping names a column that does not exist on our side or in the file, or a
            required column is missing. The message lists the existing columns and the likely
            mapping.
    """
    there = ", ".join(map(repr, present)) or "none"
    unknown = [name for name in mapping if name not in wanted]
    if unknown:
        raise IngestError(
            f"{option} {unknown[0]}={mapping[unknown[0]]}: there is no column {unknown[0]!r} to "
            f"fill; choose one of {', '.join(wanted)}"
        )
    resolved: dict[str, str] = {}
    for name in wanted:
        given = mapping.get(name, name)
        found = given if given in present else _alike(given, present)
        if name in mapping and found is None:
            raise IngestError(
                f"{option} {name}={given}: {path} has no column {given!r}; its columns are {there}"
            )
        if found is None and aliases and aliases.get(name) in present:
            found = aliases[name]
        if found is not None:
            resolved[name] = found
    lacking = [name for name in required if name not in resolved]
    if lacking:
        likely = suggestions(present, resolved, wanted, option)
        raise IngestError(
            f"{path} has no column {lacking[0]!r}: name the column that holds it with "
            f"{option} {lacking[0]}=<column>; its columns are {there}"
            + (f"; likely: {' '.join(likely)}" if likely else "")
            + _no_header(form, first_rows, lacking)
        )
    return resolved


def _alike(name: str, present: Mapping[str, pa.DataType]) -> str | None:
    """Return the one column whose name differs in case, blanks or punctuation alone."""
    found = [column for column in present if plain(column) == plain(name)]
    return found[0] if len(found) == 1 else None


def suggestions(
    present: Mapping[str, pa.DataType] | Sequence[str],
    resolved: Mapping[str, str],
    wanted: Sequence[str],
    option: str,
) -> list[str]:
    """Return the likely mappings of columns that were not found, as options of the command."""
    free = {plain(column): column for column in present if column not in resolved.values()}
    said = []
    for name in wanted:
        if name in resolved:
            continue
        for other in _OTHER_NAMES.get(name, "").split():
            if plain(other) in free:
                said.append(f"{option} {name}={free.pop(plain(other))}")
                break
    return [f"'{one}'" if re.search(r"\s\S*\s", one) else one for one in said]


def _no_header(
    form: TextForm | None, first_rows: Sequence[Sequence[str]], lacking: Sequence[str]
) -> str:
    """Return the remedy for a file whose first line has numbers or dates, which no header has."""
    if form is None or form.names or not first_rows:
        return ""
    values = [
        field
        for field in first_rows[0]
        if re.search(r"\d", field) and not re.search(r"[A-Za-z_]{3}", field)
    ]
    if not values:
        return ""
    return (
        f"; its first line has values such as {values[-1]!r}: if it has no header, name its "
        f"{len(first_rows[0])} columns in order with {form.option} {','.join(lacking)},…"
    )

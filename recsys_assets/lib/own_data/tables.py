"""Read the tables of items and users, or derive them from a log."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from recsys_assets.columns import (
    AGE,
    CATEGORY_L1,
    CATEGORY_L2,
    GENDER,
    ITEM_GENDER,
    ITEM_ID,
    MISSING,
    PRICE,
    RAW_ITEMS,
    RAW_USERS,
    UNKNOWN_CATEGORY,
    USER_ID,
)
from recsys_assets.lib.landing.retail_demo_store import CatalogueError, read_retail_demo_store
from recsys_assets.lib.landing.zone import IngestError
from recsys_assets.lib.own_data.batch import TextForm
from recsys_assets.lib.own_data.categories import TAG, one_spelling, read_categories
from recsys_assets.lib.own_data.prices import UNREAD, above_zero, check_decimal, read_prices
from recsys_assets.lib.own_data.report import STRAY_QUOTES
from recsys_assets.lib.own_data.table_rows import TableRows, TableSource, read_rows

YAML = (".yaml", ".yml")
#: Our column → its name in the Retail Demo Store's catalogue; needs no mapping.
ITEM_ALIASES = {
    ITEM_ID: "id",
    CATEGORY_L1: "category",
    CATEGORY_L2: "style",
    ITEM_GENDER: "gender_affinity",
}
_ITEM_FORM, _USER_FORM = TextForm(option="--item-columns"), TextForm(option="--user-columns")
_GENDERS = {"f": "F", "female": "F", "w": "F", "woman": "F", "m": "M", "male": "M", "man": "M"}
_ITEM_GENDERS = {**_GENDERS, "any": "Any", "unisex": "Any", "u": "Any", "women": "F", "men": "M"}


@dataclass(frozen=True)
class ReadTable:
    """Holds a table that was read, its rejected rows and what was filled in."""

    frame: pl.DataFrame  # the columns of its schema
    read: int  # rows of the source
    rejected: pl.DataFrame  # in the form of the quarantine
    columns: tuple[str, ...]  # mapped columns of the source
    adjusted: dict[str, int]  # what was filled in → rows
    mapping: dict[str, str]  # our column → the source's
    notes: tuple[str, ...] = ()  # what was detected in the files
    tags: pl.DataFrame | None = None  # of a catalogue: {item_id, tag}
    given: pl.DataFrame | None = None  # our columns as the source has them, row by row of ``frame``


def _schema(kinds: Mapping[str, str]) -> pl.Schema:
    return pl.Schema({name: getattr(pl, kind) for name, kind in kinds.items()})


def read_catalogue(
    source: Path,
    mapping: Mapping[str, str],
    form: TextForm = _ITEM_FORM,
    decimal: str | None = None,
    landed: pl.DataFrame | None = None,
) -> ReadTable:
    """Read a catalogue into RAW_ITEMS: text, Parquet, a workbook, or YAML of the Retail Demo Store.

    A wrong row is rejected or completed. A wrong YAML product is an error.

    Args:
        source: a file, a folder or a glob.
        mapping: our column → the source's.
        form: how text files are read.
        decimal: the decimal sign of prices; None: detect it.
        landed: items of the landing zone, whose spelling of categories counts.

    Raises:
        IngestError: the source cannot be read, lacks the id, or has no row with one.
    """
    if str(source).lower().endswith(YAML):
        return _read_yaml(source, mapping)
    check_decimal(decimal)
    rows = read_rows(
        TableSource(source, mapping, "--item-map", tuple(RAW_ITEMS), ITEM_ID, ITEM_ALIASES, form)
    )
    adjusted: Counter[str] = Counter()
    found, tags = read_categories(_item_columns(rows.text, rows.columns))
    if PRICE in rows.columns:
        text = rows.text[PRICE]
        price, unread = _numbers(text) if PRICE in rows.numeric else read_prices(text, decimal)
        found = found.with_columns(price.alias(PRICE))
        adjusted.update(unread)
    for level in (CATEGORY_L1, CATEGORY_L2):
        spelling, changed = one_spelling(found[level], None if landed is None else landed[level])
        found = found.with_columns(spelling)
        adjusted[f"{level} differs in case or white space from another row: one spelling taken"] = (
            changed
        )
    adjusted[f"{CATEGORY_L1} missing: {UNKNOWN_CATEGORY!r} taken"] = int(
        (found[CATEGORY_L1] == UNKNOWN_CATEGORY).sum()
    )
    adjusted[f"{ITEM_GENDER} missing or not one of F, M, Any: 'Any' taken"] = found[
        ITEM_GENDER
    ].null_count()
    frame = found.with_columns(pl.col(ITEM_GENDER).fill_null("Any"))
    return _table(frame.select(*RAW_ITEMS).cast(_schema(RAW_ITEMS)), rows, adjusted, tags)


def _numbers(text: pl.Series) -> tuple[pl.Series, dict[str, int]]:
    """Return prices of a column of numbers, and what stayed unread."""
    price = above_zero(text.cast(pl.Float64, strict=False))
    return price, {UNREAD: int((text.is_not_null() & price.is_null()).sum())}


def _table(
    frame: pl.DataFrame, rows: TableRows, adjusted: Counter[str], tags: pl.DataFrame | None = None
) -> ReadTable:
    adjusted[STRAY_QUOTES] = rows.literal
    adjusted["fields with a word for no value (null, nan, …): taken as empty"] = rows.no_value
    return ReadTable(
        frame,
        rows.read,
        rows.rejected,
        tuple(rows.kept),
        dict(+adjusted),
        rows.columns,
        tuple(rows.notes),
        tags,
        rows.text,
    )


def _read_yaml(source: Path, mapping: Mapping[str, str]) -> ReadTable:
    if mapping:
        raise IngestError(
            f"--item-map is for CSV and Parquet; {source} has the Retail Demo Store's fields: "
            "leave --item-map out"
        )
    try:
        frame = read_retail_demo_store(source)
    except FileNotFoundError as error:
        raise IngestError(f"{source}: no such file; check the path") from error
    except CatalogueError as error:
        raise IngestError(str(error)) from error
    return ReadTable(frame, frame.height, pl.DataFrame(), (), {}, {})


def _item_columns(text: pl.DataFrame, columns: Mapping[str, str]) -> pl.DataFrame:
    """Return RAW_ITEMS from a catalogue as text, without prices; unknown genders are null."""
    item = pl.col(ITEM_ID)
    plain = {name: pl.col(name).fill_null("") for name in columns}
    gender = _word(plain.get(ITEM_GENDER), _ITEM_GENDERS)
    promoted = (
        plain.get("promoted", pl.lit(""))
        .str.to_lowercase()
        .is_in(["true", "1", "yes", "t", "y", "1.0"])
    )
    absent = pl.lit(None, pl.String)
    return text.select(
        item,
        _or(plain.get("uuid"), item).alias("uuid"),
        _or(plain.get("name"), item).alias("name"),
        plain.get("description", pl.lit("")).alias("description"),
        plain.get(CATEGORY_L1, absent).alias(CATEGORY_L1),
        plain.get(CATEGORY_L2, absent).alias(CATEGORY_L2),
        pl.lit(None, pl.Float64).alias(PRICE),
        gender.alias(ITEM_GENDER),
        promoted.alias("promoted"),
        plain.get("image", pl.lit("")).alias("image"),
    )


def read_users(source: Path, mapping: Mapping[str, str], form: TextForm = _USER_FORM) -> ReadTable:
    """Read users into RAW_USERS from text, Parquet or a workbook.

    Args:
        source: a file, a folder or a glob.
        mapping: our column → the source's.
        form: how text files are read.

    Raises:
        IngestError: the source cannot be read, lacks the id, or has no row with one.
    """
    rows = read_rows(
        TableSource(source, mapping, "--user-map", tuple(RAW_USERS), USER_ID, form=form)
    )
    text, columns = rows.text, rows.columns
    given_age = pl.col(AGE) if AGE in columns else pl.lit(None, pl.String)
    years = (
        given_age.str.strip_chars()
        .str.replace(",", ".", literal=True)
        .cast(pl.Float64, strict=False)
    )
    age = pl.when(years.is_between(0, 120)).then(years).floor().cast(pl.Int32)
    given_gender = pl.col(GENDER) if GENDER in columns else pl.lit(None, pl.String)
    gender = _word(given_gender.fill_null(""), _GENDERS)
    adjusted = Counter(
        text.select(
            (given_age.is_not_null() & age.is_null())
            .sum()
            .alias("age is not a number of 0 to 120: taken as unknown"),
            (~given_gender.is_in(["", MISSING]) & gender.is_null())
            .sum()
            .alias("gender is not F or M: taken as unknown"),
        ).row(0, named=True)
    )
    frame = text.select(USER_ID, age.alias(AGE), gender.fill_null(MISSING).alias(GENDER))
    return _table(frame.cast(_schema(RAW_USERS)), rows, adjusted)


def _word(text: pl.Expr | None, words: Mapping[str, str]) -> pl.Expr:
    """Return the word of each text, in any case; null for an unknown word."""
    if text is None:
        return pl.lit(None, pl.String)
    return (
        text.str.strip_chars()
        .str.to_lowercase()
        .replace_strict(list(words), list(words.values()), default=None, return_dtype=pl.String)
    )


def _or(text: pl.Expr | None, default: pl.Expr) -> pl.Expr:
    """Return the text, or the default if it is blank."""
    return (
        default
        if text is None
        else pl.when(text.str.strip_chars() == "").then(default).otherwise(text)
    )


def derived_items(item_ids: pl.Series) -> pl.DataFrame:
    """Return RAW_ITEMS for ids that only a log names."""
    frame = pl.DataFrame({ITEM_ID: item_ids}).with_columns(
        uuid=pl.col(ITEM_ID),
        name=pl.col(ITEM_ID),
        description=pl.lit(""),
        category_l1=pl.lit(UNKNOWN_CATEGORY),
        category_l2=pl.lit(UNKNOWN_CATEGORY),
        price=pl.lit(None),
        item_gender=pl.lit("Any"),
        promoted=pl.lit(False),
        image=pl.lit(""),
    )
    return frame.select(*RAW_ITEMS).cast(_schema(RAW_ITEMS))


def count_derived(items: pl.DataFrame) -> int:
    """Return how many items are known by their id alone; a picture does not count."""
    alike = derived_items(items[ITEM_ID]).drop("image")
    return items.join(alike, on=alike.columns, how="semi", nulls_equal=True).height


def derived_users(user_ids: pl.Series) -> pl.DataFrame:
    """Return RAW_USERS for ids that only a log names."""
    frame = pl.DataFrame({USER_ID: user_ids}).with_columns(
        pl.lit(None).alias(AGE), pl.lit(MISSING).alias(GENDER)
    )
    return frame.cast(_schema(RAW_USERS))


def upsert_tags(new: ReadTable, old: pl.DataFrame | None) -> pl.DataFrame:
    """Return the tags of the new catalogue's items, then those of all other items."""
    tags = new.tags
    if tags is None:
        tags = pl.DataFrame(schema={ITEM_ID: pl.String, TAG: pl.String})
    if old is None:
        return tags
    return pl.concat([tags, old.join(new.frame, on=ITEM_ID, how="anti", maintain_order="left")])


def upsert(new: pl.DataFrame, old: pl.DataFrame | None, key: str) -> pl.DataFrame:
    """Return the rows of new, then the rows of old whose key new lacks.

    Old rows stay, so that a logged event keeps its item and its user.
    """
    return (
        new
        if old is None
        else pl.concat([new, old.join(new, on=key, how="anti", maintain_order="left")])
    )

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
from recsys_assets.lib.landing.quarantine import REASON, SOURCE_FILE, SOURCE_LINE, SOURCE_ROW
from recsys_assets.lib.landing.retail_demo_store import CatalogueError, read_retail_demo_store
from recsys_assets.lib.landing.zone import IngestError
from recsys_assets.lib.own_data.mapping import MALFORMED, id_problem, resolve
from recsys_assets.lib.own_data.sources import (
    Batch,
    MalformedLine,
    as_text,
    check_id_type,
    find_files,
    read_batches,
    schema_of,
)

YAML = (".yaml", ".yml")
#: Our column → its name in the Retail Demo Store's catalogue; needs no mapping.
ITEM_ALIASES = {
    ITEM_ID: "id",
    CATEGORY_L1: "category",
    CATEGORY_L2: "style",
    ITEM_GENDER: "gender_affinity",
}
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


def _schema(kinds: Mapping[str, str]) -> pl.Schema:
    return pl.Schema({name: getattr(pl, kind) for name, kind in kinds.items()})


def read_catalogue(source: Path, mapping: Mapping[str, str]) -> ReadTable:
    """Read a catalogue into RAW_ITEMS: CSV, Parquet, or YAML of the Retail Demo Store.

    A wrong row of CSV or Parquet is rejected or completed. A wrong YAML product is an error.

    Args:
        source: a file, a folder or a glob.
        mapping: our column → the source's.

    Raises:
        IngestError: the source cannot be read, lacks the id, or has no row with one.
    """
    if str(source).lower().endswith(YAML):
        return _read_yaml(source, mapping)
    text, rejected, columns, read = _read(
        source, mapping, "--item-map", tuple(RAW_ITEMS), ITEM_ID, ITEM_ALIASES
    )
    found = _item_columns(text, columns)
    given = text[PRICE].fill_null("").str.strip_chars() != "" if PRICE in columns else None
    adjusted = Counter(
        {
            f"{PRICE} is not a number above 0: taken as unknown": 0
            if given is None
            else (given & found[PRICE].is_null()).sum(),
            f"{CATEGORY_L1} missing: {UNKNOWN_CATEGORY!r} taken": (
                found[CATEGORY_L1] == UNKNOWN_CATEGORY
            ).sum(),
            f"{ITEM_GENDER} missing or not one of F, M, Any: 'Any' taken": found[
                ITEM_GENDER
            ].null_count(),
        }
    )
    frame = found.with_columns(pl.col(ITEM_GENDER).fill_null("Any"))
    return ReadTable(
        frame.cast(_schema(RAW_ITEMS)),
        read,
        rejected,
        tuple(columns.values()),
        dict(+adjusted),
        columns,
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
    """Return RAW_ITEMS from a catalogue as text; unknown prices and genders are null."""
    item = pl.col(ITEM_ID)
    plain = {name: pl.col(name).fill_null("") for name in columns}
    price = plain.get(PRICE, pl.lit("")).str.strip_chars().cast(pl.Float64, strict=False)
    price = pl.when(price.is_finite() & (price > 0)).then(price)
    gender = _word(plain.get(ITEM_GENDER), _ITEM_GENDERS)
    promoted = (
        plain.get("promoted", pl.lit(""))
        .str.to_lowercase()
        .is_in(["true", "1", "yes", "t", "y", "1.0"])
    )
    category = [_category(plain.get(name)) for name in (CATEGORY_L1, CATEGORY_L2)]
    return text.select(
        item,
        _or(plain.get("uuid"), item).alias("uuid"),
        _or(plain.get("name"), item).alias("name"),
        plain.get("description", pl.lit("")).alias("description"),
        category[0].alias(CATEGORY_L1),
        category[1].alias(CATEGORY_L2),
        price.alias(PRICE),
        gender.alias(ITEM_GENDER),
        promoted.alias("promoted"),
        plain.get("image", pl.lit("")).alias("image"),
    )


def read_users(source: Path, mapping: Mapping[str, str]) -> ReadTable:
    """Read users into RAW_USERS from CSV or Parquet.

    Args:
        source: a file, a folder or a glob.
        mapping: our column → the source's.

    Raises:
        IngestError: the source cannot be read, lacks the id, or has no row with one.
    """
    text, rejected, columns, read = _read(
        source, mapping, "--user-map", tuple(RAW_USERS), USER_ID, {}
    )
    given_age = pl.col(AGE) if AGE in columns else pl.lit(None, pl.String)
    years = given_age.str.strip_chars().cast(pl.Float64, strict=False)
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
    return ReadTable(
        frame.cast(_schema(RAW_USERS)),
        read,
        rejected,
        tuple(columns.values()),
        dict(+adjusted),
        columns,
    )


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


def _category(text: pl.Expr | None) -> pl.Expr:
    """Return the category; blank and MISSING count as unknown.

    MISSING stands for a visitor without a top category, so an item may not have it.
    """
    unknown = pl.lit(UNKNOWN_CATEGORY)
    return (
        unknown
        if text is None
        else pl.when(text.str.strip_chars().is_in(["", MISSING])).then(unknown).otherwise(text)
    )


def _read(
    source: Path,
    mapping: Mapping[str, str],
    option: str,
    wanted: tuple[str, ...],
    key: str,
    aliases: Mapping[str, str],
) -> tuple[pl.DataFrame, pl.DataFrame, dict[str, str], int]:
    """Read all files of a table as text.

    Returns:
        Accepted rows in our columns, rejected rows, our column → the source's, and rows read.
    """
    accepted: list[pl.DataFrame] = []
    rejected: list[pl.DataFrame] = []
    columns: dict[str, str] = {}
    read = 0
    for path in find_files([source]):
        present = schema_of(path)
        if present is None:
            continue
        mapped = resolve(path, present, mapping, option, wanted, (key,), aliases)
        check_id_type(path, mapped[key], present[mapped[key]])
        columns |= mapped
        for batch in read_batches(path, mapped.values()):
            read += batch.frame.height + len(batch.malformed)
            rows = _with_reasons(path, batch, key, mapped[key])
            rejected.append(rows.filter(pl.col(REASON).is_not_null()))
            rejected += [_malformed_line(path, line) for line in batch.malformed]
            accepted.append(
                rows.filter(pl.col(REASON).is_null()).with_columns(
                    pl.col(given_name).alias("\0" + name) for name, given_name in mapped.items()
                )
            )
    rows = pl.concat(accepted, how="diagonal") if accepted else pl.DataFrame()
    if rows.is_empty():
        raise IngestError(
            f"{source}: no row can be taken; the table needs at least one row with {key}"
        )
    repeated = ~rows["\0" + key].is_first_distinct()
    own = [name for name in rows.columns if name.startswith("\0")]
    rejected.append(
        rows.filter(repeated).drop(own).with_columns(pl.lit(f"{key} occurs before").alias(REASON))
    )
    text = rows.filter(~repeated).select(pl.col(name).alias(name[1:]) for name in own)
    return text, pl.concat(rejected, how="diagonal"), columns, read


def _with_reasons(path: Path, batch: Batch, key: str, given_key: str) -> pl.DataFrame:
    """Return a batch as text, with each row's place and the reason to reject it."""
    given = batch.frame.select(as_text(batch.frame, name) for name in batch.frame.columns)
    place: dict[str, pl.Expr | pl.Series] = {SOURCE_FILE: pl.lit(str(path)), SOURCE_ROW: batch.rows}
    problems = id_problem(key, pl.col(given_key))
    return given.with_columns(**place).with_columns(
        pl.coalesce(pl.when(applies).then(pl.lit(reason)) for reason, applies in problems).alias(
            REASON
        )
    )


def _malformed_line(path: Path, line: MalformedLine) -> pl.DataFrame:
    return pl.DataFrame(
        {REASON: MALFORMED, SOURCE_FILE: str(path), SOURCE_ROW: line.row, SOURCE_LINE: line.text}
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


def upsert(new: pl.DataFrame, old: pl.DataFrame | None, key: str) -> pl.DataFrame:
    """Return the rows of new, then the rows of old whose key new lacks.

    Old rows stay, so that a logged event keeps its item and its user.
    """
    return (
        new
        if old is None
        else pl.concat([new, old.join(new, on=key, how="anti", maintain_order="left")])
    )

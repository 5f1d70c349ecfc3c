"""Read categories as shops write them: paths, lists, and several spellings of one.

The first category of an item becomes category_l1, the second category_l2 if the shop gives none.
All are kept as tags.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Sequence

import polars as pl

from recsys_assets.columns import CATEGORY_L1, CATEGORY_L2, ITEM_ID, MISSING, UNKNOWN_CATEGORY

TAG = "tag"
#: Between the categories of one field. A slash or a comma may belong to a name (TV/Video).
_BETWEEN = re.compile(r"\s*(?:\||>|»|›|::)\s*")
_LIST = re.compile(r"^\s*[\[(].*[\])]\s*$", re.DOTALL)


def split(text: str) -> list[str]:
    """Return the categories of one field.

    >>> split("Home > Kitchen > Pots"), split("Action|Comedy"), split("['Bags', 'Sale']")
    (['Home', 'Kitchen', 'Pots'], ['Action', 'Comedy'], ['Bags', 'Sale'])
    """
    parts: Sequence[object] = [text]
    if _LIST.match(text):
        parts = _listed(text)
    paths = [path for one in parts for path in _paths(str(one))]
    found = [part for path in paths for part in _BETWEEN.split(path)]
    return [kept for part in found if (kept := " ".join(part.split())) not in ("", MISSING)]


def _paths(text: str) -> list[str]:
    """Split paths that commas separate (A > B, A > C); a comma in a name separates none."""
    paths = text.split(",")
    return paths if all(">" in path for path in paths) else [text]


def _listed(text: str) -> Sequence[object]:
    for read in (json.loads, ast.literal_eval):
        try:
            found = read(text)
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            continue
        if isinstance(found, (list, tuple)):
            return [one for one in found if one is not None]
    return [text]


def read_categories(items: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return the items with one category per field, and all their categories as tags.

    Args:
        items: item_id and, as the shop gives them, category_l1 and category_l2 (null: not given).

    Returns:
        The items, and {item_id, tag} in the shop's order.
    """
    fields = items.select(CATEGORY_L1, CATEGORY_L2).unpivot()["value"].drop_nulls().unique()
    known = {field: split(field) for field in fields}
    first, second, tags = list[str](), list[str](), list[list[str]]()
    for one, two in items.select(CATEGORY_L1, CATEGORY_L2).iter_rows():
        path, more = known.get(one, []), known.get(two, [])
        first.append(path[0] if path else UNKNOWN_CATEGORY)
        second.append(more[0] if more else path[1] if len(path) > 1 else UNKNOWN_CATEGORY)
        tags.append(list(dict.fromkeys((*path, *more))))
    table = pl.DataFrame({ITEM_ID: items[ITEM_ID], TAG: pl.Series(tags, dtype=pl.List(pl.String))})
    return (
        items.with_columns(
            pl.Series(CATEGORY_L1, first, dtype=pl.String),
            pl.Series(CATEGORY_L2, second, dtype=pl.String),
        ),
        table.explode(TAG).drop_nulls(),
    )


def one_spelling(new: pl.Series, landed: pl.Series | None = None) -> tuple[pl.Series, int]:
    """Return categories with one spelling each, and the number of rows that changed.

    Categories that differ in case or white space alone are one. The spelling of the landing zone
    counts, else the most frequent one, else the first.

    Args:
        new: categories of a catalogue.
        landed: those of the landing zone.
    """

    def key(text: pl.Expr) -> pl.Expr:
        return text.str.strip_chars().str.replace_all(r"\s+", " ").str.to_lowercase()

    seen = [new] if landed is None else [landed, new]
    counts = pl.concat(
        pl.DataFrame({"spelling": one})
        .with_row_index()
        .group_by("spelling", maintain_order=True)
        .agg(pl.len().alias("rows"), pl.col("index").min())
        .with_columns(source=pl.lit(n))
        for n, one in enumerate(seen)
    )
    chosen = (
        counts.with_columns(key=key(pl.col("spelling")))
        .sort("source", "rows", "index", descending=[False, True, False])
        .unique("key", keep="first", maintain_order=True)
        .select("key", pl.col("spelling").str.strip_chars().str.replace_all(r"\s+", " "))
    )
    frame = pl.DataFrame({"given": new}).with_columns(key=key(pl.col("given")))
    folded = frame.join(chosen, on="key", how="left", maintain_order="left")["spelling"]
    return folded.alias(new.name), int((folded != new).sum())

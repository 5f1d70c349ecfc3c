"""Test ids that a spreadsheet spoilt, and ids that differ in form alone."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from recsys_assets.lib.landing.zone import IngestError
from recsys_assets.lib.own_data.ids import difference_in_form, refuse_spoilt


@pytest.mark.parametrize("ids", [["12345.0", None, "7.0"], ["4.00639E+12", "x"], ["4,006e12"]])
def test_spoilt_ids_are_refused(ids: list[str]):
    with pytest.raises(IngestError, match=r"column 'sku' has ids as .*as text"):
        refuse_spoilt(Path("a.csv"), "sku", pl.Series(ids, dtype=pl.String))


@pytest.mark.parametrize("ids", [["100.0", "100.1"], ["a.0", "1.2.0"], ["1e5", "5E+3"], [None], []])
def test_ids_that_only_look_like_it_are_kept(ids: list[str]):
    refuse_spoilt(Path("a.csv"), "sku", pl.Series(ids, dtype=pl.String))


@pytest.mark.parametrize(
    ("unknown", "known", "form"),
    [
        ("sku-1 ", "sku-1", "blanks at the ends"),
        ("SKU-1", "sku-1", "case"),
        ("12", "0012", "leading zeros"),
        ("sku1", "SKU-1", "punctuation and case"),
    ],
)
def test_the_form_that_differs_is_named(unknown: str, known: str, form: str):
    said = difference_in_form(pl.Series([unknown, "other"]), pl.Series([known, "more"]))
    assert said is not None
    assert f"1 of these items differ from one of the catalogue only in {form}" in said


def test_other_ids_differ_in_no_form():
    assert difference_in_form(pl.Series(["a"]), pl.Series(["b"])) is None
    assert difference_in_form(pl.Series(["A"]), pl.Series(["a", "a "])) is not None

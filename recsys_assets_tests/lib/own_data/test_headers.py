"""Test how columns are found in a header, and what is suggested."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from recsys_assets.lib.landing.zone import IngestError
from recsys_assets.lib.own_data.batch import TextForm
from recsys_assets.lib.own_data.headers import resolve, suggestions

WANTED = ("user_id", "item_id", "timestamp", "event_type")


def found(*columns: str, first: tuple[str, ...] = (), **mapping: str) -> dict[str, str]:
    return resolve(
        Path("a.csv"),
        dict.fromkeys(columns, pa.string()),
        mapping,
        "--map",
        WANTED,
        WANTED[:3],
        form=TextForm(),
        first_rows=[first] if first else [],
    )


def test_case_and_punctuation_do_not_count():
    assert found("User ID", "itemId", "TIMESTAMP") == {
        "user_id": "User ID",
        "item_id": "itemId",
        "timestamp": "TIMESTAMP",
    }
    assert found("user_id", "User ID", "item_id", "timestamp")["user_id"] == "user_id"
    assert found("user_id", "SKU", "timestamp", item_id="sku")["item_id"] == "SKU"


def test_of_two_alike_none_is_taken():
    with pytest.raises(IngestError, match="no column 'user_id'"):
        found("User ID", "userid", "item_id", "timestamp")


def test_the_likely_mapping_is_named():
    with pytest.raises(
        IngestError,
        match="likely: --map user_id=visitorid --map item_id=sku --map timestamp=ts "
        "--map event_type=event",
    ):
        found("ts", "visitorid", "event", "sku")
    assert suggestions(["kind", "x"], {}, ("event_type",), "--map") == ["--map event_type=kind"]
    assert suggestions(["kind"], {"item_id": "kind"}, ("event_type",), "--map") == []


def test_values_in_the_first_line_mean_that_there_is_no_header():
    with pytest.raises(IngestError, match=r"no header, name its 3 columns in order with --columns"):
        found("196", "242", "881250949", first=("196", "242", "881250949"))
    with pytest.raises(IngestError) as refused:
        found("who", "what", "when_1", first=("who", "what", "when_1"))
    assert "no header" not in str(refused.value)

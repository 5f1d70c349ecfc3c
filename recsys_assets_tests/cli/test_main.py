"""What the commands print."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from recsys_assets.cli.main import price_text


def test_a_price_that_the_shop_did_not_give_is_not_printed() -> None:
    assert price_text(None) == ""
    assert price_text(9.5) == "9.50" and price_text(0.004) == "0.00"


def test_a_wrong_setting_is_refused_by_name_without_the_words_of_pydantic(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "recsys_assets.cli.main", "status"],
        env={**os.environ, "RECSYS_HOME": str(tmp_path), "RECSYS_EVENT_VALUES": "Buy=3"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert " ".join(done.stderr.split()) == (
        "RECSYS_EVENT_VALUES='Buy=3': RECSYS_EVENT_VALUES: 'Buy' is no event: use View, AddToCart, "
        "ViewCart, StartCheckout, Purchase, Dismiss"
    )

"""Worker: call Feast as the reference did.

One call for the visitor and one for all candidates, without a timeout.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from recsys_assets import columns as c
from recsys_assets.bench.harness.worker import Command, drive, serve
from recsys_assets.lib.feature_store.recent_clicks import FEATURES as RECENT_CLICKS
from recsys_assets.lib.feature_store.store import open_store
from recsys_assets.lib.feature_store.views import ITEM_FEATURES, ITEM_POPULARITY, USER_FEATURES
from recsys_assets.settings import get_settings

USER = [f"{USER_FEATURES}:{c.AGE}", f"{USER_FEATURES}:{c.GENDER}", *RECENT_CLICKS]
ITEM_VALUES = (c.CATEGORY_L1, c.CATEGORY_L2, c.ITEM_GENDER, c.PRICE)
ITEMS = [*(f"{ITEM_FEATURES}:{name}" for name in ITEM_VALUES), f"{ITEM_POPULARITY}:{c.ITEM_CLICKS}"]
WARM_UP = 5


def make(request: dict[str, Any]) -> dict[str, Command]:
    """Open the store and return the commands ``run`` and ``items``.

    Args:
        request: ``raw`` (a file with the answer of the floor's ``raw``).
    """
    asked = json.loads(Path(request["raw"]).read_text())
    store = open_store(get_settings(), online_only=True)

    def act(number: int) -> dict[str, float]:
        one = asked[number]
        clock = [time.perf_counter()]
        for features, rows in (
            (USER, {c.USER_ID: [one["visitor"]]}),
            (ITEMS, {c.ITEM_ID: one["items"]}),
        ):
            store.get_online_features(features, rows).to_dict()
            clock.append(time.perf_counter())
        return {"feast_user": clock[1] - clock[0], "feast_items": clock[2] - clock[1]}

    def items(order: dict[str, Any]) -> dict[str, list[Any]]:
        """Return the online features of all candidates of all requests, by column.

        A value is null where nothing is stored.
        """
        known = sorted({item for one in asked for item in one["items"]})
        found = store.get_online_features(ITEMS, {c.ITEM_ID: known}).to_dict()
        return {name: found[name] for name in (c.ITEM_ID, *ITEM_VALUES, c.ITEM_CLICKS)}

    for number in range(min(WARM_UP, len(asked))):
        act(number)
    return {"run": lambda order: drive(act, len(asked), order), "items": items}


if __name__ == "__main__":
    serve(make)

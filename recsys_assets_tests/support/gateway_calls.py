"""What the tests of the gateway share: a client of an app that serves, a good event, and the one
form of errors.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from fastapi.testclient import TestClient

from recsys_assets.files import write_json
from recsys_assets.serving.gateway.app import create_app
from recsys_assets.serving.published.similar import similar_path, write_similar
from recsys_assets.settings import Settings
from recsys_assets_tests.support.small_shop import ITEMS

GOOD = {"user_id": "u", "item_id": "a"}


def serve(settings: Settings) -> Iterator[TestClient]:
    with TestClient(create_app(settings), raise_server_exceptions=False) as client:
        yield client


def error(response: Any) -> tuple[int, str | None, str]:
    """Status, field and message of an answer that is an error, and nothing else."""
    assert set(response.json()) == {"error"} and set(response.json()["error"]) == {
        "field",
        "message",
    }
    assert response.headers["x-request-id"] and "Traceback" not in response.text
    return (
        response.status_code,
        response.json()["error"]["field"],
        response.json()["error"]["message"],
    )


def promote_similar(settings: Settings, folder: Path, neighbours: list[list[int]]) -> None:
    """What a promotion leaves of similar items: the shop's items have indices 3, 4, …, in their
    order.
    """
    write_json(folder / "item_ids.json", list(ITEMS))
    np.save(folder / "similar_items.npy", np.array(neighbours, np.int32))
    write_similar(similar_path(settings), 1, folder / "item_ids.json", folder / "similar_items.npy")

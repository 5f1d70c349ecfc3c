"""A gateway with a shop and a real Valkey, and no Triton behind it; a module that needs another one
has its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from recsys_assets.settings import Settings
from recsys_assets_tests.conftest import free_port
from recsys_assets_tests.support.gateway_calls import serve
from recsys_assets_tests.support.small_shop import promote, shop_settings


@pytest.fixture
def settings(tmp_path: Path, valkey: Any) -> Settings:
    made = shop_settings(tmp_path, valkey, triton_grpc_port=free_port(), triton_timeout_ms=300)
    promote(made)
    return made


@pytest.fixture
def client(settings: Settings) -> Iterator[TestClient]:
    yield from serve(settings)

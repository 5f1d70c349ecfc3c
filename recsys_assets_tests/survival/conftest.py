"""One stack for the folder; a test that ends a part starts it again, and the next test finds all of
them up.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from recsys_assets_tests.support.stack import PARTS, Stack


@pytest.fixture(scope="session")
def whole_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    made = Stack(tmp_path_factory.mktemp("stack"))
    try:
        made.build()
        yield made
    finally:
        made.down()


@pytest.fixture
def stack(whole_stack: Stack) -> Iterator[Stack]:
    """The stack with every part up, room in Valkey, and answers that are not degraded."""
    whole_stack.up(*PARTS)
    for part in PARTS:
        whole_stack.process(part).resume()
    with whole_stack.valkey(0) as client:
        client.config_set("maxmemory", 0)
    whole_stack.normal("user-1")
    yield whole_stack

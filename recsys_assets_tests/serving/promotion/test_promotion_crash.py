"""A promotion whose process dies, on the real Triton: finished or undone, the fused model with its
parts.
"""

from __future__ import annotations

import pytest

from recsys_assets.files import write_json
from recsys_assets.lib.release.champion import read_champion
from recsys_assets.serving.promotion.journal import (
    POINT_OF_NO_RETURN,
    STEPS,
    journal_path,
    read_journal,
)
from recsys_assets.serving.published.similar import LiveSimilar
from recsys_assets.serving.triton.served import CANDIDATES, ENTRANCES
from recsys_assets_tests.support.small_promotion import Shop, die_in_child
from recsys_assets_tests.support.small_triton import settings_for, small_release

pytestmark = pytest.mark.services


@pytest.mark.parametrize("running", [True, False], ids=["triton-runs", "triton-was-stopped"])
def test_a_promotion_that_dies_at_any_step_is_finished_or_undone(tmp_path, running):
    """Between death and recovery: one release or the other; after it: a whole one, and room for the
    next.
    """
    shop = Shop(tmp_path)
    shop.server.start()
    try:
        small_release(shop.store, 1)
        shop.promote(1)
        number = 1
        for step in STEPS if running else ("switched", "verified"):
            former, number = read_champion(shop.settings).release, number + 1
            small_release(shop.store, number)
            die_in_child(shop, number, step)
            finished = STEPS.index(step) >= STEPS.index(POINT_OF_NO_RETURN)
            for entrance in ENTRANCES:
                answer = shop.ask(model=entrance)
                assert answer.query_release == answer.ranker_release
                assert answer.query_release in (former, number)
            if not running:
                shop.server.stop()
            assert shop.recover() == ("finished" if finished else "undone"), step
            if not running:
                shop.server.start()
            expected = number if finished else former
            assert [shop.ask(model=entrance).query_release for entrance in ENTRANCES] == [
                expected,
                expected,
            ], step
            assert read_champion(shop.settings).release == expected, step
            assert shop.display()[0] == expected and not journal_path(shop.settings).exists()
            assert LiveSimilar(shop.settings).of(f"{expected}.{expected}.{expected}:0", 3) == [
                f"{expected}.{expected}.{expected}:1"
            ]
            for model in ("faiss_retrieval", "fused_model"):
                assert (number in shop.repository.versions(model)) is finished, (model, step)
            assert not any(
                (shop.settings.model_repository / name).exists() for name in CANDIDATES.values()
            )
            assert shop.recover() is None
    finally:
        shop.end()


def test_the_next_promotion_recovers_by_itself(tmp_path):
    shop = Shop(tmp_path)
    shop.server.start()
    try:
        _recovers_by_itself(shop)
    finally:
        shop.end()


def _recovers_by_itself(shop):
    for number in (1, 2, 3):
        small_release(shop.store, number)
    shop.promote(1)
    die_in_child(shop, 2, "switched")
    assert shop.ask().query_release == 2 and read_champion(shop.settings).release == 1
    shop.promote(3)
    assert shop.ask().query_release == 3 and read_champion(shop.settings).previous == [1]
    assert shop.repository.versions("query_tower") == {1, 3}


def test_a_journal_of_the_code_before_the_fused_model_is_understood(tmp_path):
    settings = settings_for(tmp_path)
    write_json(
        journal_path(settings),
        {
            "release": 2,
            "leaving": 1,
            "champion": {},
            "new_versions": [["query_tower", 2]],
            "ensemble": "the former text",
            "configs": {"query_tower": "text"},
            "step": "loaded",
            "started": 0.0,
        },
    )
    journal = read_journal(settings)
    assert journal.ensembles == {"ensemble_model": "the former text"} and journal.new_versions == [
        ("query_tower", 2)
    ]

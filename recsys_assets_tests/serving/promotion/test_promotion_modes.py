"""What Triton loads by the setting ``triton_models``, and that a change of it needs a restart and
nothing else.
"""

from __future__ import annotations

import pytest

from recsys_assets.lib.release.champion import read_champion
from recsys_assets.serving.promotion import promotion
from recsys_assets.serving.triton.served import ENTRANCES
from recsys_assets_tests.support.small_promotion import Shop
from recsys_assets_tests.support.small_triton import small_release

pytestmark = pytest.mark.services
ALL = (
    "query_tower",
    "faiss_retrieval",
    "dlrm_ranking",
    "ensemble_model",
    "fused_model",
    "recommender",
)


@pytest.mark.parametrize(("mode", "loaded"), [("fused", ALL[4:]), ("ensemble", ALL[:4])])
def test_only_what_the_setting_says_is_loaded_and_all_is_published(
    tmp_path, mode, loaded, monkeypatch
):
    monkeypatch.setattr("recsys_assets.serving.triton.replicas.AGREEMENT_PAUSE", 0.0)
    shop = Shop(tmp_path, triton_models=mode)
    shop.server.start()
    try:
        small_release(shop.store, 1)
        small_release(shop.store, 2, generation=1)
        shop.promote(1)
        shop.promote(2)
        assert shop.ready(*ALL) == list(loaded) and shop.ask().query_release == 2
        assert {path.name for path in shop.settings.model_repository.iterdir()} == set(ALL)
        shop.rollback()
        assert shop.ask().query_release == 1
        bad = {"fused": "fused breaks", "ensemble": "broken"}[mode]
        small_release(shop.store, 3, dlrm_ranking=bad)
        with pytest.raises(promotion.PromotionFailed, match="on purpose"):
            shop.promote(3)
        assert (
            shop.ask().query_release == 1
            and shop.ready(*ALL) == list(loaded)
            and read_champion(shop.settings).release == 1
        )
        shop.server.stop()
        shop.settings.triton_models = "both"
        shop.server.start()
        assert shop.ready(*ALL) == list(ALL)
        assert [shop.ask(model=entrance).query_release for entrance in ENTRANCES] == [
            1,
            1,
        ]  # none of them was left behind
    finally:
        shop.end()


def test_a_promotion_under_another_setting_unloads_what_would_be_left_behind(tmp_path):
    shop = Shop(tmp_path)
    shop.server.start()
    try:
        for number in (1, 2):
            small_release(shop.store, number)
        shop.promote(1)
        assert shop.ready(*ALL) == list(ALL)
        shop.settings.triton_models = "fused"
        shop.promote(2)
        assert shop.ready(*ALL) == list(ALL[4:]) and shop.ask().query_release == 2
    finally:
        shop.end()

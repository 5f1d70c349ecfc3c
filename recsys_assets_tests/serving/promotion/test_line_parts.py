"""Two lines of releases on one real Triton: the ads ranker beside the recommender."""

from __future__ import annotations

import json

import numpy as np
import pytest

from recsys_assets.lib.ads_ctr import ads_release
from recsys_assets.lib.release import releases
from recsys_assets.lib.release.champion import read_champion
from recsys_assets.lib.release.lines import ADS
from recsys_assets.release_files import ADS_SAMPLE
from recsys_assets.serving.promotion import promotion
from recsys_assets.serving.promotion.journal import journal_path
from recsys_assets.serving.promotion.retirement import retire_older_form
from recsys_assets.serving.triton.ads_smoke import ads_smoke, ads_tensors, score_ads
from recsys_assets.serving.triton.replicas import SmokeFailed
from recsys_assets.settings import PROJECT_ROOT
from recsys_assets_tests.support.small_ads_release import ads_rows, publish_release
from recsys_assets_tests.support.small_promotion import Shop
from recsys_assets_tests.support.small_triton import quiet, small_release

pytestmark = pytest.mark.services
TEMPLATES = PROJECT_ROOT / "triton_repo"


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    shop = Shop(tmp_path_factory.mktemp("two-lines"))
    shop.server.start()
    yield shop
    shop.end()


@pytest.fixture(scope="module")
def ads(shop):
    """Three releases of the ads ranker; the last one has failed its gate."""
    return [publish_release(shop.store, weight) for weight in (0.01, 0.02)] + [
        publish_release(shop.store, 0.03, passed=False)
    ]


def promote(shop: Shop, number: int, **given) -> promotion.PromotionReport:
    return promotion.promote(shop.settings, number, ADS, log=quiet, templates=TEMPLATES, **given)


def asked(shop: Shop) -> tuple[list[float], int]:
    replica = shop.replica()
    try:
        scores, number = score_ads(replica, "ads_ensemble", *ads_tensors(ads_rows()))
        return scores.tolist(), number
    finally:
        replica.close()


def test_each_line_is_promoted_and_rolled_back_alone(shop, ads):
    first, second, _ = ads
    assert [one.number for one in ads] == [1, 2, 3]
    report = promote(shop, 1)
    assert sorted(report.published) == ["ads_dcn/1", "ads_nvt_transform/1"]
    assert read_champion(shop.settings, ADS).release == 1 and read_champion(shop.settings) is None
    scores, number = asked(shop)
    assert number == 1
    assert np.allclose(scores, ads_release.scores_of(first, ads_rows()), atol=1e-6)

    small_release(shop.store, 1)
    shop.promote(1)
    shown = shop.display()
    assert shop.ask().ids[0].startswith("1.1.1:") and asked(shop)[1] == 1

    report = promote(shop, 2)
    assert (report.previous, report.pruned) == (1, [])
    assert asked(shop)[1] == 2 and shop.display() == shown
    assert np.allclose(asked(shop)[0], ads_release.scores_of(second, ads_rows()), atol=1e-6)
    assert read_champion(shop.settings).release == 1

    back = promotion.rollback(shop.settings, ADS, log=quiet, templates=TEMPLATES)
    assert (back.event, asked(shop)) == ("rollback", (scores, 1))
    assert shop.ask().ids[0].startswith("1.1.1:")
    assert not journal_path(shop.settings, ADS).exists()


def test_a_failed_gate_is_refused_and_the_newest_passed_is_of_the_line(shop, ads):
    with pytest.raises(promotion.PromotionRefused, match="failed its gate"):
        promote(shop, 3)
    assert releases.newest_passed(shop.store, shop.settings, ADS) == 2


def test_a_release_whose_scores_differ_is_undone(shop, ads, monkeypatch):
    promote(shop, 1)
    before = shop.on_disk()
    release = publish_release(shop.store, 0.04)
    sample = release.artifact.path(ADS_SAMPLE)
    other = ads[0].artifact.path(ADS_SAMPLE).read_bytes()
    read = type(release.artifact).path

    def path(artifact, name):
        if name == ADS_SAMPLE and artifact.digest == release.artifact.digest:
            wrong = shop.settings.home / "wrong.parquet"
            wrong.write_bytes(other)
            return wrong
        return read(artifact, name)

    monkeypatch.setattr(type(release.artifact), "path", path)
    assert sample.read_bytes() != other
    with pytest.raises(promotion.PromotionFailed, match=r"differ by .* from those of the release"):
        promote(shop, release.number)
    assert shop.on_disk() == before and asked(shop)[1] == 1
    assert read_champion(shop.settings, ADS).release == 1


def test_a_promotion_that_died_is_undone_at_the_next_start(shop, ads):
    promote(shop, 1)
    before = shop.on_disk()

    class Died(BaseException):
        pass

    def die(step: str) -> None:
        if step == "loaded":
            raise Died

    with pytest.raises(Died):
        promote(shop, 2, on_step=die)
    assert json.loads(journal_path(shop.settings, ADS).read_text())["release"] == 2
    assert promotion.recover(shop.settings, log=quiet, templates=TEMPLATES) == "undone"
    assert shop.on_disk() == before and asked(shop)[1] == 1


def test_the_smoke_names_another_release(shop, ads):
    promote(shop, 1)
    replica = shop.replica()
    try:
        ads_smoke(ads[0])(replica, ["ads_ensemble"])
        with pytest.raises(SmokeFailed, match="answered with release 1, not 2"):
            ads_smoke(ads[1])(replica, ["ads_ensemble"])
    finally:
        replica.close()


def test_a_champion_of_an_older_form_is_set_aside_without_the_other_line(tmp_path, monkeypatch):
    shop = Shop(tmp_path)
    publish_release(shop.store, 0.01)
    path = shop.settings.home / "serving" / "ads_champion.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    fields = {"release": 1, "generation": 1, "digest": "d", "versions": {}, "promoted_at": 0}
    path.write_text(json.dumps({**fields, "previous": [], "history": []}))
    for model in ("ads_dcn", "query_tower"):
        (shop.settings.model_repository / model / "1").mkdir(parents=True)
    assert retire_older_form(shop.settings, quiet) == []
    monkeypatch.setattr(releases, "ADS_CODE_VERSION", "a later one")
    assert retire_older_form(shop.settings, quiet) == [1]
    aside = shop.settings.home / "serving" / "retired" / "ads_000001"
    assert (aside / "model_repository/ads_dcn/1").is_dir() and (aside / "champion.json").is_file()
    assert [one.name for one in shop.settings.model_repository.iterdir()] == ["query_tower"]

"""The bench of a ranker on a small kept home, from its artifacts to its file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from recsys_assets import partitions
from recsys_assets.artifacts import ArtifactStore
from recsys_assets.bench.harness.part import BenchFailed
from recsys_assets.bench.ranker.judge import BASE
from recsys_assets.bench.ranker.kept import FULL, FUSION, KeptShop
from recsys_assets.bench.ranker.run import bench_ranker, table_rows
from recsys_assets.files import read_json
from recsys_assets.lib.blend.labels import ClickLabels
from recsys_assets.lib.raw.rows import scan_interactions
from recsys_assets.lib.sources.stored import BY_SOURCES
from recsys_assets.settings import Settings, get_settings
from recsys_assets.source_names import FOLLOW_UPS, POPULARITY, RETRIEVAL
from recsys_assets_tests.support import small_kept_home

AS_OF = partitions.first_as_of(get_settings())


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Return a measuring home with one kept shop."""
    root = tmp_path_factory.mktemp("ranker")
    day = partitions.calendar_start(get_settings())
    kept = Settings(home=root / "bench" / "shops" / "small" / "home", start_day=day, seed=5)
    small_kept_home.write(kept, AS_OF)
    return Settings(home=root, start_day=day)


@pytest.fixture(scope="module")
def kept(home: Settings) -> KeptShop:
    folder = home.home / "bench" / "shops" / "small" / "home" / "artifacts"
    found = KeptShop.open(ArtifactStore(str(folder)))
    assert found is not None
    return found


def test_label_days_have_the_candidates_of_their_moment(kept: KeptShop) -> None:
    held_out, labelled = kept.held_out(), kept.labelled(windows=9)
    names = (RETRIEVAL, FOLLOW_UPS, POPULARITY)
    assert [one.labels.names for one in (held_out, *labelled)] == [names] * (1 + len(labelled))
    train = kept.fusion.params["train_days"]
    assert len(labelled) == (len(train) - 3) // 2, "three days are left to fit the sources"
    assert all(one.labels.found.any() for one in labelled)


def test_no_source_of_a_label_day_has_learnt_it(kept: KeptShop) -> None:
    """The most popular items are those of the days before, whatever follows."""
    params, days = kept.fusion.params, kept.fusion.params["train_days"]
    ranked = _popular(kept.labelled(windows=1)[0].labels)
    log = [one for one in kept.fusion.inputs["log"] if str(one.partition) < days[-2]]
    before = scan_interactions(log).collect()
    clicked = set(before.filter(before["event_type"] == "View")["item_id"])
    vocabulary = kept.fusion.blend_parts().vocabulary
    assert {vocabulary[row] for row in ranked} <= clicked
    later = {vocabulary[row] for row in _popular(kept.held_out().labels)}
    assert later - clicked, "the held-out clicks know items that came with the label days"
    assert params["look_back_days"] == 7


def _popular(labels: ClickLabels) -> set[int]:
    return set(labels.rows[labels.listed[:, labels.names.index(POPULARITY)]].tolist())


def test_what_serves_is_judged_with_the_weights_of_others(kept: KeptShop) -> None:
    labels = kept.held_out().labels
    ranks = kept.current(labels)
    assert list(ranks) == [FUSION, FULL]
    figures = kept.store.current("ladder/fusion", AS_OF).metrics["blend"]
    assert figures["mode"] == BY_SOURCES
    assert _ndcg(labels, ranks[FUSION]) == pytest.approx(
        figures["alternatives"][figures["chosen"]]["ndcg"]
    )


def _ndcg(labels: ClickLabels, ranks: np.ndarray) -> float:
    gain = np.where(ranks <= 10, 1 / np.log2(ranks + 1.0), 0.0)
    return float((np.bincount(labels.users, gain) / np.bincount(labels.users)).mean())


def test_a_run_writes_its_figures_and_keeps_those_of_others(home: Settings) -> None:
    said: list[str] = []
    first = bench_ranker(home, said.append, variants=["numbers"], seeds=2, windows=1)
    again = bench_ranker(home, said.append, variants=["learned_shown"], seeds=1, windows=1)
    assert read_json(home.home / "bench" / "ranker.json") == again
    shop = again["shops"]["small"]
    assert shop["variants"]["numbers"] == first["shops"]["small"]["variants"]["numbers"]
    assert len(shop["variants"]["numbers"]["seeds"]) == 2
    better = shop["current"][shop["better"]]
    assert better["ndcg"] == max(one["ndcg"] for one in shop["current"].values())
    for found in shop["variants"].values():
        judged, minus = found["mean"]["ndcg"], found["mean"]["minus"]
        assert minus[shop["better"]]["value"] == pytest.approx(judged - better["ndcg"])
        assert minus[BASE]["value"] == pytest.approx(judged - shop["without"][BASE]["ndcg"])
    assert [row[0] for row in table_rows(again)] == ["small", "small"]
    assert any("numbers mean of 2" in line for line in said)


def test_without_kept_shops_it_says_how_to_keep_some(home: Settings, tmp_path: Path) -> None:
    with pytest.raises(BenchFailed, match="recsys bench shops --keep"):
        bench_ranker(Settings(home=tmp_path), print)
    with pytest.raises(BenchFailed, match="no shop is called mind; there are small"):
        bench_ranker(home, print, only=["mind"])
    with pytest.raises(BenchFailed, match="no variant is called dlrm; there are numbers"):
        bench_ranker(home, print, variants=["dlrm"])
    with pytest.raises(BenchFailed, match="one seed, label window and held-out click"):
        bench_ranker(home, print, seeds=0)


def test_a_shop_without_full_models_is_skipped(tmp_path: Path) -> None:
    (tmp_path / "bench" / "shops" / "tiny" / "home" / "artifacts").mkdir(parents=True)
    report = bench_ranker(Settings(home=tmp_path), print)
    assert report["shops"] == {} and "no full models" in report["skipped"]["tiny"]
    assert read_json(tmp_path / "bench" / "ranker.json") == report

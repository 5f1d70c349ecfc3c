"""Quality by as-of day."""

from __future__ import annotations

import polars as pl
import pytest

from recsys_assets.artifacts import Artifact, ArtifactStore
from recsys_assets.lib.evaluation import backtest
from recsys_assets_tests.support import small_evaluation


def report(store: ArtifactStore, day: str, ndcg: float | None) -> Artifact:
    """evaluation/offline of a day; None: of an older form."""
    metrics = (
        {"rows": 9, "recall@100": 0.3}
        if ndcg is None
        else {
            **small_evaluation.offline(),
            "served": small_evaluation.list_metrics(ndcg),
            "popularity": small_evaluation.list_metrics(0.05),
            "queries": 900,
        }
    )
    with store.stage("evaluation/offline", day) as staged:
        (staged.path / "metrics.json").write_text(day)
        return staged.publish(metrics)


def test_a_row_a_day_in_order_and_an_older_form_is_named(tmp_path):
    store = ArtifactStore(tmp_path / "artifacts")
    reports = [
        report(store, "2026-11-19", 0.16),
        report(store, "2026-11-20", None),
        report(store, "2026-11-21", 0.18),
    ]
    metrics = backtest.write_backtest(reports, tmp_path)
    assert metrics["days"] == ["2026-11-19", "2026-11-21"] and metrics["left_out"] == ["2026-11-20"]
    frame = pl.read_parquet(tmp_path / "quality.parquet")
    assert frame["served ndcg@10"].to_list() == [0.16, 0.18] and frame[
        "served ndcg@10 low"
    ].to_list() == pytest.approx([0.15, 0.17])
    assert frame["auc"].to_list() == [0.77, 0.77] and metrics["served"]["ndcg@10"]["value"] == 0.18
    figures = {path.name: path.read_text() for path in (tmp_path / "figures").iterdir()}
    assert set(figures) == {
        "ndcg@10_by_day.md",
        "recall@100_by_day.md",
        "auc_by_day.md",
        "quality_table.md",
    }
    assert (
        "2026-11-21" in figures["quality_table.md"]
        and "2026-11-20" not in figures["quality_table.md"]
    )


def test_of_clicks_alone_there_is_no_auc_to_draw(tmp_path):
    offline = small_evaluation.offline()
    metrics = {
        **offline,
        "popularity": offline["served"],
        "queries": 900,
        "ranker": {"auc": None, "rows": 9},
    }
    with ArtifactStore(tmp_path / "artifacts").stage("evaluation/offline", "2026-11-19") as staged:
        (staged.path / "metrics.json").write_text("x")
        only = staged.publish(metrics)
    assert backtest.write_backtest([only], tmp_path)["auc"] is None
    assert pl.read_parquet(tmp_path / "quality.parquet")["auc"].to_list() == [None]
    assert (
        not (tmp_path / "figures" / "auc_by_day.md").exists()
        and (tmp_path / "figures" / "ndcg@10_by_day.md").exists()
    )


def test_a_single_day_is_drawn(tmp_path):
    assert (
        backtest.write_backtest(
            [report(ArtifactStore(tmp_path / "artifacts"), "2026-11-19", 0.16)], tmp_path
        )["rows"]
        == 1
    )


def test_nothing_to_plot_names_the_remedy(tmp_path):
    with pytest.raises(ValueError, match=r"2026-11-20.*run the job `backtest`"):
        backtest.write_backtest(
            [report(ArtifactStore(tmp_path / "artifacts"), "2026-11-20", None)], tmp_path
        )

"""From artifacts in a real store to the report's files."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import numpy as np
import polars as pl
import pytest

from recsys_assets import columns as c
from recsys_assets.artifacts import Artifact, ArtifactStore
from recsys_assets.lib.evaluation import list_metrics, report
from recsys_assets.lib.evaluation.queries import SIMULATED, VISITOR, Queries
from recsys_assets.partitions import validation_days
from recsys_assets_tests.support import small_evaluation as small

DAY = "2026-11-19"
ITEMS, ASKED = 20, 60


def asked(shift: int = 0) -> Queries:
    """60 queries of 15 visitors, the last 10 simulated as cold; nothing was seen."""
    rows = np.arange(ASKED)
    frame = pl.DataFrame(
        {
            c.EVENT_ID: [f"e{n + shift}" for n in rows],
            c.USER_ID: [f"u{n % 15}" for n in rows],
            VISITOR: [f"u{n % 15}" for n in rows],
            SIMULATED: rows >= 50,
        }
    )
    slices = {
        "known_users": rows < 50,
        "cold_users": rows >= 50,
        "new_items": (rows % 5 == 0) & (rows < 50),
    }
    return Queries(
        frame,
        np.array([f"i{n}" for n in range(ITEMS)]),
        np.arange(ITEMS),
        rows % ITEMS,
        np.zeros(ASKED + 1, np.int64),
        np.zeros(0, np.int32),
        slices,
        small.queries(),
    )


def ranks(first_at: int) -> np.ndarray:
    """Ranks from 1 to 12, so that users differ."""
    return ((np.arange(ASKED) * 7 + first_at) % 12 + 1).astype(np.int32)


def published(
    store: ArtifactStore,
    name: str,
    metrics: dict[str, Any],
    queries: Artifact | None,
    **arrays: np.ndarray,
) -> Artifact:
    inputs: dict[str, Any] = {} if queries is None else {"queries": queries}
    if name == "offline":
        inputs["features"] = [validation_day(store, day) for day in validation_days(DAY)]
    with store.stage(f"evaluation/{name}", DAY, inputs=inputs) as staged:
        np.savez(
            staged.path / "lists.npz",
            **{
                f"{system}_{part}": value
                for system, own in arrays.items()
                for part, value in (("ranks", own), ("top", np.zeros((ASKED, 10), np.int32)))
            },
        )
        return staged.publish(metrics)


def validation_day(store: ArtifactStore, day: str) -> Artifact:
    with store.stage("features/interactions", day) as staged:
        (staged.path / "features.parquet").write_bytes(b"")
        return staged.publish()


def queries_artifact(store: ArtifactStore, shift: int = 0) -> Artifact:
    with store.stage("evaluation/queries", DAY, params={"shift": shift}) as staged:
        return staged.publish(asked(shift).write(staged.path))


@pytest.fixture
def parts(tmp_path) -> dict[str, Any]:
    store = ArtifactStore(tmp_path / "artifacts")
    queries = queries_artifact(store)
    baselines = {name: small.baselines()[name] for name in ("popularity", "ease")}
    return {
        "store": store,
        "queries": queries,
        "offline": published(store, "offline", small.offline(), queries, served=ranks(0)),
        "baselines": published(
            store, "baselines", baselines, queries, popularity=ranks(5), ease=ranks(3)
        ),
        "oracle": published(store, "oracle", small.oracle(), queries, oracle=ranks(0)),
    }


def write(parts: dict[str, Any], target: Any, **more: Any) -> dict[str, Any]:
    target.mkdir()
    chosen = {name: artifact for name, artifact in {**parts, **more}.items() if name != "store"}
    return report.write_report(**chosen, target=target, scale="tiny", seed=7)


def test_the_report_has_its_files_and_its_differences(parts, tmp_path):
    headline = write(parts, tmp_path / "report")
    summary = json.loads((tmp_path / "report" / "evaluation.json").read_text())
    # the difference leaves the simulated cold visitors out, as the overall figures do
    kept, users = np.arange(50), asked().users[:50]
    by_hand = np.mean(
        [
            np.mean(
                [
                    (r <= 10) / np.log2(1 + r) - (o <= 10) / np.log2(1 + o)
                    for r, o in zip(
                        ranks(0)[kept][users == user].astype(float),
                        ranks(3)[kept][users == user].astype(float),
                        strict=True,
                    )
                ]
            )
            for user in set(users)
        ]
    )
    assert summary["baselines"]["ease"]["served_minus"]["value"] == pytest.approx(by_hand)
    cold = summary["slices"]["cold_users"]["baselines"]["popularity"]
    assert cold["queries"] == 10 and cold["ndcg@10"]["value"] == pytest.approx(
        list_metrics.list_metrics(ranks(5)[50:], asked().users[50:])["ndcg@10"]["value"]
    )
    assert summary["slices"]["cold_users"]["simulated"] and set(cold) >= {"recall@50"}
    assert "</html>" in (tmp_path / "report" / "report.html").read_text()
    figures = {path.name for path in (tmp_path / "report" / "figures").iterdir()}
    assert {
        "targets_table.md",
        "systems_table.md",
        "ndcg@10.md",
        "recall_curve.md",
        "slices.md",
        "reliability.md",
    } <= figures
    # no ablation was run, and popularity's lists above are better for cold users than the served
    # ones are said to be
    assert (
        headline["served"]["ndcg@10"]["value"] == 0.16
        and headline["targets"] == 6
        and headline["targets_met"] == 3
    )
    assert any("5.2%" in note for note in summary["notes"]) and any(
        "Only 12 clicks" in note for note in summary["notes"]
    )


def test_parts_of_other_queries_are_refused(parts, tmp_path):
    other = queries_artifact(parts["store"], shift=1)
    with pytest.raises(
        ValueError,
        match=r"evaluation/offline \[2026-11-19\] has answered other queries .*materialise it "
        r"again",
    ):
        write(parts, tmp_path / "report", queries=other)


def test_ablations_count_only_where_they_answered_the_same_queries(parts, tmp_path):
    same = published(parts["store"], "ablations", small.ablations(), parts["queries"])
    assert (
        write(parts, tmp_path / "a", ablations=same)["targets_met"] == 5
    )  # popularity's lists, again
    stale = published(
        parts["store"], "ablations", small.ablations(), queries_artifact(parts["store"], shift=1)
    )
    write(parts, tmp_path / "b", ablations=stale)
    summary = json.loads((tmp_path / "b" / "evaluation.json").read_text())
    assert summary["ablations"] == {} and any(
        "judged on other queries" in note for note in summary["notes"]
    )


def test_an_oracle_without_truth_leaves_its_rows_out(parts, tmp_path):
    with parts["store"].stage("evaluation/oracle", DAY, inputs={"truth": "none"}) as staged:
        absent = staged.publish({"available": False})
    headline = write(parts, tmp_path / "report", oracle=absent)
    assert "oracle" not in headline and "share_of_oracle" not in headline
    assert json.loads((tmp_path / "report" / "evaluation.json").read_text())["oracle"] is None


def test_without_a_query_the_report_says_so(tmp_path):
    store, none = ArtifactStore(tmp_path / "artifacts"), np.zeros(0, np.int32)
    whole = asked()
    empty = dataclasses.replace(
        whole.subset(np.zeros(0, np.int64)), counts={**whole.counts, "queries": 0}
    )
    with store.stage("evaluation/queries", DAY) as staged:
        queries = staged.publish(empty.write(staged.path))
    lists = {"served": {}, "retrieval": {}, "slices": {}, "slices_retrieval": {}}
    nothing = {**small.offline(), **lists, "beyond_accuracy": {"served": {}, "retrieval": {}}}
    bare = {name: {"params": {}, "tuning": []} for name in ("popularity", "ease")}
    parts = {
        "store": store,
        "queries": queries,
        "offline": published(store, "offline", nothing, queries, served=none),
        "baselines": published(store, "baselines", bare, queries, popularity=none, ease=none),
        "oracle": published(store, "oracle", {"available": False}, None),
    }
    shown = write(parts, tmp_path / "target")
    found = json.loads((tmp_path / "target" / report.SUMMARY_FILE).read_text())
    assert found["queries"]["queries"] == 0 and "no held-out query" in found["notes"][0]
    assert shown["targets_met"] == 0 and not any(one["met"] for one in found["targets"])
    assert "no held-out query" in (tmp_path / "target" / report.PAGE_FILE).read_text()

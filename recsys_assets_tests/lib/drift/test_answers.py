"""Test the measures of a day's answers against scikit-learn, and what is left out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from sklearn.metrics import ndcg_score, roc_auc_score

from recsys_assets.lib.drift import answers
from recsys_assets.lib.drift.answers import ScoresOf, measured, read_strata, write_answers
from recsys_assets.lib.raw.served import WINDOW

END = 1_790_000_000
NOON = END - 43_200
RATES: ScoresOf = {"family": 1, "probabilities": True}
ORDERS: ScoresOf = {"family": 1, "probabilities": False}


def shown(
    rows: list[tuple[str, str, int, int, float, int | None, list[str], str | None]],
) -> pl.DataFrame:
    """Return the columns of served.parquet; clicked rows have an event."""
    names = ["answer_id", "user_id", "at", "position", "score", "release", "reasons", "event_id"]
    frame = pl.DataFrame(
        rows,
        schema=dict(
            zip(
                names,
                (
                    pl.String,
                    pl.String,
                    pl.Int64,
                    pl.Int16,
                    pl.Float64,
                    pl.Int64,
                    pl.List(pl.String),
                    pl.String,
                ),
                strict=True,
            )
        ),
        orient="row",
    )
    return frame.with_columns(
        clicked=pl.col("event_id").str.starts_with("e").fill_null(False),
        arm=pl.lit(None, pl.String),
    )


def times(**at: int) -> pl.DataFrame:
    return pl.DataFrame(
        {"event_id": [*at], "timestamp": [*at.values()]},
        schema={"event_id": pl.String, "timestamp": pl.Int64},
    )


def test_a_click_counts_within_the_window_of_its_answer() -> None:
    rows, left = measured(
        shown(
            [
                ("a", "u", NOON, 1, 0.9, 3, [], "e1"),
                ("a", "u", NOON, 2, 0.8, 3, [], "e2"),
                ("a", "u", NOON, 3, 0.7, 3, [], "i3"),  # an impression
                ("a", "u", NOON, 4, 0.6, 3, [], None),
                ("a", "u", NOON, 5, 0.5, 3, [], "e5"),
            ]
        ),
        times(e1=NOON + WINDOW, e2=NOON + WINDOW + 1, i3=NOON, e5=NOON - 1),
        END,
    )
    assert rows["label"].to_list() == [1, 0, 0, 0, 0]
    assert left == {"open_answers": 0, "degraded_answers": 0}


def test_open_and_degraded_answers_are_left_out_and_counted() -> None:
    rows, left = measured(
        shown(
            [
                ("open", "u", END - WINDOW + 1, 1, 0.9, 3, [], None),
                ("last", "u", END - WINDOW, 1, 0.9, 3, [], None),
                ("degraded", "u", NOON, 1, 0.9, 3, ["user_features_unavailable"], None),
                ("popular", "u", NOON, 1, 0.9, None, ["ranking_unavailable"], None),
            ]
        ),
        times(),
        END,
    )
    assert rows["answer_id"].to_list() == ["last"]
    assert left == {"open_answers": 1, "degraded_answers": 2}


def test_unknown_visitors_are_not_one_visitor() -> None:
    rows, _ = measured(
        shown(
            [
                ("a", "-1", NOON, 1, 0.9, 3, [], None),
                ("b", "-1", NOON, 1, 0.9, 3, [], None),
                ("c", "u", NOON, 1, 0.9, 3, [], None),
                ("d", "u", NOON, 1, 0.9, 3, [], None),
            ]
        ),
        times(),
        END,
    )
    assert rows["unit"].n_unique() == 3


def drawn(answers_: int, seed: int, length: int = 14) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return shown items of many answers, and the times of their clicks."""
    rng = np.random.default_rng(seed)
    rows, clicks = [], {}
    for number in range(answers_):
        scores = np.sort(rng.random(length))[::-1]
        for place, score in enumerate(scores, 1):
            event = None
            if rng.random() < score * 0.6:
                event = f"e{number}x{place}"
                clicks[event] = NOON + place
            user = f"u{number % (answers_ // 3)}"
            rows.append((f"a{number}", user, NOON, place, float(score), 3, [], event))
    return shown(rows), times(**clicks)


def test_measures_equal_scikit_learns(tmp_path: Path) -> None:
    frame, at = drawn(120, 1)
    figures = write_answers(frame, at, END, {3: RATES}, tmp_path)
    labels, scores = frame["clicked"].cast(int).to_numpy(), frame["score"].to_numpy()
    lists = labels.reshape(120, -1)
    clicked = lists[lists.any(axis=1)]
    served = np.tile(-np.arange(lists.shape[1]), (len(clicked), 1))
    [stratum] = read_strata(tmp_path, "2026-03-02")
    assert stratum.estimates["auc"][0].value == pytest.approx(roc_auc_score(labels, scores))
    assert stratum.estimates["ndcg@10"][0].value == pytest.approx(ndcg_score(clicked, served, k=10))
    assert stratum.estimates["calibration"][0].value == pytest.approx(labels.sum() / scores.sum())
    assert stratum.estimates["ndcg@10"][1] == len(clicked)
    assert stratum.estimates["auc"][1] == labels.sum() * (1 - labels).sum()
    assert (stratum.rows, stratum.positives, stratum.family) == (1_680, labels.sum(), 1)
    assert all(one.units <= 40 for one, _ in stratum.estimates.values())
    assert figures["rows"] == 1_680 and figures["answers"] == 120 and figures["families"] == [1]
    assert figures["releases"]["3"]["click_rate"] == pytest.approx(labels.mean())
    assert "| 3 | 120 |" in (tmp_path / answers.RELEASES_FIGURE).read_text()


def test_a_clicked_item_below_the_tenth_gives_no_gain() -> None:
    frame, at = drawn(1 * 3, 2)
    only = frame.with_columns(
        clicked=(pl.col("position") == 12), event_id=pl.format("e{}", pl.int_range(pl.len()))
    )
    at = times(**{name: NOON + 1 for name in only["event_id"]})
    rows, _ = measured(only, at, END)
    assert answers.ndcg_of_answers(rows)["ndcg@10"].to_list() == [0.0, 0.0, 0.0]


def test_scores_that_only_order_have_no_calibration(tmp_path: Path) -> None:
    frame, at = drawn(60, 3)
    write_answers(frame, at, END, {3: ORDERS}, tmp_path)
    [stratum] = read_strata(tmp_path, "2026-03-02")
    assert {*stratum.estimates} == {"auc", "ndcg@10"}
    assert "scores are no probabilities" in (tmp_path / answers.RELEASES_FIGURE).read_text()


def test_releases_of_a_day_are_apart(tmp_path: Path) -> None:
    (one, at), (other, later) = drawn(60, 4), drawn(90, 5)
    other = other.with_columns(
        release=pl.lit(4, pl.Int64),
        answer_id="b" + pl.col("answer_id"),
        event_id=pl.col("event_id").str.replace("e", "ef"),
    )
    later = later.with_columns(event_id=pl.col("event_id").str.replace("e", "ef"))
    figures = write_answers(
        pl.concat([other, one]),
        pl.concat([at, later]),
        END,
        {3: RATES, 4: {"family": 4, "probabilities": False}},
        tmp_path,
    )
    first, second = read_strata(tmp_path, "2026-03-02")
    assert (first.release, second.release) == (3, 4)
    assert figures["families"] == [1, 4]
    alone = tmp_path / "alone"
    alone.mkdir()
    write_answers(one, at, END, {3: RATES}, alone)
    [same] = read_strata(alone, "2026-03-02")
    assert same.estimates["auc"][0].value == first.estimates["auc"][0].value
    assert same.estimates["auc"][0].parts.equals(first.estimates["auc"][0].parts)


def test_a_day_without_answers_or_clicks_is_written_and_read(tmp_path: Path) -> None:
    none, _ = drawn(30, 6)
    figures = write_answers(none.clear(), times(), END, {}, tmp_path)
    assert figures["rows"] == figures["answers"] == 0 and read_strata(tmp_path, "x") == []
    unclicked = none.with_columns(event_id=pl.lit(None, pl.String), clicked=False)
    write_answers(unclicked, times(), END, {3: RATES}, tmp_path)
    [stratum] = read_strata(tmp_path, "x")
    assert stratum.positives == 0 and {*stratum.estimates} == {"calibration"}

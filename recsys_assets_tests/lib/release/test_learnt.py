"""Test which days a release says that it has learnt, through its fine-tunes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from recsys_assets.artifacts import Artifact, ArtifactStore
from recsys_assets.lib.release import learnt
from recsys_assets.lib.release.learnt import LearntDays

DAYS = [f"2026-01-{day:02d}" for day in range(1, 10)]


def publish(store: ArtifactStore, kind: str, day: str, metrics: Any = None, **inputs: Any):
    """Publish an artifact whose content follows from its inputs."""
    with store.stage(kind, day, inputs=inputs) as staged:
        (staged.path / "a").write_text(f"{kind} {day} {staged.fingerprint}")
        return staged.publish(metrics)


def tuned(store: ArtifactStore, day: str, replayed: list[Artifact], **metrics: object) -> Artifact:
    rows = publish(store, "fine_tune/rows", day, masked=replayed)
    return publish(store, "fine_tune/dlrm", day, metrics, rows=rows)


def test_a_fine_tune_has_the_days_of_its_base_and_its_own(tmp_path: Path) -> None:
    store = ArtifactStore(tmp_path)
    raw = [publish(store, "raw/interactions", day) for day in DAYS]
    masked = [publish(store, "features/masked_train", day) for day in DAYS]
    workflows = publish(store, "features/workflows", DAYS[5], train=raw[:4])
    blend = publish(store, "evaluation/blend", DAYS[5], log=raw[:6])
    full = learnt.of_training(workflows, blend, None)
    assert full == {"query_tower": DAYS[:4], "ranker": DAYS[:4], "sources": DAYS[:6]}
    # the vectors of a simple rung are of the whole window
    rung = publish(store, "ladder/simple_rung", DAYS[5], log=raw[:6])
    assert learnt.of_training(workflows, None, rung) == {
        "query_tower": DAYS[:6],
        "ranker": DAYS[:6],
        "sources": [],
    }

    sources = publish(store, "fine_tune/sources", DAYS[6], log=raw[1:7])
    parts = {
        "query_tower": tuned(store, DAYS[6], [masked[2], masked[5], masked[6]]),
        "ranker": tuned(store, DAYS[6], [masked[6]], carried=True),
    }
    found = learnt.of_fine_tune(
        store, full, parts, publish(store, "fine_tune/blend", DAYS[6], sources=sources)
    )
    assert (
        found
        == {
            "query_tower": [*DAYS[:4], DAYS[5], DAYS[6]],
            "ranker": DAYS[:4],  # carried over, so it has not learnt the new day
            "sources": DAYS[1:7],  # fitted anew: the oldest day has left the window
        }
    )
    assert full["query_tower"] == DAYS[:4], "the base's own days stay"
    assert learnt.last_day(found) == DAYS[6]


def test_what_was_not_recorded_stays_unknown(tmp_path: Path) -> None:
    store = ArtifactStore(tmp_path)
    part = publish(store, "fine_tune/dlrm", DAYS[0])
    assert learnt.read_learnt({}) is None
    found = learnt.of_fine_tune(store, None, {"query_tower": part, "ranker": part}, part)
    assert found is None and learnt.last_day(found) is None
    assert "an older version built the release" in learnt.table(found)


def test_days_are_shown_as_ranges() -> None:
    one: LearntDays = {"query_tower": [*DAYS[:3], DAYS[5]], "ranker": DAYS[:1], "sources": []}
    assert learnt.table(one).splitlines()[2:] == [
        "| query tower | 2026-01-01 to 2026-01-03, 2026-01-06 (4 days) |",
        "| ranker | 2026-01-01 (1 day) |",
        "| sources | no day |",
    ]
    month = ["2026-01-31", "2026-02-01"]
    assert learnt.described(month) == "2026-01-31 to 2026-02-01 (2 days)"

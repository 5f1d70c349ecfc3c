"""Says which days a release has learnt: each of its parts, and in words."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import date, timedelta
from typing import Any, TypedDict

from recsys_assets.artifacts import Artifact, ArtifactStore


class LearntDays(TypedDict):
    """Holds the days whose rows the parts of a release have learnt, ISO, sorted."""

    query_tower: list[str]
    ranker: list[str]
    sources: list[str]  # on which the tables of its sources are fitted; older ones are forgotten


def of_training(
    workflows: Artifact, blend: Artifact | None, simple_rung: Artifact | None
) -> LearntDays:
    """Return the days of a full training, or of a simple rung.

    Args:
        workflows: ``features/workflows``, made from the training days.
        blend: ``evaluation/blend`` or ``ladder/fusion``; None: there are no sources.
        simple_rung: ``ladder/simple_rung``, whose vectors are of the whole window; None: the models
            are those of a full training.
    """
    models = _days(workflows, "train") if simple_rung is None else _days(simple_rung, "log")
    return {
        "query_tower": models,
        "ranker": models,
        "sources": [] if blend is None else _days(blend, "log"),
    }


def of_fine_tune(
    store: ArtifactStore, before: LearntDays | None, parts: Mapping[str, Artifact], blend: Artifact
) -> LearntDays | None:
    """Return the days of a fine-tune: those of its base, and those that it learns itself.

    Args:
        store: of the artifacts.
        before: of the base; None: not recorded, so that this release's are not known either.
        parts: "query_tower" and "ranker". One that was carried over learns nothing.
        blend: ``fine_tune/blend``.
    """
    if before is None:
        return None
    found: LearntDays = {**before}
    for role in ("query_tower", "ranker"):
        if not parts[role].metrics.get("carried"):
            rows = parts[role].manifest["inputs"].get("rows")
            own = _days(store.open(rows), "masked") if rows else []
            found[role] = sorted({*before[role], *own})
    sources = blend.manifest["inputs"].get("sources")
    found["sources"] = _days(store.open(sources), "log") if sources else []
    return found


def read_learnt(content: Mapping[str, Any]) -> LearntDays | None:
    """Return the days of a ``release.json``; None: an older version did not record them."""
    found: LearntDays | None = content.get("learnt_days")
    return found


def described(days: Sequence[str]) -> str:
    """Return days as ranges in words.

    >>> described(["2026-01-01", "2026-01-02", "2026-01-04"])
    '2026-01-01 to 2026-01-02, 2026-01-04 (3 days)'
    >>> described([])
    'no day'
    """
    if not days:
        return "no day"
    ranges: list[list[str]] = []
    for day in sorted(days):
        if ranges and _after(ranges[-1][-1]) == day:
            ranges[-1] = [ranges[-1][0], day]
        else:
            ranges.append([day])
    text = ", ".join(" to ".join(dict.fromkeys(one)) for one in ranges)
    return f"{text} ({len(set(days))} day{'' if len(set(days)) == 1 else 's'})"


def table(learnt: LearntDays | None) -> str:
    """Return a Markdown table of the days of each part."""
    if learnt is None:
        return "not recorded: an older version built the release or the one that it started from"
    rows = (f"| {part} | {described(days)} |" for part, days in _parts(learnt))
    return "\n".join(["| part | days that it has learnt |", "| --- | --- |", *rows])


def last_day(learnt: LearntDays | None) -> str | None:
    """Return the last day that any part has learnt, ISO; None: not recorded."""
    every = [day for _, days in _parts(learnt) for day in days] if learnt else []
    return max(every, default=None)


def _parts(learnt: LearntDays) -> Iterable[tuple[str, list[str]]]:
    return (
        ("query tower", learnt["query_tower"]),
        ("ranker", learnt["ranker"]),
        ("sources", learnt["sources"]),
    )


def _days(artifact: Artifact, role: str) -> list[str]:
    """Return the partitions of an input of an artifact, sorted."""
    recorded = artifact.manifest.get("inputs", {}).get(role) or []
    return sorted({str(one["partition"]) for one in recorded if isinstance(one, Mapping)})


def _after(day: str) -> str:
    return (date.fromisoformat(day) + timedelta(days=1)).isoformat()

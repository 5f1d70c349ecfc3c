"""Write the artifact of one source: tuned, fitted on the training days and on the whole window."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypedDict

import numpy as np

from recsys_assets.artifacts import Artifact
from recsys_assets.files import write_json
from recsys_assets.lib.blend.fit import MOST_FACTORS, TUNED_AS, default_params, fit_source
from recsys_assets.lib.evaluation import list_metrics
from recsys_assets.lib.evaluation.baseline_spaces import Params
from recsys_assets.lib.evaluation.baseline_tuning import (
    Budget,
    Fitter,
    Tuned,
    first_inner_day,
    inner_queries,
    tune,
)
from recsys_assets.lib.evaluation.click_log import ClickLog
from recsys_assets.lib.evaluation.latest_clicks import read_clicks
from recsys_assets.lib.evaluation.queries import Queries
from recsys_assets.lib.evaluation.streamed_clicks import StreamedClicks, StreamedLists
from recsys_assets.lib.features.batch_transform import item_vocabulary
from recsys_assets.lib.features.seen import SeenRule, read_rule
from recsys_assets.lib.figures import plots
from recsys_assets.lib.raw.rows import scan_interactions
from recsys_assets.lib.sources.forward_decay import DEFAULT_HALF_LIFE, HALF_LIVES
from recsys_assets.lib.sources.popular_now import PopularNow
from recsys_assets.lib.sources.sources import Source
from recsys_assets.lib.sources.stored import JUDGED, SERVED, read_source, write_source
from recsys_assets.local_time import day_number
from recsys_assets.release_files import EMBEDDING_TABLE, SEEN_RULE
from recsys_assets.source_names import IALS, POPULAR_NOW

ENTRY = "source.json"
#: Trials of a source, visitors that a trial is fitted on and clicks that judge it.
BUDGET = Budget(trials=8, users=20_000, clicks=2_000)


class SourceFigures(TypedDict):
    """Holds the figures of a source."""

    rows: int  # items of the vocabulary
    params: Params
    fitted: bool  # the clicks and the catalogue allow it
    bytes: int  # of the arrays that serve
    tuned: float | None  # nDCG@10 on the last training days; None where nothing was tuned


def write_source_artifact(
    name: str,
    *,
    interactions: Sequence[Artifact],
    inner: Sequence[Artifact],
    items: Artifact,
    workflows: Artifact,
    aligned: Artifact,
    seen_rule: Artifact,
    target: Path,
    train_days: Sequence[str],
    seed: int,
    time_zone: str,
) -> SourceFigures:
    """Tune a source on the last training days and write it; return its figures.

    Args:
        name: one of SOURCE_NAMES but ITEM_TO_ITEM; see ``lib/ladder/fitting.py`` for that.
        interactions: ``raw/interactions`` of the whole window.
        inner: ``features/interactions`` of the last training days.
        items: ``raw/items``.
        workflows: ``features/workflows``, for the vocabulary.
        aligned: ``embeddings/aligned``, for the content of items.
        seen_rule: ``features/seen_rule`` that the queries were made by.
        target: folder of the files.
        train_days: ISO, of the as-of day.
        seed: of all draws.
        time_zone: of the shop.
    """
    vocabulary = item_vocabulary(workflows)
    table = aligned.path(EMBEDDING_TABLE)
    content = np.load(table, mmap_mode="r", allow_pickle=False)
    rule = read_rule(seen_rule.path(SEEN_RULE))
    tuned = Tuned(default_params(name), None, [])
    if name != IALS or len(vocabulary) <= MOST_FACTORS:  # above, it is not fitted
        tuned = _tuned(name, interactions, inner, items, train_days, rule, time_zone, seed)
    log = ClickLog.of(scan_interactions(interactions), vocabulary, time_zone)
    last = str(interactions[-1].partition)
    write_fits(name, tuned.params, log, vocabulary, content, target, (train_days[-1], last), seed)
    return write_source_figures(name, len(vocabulary), tuned, target)


def write_fits(
    name: str,
    params: Params,
    log: ClickLog,
    vocabulary: Sequence[str],
    content: np.ndarray,
    target: Path,
    last_days: tuple[str, str],
    seed: int,
) -> None:
    """Fit a source twice, to be judged and to serve; write both folders.

    Args:
        name: as for ``write_source_artifact``.
        params: of the source.
        log: of the whole window.
        vocabulary: item ids, in the order of ``log``.
        content: float32 [3 + I, D], by Categorify index.
        target: folder of the folders.
        last_days: ISO, the last day that the judged fit learns, and that of the one that serves.
        seed: of the fit.
    """
    for folder, last in zip((JUDGED, SERVED), last_days, strict=True):
        (target / folder).mkdir()
        day = day_number(last) + 1
        source: Source | None
        if name == POPULAR_NOW:  # its counts are online, so that nothing of it is fitted
            source = PopularNow.of(params["half_life"], vocabulary)
        else:
            source = fit_source(name, log.before(day), day, params, content, seed)
        if source is not None:
            write_json(target / folder / ENTRY, write_source(target / folder, source))


def open_source(folder: Path, content: Path) -> Source | None:
    """Open a source of an artifact; None where it could not be fitted.

    folder: JUDGED or SERVED of the artifact. content: the embedding table.
    """
    entry = folder / ENTRY
    if not entry.is_file():
        return None
    return read_source(folder, json.loads(entry.read_text()), content)


def _tuned(
    name: str,
    interactions: Sequence[Artifact],
    inner: Sequence[Artifact],
    items: Artifact,
    train_days: Sequence[str],
    rule: SeenRule,
    zone: str,
    seed: int,
) -> Tuned:
    """Return the best parameters on the last training days; the defaults without clicks."""
    untuned = Tuned(default_params(name), None, [])
    if name not in (*TUNED_AS, POPULAR_NOW) or not inner:
        return untuned
    training = [one for one in interactions if one.partition in set(train_days)]
    if len(training) <= len(inner):
        return untuned
    asked = inner_queries(
        inner, training, items, seed=seed, rule=rule, zone=zone, limit=BUDGET.clicks
    )
    if name == POPULAR_NOW:
        return _best_half_life(
            StreamedClicks.of(read_clicks(training), asked.item_ids), asked, seed
        )
    log = ClickLog.of(scan_interactions(training), asked.item_ids, zone)
    day = first_inner_day(inner, train_days)
    fitter = Fitter.of(log.before(day).sampled(BUDGET.users, seed), log, seed)
    return tune(TUNED_AS[name], partial(fitter, TUNED_AS[name]), asked, BUDGET, seed)


def _best_half_life(clicks: StreamedClicks, asked: Queries, seed: int) -> Tuned:
    """Return the half-life of the online counts: the default, unless another is surely better.

    A shorter one is better on some days by chance: on the last training days of `mind` (see
    ``bench shops``) three hours are above twelve, and on its held-out clicks far below.
    """
    if not len(asked):
        return Tuned(default_params(POPULAR_NOW), None, [])
    trials: dict[int, dict[str, Any]] = {}
    ranks: dict[int, np.ndarray] = {}
    for half_life in sorted(HALF_LIVES, key=lambda one: one != DEFAULT_HALF_LIFE):
        started = time.perf_counter()
        ranks[half_life] = list_metrics.run(StreamedLists(clicks, half_life), asked).ranks
        trials[half_life] = {
            "trial": len(trials),
            "value": list_metrics.point(ranks[half_life], asked.users, BUDGET.metric),
            "seconds": round(time.perf_counter() - started, 2),
            "half_life": half_life,
        }
    default = ranks.pop(DEFAULT_HALF_LIFE)
    better = [
        half_life
        for half_life, own in ranks.items()
        if list_metrics.paired_difference(own, default, asked.users, BUDGET.metric, seed)["low"] > 0
    ]
    best = max(better, key=lambda one: trials[one]["value"], default=DEFAULT_HALF_LIFE)
    return Tuned({"half_life": best}, trials[best]["value"], [*trials.values()])


def write_source_figures(name: str, rows: int, tuned: Tuned, target: Path) -> SourceFigures:
    """Write a source's parameters and the chart of its trials as Markdown; return its figures.

    Args:
        name: of the source.
        rows: items of the vocabulary.
        tuned: parameters and trials.
        target: folder of the artifact, which has the fitted source.
    """
    served, folder = target / SERVED, target / "figures"
    figures: SourceFigures = {
        "rows": rows,
        "params": tuned.params,
        "fitted": (served / ENTRY).is_file(),
        "bytes": sum(path.stat().st_size for path in served.glob("*.npy")),
        "tuned": tuned.value,
    }
    folder.mkdir()
    if not figures["fitted"]:
        (folder / "source.md").write_text(
            f"{name} is not fitted: the training days have no click of a known visitor, or the "
            "catalogue is too large for it."
        )
        return figures
    (folder / "source.md").write_text(
        "\n".join(
            [
                f"- parameters: {json.dumps(figures['params'])}",
                f"- bytes that serve: {figures['bytes']:,}",
            ]
        )
    )
    if tuned.trials:
        (folder / "trials.md").write_text(
            plots.bar_chart(
                f"{name}: nDCG@10 of the trials on the last training days",
                {str(trial["trial"]): trial["value"] for trial in tuned.trials},
            )
        )
    return figures

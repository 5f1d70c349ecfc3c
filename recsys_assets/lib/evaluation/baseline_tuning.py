"""Tunes every baseline by the same number of trials, on the same inner split and metric.

The inner split repeats the outer one earlier: baselines are fitted on the training days without the
last INNER_DAYS and judged on these, point-in-time, by the same kind of queries, seen filter and
metrics. Validation days take no part, so a tuned baseline has learnt no more of them than the
models have. With the best parameters, each baseline is fitted again on all training days. What a
query knows of its own visitor, and of all clicks so far, is point-in-time in both splits. The first
trial is the default, so tuning cannot end below it. The others are drawn by a tree-structured
Parzen estimator (Bergstra et al. 2011; optuna's TPESampler); the seed decides the draws.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import scipy.sparse as sp

from recsys_assets.artifacts import Artifact
from recsys_assets.lib.evaluation import dismissals, list_metrics
from recsys_assets.lib.evaluation.baseline_spaces import DEFAULTS, POPULAR, SPACES, Params
from recsys_assets.lib.evaluation.baselines import Ease, ImplicitALS, ItemKNN
from recsys_assets.lib.evaluation.click_log import ClickLog
from recsys_assets.lib.evaluation.list_metrics import METRICS, SameForAll, Scorer
from recsys_assets.lib.evaluation.measures import PRIMARY
from recsys_assets.lib.evaluation.popular_baselines import (
    Popular,
    RandomOrder,
    RecentPopularity,
    StreamedPopularity,
)
from recsys_assets.lib.evaluation.queries import Queries
from recsys_assets.lib.evaluation.session_baselines import FollowUps, SessionKNN
from recsys_assets.lib.evaluation.visitor_baselines import OwnCounts
from recsys_assets.lib.features.seen import SeenRule, read_rule
from recsys_assets.lib.figures import plots
from recsys_assets.lib.figures.tables import markdown_table
from recsys_assets.lib.raw.rows import scan_interactions
from recsys_assets.local_time import day_number
from recsys_assets.partitions import INNER_DAYS
from recsys_assets.release_files import SEEN_RULE

_SHOWN_TRIALS = 5  # in the figure, the best of each baseline


@dataclass(frozen=True)
class Budget:
    """Limits the tuning of each baseline.

    Raises:
        ValueError: the metric is unknown, or a number is below 1.
    """

    trials: int = 16
    #: most visitors that a trial's model is fitted on; the final one is fitted on all
    users: int = 60_000
    clicks: int = 8_000  # held-out clicks of the inner split that judge a trial, about
    metric: str = PRIMARY  # the one by which baselines are compared with what serves

    def __post_init__(self) -> None:
        if self.metric not in METRICS:
            raise ValueError(f"metric {self.metric!r} is unknown; use one of {', '.join(METRICS)}")
        for name in ("trials", "users", "clicks"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; tuning needs 1 or more")


@dataclass(frozen=True)
class Tuned:
    """Holds the best parameters of a baseline and its trials.

    Without clicks to tune by, they are the defaults, and there is no trial.
    """

    params: Params
    value: float | None  # of the budget's metric, on the inner split
    trials: list[dict[str, Any]]  # in order: {"trial", "value", "seconds", and every parameter}


def tune(
    name: str, fit: Callable[[Params], Scorer], queries: Queries, budget: Budget, seed: int
) -> Tuned:
    """Search SPACES[name] for the best parameters by the budget's metric.

    Of equal trials, the earliest counts. Without a query, the defaults stay.

    Args:
        name: of the baseline.
        fit: parameters → scorer.
        queries: of the inner split.
        budget: trials and metric.
        seed: of the draws.
    """
    if not len(queries):
        return Tuned(DEFAULTS[name], None, [])
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    users, trials = queries.users, []
    # a third of the trials at random, then the estimator
    sampler = optuna.samplers.TPESampler(seed=seed, n_startup_trials=-(-budget.trials // 3))
    study = optuna.create_study(direction="maximize", sampler=sampler)
    study.enqueue_trial(DEFAULTS[name])
    for number in range(budget.trials):
        started, trial = time.perf_counter(), study.ask()
        params = {key: choice.suggest(trial, key) for key, choice in SPACES[name].items()}
        ranks = list_metrics.run(fit(params), queries).ranks
        value = list_metrics.point(ranks, users, budget.metric)
        study.tell(trial, value)
        trials.append(
            {
                "trial": number,
                "value": value,
                "seconds": round(time.perf_counter() - started, 2),
                **params,
            }
        )
    best = max(trials, key=lambda row: row["value"])
    return Tuned({key: best[key] for key in SPACES[name]}, best["value"], trials)


@dataclass(frozen=True)
class Fitter:
    """Fits baselines on the clicks before a day.

    Attributes:
        fitted: clicks that models are fitted on.
        log: clicks that queries answer from; reaches up to the last query.
        seed: of iALS.
        popular: what answers where there is no click.
    """

    fitted: ClickLog
    log: ClickLog
    seed: int
    popular: Popular

    @classmethod
    def of(
        cls, fitted: ClickLog, log: ClickLog, seed: int, tuned: Mapping[str, Tuned] | None = None
    ) -> Fitter:
        """Return a fitter that falls back on the better popularity of ``tuned``.

        None: recent popularity with its defaults.
        """
        name, params = POPULAR[0], DEFAULTS[POPULAR[0]]
        if tuned is not None:
            name = max(POPULAR, key=lambda one: tuned[one].value or 0.0)
            params = tuned[name].params
        return cls(fitted, log, seed, _popular(name, log, params))

    @cached_property
    def matrix(self) -> sp.csr_matrix:
        """Return ones where a visitor clicked an item, float32 [U, I]."""
        return self.fitted.matrix()

    def __call__(self, name: str, params: Params) -> Scorer:
        """Fit the baseline ``name``."""
        if name in POPULAR:
            return _popular(name, self.log, params)
        if name == OwnCounts.name:
            return OwnCounts(self.log, self.popular, **params)
        if not len(self.fitted.code):  # no known visitor has clicked: there is nothing to fit
            return self.popular
        if name == FollowUps.name:
            return FollowUps.fit(self.fitted, self.log, self.popular, **params)
        if name == SessionKNN.name:
            return SessionKNN.fit(self.fitted, self.log, self.popular, **params)
        if name == ItemKNN.name:
            return ItemKNN.fit(self.matrix, self.log, self.popular, **params)
        if name == Ease.name:
            return Ease.fit(self.matrix, self.log, self.popular, **params)
        return ImplicitALS.fit(self.matrix, self.log, self.popular, **params, seed=self.seed)


def _popular(name: str, log: ClickLog, params: Params) -> Popular:
    kind = {one.name: one for one in (RecentPopularity, StreamedPopularity)}[name]
    return kind(log, **params)


def tune_all(
    log: ClickLog, queries: Queries, first_day: int, budget: Budget, seed: int
) -> dict[str, Tuned]:
    """Tune every baseline of SPACES on the clicks before ``first_day`` (since 1970)."""
    fitted = log.before(first_day).sampled(budget.users, seed)
    first = Fitter.of(fitted, log, seed)
    found = {name: tune(name, partial(first, name), queries, budget, seed) for name in POPULAR}
    fitter = Fitter.of(fitted, log, seed, found)
    for name in SPACES:
        if name not in found:
            found[name] = tune(name, partial(fitter, name), queries, budget, seed)
    return found


def inner_queries(
    features: Sequence[Artifact],
    training: Sequence[Artifact],
    items: Artifact,
    *,
    seed: int,
    rule: SeenRule,
    zone: str,
    limit: int,
) -> Queries:
    """Return the queries of the inner split, on which settings are tuned.

    Args:
        features: ``features/interactions`` of the last INNER_DAYS training days, or fewer.
        training: ``raw/interactions`` of the training days.
        items: ``raw/items``.
        seed: of the draws.
        rule: of the queries that the settings are for.
        zone: time zone of the shop.
        limit: of the held-out clicks, about.
    """
    inner = Queries.build(features, training, items, seed=seed, rule=rule, zone=zone, limit=limit)
    return inner.subset(np.flatnonzero(inner.overall))


def first_inner_day(features: Sequence[Artifact], train_days: Sequence[str]) -> int:
    """Return the first day of the inner split, in days since 1970; see ``inner_queries``.

    Without features it is the last training day, and there is no query.
    """
    return day_number(min([str(day.partition) for day in features] or [train_days[-1]]))


def write_baselines(
    queries: Artifact,
    interactions: Sequence[Artifact],
    features: Sequence[Artifact],
    items: Artifact,
    target: Path,
    *,
    train_days: Sequence[str],
    budget: Budget,
    seed: int,
    seen_rule: Artifact,
    time_zone: str,
) -> dict[str, Any]:
    """Write lists.npz and figures of all baselines; return their metrics.

    Args:
        queries: ``evaluation/queries``.
        interactions: ``raw/interactions`` of the training and the validation days, in order.
        features: ``features/interactions`` of the last INNER_DAYS training days, or fewer; with
            none, the defaults stay.
        items: ``raw/items``.
        target: folder of the files.
        train_days: of the as-of day.
        budget: of each baseline.
        seed: of all draws.
        seen_rule: ``features/seen_rule`` that the queries were made by.
        time_zone: of the shop.

    Returns:
        baseline → its list metrics, "params", "tuning" (its trials) and "seconds" (in total).

    Raises:
        ValueError: the queries are of another catalogue.
    """
    asked = Queries.read(queries)
    log = ClickLog.of(scan_interactions(interactions), asked.item_ids, time_zone)
    training = [a for a in interactions if a.partition in set(train_days)]
    inner = inner_queries(
        features,
        training,
        items,
        seed=seed,
        rule=read_rule(seen_rule.path(SEEN_RULE)),
        zone=time_zone,
        limit=budget.clicks,
    )
    if not np.array_equal(inner.item_ids, asked.item_ids):
        raise ValueError(
            "evaluation/queries are of another catalogue than raw/items; materialise "
            "evaluation/queries again"
        )
    tuned = tune_all(log, inner, first_inner_day(features, train_days), budget, seed)
    metrics, lists = _judge_all(log, tuned, asked, day_number(train_days[-1]), seed)
    np.savez(target / "lists.npz", allow_pickle=False, **lists)
    _write_figures(metrics, tuned, budget, len(inner), target / "figures")
    return metrics


def _judge_all(
    log: ClickLog, tuned: Mapping[str, Tuned], queries: Queries, last_day: int, seed: int
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Fit every baseline on the clicks up to ``last_day`` and judge it on the queries.

    Returns:
        metrics and lists, as ``write_baselines`` returns and writes them.
    """
    fitted = log.before(last_day + 1)
    fitter = Fitter.of(fitted, log, seed, tuned)
    simple: dict[str, Scorer] = {
        "random": RandomOrder(queries.items, seed),
        "popularity": SameForAll("popularity", fitted.daily.sum(axis=0)),
    }
    metrics: dict[str, Any] = {}
    lists: dict[str, np.ndarray] = {}
    for name in [*simple, *tuned]:
        started = time.perf_counter()
        found = tuned.get(name, Tuned({}, None, []))
        answered = list_metrics.run(simple.get(name) or fitter(name, found.params), queries)
        lists |= answered.arrays(name)
        spent = time.perf_counter() - started + sum(trial["seconds"] for trial in found.trials)
        metrics[name] = {
            **dismissals.judge(answered, queries, seed),
            "params": found.params,
            "tuning": found.trials,
            "seconds": round(spent, 2),
        }
    return metrics, lists


def _write_figures(
    metrics: Mapping[str, Any],
    tuned: Mapping[str, Tuned],
    budget: Budget,
    clicks: int,
    folder: Path,
) -> None:
    """Write baselines.md (table), bars of two metrics, and tuning.md (the best trials)."""
    folder.mkdir()
    shown = ("ndcg@10", "recall@10", "recall@100", "recall@300")
    table = pl.DataFrame(
        [
            {
                "baseline": name,
                **{
                    metric: f"{of[metric]['value']:.4f} [{of[metric]['low']:.4f}, "
                    f"{of[metric]['high']:.4f}]"
                    for metric in shown
                    if metric in of
                },
                "parameters": _named(of["params"]),
            }
            for name, of in metrics.items()
        ]
    )
    (folder / "baselines.md").write_text(markdown_table(table))
    if all(shown[0] in of for of in metrics.values()):  # else no query: no figures
        for metric in ("ndcg@10", "recall@100"):
            (folder / f"{metric}.md").write_text(
                plots.bar_chart(
                    f"{metric}, whole catalogue, validation days",
                    {name: of[metric]["value"] for name, of in metrics.items()},
                )
            )
    trials = [
        {
            "baseline": name,
            "place": place,
            "trial": row["trial"],
            budget.metric: row["value"],
            "parameters": _named({key: row[key] for key in SPACES[name]}),
        }
        for name, of in tuned.items()
        for place, row in enumerate(
            sorted(of.trials, key=lambda row: -row["value"])[:_SHOWN_TRIALS], 1
        )
    ]
    if not trials:
        text = "The last training days have no click to tune by: these are the defaults."
        (folder / "tuning.md").write_text(text)
        return
    (folder / "tuning.md").write_text(
        f"{budget.trials} trials each, judged by {budget.metric} on {clicks} clicks of the last "
        f"{INNER_DAYS} training days; the best {_SHOWN_TRIALS}:\n\n"
        + markdown_table(pl.DataFrame(trials))
    )


def _named(params: Mapping[str, Any]) -> str:
    return ", ".join(
        f"{key} {value:.3g}" if isinstance(value, float) else f"{key} {value}"
        for key, value in params.items()
    )

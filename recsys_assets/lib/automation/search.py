"""Searches hyper-parameters: their spaces, the figure to optimise, and the study.

Trials are judged by clicks of the training days (rows, for the ranker) that their model did not
learn. Validation days take no part, so a tuned model has learnt no more of them than any other. The
first trial is the defaults, so a search cannot end below them. A third of the trials is drawn at
random, the rest by a tree-structured Parzen estimator (Bergstra et al. 2011; optuna's TPESampler).
A study is stored in a file, so an interrupted search continues.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import polars as pl

from recsys_assets.lib.evaluation.baseline_spaces import Between, OneOf
from recsys_assets.lib.figures import plots
from recsys_assets.lib.figures.tables import markdown_table

if TYPE_CHECKING:
    import optuna

Params = dict[str, Any]


@dataclass(frozen=True)
class Search:
    """Defines the search of one model.

    Attributes:
        figure: key of a training's metrics: its figure after every epoch, on the held-out rows.
        higher_is_better: whether the best epoch has the highest figure. The training keeps the
            weights of the best epoch.
        space: parameter → the values to try.
    """

    figure: str
    higher_is_better: bool
    space: Mapping[str, Between | OneOf]

    @property
    def direction(self) -> Literal["maximize", "minimize"]:
        """Direction of the study, in optuna's words."""
        return "maximize" if self.higher_is_better else "minimize"

    def without(self, fixed: Mapping[str, Any]) -> Search:
        """Return the same search without the parameters in ``fixed``."""
        return dataclasses.replace(
            self, space={name: choice for name, choice in self.space.items() if name not in fixed}
        )

    def objective(self, metrics: Mapping[str, Any]) -> float:
        """Return the best epoch's figure.

        Raises:
            ValueError: the training judged no epoch.
        """
        figures = metrics.get(self.figure)
        if not figures:
            raise ValueError(
                f"the training reported no {self.figure}: set held_out above 0, and use at least "
                "400 rows, so that 20 of them can be held out"
            )
        return float(max(figures) if self.higher_is_better else min(figures))


SEARCHES: dict[str, Search] = {
    "two_tower": Search(
        "held_out_recall",
        True,
        {
            "learning_rate": Between(5e-4, 2e-2, log=True),
            "batch_size": OneOf((1024, 2048, 4096, 8192)),
            "negatives": OneOf((0, 512, 1024, 2048)),
            "uniform_negatives": OneOf((0, 256, 1024)),
            "temperature": Between(0.03, 0.3, log=True),
            "item_id_dropout": Between(0.0, 0.5),
            "embedding_dim": OneOf((16, 32, 64)),
            "dropout": Between(0.0, 0.4),
            "embedding_l2": OneOf((0.0, 1e-6, 1e-5, 1e-4)),
            "logq_correction": OneOf((True, False)),
            "history_heads": OneOf((1, 2, 4, 8)),
            "history_dropout": Between(0.0, 0.4),
            "last_item_share": Between(0.0, 2.0),
        },
    ),
    "dlrm": Search(
        "held_out_log_loss",
        False,
        {
            "learning_rate": Between(2e-4, 1e-2, log=True),
            "batch_size": OneOf((1024, 2048, 4096, 8192)),
            "dropout": Between(0.0, 0.4),
            "embedding_l2": OneOf((0.0, 1e-6, 1e-5, 1e-4)),
        },
    ),
}


def open_study(
    file: Path, name: str, search: Search, trials: int, seed: int, defaults: Mapping[str, Any]
) -> optuna.Study:
    """Open or create the study of this name in a file.

    Args:
        file: Optuna's journal. Unlike SQLite, it works on a network volume.
        name: of the study; the same name finds its trials again.
        search: direction and space.
        trials: of the whole search; a third is drawn at random.
        seed: of the draws.
        defaults: the model's parameters; those of the space are tried first.

    Raises:
        ValueError: a default lies outside of the space.
    """
    import optuna
    from optuna.storages import journal

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    first = {key: defaults[key] for key in search.space}
    outside = [
        f"{key}={first[key]}"
        for key, choice in search.space.items()
        if (
            first[key] not in choice.values
            if isinstance(choice, OneOf)
            else not choice.low <= first[key] <= choice.high
        )
    ]
    if outside:
        raise ValueError(
            f"the defaults {', '.join(outside)} lie outside of the search space; widen "
            "lib/automation/search.py's space"
        )
    file.parent.mkdir(parents=True, exist_ok=True)
    study = optuna.create_study(
        storage=journal.JournalStorage(journal.JournalFileBackend(str(file))),
        study_name=name,
        direction=search.direction,
        load_if_exists=True,
    )
    # another seed per start: the same seed would repeat the random trials of the first start
    study.sampler = optuna.samplers.TPESampler(
        seed=seed + len(study.trials), n_startup_trials=-(-trials // 3)
    )
    for trial in study.trials:  # left by a killed search
        if trial.state == optuna.trial.TrialState.RUNNING:
            study.tell(trial.number, state=optuna.trial.TrialState.FAIL)
    study.enqueue_trial(first, skip_if_exists=True)
    return study


def finished(study: optuna.Study) -> int:
    """Return the number of ended trials, failed ones included."""
    return sum(trial.state.is_finished() for trial in study.trials)


def propose(study: optuna.Study, search: Search) -> tuple[optuna.Trial, Params]:
    """Start a trial; return it and its parameters."""
    trial = study.ask()
    return trial, {key: choice.suggest(trial, key) for key, choice in search.space.items()}


def table(study: optuna.Study, search: Search) -> pl.DataFrame:
    """Return the trials, best first: {trial, <figure>, every parameter, seconds, run}.

    A failed trial has no figure and is last.
    """
    rows = [
        {
            "trial": trial.number,
            search.figure: trial.value if trial.state.name == "COMPLETE" else None,
            **trial.params,
            **{name: trial.user_attrs.get(name) for name in ("seconds", "run")},
        }
        for trial in study.trials
        if trial.state.is_finished()
    ]
    return pl.DataFrame(rows, infer_schema_length=None).sort(
        search.figure, "trial", descending=[search.higher_is_better, False], nulls_last=True
    )


def report(
    study: optuna.Study,
    search: Search,
    defaults: Mapping[str, Any],
    op: str,
    fixed: Mapping[str, Any],
) -> dict[str, str]:
    """Return the report of a search: name → Markdown.

    It has all trials, the best parameters beside the defaults and as run config, and a plot.

    Args:
        study: with its trials.
        search: figure and space.
        defaults: the model's parameters.
        op: of the asset that trains this model.
        fixed: parameters that were not searched.

    Raises:
        ValueError: no trial succeeded.
    """
    done = table(study, search).with_columns(pl.col(pl.Float64).round_sig_figs(4))
    if done[search.figure].null_count() == done.height:
        raise ValueError(
            f"none of {done.height} trials succeeded; the causes are in the runs tagged with the "
            "search's name"
        )
    best = {**fixed, **study.best_params}
    compared = pl.DataFrame(
        [
            {"parameter": name, "default": _text(defaults[name]), "best": _text(value)}
            for name, value in best.items()
        ]
    )
    config = "\n".join(f"      {name}: {_text(value)}" for name, value in best.items())
    found = [
        trial.value
        for trial in study.trials
        if trial.state.name == "COMPLETE" and trial.value is not None
    ]
    return {
        "trials": markdown_table(done),
        "best": markdown_table(compared),
        "run_config": f"```yaml\nops:\n  {op}:\n    config:\n{config}\n```",
        "by_trial": plots.line_chart(f"{search.figure}, trial by trial", found),
    }


def _text(value: Any) -> str:
    return (
        str(value).lower()
        if isinstance(value, bool)
        else f"{value:.4g}"
        if isinstance(value, float)
        else str(value)
    )

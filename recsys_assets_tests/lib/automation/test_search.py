"""The search's study: defaults first, the best kept, an interrupted one goes on."""

from __future__ import annotations

from pathlib import Path

import optuna
import pytest

from recsys_assets.lib.automation import search
from recsys_assets.lib.evaluation.baseline_spaces import Between, OneOf

SPACE = search.Search(
    "held_out",
    True,
    {"rate": Between(1e-4, 1e-1, log=True), "size": OneOf((1, 2, 4)), "fast": OneOf((True, False))},
)
DEFAULTS = {"rate": 1e-3, "size": 2, "fast": True, "epochs": 12}


def value(params: dict) -> float:
    return 1 - abs(params["rate"] - 0.02) + 0.1 * (params["size"] == 4)


def run(file: Path, trials: int, *, fail: tuple[int, ...] = (), seed: int = 1) -> optuna.Study:
    study = search.open_study(file, "study", SPACE, trials, seed, DEFAULTS)
    for number in range(search.finished(study), trials):
        trial, params = search.propose(study, SPACE)
        trial.set_user_attr("run", f"run-{number}")
        if number in fail:
            study.tell(trial, state=optuna.trial.TrialState.FAIL)
        else:
            study.tell(trial, value(params))
    return study


def test_the_defaults_are_tried_first_and_nothing_ends_below_them(tmp_path):
    study = run(tmp_path / "a" / "study.journal", 12)
    assert study.trials[0].params == {"rate": 1e-3, "size": 2, "fast": True}
    assert study.best_value >= value(DEFAULTS) and study.best_params["size"] == 4


def test_one_seed_gives_one_search(tmp_path):
    one, two, other = (
        run(tmp_path / f"{name}.journal", 6, seed=seed)
        for name, seed in (("one", 3), ("two", 3), ("other", 4))
    )
    assert (
        [t.params for t in one.trials]
        == [t.params for t in two.trials]
        != [t.params for t in other.trials]
    )


def test_an_interrupted_search_goes_on_without_repeating_itself(tmp_path):
    first = run(tmp_path / "study.journal", 4)
    search.propose(first, SPACE)  # killed in its fifth trial
    study = run(tmp_path / "study.journal", 9)
    assert search.finished(study) == 9 and study.trials[4].state.name == "FAIL"
    assert len({tuple(t.params.items()) for t in study.trials}) == 9


def test_failed_trials_are_last_and_the_report_can_be_pasted(tmp_path):
    study = run(tmp_path / "study.journal", 6, fail=(2,))
    table = search.table(study, SPACE)
    assert (
        table["trial"][-1] == 2
        and table["held_out"][-1] is None
        and table["held_out"][0] == study.best_value
    )
    assert table["run"][0] == f"run-{study.best_trial.number}"
    parts = search.report(study, SPACE, DEFAULTS, "retrieval__two_tower", {"epochs": 6})
    assert "| epochs | 12 | 6 |" in parts["best"] and "| fast | true |" in parts["best"]
    assert "ops:\n  retrieval__two_tower:\n    config:\n      epochs: 6\n" in parts["run_config"]
    with pytest.raises(ValueError, match="none of 2 trials succeeded"):
        search.report(run(tmp_path / "failed.journal", 2, fail=(0, 1)), SPACE, DEFAULTS, "op", {})


def test_a_default_outside_of_the_space_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"rate=0.5, size=3 lie outside"):
        search.open_study(
            tmp_path / "study.journal", "study", SPACE, 3, 1, {**DEFAULTS, "rate": 0.5, "size": 3}
        )


def test_the_figure_is_the_best_epochs():
    assert search.SEARCHES["two_tower"].objective({"held_out_recall": [0.2, 0.4, 0.3]}) == 0.4
    assert search.SEARCHES["dlrm"].objective({"held_out_log_loss": [0.5, 0.45, 0.47]}) == 0.45
    with pytest.raises(ValueError, match="no held_out_recall: set held_out above 0"):
        search.SEARCHES["two_tower"].objective({"held_out_recall": []})

"""Test the search jobs on an ephemeral instance.

A training is a stand-in whose figure has a known best.
"""

from __future__ import annotations

import math
from pathlib import Path
from types import SimpleNamespace

import dagster as dg
import pytest

from recsys_assets import partitions
from recsys_assets.artifacts import ArtifactStore
from recsys_assets.defs.automation import search as jobs
from recsys_assets.defs.retrieval.model_inputs import ModelInputs
from recsys_assets.lib.automation.search import SEARCHES
from recsys_assets.orchestration import upstream
from recsys_assets.orchestration.pipes import Reported, TrainingClient
from recsys_assets.orchestration.resources import Platform
from recsys_assets.settings import Settings, get_settings

AS_OF = partitions.first_as_of(get_settings())
BEST_RATE = 8e-3


@pytest.fixture
def home(tmp_path: Path) -> SimpleNamespace:
    """Return a home with the inputs of a training, and a stand-in for the training."""
    settings = Settings(home=tmp_path, start_day=partitions.calendar_start(get_settings()))
    calls: list[dict] = []

    class HomePlatform(Platform):
        @property
        def settings(self) -> Settings:
            return settings

    class Stand(TrainingClient):
        @property
        def settings(self) -> Settings:
            return settings

        def run(self, context, module, *, inputs, output, params=None, profile=None):
            calls.append(params)
            if params["dropout"] > 0.3:  # as a training whose loss diverged
                raise dg.Failure("the loss is nan", allow_retries=False)
            (Path(output) / "config.json").write_text(str(params))
            distance = abs(math.log(params["learning_rate"] / BEST_RATE))
            return Reported(
                {
                    "held_out_recall": [0.1, 0.8 - 0.1 * distance, 0.1],
                    "held_out_log_loss": [0.9, 0.4 + 0.01 * distance, 0.5],
                    "recall@100": 0.99,
                    "epochs": 3,
                    "best_epoch": 2,
                    "seconds": 1.0,
                },
                {},
            )

    store = ArtifactStore(settings.artifacts)
    for kind in {*upstream.kinds(ModelInputs).values(), "retrieval/two_tower"}:
        publish(store, kind)
    return SimpleNamespace(
        settings=settings, store=store, platform=HomePlatform(), training=Stand(), calls=calls
    )


def publish(store: ArtifactStore, kind: str, text: str = "as it is") -> None:
    """Publish an artifact of the as-of day."""
    with store.stage(kind, AS_OF) as staged:
        (staged.path / "a").write_text(text)
        staged.publish()


def run(
    home: SimpleNamespace, job: dg.JobDefinition, instance: dg.DagsterInstance, **config: object
) -> dg.ExecuteInProcessResult:
    """Run a search job."""
    model = job.name.removeprefix("search_")
    return job.execute_in_process(
        instance=instance,
        resources={"platform": home.platform, "training": home.training},
        raise_on_error=False,
        run_config={"ops": {f"propose_{model}": {"config": {"as_of": AS_OF, **config}}}},
    )


def trials_of(instance: dg.DagsterInstance) -> list[dg.DagsterRun]:
    """Return the runs of the trials in order."""
    return sorted(
        instance.get_runs(dg.RunsFilter(job_name="search_trial")),
        key=lambda one: int(one.tags[jobs.TRIAL]),
    )


def metadata(result: dg.ExecuteInProcessResult, model: str = "two_tower") -> dict:
    """Return the metadata of the search's output."""
    [event] = [event for event in result.all_events if event.event_type_value == "STEP_OUTPUT"]
    return {name: value.value for name, value in event.event_specific_data.metadata.items()}


def test_every_trial_is_a_run_and_the_best_beats_the_defaults(home: SimpleNamespace) -> None:
    current = home.store.current("retrieval/two_tower", AS_OF).digest
    with dg.DagsterInstance.ephemeral() as instance:
        result = run(
            home, jobs.search_two_tower, instance, trials=9, fixed={"epochs": 6, "embedding_dim": 8}
        )
        assert result.success
        runs, shown = trials_of(instance), metadata(result)
        assert [one.tags[jobs.TRIAL] for one in runs] == [str(n) for n in range(9)]
        assert {one.tags[jobs.SEARCH] for one in runs} == {shown["search"]}
        events = instance.fetch_materializations(
            dg.AssetKey(["search", "two_tower"]), limit=20
        ).records
    assert {call["embedding_dim"] for call in home.calls} == {8} and "embedding_dim" not in shown[
        "best params"
    ]
    defaults = {
        name: getattr(jobs.CONFIGS["two_tower"](), name)
        for name in SEARCHES["two_tower"].space
        if name != "embedding_dim"
    }
    assert {name: home.calls[0][name] for name in defaults} == defaults and {
        call["epochs"] for call in home.calls
    } == {6}
    assert shown["held_out_recall"] >= 0.8 - 0.1 * abs(
        math.log(defaults["learning_rate"] / BEST_RATE)
    )
    assert f"| epochs | {jobs.CONFIGS['two_tower']().epochs} | 6 |" in shown["best"]
    assert f"learning_rate: {shown['best params']['learning_rate']:.4g}" in shown["run config"]
    assert (
        Path(shown["file"]).is_relative_to(home.settings.home / "search")
        and "## best" in Path(shown["file"]).read_text()
    )
    # the page of search/two_tower plots the trials by what they were judged by, never by validation
    # days
    values = [event.asset_materialization.metadata["held_out_recall"].value for event in events]
    assert (
        max(values) == shown["held_out_recall"]
        and "recall@100" not in events[0].asset_materialization.metadata
    )
    assert home.store.current("retrieval/two_tower", AS_OF).digest == current
    assert home.store.exists("search/two_tower", AS_OF)


def test_it_goes_on_where_it_ended_until_the_data_change(home: SimpleNamespace) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        assert run(home, jobs.search_dlrm, instance, trials=3).success
        assert run(home, jobs.search_dlrm, instance, trials=5).success
        assert [one.tags[jobs.TRIAL] for one in trials_of(instance)] == [
            "0",
            "1",
            "2",
            "3",
            "4",
        ] and len(home.calls) == 5
        assert run(home, jobs.search_dlrm, instance, trials=5).success and len(home.calls) == 5
        publish(home.store, "features/datasets", "other rows")
        result = run(home, jobs.search_dlrm, instance, trials=1)
        assert result.success and len(home.calls) == 6
        assert len({one.tags[jobs.SEARCH] for one in trials_of(instance)}) == 2


def test_a_trial_that_fails_is_noted_and_the_search_goes_on(home: SimpleNamespace) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        result = run(home, jobs.search_two_tower, instance, trials=12, seed=2)
        assert result.success
        failed = [one for one in trials_of(instance) if one.status == dg.DagsterRunStatus.FAILURE]
        assert len(failed) == sum(call["dropout"] > 0.3 for call in home.calls) > 0
        assert metadata(result)["best params"]["dropout"] <= 0.3


def test_on_a_cluster_the_trials_are_pods_of_the_one_run(home: SimpleNamespace) -> None:
    """Run monitoring would look for the pod of another run, find none, and mark it as failed."""
    home.settings.executor = "k8s"
    with dg.DagsterInstance.ephemeral() as instance:
        result = run(home, jobs.search_two_tower, instance, trials=12, seed=2)
        assert result.success
        assert [one.job_name for one in instance.get_runs()] == ["search_two_tower"]
        key = dg.AssetKey(["search", "two_tower"])
        events = instance.fetch_materializations(key, limit=20).records
    failed = sum(call["dropout"] > 0.3 for call in home.calls)
    assert 0 < failed < 12
    assert len(events) == 12 - failed
    shown = metadata(result)
    trials = [event.asset_materialization.metadata["trial"].value for event in events]
    assert len(set(trials)) == len(trials)
    values = [event.asset_materialization.metadata["held_out_recall"].value for event in events]
    assert max(values) == shown["held_out_recall"]


def test_what_no_training_knows_is_refused(home: SimpleNamespace) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        result = run(home, jobs.search_two_tower, instance, trials=2, fixed={"colour": 1})
        [failure] = [
            event for event in result.all_events if event.event_type_value == "STEP_FAILURE"
        ]
        assert (
            "two_tower has no parameter colour" in str(failure.event_specific_data.error)
            and not home.calls
        )


@pytest.mark.parametrize("model", list(SEARCHES))
def test_what_is_searched_are_parameters_that_hold_their_defaults(model: str) -> None:
    """A default outside of its space, or a rejected value, fails the first trial."""
    space, config = SEARCHES[model].space, jobs.CONFIGS[model]
    assert set(space) <= set(config.model_fields)
    for name, choice in space.items():
        for value in getattr(choice, "values", None) or (choice.low, choice.high):
            config(**{name: value})

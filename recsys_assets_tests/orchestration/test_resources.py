"""Tests of the windows that a run may override in the launchpad."""

from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Annotated, TypedDict

import dagster as dg
import pytest

from recsys_assets import partitions
from recsys_assets.artifacts import Artifact, ArtifactStore
from recsys_assets.orchestration import resources
from recsys_assets.orchestration.resources import WINDOWS, Platform
from recsys_assets.orchestration.upstream import Upstream, open_inputs
from recsys_assets.settings import Settings

START = date(2026, 1, 1)


class Window(TypedDict):
    """Inputs of a paper asset."""

    train: Annotated[Sequence[Artifact], Upstream("a/days", partitions.TRAINING)]
    valid: Annotated[Sequence[Artifact], Upstream("a/days", partitions.VALIDATION)]


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    home = Settings(home=tmp_path, start_day=START, train_days=4, validation_days=2)
    monkeypatch.setattr(resources, "get_settings", lambda: home)
    store = ArtifactStore(home.artifacts)
    for day in partitions.days_between(START, date(2026, 1, 20)):
        with store.stage("a/days", day) as staged:
            (staged.path / "empty").write_text("")
            staged.publish()
    return home


def opened(settings: Settings, **config: int) -> tuple[list[str], list[str]]:
    """Return the training and validation days that a run with this config opens."""

    @dg.asset(partitions_def=dg.DailyPartitionsDefinition(START.isoformat()))
    def trained(context: dg.AssetExecutionContext, platform: Platform) -> dg.MaterializeResult:
        days = open_inputs(Window, platform, context.partition_key)
        return dg.MaterializeResult(
            metadata={role: [str(one.partition) for one in found] for role, found in days.items()}
        )

    with dg.DagsterInstance.ephemeral() as instance:
        result = dg.materialize(
            [trained],
            resources={"platform": Platform.of(settings)},
            partition_key="2026-01-20",
            run_config={"resources": {"platform": {"config": config}}} if config else None,
            instance=instance,
        )
    [event] = result.get_asset_materialization_events()
    found = event.materialization.metadata
    return found["train"].value, found["valid"].value


def test_a_run_opens_the_windows_of_the_settings(settings: Settings) -> None:
    assert opened(settings) == (
        ["2026-01-15", "2026-01-16", "2026-01-17", "2026-01-18"],
        ["2026-01-19", "2026-01-20"],
    )


def test_the_launchpad_overrides_them_for_one_run(settings: Settings) -> None:
    assert opened(settings, train_days=2, validation_days=1) == (
        ["2026-01-18", "2026-01-19"],
        ["2026-01-20"],
    )
    # 20 days are fewer than 30 and 2: split by that ratio
    assert opened(settings, train_days=30) == (
        partitions.days_between(START, date(2026, 1, 19)),
        ["2026-01-20"],
    )
    assert len(opened(settings)[0]) == 4


def test_what_a_run_overrides_is_not_what_the_home_serves_with(settings: Settings) -> None:
    platform = Platform(look_back_days=30, popularity_days=3)
    assert (platform.settings.look_back_days, platform.settings.popularity_days) == (30, 3)
    assert platform.home_settings == settings == Platform().home_settings


def test_the_launchpad_shows_each_window_with_its_default_and_bounds(settings: Settings) -> None:
    @dg.asset
    def nothing(platform: Platform) -> None: ...

    definitions = dg.Definitions(
        assets=[nothing],
        resources={"platform": Platform.of(settings)},
        jobs=[dg.define_asset_job("job")],
    )
    run_config = definitions.resolve_job_def("job").run_config_schema.config_type
    of_platform = run_config.fields["resources"].config_type.fields["platform"].config_type
    config = of_platform.fields["config"]
    assert config.default_value == {name: getattr(settings, name) for name in WINDOWS}
    fields = config.config_type.fields
    assert set(fields) == set(WINDOWS)
    assert "Allowed: 1 to 366" in str(fields["train_days"].description)
    with pytest.raises(ValueError, match="less than or equal to 366"):
        Platform(train_days=367)

"""Test evaluation/baselines on a small shop: inputs, outputs and reuse."""

from __future__ import annotations

from pathlib import Path

import dagster as dg
import pytest

from recsys_assets import partitions
from recsys_assets.artifacts import Artifact, ArtifactMissing, ArtifactStore
from recsys_assets.lib.evaluation.list_metrics import Lists
from recsys_assets.orchestration.resources import Platform
from recsys_assets.settings import Settings, get_settings
from recsys_assets_tests.support import small_clicks

# the assets' calendar is the session's: it is fixed when they are imported
START, AS_OF = partitions.calendar_start(get_settings()), partitions.first_as_of(get_settings())


class Home:
    """Holds the artifact store and the platform of a home."""

    def __init__(self, folder: Path) -> None:
        settings = Settings(home=folder, start_day=START, scale="tiny")
        self.store = ArtifactStore(settings.artifacts)

        class HomePlatform(Platform):
            @property
            def settings(self) -> Settings:
                return settings

        self.platform = HomePlatform()

    def run(self, **config: object) -> tuple[dg.AssetMaterialization, Artifact]:
        """Materialise the asset; return the event and the artifact."""
        from recsys_assets.defs.evaluation.baselines import baselines

        with dg.DagsterInstance.ephemeral() as instance:
            result = dg.materialize(
                [baselines],
                resources={"platform": self.platform},
                partition_key=AS_OF,
                instance=instance,
                run_config={"ops": {baselines.op.name: {"config": {"trials": 2, **config}}}},
            )
        [event] = result.get_asset_materialization_events()
        return event.step_materialization_data.materialization, self.store.current(
            "evaluation/baselines", AS_OF
        )


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """Return a home with a small shop."""
    home = Home(tmp_path_factory.mktemp("home"))
    small_clicks.publish_shop(home.store, partitions.window_days(AS_OF))
    return home


def test_it_needs_the_queries(tmp_path: Path) -> None:
    with pytest.raises(ArtifactMissing, match="evaluation/queries is missing"):
        Home(tmp_path).run()


def test_it_shows_its_table_and_builds_again_only_for_another_budget(home: Home) -> None:
    small_clicks.publish_queries(
        home.store, AS_OF, partitions.window_days(AS_OF), partitions.validation_days(AS_OF)
    )
    event, artifact = home.run()
    assert set(artifact.metrics) == {
        "random",
        "popularity",
        "recent_popularity",
        "streamed_popularity",
        "own_counts",
        "follow_ups",
        "session_knn",
        "item_knn",
        "ease",
        "ials",
    }
    assert artifact.manifest["params"]["train_days"] == partitions.train_days(AS_OF)
    assert (
        len(Lists.read(artifact, "ease").ranks)
        == home.store.current("evaluation/queries", AS_OF).metrics["rows"]
    )
    assert {"baselines", "tuning", "ndcg@10", "recall@100"} <= set(event.metadata)
    assert event.metadata["ease ndcg@10"].value == artifact.metrics["ease"]["ndcg@10"]["value"]
    again, same = home.run()
    assert again.metadata["reused"].value is True and same.digest == artifact.digest
    other, _ = home.run(trials=3)
    assert other.metadata["reused"].value is False


def test_an_unknown_metric_fails_before_anything_is_read(home: Home) -> None:
    with pytest.raises(ValueError, match="'clicks' is unknown; use one of recall@10"):
        home.run(metric="clicks")

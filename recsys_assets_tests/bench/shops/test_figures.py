"""Test that the figures of a home are those of the release that serves."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from recsys_assets.artifacts import ArtifactStore
from recsys_assets.bench.shops.figures import OFFLINE, held_out_figures
from recsys_assets.lib.release.champion import champion_path
from recsys_assets.lib.release.releases import RELEASE
from recsys_assets.release_files import RELEASE_FILE
from recsys_assets.settings import Settings

DAY = "2025-03-14"


def interval(value: float) -> dict[str, float]:
    return {"value": value, "low": value - 0.01, "high": value + 0.01}


def home(folder: Path, metrics: dict[str, Any]) -> Settings:
    """Return a home in which release 3 serves."""
    settings = Settings().model_copy(update={"home": folder, "artifacts_uri": None})
    content = {
        **{"release": 3, "kind": "full", "day": DAY, "generation": 3, "versions": {}},
        **{"gate": None, "metrics": metrics, "known_user": None},
    }
    with ArtifactStore(settings.artifacts).stage(RELEASE, "000003", inputs={}, params={}) as staged:
        (staged.path / RELEASE_FILE).write_text(json.dumps(content))
        staged.publish()
    champion_path(settings).parent.mkdir(parents=True)
    champion_path(settings).write_text(
        json.dumps(
            {
                **{"release": 3, "generation": 3, "digest": "", "versions": {}},
                **{"promoted_at": 0, "previous": [], "history": []},
            }
        )
    )
    return settings


def test_a_home_without_a_champion_has_no_figures(tmp_path: Path) -> None:
    settings = Settings().model_copy(update={"home": tmp_path, "artifacts_uri": None})
    assert held_out_figures(settings) == {"served": None, "popularity": None}


def test_a_simple_release_holds_both(tmp_path: Path) -> None:
    metrics = {"served_ndcg@10": interval(0.2), "popularity_ndcg@10": interval(0.1)}
    assert held_out_figures(home(tmp_path, metrics)) == {"served": 0.2, "popularity": 0.1}


def test_a_full_release_has_popularity_in_the_evaluation_of_its_day(tmp_path: Path) -> None:
    settings = home(tmp_path, {"served_ndcg@10": interval(0.2)})
    assert held_out_figures(settings) == {"served": 0.2, "popularity": None}
    store = ArtifactStore(settings.artifacts)
    for day, value in (("2025-03-13", 0.4), (DAY, 0.1)):
        with store.stage(OFFLINE, day, inputs={}, params={}) as staged:
            staged.publish({"popularity": {"ndcg@10": interval(value)}})
    assert held_out_figures(settings) == {"served": 0.2, "popularity": 0.1}


def test_too_few_clicks_to_judge_are_no_figure(tmp_path: Path) -> None:
    assert held_out_figures(home(tmp_path, {})) == {"served": None, "popularity": None}

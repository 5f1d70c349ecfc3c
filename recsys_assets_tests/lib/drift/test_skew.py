"""Test that what serving read is compared with what training computes, row by row."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from recsys_assets import columns as c
from recsys_assets.artifacts import Artifact, ArtifactStore
from recsys_assets.files import write_json
from recsys_assets.lib.drift.skew import LEAST_ANSWERS, SKEW_FIGURE, SKEW_FILE, write_skew
from recsys_assets.lib.features.batch_transform import BatchTransform
from recsys_assets.lib.release.releases import RELEASE
from recsys_assets.lib.simulator import shop as simulator
from recsys_assets.release_files import RELEASE_FILE, TRANSFORMS, model_file
from recsys_assets.settings import Settings
from recsys_assets_tests.support import small_window
from recsys_assets_tests.support.bare_releases import write_release

AS_OF, SHOWN = "2026-11-19", 3
Change = Callable[[dict[str, Any], int], None]


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """A home whose release 1 has the transforms of its window."""
    settings = Settings(home=tmp_path_factory.mktemp("skew"), seed=5)
    store = small_window.write_window(settings, AS_OF, simulator.Scale("skew", 60, 40, 400))
    content = small_window.transforms(store, AS_OF)
    bare = write_release(store, settings, 1, AS_OF).path(RELEASE_FILE).read_text()
    with store.stage(RELEASE, "000001") as staged:
        (staged.path / RELEASE_FILE).write_text(bare)
        path = staged.path / model_file("nvt_user_transform", TRANSFORMS)
        path.parent.mkdir(parents=True)
        write_json(path, content)
        staged.publish({})
    return settings


def nothing(features: dict[str, Any], answer: int) -> None:
    """Change nothing."""


def log(shop: Settings, change: Change = nothing, answers: int = 40, **columns: Any) -> Artifact:
    """raw/interactions of the day, whose answers read what training computes, but for ``change``.

    An answer has SHOWN rows of the day's impressions of one visitor.
    """
    store = ArtifactStore(shop.artifacts)
    features = store.current("features/interactions", AS_OF)
    rows = pl.read_parquet(features.path("features.parquet")).filter(pl.col(c.CLICK) == 0)
    [release] = store.require(RELEASE, ["000001"])
    path = release.path(model_file("nvt_user_transform", TRANSFORMS))
    rows = rows.head(answers * SHOWN)
    read = BatchTransform(json.loads(path.read_text())).transform_frame(rows)
    of_visitor = (*c.QUERY_CATEGORICAL, *c.QUERY_CONTINUOUS)
    of_items = [name for name in read.columns if name not in of_visitor]
    shown, logged = [], []
    for n, row in enumerate(rows.iter_rows(named=True)):
        values = read.row(n, named=True)
        # one row per answer's place: each is an answer of its own, so that visitors may differ
        one = {
            "at": row[c.TIMESTAMP],
            "visitor": {name: values[name] for name in of_visitor},
            "items": {name: [values[name]] for name in of_items},
            "sources": [["two_tower"]],
        }
        change(one, n)
        shown.append(
            {
                "answer_id": f"a{n}",
                "event_id": row[c.EVENT_ID],
                "position": 1,
                "release": 1,
                "reasons": [],
                "clicked": False,
                **columns,
            }
        )
        logged.append({"answer_id": f"a{n}", "features": json.dumps(one)})
    with store.stage("raw/interactions", AS_OF) as staged:
        pl.DataFrame(
            shown,
            schema={
                "answer_id": pl.String,
                "event_id": pl.String,
                "position": pl.Int16,
                "release": pl.Int64,
                "reasons": pl.List(pl.String),
                "clicked": pl.Boolean,
            },
        ).write_parquet(staged.path / "served.parquet")
        pl.DataFrame(logged).write_parquet(staged.path / "served_features.parquet")
        return staged.publish()


def judged(shop: Settings, interactions: Artifact, target: Path) -> dict[str, Any]:
    store = ArtifactStore(shop.artifacts)
    features = store.current("features/interactions", AS_OF)
    releases = store.require(RELEASE, ["000001"])
    return {**write_skew(interactions, features, releases, 0.02, target)}


def test_equal_features_are_not_skewed(shop: Settings, tmp_path: Path) -> None:
    found = judged(shop, log(shop), tmp_path)
    assert (found["answers"], found["rows"], found["logged"]) == (120, 120, 120)
    assert found["skewed"] == [] and found["reason"] is None
    table = pl.read_parquet(tmp_path / SKEW_FILE)
    assert (table["share"] == 0).all()
    assert set(table["feature"]) == {*c.RANKER_CATEGORICAL, *c.RANKER_CONTINUOUS} - {c.USER_ID}
    assert "item_popularity" in (tmp_path / SKEW_FIGURE).read_text()


def test_rounding_is_no_difference(shop: Settings, tmp_path: Path) -> None:
    def rounded(features: dict[str, Any], answer: int) -> None:
        features["visitor"][c.AGE_NORM] += 2e-6

    assert judged(shop, log(shop, rounded), tmp_path)["shares"][c.AGE_NORM] == 0


@pytest.mark.parametrize(
    ("feature", "part"),
    [(c.USER_FREQUENCY, "visitor"), (c.GENDER, "visitor"), (c.ITEM_POPULARITY, "items")],
)
def test_a_path_that_computes_another_value_is_found(
    shop: Settings, tmp_path: Path, feature: str, part: str
) -> None:
    """As an online store that is behind, or an item table of another day, has it."""

    def behind(features: dict[str, Any], answer: int) -> None:
        if answer % 4 == 0:
            value = features[part][feature]
            features[part][feature] = [value[0] + 1] if part == "items" else value + 1

    found = judged(shop, log(shop, behind), tmp_path)
    assert found["skewed"] == [feature] and found["shares"][feature] == 0.25
    first = pl.read_parquet(tmp_path / SKEW_FILE).row(0, named=True)
    assert first["feature"] == feature and first["mean_difference"] == 1
    assert first["example"].startswith("a0: ") and ", recomputed " in first["example"]


def test_a_value_that_is_missing_on_one_side_differs(shop: Settings, tmp_path: Path) -> None:
    def lost(features: dict[str, Any], answer: int) -> None:
        features["visitor"][c.USER_RECENCY] = None

    assert judged(shop, log(shop, lost), tmp_path)["skewed"] == [c.USER_RECENCY]


def test_few_differences_are_not_sure(shop: Settings, tmp_path: Path) -> None:
    def once(features: dict[str, Any], answer: int) -> None:
        features["visitor"][c.AGE_NORM] += answer < 3

    found = judged(shop, log(shop, once), tmp_path)
    assert found["shares"][c.AGE_NORM] == 0.025 and found["skewed"] == []


@pytest.mark.parametrize(
    "columns", [{"clicked": True}, {"reasons": ["x"]}, {"release": None}, {"release": 7}]
)
def test_rows_that_have_no_counterpart_are_left_out(
    shop: Settings, tmp_path: Path, columns: dict[str, Any]
) -> None:
    found = judged(shop, log(shop, **columns), tmp_path)
    assert (
        found["rows"] == 0 and "0 of 120 answers with features can be compared" in found["reason"]
    )


def test_another_second_has_another_row(shop: Settings, tmp_path: Path) -> None:
    def late(features: dict[str, Any], answer: int) -> None:
        features["at"] += 1

    assert judged(shop, log(shop, late), tmp_path)["rows"] == 0


def test_too_few_answers_are_not_judged(shop: Settings, tmp_path: Path) -> None:
    def wrong(features: dict[str, Any], answer: int) -> None:
        features["visitor"][c.AGE_NORM] += 1

    found = judged(shop, log(shop, wrong, answers=LEAST_ANSWERS // SHOWN), tmp_path)
    assert found["shares"][c.AGE_NORM] == 1 and found["skewed"] == []
    assert f"{LEAST_ANSWERS} are needed" in found["reason"]


def test_a_day_without_logged_features_says_what_decides(shop: Settings, tmp_path: Path) -> None:
    store = ArtifactStore(shop.artifacts)
    with store.stage("raw/interactions", AS_OF) as staged:
        (staged.path / "interactions.parquet").write_bytes(b"")
        bare = staged.publish()
    found = judged(shop, bare, tmp_path)
    assert (found["answers"], found["logged"]) == (0, 0)
    assert "RECSYS_SERVED_FEATURES_SHARE" in found["reason"]

"""A dismissal hides an item and is learnt from; everywhere else a log is read as without it.

``PLACES`` holds every module that tells events apart, with what it does with a dismissal. A module
that is new here needs such a decision.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

import recsys_assets
from recsys_assets import columns as c
from recsys_assets.artifacts import Artifact, ArtifactStore
from recsys_assets.event_values import EventValues
from recsys_assets.lib.blend.seen_choice import judge_rules
from recsys_assets.lib.evaluation.click_log import ClickLog
from recsys_assets.lib.evaluation.latest_clicks import read_clicks
from recsys_assets.lib.evaluation.queries import Queries
from recsys_assets.lib.feature_store import popular_history
from recsys_assets.lib.features import daily
from recsys_assets.lib.features.click_values import click_values
from recsys_assets.lib.features.popularity import count_clicks
from recsys_assets.lib.features.seen import ACTS, NEVER, SeenRule
from recsys_assets.lib.landing.zone import USERS_FILE
from recsys_assets.lib.quality.contracts import check_table
from recsys_assets.lib.raw.rows import scan_interactions
from recsys_assets.local_time import UTC
from recsys_assets.partitions import validation_days, window_days
from recsys_assets.release_files import DISMISSALS
from recsys_assets.settings import Settings
from recsys_assets_tests.support import small_window

AS_OF = "2026-11-23"
WITHOUT, WITH = "without", "with"
HIDES, LEARNT, NO_INTEREST, NAMES = "hides", "learnt", "is no interest", "names or counts it"
#: Module → what it does with a dismissal. "names or counts it": by its own name, as any event.
PLACES = {
    "cli/ingest.py": NAMES,
    "defs/features/lineage.py": NO_INTEREST,
    "event_values.py": LEARNT,
    "lib/blend/seen_choice.py": NO_INTEREST,
    "lib/evaluation/ablations.py": NO_INTEREST,
    "lib/evaluation/click_log.py": NO_INTEREST,
    "lib/evaluation/latest_clicks.py": NO_INTEREST,
    "lib/evaluation/queries.py": NO_INTEREST,
    "lib/evaluation/seen_filter.py": HIDES,
    "lib/feature_store/bloom.py": HIDES,
    "lib/feature_store/hidden.py": HIDES,
    "lib/feature_store/popular_history.py": NO_INTEREST,
    "lib/feature_store/seen_history.py": HIDES,
    "lib/features/click_values.py": NO_INTEREST,
    "lib/features/daily.py": LEARNT,
    "lib/features/point_in_time.py": NO_INTEREST,
    "lib/features/popularity.py": NO_INTEREST,
    "lib/features/seen.py": HIDES,
    "lib/ingest_check/findings.py": NAMES,
    "lib/ingest_check/remarks.py": NAMES,
    "lib/ingest_check/sections.py": NAMES,
    "lib/ingest_check/windows.py": NO_INTEREST,
    "lib/own_data/headers.py": NAMES,
    "lib/own_data/log.py": NAMES,
    "lib/own_data/log_summary.py": NAMES,
    "lib/own_data/mapping.py": NAMES,
    "lib/own_data/report.py": NAMES,
    "lib/own_data/words.py": NAMES,
    "lib/quality/contracts.py": NO_INTEREST,
    "lib/quality/profiles.py": NAMES,
    "lib/raw/raw_tables.py": NO_INTEREST,
    "lib/raw/served.py": NO_INTEREST,
    "lib/raw/volume.py": NAMES,
    "lib/served_check/agreement.py": HIDES,
    "lib/served_check/moments.py": HIDES,
    "operations/past_state.py": HIDES,
    "serving/events/consumer.py": NO_INTEREST,
    "serving/events/events.py": NO_INTEREST,
    "serving/events/visitor_state.py": HIDES,
    "serving/gateway/models.py": NAMES,
    "settings.py": NO_INTEREST,
}
#: Makers of logs and measurements of our own: no log of a shop passes through them.
OWN = ("bench/", "drills/", "lib/simulator/")


def test_every_module_that_tells_events_apart_has_decided_about_dismissals() -> None:
    root = Path(recsys_assets.__file__).parent
    tells = re.compile(
        r"\bEVENT_TYPES?\b|\bEventType\b|\bevent_type\b(?!_)|\b(IMPRESSION|DISMISS)\b"
        r"|\b(INTEREST|EXPOSURE|KEPT)_EVENTS\b"
    )
    found = {
        path.relative_to(root).as_posix()
        for path in root.rglob("*.py")
        if tells.search(path.read_text().replace("DagsterEventType", ""))
    }
    found = {name for name in found if not name.startswith(OWN) and name != "columns.py"}
    found -= {"defs/features/seen_rule.py", "serving/gateway/client.py"}  # they pass it on
    assert found == set(PLACES)


def test_nobody_takes_what_is_no_impression_for_a_click() -> None:
    root = Path(recsys_assets.__file__).parent
    wrong = re.compile(r"!= (c\.)?IMPRESSION|!= \"Impression\"")
    assert not [path for path in root.rglob("*.py") if wrong.search(path.read_text())]


@pytest.fixture(scope="module")
def shops(tmp_path_factory: pytest.TempPathFactory) -> dict[str, ArtifactStore]:
    """The same log without and with dismissals; features are built by the asset's own code."""
    found = {}
    for name, count in ((WITHOUT, 0), (WITH, 60)):
        home = tmp_path_factory.mktemp(name)
        store = small_window.write_window(Settings(home=home, seed=5), AS_OF, dismissals=count)
        users, logs = home / "landing" / USERS_FILE, []
        with store.stage("raw/users") as staged:
            pl.read_parquet(users).write_parquet(staged.path / "users.parquet")
            staged.publish()
        for day in window_days(AS_OF):
            logs.append(store.current("raw/interactions", day))
            inputs = {
                "interactions": logs[-8:],
                "users": store.current("raw/users"),
                "items": store.current("raw/items"),
            }
            with store.stage("features/interactions", day) as staged:
                figures = daily.write_features(inputs, day, staged.path, look_back_days=7)
                staged.publish(figures)
            with store.stage("features/masked_train", day) as staged:
                built = store.current("features/interactions", day)
                staged.publish(daily.write_masked(built, day, 7, staged.path))
        found[name] = store
    return found


def log_of(store: ArtifactStore) -> list[Artifact]:
    return store.require("raw/interactions", window_days(AS_OF))


def items_of(store: ArtifactStore) -> pl.DataFrame:
    return pl.read_parquet(store.current("raw/items").path("items.parquet"))


def queries(store: ArtifactStore, rule: SeenRule = NEVER) -> Queries:
    return Queries.build(
        store.require("features/interactions", validation_days(AS_OF)),
        log_of(store),
        store.current("raw/items"),
        seed=7,
        rule=rule,
        zone=UTC,
    )


def of_queries(store: ArtifactStore) -> Any:
    found = queries(store, SeenRule(ACTS, 3))
    slices = {name: inside.tolist() for name, inside in found.slices.items()}
    return found.frame.to_dicts(), found.clicks.tolist(), found.true.tolist(), slices


def of_click_log(store: ArtifactStore) -> Any:
    log = ClickLog.of(scan_interactions(log_of(store)), items_of(store)[c.ITEM_ID].to_list())
    return log.users.to_dicts(), *(
        part.tolist() for part in (log.code, log.item, log.time, log.stream_item, log.daily)
    )


def of_values(store: ArtifactStore) -> Any:
    values = EventValues.parse("AddToCart=4,Purchase=10,Dismiss=-2")
    found, figures = click_values(scan_interactions(log_of(store)), items_of(store), values)
    return found.to_dicts(), figures


def of_popular_now(store: ArtifactStore) -> Any:
    return popular_history._clicks(log_of(store), UTC, 0, int(time.time()) + 10**9).to_dicts()


def of_features(store: ArtifactStore) -> Any:
    names = ("features", "click_history", "user_activity", "item_popularity")
    kinds = [("features/interactions", name) for name in names]
    kinds.append(("features/masked_train", "masked"))
    return [
        pl.read_parquet(store.current(kind, day).path(f"{name}.parquet")).to_dicts()
        for kind, name in kinds
        for day in window_days(AS_OF)
    ]


def of_seen_choice(store: ArtifactStore) -> Any:
    rules = [SeenRule(ACTS, 7), NEVER]
    return judge_rules(log_of(store)[:9], rules, zone=UTC, look_back_days=7, seed=1)


READERS: dict[str, Callable[[ArtifactStore], Any]] = {
    "sources: clicks of visitors and days": of_click_log,
    "histories of queries": lambda store: read_clicks(log_of(store)).to_dicts(),
    "popularity": lambda s: count_clicks(scan_interactions(log_of(s)), items_of(s)).to_dicts(),
    "streamed counts": of_popular_now,
    "features, histories, activity": of_features,
    "values of clicks": of_values,
    "queries of the evaluation": of_queries,
    "choice of the seen rule": of_seen_choice,
}


@pytest.mark.parametrize("reader", READERS)
def test_a_log_is_read_as_without_its_dismissals(
    shops: dict[str, ArtifactStore], reader: str
) -> None:
    plain, dismissing = (READERS[reader](shops[name]) for name in (WITHOUT, WITH))
    assert plain == dismissing and len(plain) > 0


def test_a_log_without_dismissals_makes_no_file_more(shops: dict[str, ArtifactStore]) -> None:
    first, last = window_days(AS_OF)[0], window_days(AS_OF)[-1]
    for kind in ("features/interactions", "features/masked_train"):
        for day in (first, last):
            files = [
                set(shops[name].current(kind, day).manifest["files"]) for name in (WITHOUT, WITH)
            ]
            assert files[1] - files[0] == {DISMISSALS} and not files[0] - files[1]
    assert queries(shops[WITHOUT]).later is None and queries(shops[WITH]).later is not None
    assert not len(queries(shops[WITHOUT]).seen_items) and len(queries(shops[WITH]).seen_items)


def test_a_row_of_a_dismissal_has_what_was_known_just_before_it(
    shops: dict[str, ArtifactStore],
) -> None:
    """They are the features of an impression of the same visitor, item and moment."""
    day = window_days(AS_OF)[-1]
    *before, today = (
        pl.read_parquet(one.path("interactions.parquet")) for one in log_of(shops[WITH])
    )
    rows = pl.read_parquet(shops[WITH].current("features/interactions", day).path(DISMISSALS))
    assert rows.height == 60 and rows[c.CLICK].to_list() == [0] * 60
    assert rows[c.CLICKS_LOOK_BACK].max() > 0
    shown = today.with_columns(
        pl.col(c.EVENT_TYPE).replace({c.DISMISS: c.IMPRESSION}), pl.col(c.CLICK)
    )
    expected, _, _ = daily.features.interaction_features(
        shown,
        pl.concat(before[-7:]),
        pl.read_parquet(shops[WITH].current("raw/users").path("users.parquet")),
        items_of(shops[WITH]),
        day,
        look_back_days=7,
    )
    expected = expected.join(rows.select(c.EVENT_ID), on=c.EVENT_ID, how="semi")
    assert rows.sort(c.EVENT_ID).equals(expected.sort(c.EVENT_ID))


def test_the_contract_takes_a_dismissal_as_no_click(shops: dict[str, ArtifactStore]) -> None:
    log = pl.read_parquet(log_of(shops[WITH])[-1].path("interactions.parquet"))
    assert (log[c.EVENT_TYPE] == c.DISMISS).sum() == 60
    assert check_table(log, c.RAW_INTERACTIONS).ok
    clicked = pl.when(pl.col(c.EVENT_TYPE) == c.DISMISS).then(1).otherwise(c.CLICK)
    [failure] = check_table(
        log.with_columns(clicked.cast(pl.Int8).alias(c.CLICK)), c.RAW_INTERACTIONS
    ).failures
    assert failure.column == c.CLICK and failure.count == 60 and "Dismiss" in failure.check

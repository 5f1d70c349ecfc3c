"""Part: validate, feature and mask every day with the functions of the assets.

Inside the clock, as in the graph: the contracts of all three tables, profiles and drift, and the
artifact store's hashing and publishing. Outside: users and items, which belong to no day and are
ingested before, and the point-in-time check, which computes a sample of features again. The time of
the check is reported too.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from recsys_assets import partitions
from recsys_assets.artifacts import Artifact, ArtifactStore
from recsys_assets.bench.harness.part import main
from recsys_assets.columns import INTERACTION_FEATURES
from recsys_assets.lib.features import daily, daily_checks
from recsys_assets.lib.quality import contracts, drift
from recsys_assets.lib.raw import raw_tables, volume
from recsys_assets.operations.usage import gib, peak_bytes, reset_peak
from recsys_assets.settings import Settings, get_settings

STEPS, LEAKAGE_TEST = ("validate", "features", "drift", "mask"), "leakage_test"


def ingest_catalogue(settings: Settings, store: ArtifactStore) -> dict[str, Artifact]:
    """Ingest users and items as artifacts."""
    built = {}
    for name, read, write in (
        ("users", raw_tables.landed_users, raw_tables.write_users),
        ("items", raw_tables.landed_items, raw_tables.write_items),
    ):
        landed = read(settings.landing)
        with store.stage(f"raw/{name}", inputs={"landing": landed.digest}) as staged:
            built[name] = staged.publish(write(landed, staged.path))
    return built


def build_day(
    settings: Settings, store: ArtifactStore, catalogue: dict[str, Artifact], day: str
) -> dict[str, float]:
    """Return the seconds of a day's steps.

    The last step, the leakage test on a sample, is no part of the work.
    """
    clock, first_day = [time.perf_counter()], partitions.calendar_start(settings).isoformat()
    landed = raw_tables.landed_interactions(
        settings.landing, day, items=catalogue["items"], now=int(time.time())
    )
    volume.volume_against_history(landed, store, day, partitions.today(settings).isoformat())
    with store.stage(
        "raw/interactions", day, inputs={"landing": landed.digest, "items": catalogue["items"]}
    ) as staged:
        staged.publish(raw_tables.write_interactions(landed, catalogue["items"], staged.path))
    del landed
    clock.append(time.perf_counter())
    inputs: dict[str, Artifact | Sequence[Artifact] | str] = {
        "interactions": store.require("raw/interactions", partitions.LOOK_BACK.days(settings, day)),
        **catalogue,
    }
    with store.stage(
        "features/interactions",
        day,
        inputs=inputs,
        params={"look_back_days": settings.look_back_days},
    ) as staged:
        metrics = daily.write_features(
            inputs, day, staged.path, look_back_days=settings.look_back_days
        )
        daily_checks.check_and_profile(staged.path, catalogue["items"], day)
        features = staged.publish(metrics)
    clock.append(time.perf_counter())
    earlier = store.days_before("features/interactions", day, drift.BASELINE_DAYS)
    drift.against_baseline(
        features,
        store.require("features/interactions", earlier),
        first_day=first_day,
        look_back_days=settings.look_back_days,
    )
    clock.append(time.perf_counter())
    with store.stage("features/masked_train", day, inputs={"features": features}) as staged:
        metrics = daily.write_masked(features, day, settings.seed, staged.path)
        contracts.read_checked(
            staged.path / "masked.parquet", INTERACTION_FEATURES, name=day, day=day
        )
        staged.publish(metrics)
    clock.append(time.perf_counter())
    daily.changed_without_the_future(inputs, features, day, look_back_days=settings.look_back_days)
    clock.append(time.perf_counter())
    return {step: clock[n + 1] - clock[n] for n, step in enumerate((*STEPS, LEAKAGE_TEST))}


def body(request: dict[str, Any]) -> dict[str, Any]:
    """Build every day of the settings and measure it; the request is empty."""
    settings = get_settings()
    store = ArtifactStore(settings.artifacts)
    days = partitions.history_days(settings)
    catalogue = ingest_catalogue(settings, store)
    peaks, by_day = [], []
    for day in days:
        reset_peak()
        by_day.append(build_day(settings, store, catalogue, day))
        peaks.append(peak_bytes())
    rows = sum(int(store.current("raw/interactions", day).metrics["rows"]) for day in days)
    steps = {step: sum(seconds[step] for seconds in by_day) for step in (*STEPS, LEAKAGE_TEST)}
    return {
        "seconds": sum(steps[step] for step in STEPS),
        "rows": rows,
        "seconds_by_step": steps,
        "seconds_by_day": [round(sum(seconds[step] for step in STEPS), 3) for seconds in by_day],
        "peak_gib_by_day": [gib(peak) for peak in peaks],
        "peak_bytes": max(peaks),
    }


if __name__ == "__main__":
    main(body)

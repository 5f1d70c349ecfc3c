"""Run the demo of the ads ranker: train, serve, drift, detection, retrain, promotion.

The traffic is simulated, and its true click probabilities are known. In the middle another truth
begins to hold, so that the model in service is worth nothing. The sensor of the running Dagster
sees it by the labels, and its run trains and promotes the next version.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import TypedDict

import numpy as np
import polars as pl

from recsys_assets import ads_partitions, partitions
from recsys_assets.ads_columns import FEATURES, LABEL
from recsys_assets.files import write_json
from recsys_assets.lib.ads_ctr import ads_landing
from recsys_assets.lib.ads_ctr.ads_truth import AdsDrift, AdsTruth
from recsys_assets.lib.ads_ctr.simulated_ads import SimulatedDay, simulate_day
from recsys_assets.lib.evaluation.ranker_metrics import auc
from recsys_assets.lib.release.champion import Champion, read_champion
from recsys_assets.lib.release.lines import ADS
from recsys_assets.operations import services
from recsys_assets.operations.jobs import Clock, PipelineFailed, run_jobs
from recsys_assets.operations.own_home import own_settings
from recsys_assets.serving.gateway.client import GatewayClient
from recsys_assets.settings import LOCAL_PORTS, Settings

HOME, PORT_OFFSET = "ads-demo", 300
#: Rows of each of the two days that the first model is made from: one trains, one judges.
DAY_ROWS = 100_000
#: Served predictions before the drift, after it, and after the retrain.
BEFORE, DRIFTED, AFTER = 3_000, 20_000, 5_000
BATCH = 250  # ads per call
#: Seconds until the retrained release must be in service.
LIMIT = 240.0


class AdsPhase(TypedDict):
    """Holds the figures of one phase of the traffic."""

    predictions: int
    releases: list[int]  # that answered
    auc: float
    oracle: float  # AUC of the true probabilities


class AdsDemoSummary(TypedDict):
    """The content of ``ads_demo.json``."""

    before: AdsPhase
    drifted: AdsPhase
    after: AdsPhase
    release: int
    seconds: dict[str, float]
    urls: dict[str, str]


def demo_settings(settings: Settings) -> Settings:
    """Return the settings of the demo's own home, with ports 300 above the given ones."""
    ports = {name: getattr(settings, name) + PORT_OFFSET for name in LOCAL_PORTS}
    outside = dict.fromkeys(("artifacts_uri", "landing_uri", "feast_offline_uri", "ads_start_day"))
    return own_settings(settings, settings.home / HOME, automation=True, **outside, **ports)


def ads_demo(settings: Settings) -> AdsDemoSummary:
    """Run the demo in a home of its own, which is emptied first; leave its services running.

    Args:
        settings: of that home, with automation on.

    Raises:
        PipelineFailed: a job failed, or no retrained release was in service in time.
    """
    clock, seconds = Clock(), dict[str, float]()
    services.down(settings)
    shutil.rmtree(settings.home, ignore_errors=True)
    services.require_free_ports(settings)
    truth = AdsTruth(settings.seed, AdsDrift("abrupt", at=3))
    today = partitions.today(settings)
    first = today - timedelta(days=2)
    ads_landing.land_simulated(Path(settings.landing), truth, first, 2, DAY_ROWS)
    ads_partitions.begin_with(settings, first.isoformat())
    clock.say(f"two days of {DAY_ROWS:,} simulated ads landed")
    services.up(settings, progress=clock.say)
    seconds["services"] = clock.seconds
    days = [(first + timedelta(days=number)).isoformat() for number in (0, 1)]
    run_jobs(settings, [("ads_ingest", day) for day in days] + [("ads_training", days[1])], clock)
    trained = _champion(settings)
    seconds["trained"] = clock.seconds
    with GatewayClient(settings.gateway_url, _token(settings)) as gateway:
        before = _serve(gateway, simulate_day(truth, 2, BEFORE))
        clock.say(f"before the drift: {_shown(before)}")
        drifted = _serve(gateway, simulate_day(truth, 3, DRIFTED))
        clock.say(f"another truth holds: {_shown(drifted)}")
        seconds["drifted"] = clock.seconds
        clock.say("waiting for the sensor ads_drift, its run and the promotion")
        tuned = _await_next(settings, trained, clock)
        seconds["promoted"] = clock.seconds
        after = _serve(gateway, simulate_day(truth, 4, AFTER))
    clock.say(f"release {tuned.release} serves: {_shown(after)}")
    summary: AdsDemoSummary = {
        "before": before,
        "drifted": drifted,
        "after": after,
        "release": tuned.release,
        "seconds": seconds,
        "urls": {
            "dagster": f"http://{settings.dagster_host}:{settings.dagster_port}/assets/ads_ctr",
            "api": f"{settings.gateway_url}/openapi.json",
        },
    }
    _draw(settings, clock)
    seconds["total"] = clock.seconds
    write_json(settings.home / "ads_demo.json", summary)
    return summary


def _token(settings: Settings) -> str | None:
    return settings.token.get_secret_value() if settings.token is not None else None


def _champion(settings: Settings) -> Champion:
    """Return the champion; raise PipelineFailed where the training promoted none."""
    found = read_champion(settings, ADS)
    if found is None:
        raise PipelineFailed(
            "the training of the ads ranker promoted no release; see the checks of "
            "ads_ctr/release in the UI"
        )
    return found


def _serve(gateway: GatewayClient, day: SimulatedDay) -> AdsPhase:
    """Ask for every ad, report its label at once, and return the figures."""
    scores: list[float] = []
    releases: list[int] = []
    labels = day.rows[LABEL].to_list()
    for part in _batches(day.rows):
        answer = gateway.ads_ctr(part.select(FEATURES).to_dicts())
        clicked = labels[len(scores) : len(scores) + part.height]
        gateway.send_ad_labels(
            [
                {"prediction_id": one.prediction_id, "clicked": bool(click)}
                for one, click in zip(answer.predictions, clicked, strict=True)
            ]
        )
        scores += [one.ctr for one in answer.predictions]
        releases.append(answer.release)
    clicks = np.array(labels)
    return {
        "predictions": len(scores),
        "releases": sorted(set(releases)),
        "auc": round(auc(clicks, np.array(scores)), 4),
        "oracle": round(auc(clicks, day.probability), 4),
    }


def _batches(rows: pl.DataFrame) -> Iterator[pl.DataFrame]:
    yield from rows.iter_slices(BATCH)


def _shown(phase: AdsPhase) -> str:
    return (
        f"{phase['predictions']:,} predictions, AUC {phase['auc']:.3f} (the truth's "
        f"{phase['oracle']:.3f})"
    )


def _await_next(settings: Settings, former: Champion, clock: Clock) -> Champion:
    """Wait until another release than the former one is in service.

    Raises:
        PipelineFailed: there was none within LIMIT.
    """
    deadline = time.monotonic() + LIMIT
    while time.monotonic() < deadline:
        found = _champion(settings)
        if found.release != former.release:
            return found
        time.sleep(1)
    raise PipelineFailed(
        f"no retrained release was in service {LIMIT:.0f} s after the drift; see the ticks of the "
        f"sensor ads_drift and the runs of ads_incremental at http://{settings.dagster_host}:"
        f"{settings.dagster_port}"
    )


def _draw(settings: Settings, clock: Clock) -> None:
    """Materialise the day's quality once the last labels are landed and settled."""
    from recsys_assets.lib.ads_ctr.incremental import LANDED_AFTER

    time.sleep(LANDED_AFTER + 5)
    run_jobs(settings, [("ads_monitor", partitions.today(settings).isoformat())], clock)

"""Measure a request for the click probability of one ad, beside the reference's own steps.

Ours runs as it serves: Triton with the ensemble of transform and network, and the gateway before
it. The reference's steps run in one process without a server, so its own figure would be higher.
"""

from __future__ import annotations

import shutil
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from recsys_assets.ads_columns import CATEGORIES, FEATURES
from recsys_assets.artifacts import Artifact, ArtifactStore
from recsys_assets.bench.ads import quality
from recsys_assets.bench.harness.part import BenchFailed, run_training_part
from recsys_assets.lib.ads_ctr import ads_release
from recsys_assets.lib.release.lines import ADS
from recsys_assets.operations import own_home
from recsys_assets.release_files import ADS_FILE
from recsys_assets.serving.gateway.client import GatewayClient
from recsys_assets.serving.promotion import promotion
from recsys_assets.serving.triton.ads_smoke import ads_tensors, score_ads
from recsys_assets.serving.triton.replicas import Replica
from recsys_assets.settings import Settings

Say = Callable[[str], None]
REQUESTS, ROUNDS, CLIENTS, WARM_UP = 400, 3, 4, 20
#: Largest difference of a score between the two systems.
TOLERANCE = 1e-5
_DAY = "2026-01-02"


def measure_request(settings: Settings, scratch: Path, say: Say, rows: int) -> dict[str, Any]:
    """Train a network, serve it, and measure one request after the other, and four at a time.

    Args:
        settings: of the home.
        scratch: folder for everything.
        say: receives a line per step.
        rows: shown ads of the day that trains.

    Returns:
        Figures ``request.*``.

    Raises:
        BenchFailed: a step failed, or the systems' scores differ.
    """
    made = quality.prepare(settings, scratch, say, rows)
    inputs = {name: str(made[name]) for name in ("workflow", "datasets")}
    made["dcn"] = scratch / "dcn"
    made["dcn"].mkdir()
    given = {"seed": settings.seed, "epochs": 1, "patience": 0}
    run_training_part(
        "recsys_assets.training.ads_ctr.train_dcn", inputs, made["dcn"], given, scratch, settings
    )
    output, folder = scratch / "stock", scratch / "asked"
    output.mkdir()
    folder.mkdir()
    # NVTabular cannot transform a single ad with an empty category
    rows_of = pl.read_parquet(made["valid"] / ADS_FILE).head(REQUESTS + WARM_UP)
    asked = rows_of.select(FEATURES).with_columns(pl.col(CATEGORIES).fill_null("none"))
    asked.write_parquet(folder / ADS_FILE)
    stock = run_training_part(
        "recsys_assets.bench.ads.request_stock",
        {"workflow": inputs["workflow"], "dcn": str(made["dcn"]), "rows": str(folder)},
        output,
        {"requests": REQUESTS, "warm_up": WARM_UP},
        scratch,
        settings,
    ).result["metrics"]
    say(f"the reference's steps, one process: p50 {statistics.median(stock['ms']):.2f} ms")
    own = own_home.own_settings(settings, scratch / "home", artifacts_uri=None, ads_log="off")
    store = ArtifactStore(own.artifacts)
    with own_home.running(own, ["valkey", "triton", "gateway"]):
        release = ads_release.build_ads_release(
            store,
            day=_DAY,
            workflow=_published(store, "ads_ctr/workflow", made["workflow"]),
            dcn=_published(store, "ads_ctr/dcn", made["dcn"], made["workflow"]),
            sample=asked,
            gate=None,
            metrics={},
            learnt="for a measurement",
        )
        promotion.promote(own, release, ADS, force_gate=True, log=lambda line: None)
        triton = _loops(own, asked, say)
        gateway = _gateway(own, asked)
    difference = float(np.abs(np.array(triton["scores"]) - stock["scores"]).max())
    if not difference <= TOLERANCE:
        raise BenchFailed(f"the scores of the two systems differ by {difference:.2g}")
    p50, reference = triton["p50"], statistics.median(stock["ms"])
    return {
        "request.p50_ms": round(p50, 3),
        "request.p95_ms": round(triton["p95"], 3),
        "request.per_second_at_4": round(triton["per_second"], 1),
        "request.gateway_p50_ms": round(gateway, 3),
        "request.reference_p50_ms": round(reference, 3),
        "request.reference_per_second": round(1_000 / statistics.mean(stock["ms"]), 1),
        "request.ratio": round(reference / p50, 2),
        "request.difference": difference,
    }


def _published(
    store: ArtifactStore, kind: str, folder: Path, workflow: Path | None = None
) -> Artifact:
    """Publish the folder of a training step as an artifact."""
    inputs = {} if workflow is None else {"workflow": store.current("ads_ctr/workflow", _DAY)}
    with store.stage(kind, _DAY, inputs=inputs) as staged:
        shutil.copytree(folder, staged.path, dirs_exist_ok=True)
        return staged.publish({})


def _loops(own: Settings, asked: pl.DataFrame, say: Say) -> dict[str, Any]:
    """Ask Triton for one ad after the other, then by CLIENTS clients at a time."""
    counts, categories = ads_tensors(asked)
    parts = [(counts[n : n + 1], categories[n : n + 1]) for n in range(len(asked))]
    replicas = [Replica(own.triton_grpc[0]) for _ in range(CLIENTS)]

    def ask(replica: Replica, number: int) -> float:
        scores, _ = score_ads(replica, "ads_ensemble", *parts[number])
        return float(scores[0])

    try:
        for number in range(WARM_UP):
            for replica in replicas:
                ask(replica, number)
        laps, scores = [], [0.0] * REQUESTS
        for _ in range(ROUNDS):
            for number in range(REQUESTS):
                begin = time.perf_counter()
                scores[number] = ask(replicas[0], number + WARM_UP)
                laps.append(1_000 * (time.perf_counter() - begin))
        begin = time.perf_counter()
        with ThreadPoolExecutor(CLIENTS) as pool:
            list(pool.map(lambda one: [ask(one, n) for n in range(REQUESTS)], replicas))
        rate = CLIENTS * REQUESTS / (time.perf_counter() - begin)
    finally:
        for replica in replicas:
            replica.close()
    p50, p95 = (float(np.percentile(laps, share)) for share in (50, 95))
    say(f"Triton: p50 {p50:.2f} ms, p95 {p95:.2f} ms; {rate:,.0f} per second at {CLIENTS}")
    return {"p50": p50, "p95": p95, "per_second": rate, "scores": scores}


def _gateway(own: Settings, asked: pl.DataFrame) -> float:
    """Return the median milliseconds of an answer of the gateway for one ad."""
    bodies, laps = asked.to_dicts(), []
    token = own.token.get_secret_value() if own.token is not None else None
    with GatewayClient(own.gateway_url, token) as gateway:
        for number, body in enumerate(bodies):
            begin = time.perf_counter()
            gateway.ads_ctr([body])
            if number >= WARM_UP:
                laps.append(1_000 * (time.perf_counter() - begin))
    return statistics.median(laps)

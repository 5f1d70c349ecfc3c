"""Run the demo: materialise, start the services, promote and recommend."""

from __future__ import annotations

from typing import Any, TypedDict

from recsys_assets.files import write_json
from recsys_assets.operations import usage
from recsys_assets.operations.full_graph import history, materialize
from recsys_assets.operations.jobs import Clock, PipelineFailed
from recsys_assets.settings import Settings


class Recommendation(TypedDict):
    """The answer for one visitor."""

    user_id: str
    items: list[dict[str, Any]]
    degraded: list[str]
    release: int


class DemoUrls(TypedDict):
    """Addresses to open in a browser."""

    dagster: str
    page: str
    api: str


class DemoSeconds(TypedDict):
    """Seconds of each phase."""

    setup: float
    materialize: float
    serve: float
    total: float


class DemoSummary(TypedDict):
    """The content of ``demo.json``."""

    known: Recommendation
    cold: Recommendation
    urls: DemoUrls
    seconds: DemoSeconds
    peak_gib: usage.Peaks
    scale: str
    release: int


def demo(settings: Settings, setup_seconds: float = 0.0) -> DemoSummary:
    """Materialise, serve, promote and recommend; write and return ``demo.json``."""
    from recsys_assets.lib.release import releases
    from recsys_assets.operations import services
    from recsys_assets.orchestration.resources import Platform
    from recsys_assets.serving.gateway import client
    from recsys_assets.serving.promotion import promotion

    clock = Clock()
    services.require_free_ports(settings)
    services.up(settings, only=["valkey"], progress=clock.say)
    materialize(settings, clock=clock)
    materialized = clock.seconds
    services.up(settings, progress=clock.say)
    promotion.recover(settings, log=clock.say)
    number = releases.newest_passed(Platform().store, settings)
    if promotion.champion_number(settings) != number:
        promotion.promote(settings, number, log=clock.say)

    def recommend(user_id: str) -> Recommendation:
        answer = client.recommend(settings.gateway_url, user_id, device_type="mobile")
        return {
            "user_id": user_id,
            "items": answer["items"],
            "degraded": answer["degraded"],
            "release": answer["release"],
        }

    known, cold = recommend(_known_visitor(settings)), recommend("a-visitor-never-seen")
    served = clock.seconds
    summary: DemoSummary = {
        "known": known,
        "cold": cold,
        "urls": {
            "dagster": f"http://{settings.dagster_host}:{settings.dagster_port}",
            "page": settings.gateway_url,
            "api": f"{settings.gateway_url}/openapi.json",
        },
        "seconds": {
            "setup": setup_seconds,
            "materialize": materialized,
            "serve": round(served - materialized, 1),
            "total": round(setup_seconds + served, 1),
        },
        "peak_gib": usage.peaks(settings),
        "scale": settings.scale,
        "release": number,
    }
    write_json(settings.home / "demo.json", summary)
    return summary


def _known_visitor(settings: Settings) -> str:
    """Return the visitor with the most clicks on the newest day of history."""
    import polars as pl

    from recsys_assets.orchestration.resources import Platform

    last = Platform().store.current("raw/interactions", history(settings)[-1])
    rows = pl.read_parquet(last.path("interactions.parquet"))
    clicks = (
        rows.filter(pl.col("click") == 1)
        .group_by("user_id")
        .len()
        .sort(["len", "user_id"], descending=[True, False])
    )
    if clicks.is_empty():
        raise PipelineFailed(
            "the newest day has no click, so no visitor is known; check the landing zone"
        )
    return str(clicks["user_id"][0])

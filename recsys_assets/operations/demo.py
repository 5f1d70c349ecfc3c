"""The demo: the whole path, services, a promoted release, recommendations."""

from __future__ import annotations

from typing import Any

from recsys_assets.files import write_json
from recsys_assets.operations import usage
from recsys_assets.operations.full_graph import history, materialize
from recsys_assets.operations.jobs import Clock, PipelineFailed
from recsys_assets.settings import Settings


def demo(settings: Settings, setup_seconds: float = 0.0) -> dict[str, Any]:
    """Materialise, serve, promote, recommend; returns and writes what ``demo.json`` holds."""
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
    number = releases.newest_passed(Platform().store)
    if promotion.champion_number(settings) != number:
        promotion.promote(settings, number, log=clock.say)
    visitors = {"known": _known_visitor(settings), "cold": "a-visitor-never-seen"}
    answers = {
        who: client.recommend(settings.gateway_url, user_id, device_type="mobile")
        for who, user_id in visitors.items()
    }
    served = clock.seconds
    summary = {
        **{
            who: {
                "user_id": visitors[who],
                "items": answer["items"],
                "degraded": answer["degraded"],
                "release": answer["release"],
            }
            for who, answer in answers.items()
        },
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
    """The visitor with the most clicks on the newest day of history."""
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
            "the newest day has no click, so no visitor is known; is the landing zone right?"
        )
    return clicks["user_id"][0]

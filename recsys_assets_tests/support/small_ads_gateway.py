"""A gateway whose ads ranker is a function of the ad, and bodies for it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from fastapi.testclient import TestClient

from recsys_assets.ads_columns import CATEGORIES, INTEGERS
from recsys_assets.serving.gateway.ads_client import AdFields, AdsClient, AdScores
from recsys_assets.serving.gateway.app import create_app
from recsys_assets.settings import Settings

RELEASE = 7


def ad(**changed: Any) -> dict[str, Any]:
    """Return the body of one ad."""
    return {
        **dict.fromkeys(INTEGERS, 3),
        **{name: f"value of {name}" for name in CATEGORIES},
        **changed,
    }


class CountingAds(AdsClient):
    """Scores an ad by I1 / 1,000; keeps what it was asked."""

    def __init__(self) -> None:
        self.asked: list[AdFields] = []

    async def close(self) -> None:
        """Do nothing: there is no connection."""

    async def score(self, ads: Sequence[AdFields], request_id: str) -> AdScores:
        """Return I1 / 1,000 of each ad."""
        self.asked += ads
        return AdScores([(one.counts[0] or 0) / 1_000 for one in ads], RELEASE)


@contextmanager
def ads_gateway(settings: Settings, ads: AdsClient | None = None) -> Iterator[TestClient]:
    """Serve a gateway without rate limit."""
    given = settings.model_copy(update={"rate_limit": 0})
    app = create_app(given, ads=ads or CountingAds())
    with TestClient(app, raise_server_exceptions=False) as client:
        yield client

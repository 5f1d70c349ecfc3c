"""The monitor's figures in the gateway's metrics, from a real Valkey."""

from __future__ import annotations

import json
import logging
from typing import Any

import pytest
from fastapi.testclient import TestClient

from recsys_assets.serving.gateway import ads_monitor
from recsys_assets.settings import Settings
from recsys_assets_tests.support.gateway_calls import serve
from recsys_assets_tests.support.stack import eventually

FIGURES = {
    "release": 4,
    "rolling_auc": 0.71,
    "loss": None,
    "labelled": 1_200,
    "waiting": 30,
    "alarms": 2,
    "threshold": 0.62,
    "at": 1_790_000_000.0,
}


def shown(client: TestClient) -> dict[str, float]:
    names = ("rolling_auc", "loss", "labelled_total", "alarms_total", "auc_threshold", "waiting")
    lines = dict(
        line.rsplit(" ", 1)
        for line in client.get("/metrics").text.splitlines()
        if not line.startswith("#")
    )
    wanted = [f"recsys_ads_{name}" for name in names]
    return {name[11:]: float(lines[name]) for name in wanted if name in lines}


def test_figures_are_shown_once_there_are_any_and_the_last_ones_stay(
    settings: Settings,
    valkey: Any,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.WARNING)
    monkeypatch.setattr(ads_monitor, "EVERY", 0.05)
    known = {
        "rolling_auc": 0.71,
        "labelled_total": 1_200,
        "alarms_total": 2,
        "auc_threshold": 0.62,
        "waiting": 30,
    }
    for client in serve(settings):
        assert shown(client) == {}
        valkey.client(1).set(ads_monitor.KEY, json.dumps(FIGURES))
        eventually(lambda: shown(client) == known, "they are shown")  # noqa: B023
        valkey.client(1).set(ads_monitor.KEY, '{"rolling_auc": "much"}')
        eventually(lambda: "has another form" in caplog.text, "another form is logged")
        valkey.client(1).delete(ads_monitor.KEY)
        assert shown(client) == known
        again = {**FIGURES, "rolling_auc": None, "loss": 0.5, "alarms": 3}
        valkey.client(1).set(ads_monitor.KEY, json.dumps(again))
        later = {**known, "alarms_total": 3, "loss": 0.5}
        del later["rolling_auc"]
        eventually(lambda: shown(client) == later, "they follow")  # noqa: B023
    assert caplog.text.count("has another form") == 1, "once, and not at every poll"

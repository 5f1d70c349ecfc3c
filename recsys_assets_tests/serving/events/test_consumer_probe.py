from __future__ import annotations

import sys

import pytest

from recsys_assets.serving.events import consumer_probe
from recsys_assets.serving.events.events import GROUP, STREAM
from recsys_assets.settings import VISITOR_DATABASE, get_settings


@pytest.fixture
def probe(valkey, monkeypatch):
    """Call the probe as Kubernetes does."""
    monkeypatch.setenv("RECSYS_VALKEY_PORT", str(valkey.port))
    monkeypatch.setattr(sys, "argv", ["probe", "--name", "consumer-0"])
    get_settings.cache_clear()
    yield consumer_probe.main
    get_settings.cache_clear()


def test_a_consumer_that_reads_is_alive(probe, valkey):
    assert probe() == 1  # neither stream nor group
    client = valkey.client(VISITOR_DATABASE)
    client.xgroup_create(STREAM, GROUP, mkstream=True)
    assert probe() == 1  # not a member yet
    client.xreadgroup(GROUP, "consumer-0", {STREAM: ">"}, count=1, block=1)
    assert probe() == 0
    client.xreadgroup(GROUP, "consumer-1", {STREAM: ">"}, count=1, block=1)
    assert (
        consumer_probe.silence_ms(get_settings(), "consumer-0") < consumer_probe.LONGEST_SILENCE_MS
    )


def test_a_consumer_that_stopped_reading_is_not(probe, valkey, monkeypatch, capsys):
    client = valkey.client(VISITOR_DATABASE)
    client.xgroup_create(STREAM, GROUP, mkstream=True)
    client.xreadgroup(GROUP, "consumer-0", {STREAM: ">"}, count=1, block=1)
    monkeypatch.setattr(consumer_probe, "LONGEST_SILENCE_MS", -1)
    assert probe() == 1
    assert "last read" in capsys.readouterr().out


def test_a_store_that_is_down_is_no_reason_to_restart(probe, valkey, capsys):
    valkey.kill()
    assert probe() == 0
    assert "does not answer" in capsys.readouterr().out

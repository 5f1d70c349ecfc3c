"""The drills themselves, short, on the tiny stack: every figure is there; what must hold whatever
the machine does, holds.
"""

from __future__ import annotations

import json
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from recsys_assets.artifacts import ArtifactStore
from recsys_assets.bench.harness.requests import choose
from recsys_assets.cli import drill
from recsys_assets.drills import home, outage, overload, restart, soak
from recsys_assets.drills.figures import Bar
from recsys_assets.files import write_json
from recsys_assets.lib.release import releases
from recsys_assets.lib.release.champion import Champion, champion_path
from recsys_assets.settings import Settings, get_settings
from recsys_assets_tests.support.stack import PARTS, Stack
from recsys_assets_tests.support.tiny_payload import USERS, transforms

pytestmark = pytest.mark.services
RATE = 20.0


@pytest.fixture
def requests() -> list[dict[str, Any]]:
    return choose(transforms(), 50, int(time.time()), 1)


def value(bars: list[Bar], name: str) -> float | None:
    (found,) = [bar.value for bar in bars if bar.name == name]
    return found


def test_an_outage(stack: Stack, requests: list[dict[str, Any]]) -> None:
    said: list[str] = []
    figures, bars = outage.outage(
        stack.settings, requests, outage.Timing(3.0, before=2.0, after=6.0), RATE, said.append
    )
    assert figures["all"]["not_200"] == figures["all"]["short_lists"] == 0
    assert 0.8 * 11 * RATE < figures["all"]["requests"] <= 11 * RATE + 2
    assert (
        value(bars, "degraded while Valkey is away") == 1 and figures["during"]["requests"] > RATE
    )
    assert figures["seconds_until_normal"] is not None and figures["before"]["p50_ms"] > 0
    assert any("Valkey is killed" in line for line in said)
    path = home.write_report(stack.settings, "outage", figures, bars)
    written = json.loads(path.read_text())
    assert path == stack.settings.home / "bench" / "drill_outage.json"
    assert written["bars"][0] == {**bars[0].told()} and isinstance(written["met"], bool)


def test_sigterm_to_each_part(
    stack: Stack, requests: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(restart, "BEFORE", 1.0)
    before = {part: stack.process(part).pid for part in PARTS}
    figures, _ = restart.restart(stack.settings, requests, RATE, lambda line: None)
    after = {part: stack.process(part).pid for part in PARTS}
    assert {part for part in PARTS if before[part] != after[part]} == set(restart.ENDED)
    for part in restart.ENDED:
        assert figures[part]["in_flight_failed"] == 0 and figures[part]["requests"] > 0
    assert figures["triton"]["not_200"] == figures["consumer"]["not_200"] == 0


def test_overload_and_soak(
    stack: Stack, requests: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(overload, "MEASURED", 1.0)
    figures, bars = overload.overload(stack.settings, requests, 2.0, lambda line: None)
    assert figures["capacity"] > 0 and figures["offered"] > 2 * figures["capacity"]
    assert value(bars, "neither 429 nor a full answer") == 0
    figures, bars = soak.soak(stack.settings, requests, 6.0, RATE, lambda line: None)
    assert figures["requests"] > 0 and figures["not_200"] == 0
    assert set(figures["memory_growth"]) == set(PARTS) and all(
        one["memory_mib"]["triton"] > 20 for one in figures["windows"]
    )
    assert {bar.name for bar in bars if bar.most is not None} >= {
        f"memory of {part}, growth" for part in PARTS
    }


def test_a_home_that_does_not_run_is_told_so(tmp_path: Path) -> None:
    with pytest.raises(
        home.DrillFailed, match=r"valkey, triton, gateway, consumer of .* must run .* `recsys up`"
    ):
        home.require_running(Settings(home=tmp_path, valkey_port=1, gateway_port=2))
    with pytest.raises(home.DrillFailed, match="no champion: promote a release"):
        home.visitors(Settings(home=tmp_path))


def test_visitors_are_the_champion_s_and_some_unknown_ones(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    with ArtifactStore(settings.artifacts).stage(releases.RELEASE, "000004") as staged:
        folder = staged.path / "models" / "nvt_user_transform"
        folder.mkdir(parents=True)
        (folder / "transforms.json").write_text(json.dumps(transforms()))
        write_json(
            staged.path / "release.json",
            {
                "form": releases.CODE_VERSION,
                "release": 4,
                "kind": "full",
                "day": "2026-01-01",
                "generation": 4,
                "versions": {"dlrm_ranking": 4},
                "gate": None,
                "metrics": {},
                "known_user": "user-1",
                "artifacts": {},
            },
        )
        digest = staged.publish().digest
    champion = Champion(4, 4, digest, {"dlrm_ranking": 4}, int(time.time()), [], [])
    champion_path(settings).parent.mkdir()
    write_json(champion_path(settings), asdict(champion))
    found = {request["user_id"] for request in home.visitors(settings, 60)}
    assert set(USERS) < found and any(user not in USERS for user in found)


def test_the_commands_say_it_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECSYS_HOME", str(tmp_path))
    get_settings.cache_clear()
    try:
        for name in ("outage", "overload", "soak", "restart"):
            result = CliRunner().invoke(drill.app, [name])
            assert isinstance(result.exception, home.DrillFailed), result.output
    finally:
        get_settings.cache_clear()

"""Test the settings and the environment of commands: port offset and proxies."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import ValidationError

from recsys_assets.operations import local_parts, services
from recsys_assets.settings import LOCAL_PORTS, PROJECT_ROOT, Settings
from recsys_assets_tests.support.small_triton import settings_for


def test_an_offset_moves_every_port_that_is_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    plain, moved = Settings(), Settings(port_offset=100, gateway_port=9000)
    assert {
        name: getattr(moved, name) - getattr(plain, name)
        for name in LOCAL_PORTS
        if name != "gateway_port"
    } == {name: 100 for name in LOCAL_PORTS if name != "gateway_port"}
    assert moved.gateway_port == 9000
    assert {name for name in Settings.model_fields if name.endswith("_port")} == set(LOCAL_PORTS)
    for name, value in moved.environment().items():
        monkeypatch.setenv(name, value)
    assert Settings() == moved, "a child process has the same ports, not ports moved twice"


def test_two_homes_of_one_machine_share_no_port(tmp_path: Path) -> None:
    ports = [
        {
            port.number
            for service in local_parts.local_services(
                Settings(home=tmp_path / str(offset), port_offset=offset)
            )
            for port in service.ports
        }
        for offset in (0, 100)
    ]
    assert len(ports[0]) == len(ports[1]) == len(LOCAL_PORTS)
    assert not ports[0] & ports[1]


@pytest.mark.services
def test_the_second_home_on_the_same_ports_gets_one_clear_line(tmp_path: Path) -> None:
    first = settings_for(tmp_path / "first")
    services.up(first, ["valkey"], lambda line: None)
    try:
        second = first.model_copy(update={"home": tmp_path / "second"})
        with pytest.raises(services.ServiceError) as error:
            services.require_free_ports(second)
    finally:
        services.down(first)
    (line,) = str(error.value).splitlines()
    assert f"port {first.valkey_port} (RECSYS_VALKEY_PORT) is in use by pid" in line
    assert "set RECSYS_PORT_OFFSET=100" in line
    services.require_free_ports(first)


@pytest.mark.services
def test_places_of_new_items_are_auto_off_or_a_number(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Settings().new_item_places == "auto"
    for given, expected in (("off", "off"), (" Auto ", "auto"), ("10", 10), ("50", 50), (23, 23)):
        monkeypatch.setenv("RECSYS_NEW_ITEM_PLACES", str(given))
        made = Settings()
        assert made.new_item_places == expected
        assert made.environment()["RECSYS_NEW_ITEM_PLACES"] == str(expected)
    for wrong in ("9", "51", "0", "-10", "1e1", "12.5", "on", ""):
        monkeypatch.setenv("RECSYS_NEW_ITEM_PLACES", wrong)
        with pytest.raises(
            ValidationError, match="must be auto, off, or a whole number from 10 to 50"
        ):
            Settings()


def test_commands_reach_local_parts_past_a_proxy(tmp_path: Path) -> None:
    """The proxy is dead, so a call through it fails."""
    settings = settings_for(tmp_path / "home")
    dead = "http://127.0.0.1:9"
    environment = {
        **os.environ,
        **settings.environment(),
        "http_proxy": dead,
        "https_proxy": dead,
        "HTTP_PROXY": dead,
        "ALL_PROXY": dead,
        "NO_PROXY": "internal.example",
    }
    code = (
        "from recsys_assets.cli import main\nfrom recsys_assets.operations import "
        "local_parts, services\nsettings = main.configured()\n"
        "services.up(settings, ['valkey', 'gateway'], "
        "print)\nprint(local_parts.http_ok(settings.gateway_url + '/healthz'))\n"
        "import os; print(os.environ['NO_PROXY'])"
    )
    try:
        done = subprocess.run(
            [sys.executable, "-c", code],
            cwd=PROJECT_ROOT,
            env=environment,
            text=True,
            capture_output=True,
            timeout=120,
        )
        assert done.stdout.splitlines()[-2:] == [
            "True",
            "internal.example,127.0.0.1,localhost,::1",
        ], done.stderr
    finally:
        services.down(settings)


@pytest.mark.parametrize(("encoding", "mode"), [("ISO-8859-1", "1"), ("UTF-8", "0")])
def test_files_are_utf8_whatever_the_machine_s_language(
    tmp_path: Path, encoding: str, mode: str
) -> None:
    language = f"de_DE.{encoding}"
    if (
        shutil.which("localedef") is None
        or subprocess.run(
            ["localedef", "-i", "de_DE", "-f", encoding, str(tmp_path / language)],
            capture_output=True,
        ).returncode
    ):
        pytest.skip("locales cannot be made here: apt-get install locales")
    code = (
        "import sys, locale\nfrom recsys_assets.cli import main\nmain.use_utf8()\n"
        "print(sys.flags.utf8_mode, locale.getpreferredencoding(False).upper())"
    )
    environment = {
        name: value
        for name, value in os.environ.items()
        if name not in ("PYTHONUTF8", "PYTHONIOENCODING")
    }
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=PROJECT_ROOT,
        text=True,
        capture_output=True,
        check=True,
        env=environment | {"LOCPATH": str(tmp_path), "LC_ALL": language},
    )
    assert done.stdout.split() == [mode, "UTF-8"]


def test_libraries_send_no_usage_reports() -> None:
    """The variables that switch off usage reports are set.

    A counting proxy showed that onnxruntime honours its variable: 4 connections in 60 s without it,
    none with it.
    """
    code = (
        "import os, recsys_assets\nprint(os.environ['ORT_DISABLE_TELEMETRY'], "
        "os.environ['FEAST_USAGE'], os.environ['DO_NOT_TRACK'])"
    )
    environment = {
        name: value
        for name, value in os.environ.items()
        if name not in ("ORT_DISABLE_TELEMETRY", "FEAST_USAGE", "DO_NOT_TRACK")
    }
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=PROJECT_ROOT,
        env=environment,
        text=True,
        capture_output=True,
        check=True,
    )
    assert done.stdout.split() == ["1", "False", "1"]


def test_trusted_proxies_are_addresses_and_subnets():
    assert Settings().trusted_proxies == "127.0.0.1"
    given = " 10.0.16.5/20, 10.1.2.3,fd00::1/64"
    assert Settings(trusted_proxies=given).trusted_proxies == "10.0.16.0/20,10.1.2.3,fd00::/64"
    with pytest.raises(ValidationError, match="must be addresses and subnets such as"):
        Settings(trusted_proxies="10.0.0.0/20,balancer")

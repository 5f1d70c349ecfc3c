"""Starting, finding and ending local parts, on a real Valkey."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys

import psutil
import pytest
import redis

from recsys_assets.files import write_json
from recsys_assets.operations import dagster_home, local_parts, processes, services
from recsys_assets.operations.processes import MARK, read_record
from recsys_assets_tests.support.small_triton import settings_for

pytestmark = pytest.mark.services
ONLY = ["valkey"]


@pytest.fixture
def settings(tmp_path):
    settings = settings_for(tmp_path / "a home")  # with a space
    yield settings
    services.down(settings)


def client(settings) -> redis.Redis:
    return redis.Redis(settings.valkey_host, settings.valkey_port, socket_timeout=5)


def kill(settings) -> None:
    process = psutil.Process(read_record(settings.home / "run", "valkey").pid)
    process.kill()
    psutil.wait_procs([process], timeout=10)


def test_up_status_down(settings):
    lines: list[str] = []
    (found,) = services.up(settings, ONLY, lines.append)
    assert (
        found.running
        and found.address == f"127.0.0.1:{settings.valkey_port}"
        and "ready" in lines[0]
    )
    record = read_record(settings.home / "run", "valkey")
    assert (
        os.getsid(record.pid) == record.pid
    )  # its own session: a terminal's Ctrl-C does not reach it
    services.up(settings, ONLY, lines.append)
    assert "runs already" in lines[1] and read_record(settings.home / "run", "valkey") == record
    services.down(settings)
    assert (
        not psutil.pid_exists(record.pid) and not (settings.home / "run" / "valkey.json").exists()
    )
    assert services.status(settings, ONLY)[0].running is False
    services.down(settings)  # again: nothing to do


def test_what_was_written_survives_a_kill(settings):
    services.up(settings, ONLY, print)
    for database in (0, 3, 15):
        redis.Redis(port=settings.valkey_port, db=database).set("k", "v")
    # fsync is once a second: what a kill may cost at most
    assert client(settings).execute_command("WAITAOF", 1, 0, 10_000)[0] == 1
    kill(settings)
    services.up(settings, ONLY, print)
    assert redis.Redis(port=settings.valkey_port, db=15).get("k") == b"v"
    assert client(settings).config_get("appendonly") == {"appendonly": "yes"}
    assert client(settings).config_get("save") == {"save": ""}


def test_a_password_is_asked_for_and_stands_on_no_command_line(tmp_path):
    settings = settings_for(tmp_path / 'a "home"', valkey_password='hush "and\\ hush')
    try:
        services.up(settings, ONLY, print)
        assert local_parts.valkey_answers(settings)
        assert not local_parts.valkey_answers(settings.model_copy(update={"valkey_password": None}))
        record = read_record(settings.home / "run", "valkey")
        assert "hush" not in " ".join(psutil.Process(record.pid).cmdline())
        assert (settings.home / "valkey" / "valkey.conf").stat().st_mode & 0o077 == 0
    finally:
        services.down(settings)


def test_a_reused_pid_is_neither_taken_for_the_part_nor_ended(settings):
    stranger = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    try:
        write_json(
            settings.home / "run" / "valkey.json",
            {
                "name": "valkey",
                "pid": stranger.pid,
                "create_time": psutil.Process(stranger.pid).create_time() - 500,
                "mark": f"{settings.home / 'run'}:valkey",
                "log": "",
                "command": [],
            },
        )
        assert services.status(settings, ONLY)[0].running is False
        services.down(settings)
        assert stranger.poll() is None, "a process that is not ours was ended"
        services.up(settings, ONLY, print)
        assert services.status(settings, ONLY)[0].running
    finally:
        stranger.kill()
        stranger.wait()


def test_a_stale_record_does_not_stand_in_the_way(settings):
    services.up(settings, ONLY, print)
    first = read_record(settings.home / "run", "valkey")
    kill(settings)
    assert services.status(settings, ONLY)[0].running is False
    services.up(settings, ONLY, print)
    assert read_record(settings.home / "run", "valkey").pid != first.pid


def test_a_port_in_use_names_port_setting_and_holder(settings):
    with socket.socket() as holder:
        holder.bind((settings.valkey_host, settings.valkey_port))
        holder.listen()
        with pytest.raises(services.ServiceError) as caught:
            services.up(settings, ONLY, print)
        message = str(caught.value)
        assert "\n" not in message
        for part in (f"port {settings.valkey_port}", "RECSYS_VALKEY_PORT", f"pid {os.getpid()}"):
            assert part in message
        (found,) = services.status(settings, ONLY)
        assert not found.running and f"pid {os.getpid()}" in found.detail
    assert not (settings.home / "run" / "valkey.json").exists()


def test_no_part_is_started_when_one_has_no_port(settings):
    with socket.socket() as holder:
        holder.bind((settings.gateway_host, settings.gateway_port))
        holder.listen()
        with pytest.raises(services.ServiceError, match="RECSYS_GATEWAY_PORT"):
            services.up(settings, ["valkey", "gateway"], print)
    assert services.status(settings, ONLY)[0].running is False


def test_a_part_that_dies_shows_the_end_of_its_log(settings):
    folder = settings.home / "valkey" / "appendonlydir"
    folder.mkdir(parents=True)
    (folder / "appendonly.aof.manifest").write_text("nonsense\n")
    with pytest.raises(
        services.ServiceError, match=r"valkey ended while it was starting.*valkey\.log"
    ) as caught:
        services.up(settings, ONLY, print)
    assert "manifest" in str(caught.value)
    assert not (settings.home / "run" / "valkey.json").exists()


def test_an_unknown_name_lists_the_known_ones(settings):
    with pytest.raises(
        services.ServiceError,
        match="no local part is called redis; there are valkey, triton, gateway",
    ):
        services.up(settings, ["redis"])


def test_remote_stores_are_not_started_here(tmp_path):
    settings = settings_for(
        tmp_path, valkey_host="cache.example.org", triton_replicas="10.0.0.1:8001,10.0.0.2:8001"
    )
    assert [s.name for s in local_parts.local_services(settings)] == [
        "gateway",
        "consumer",
        "code-server",
        "webserver",
        "daemon",
    ]


def test_descendants_that_left_the_tree_are_ended_too(tmp_path):
    """A child in a session of its own whose parent is gone is found by the mark that it
    inherited.
    """
    run = tmp_path / "run"
    script = (
        "import subprocess, sys, time\n"
        "subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'], "
        "start_new_session=True)\n"
        "time.sleep(0.2)\n"
    )
    record = processes.spawn(
        "part",
        [sys.executable, "-c", script],
        run=run,
        log=tmp_path / "part.log",
        environment=dict(os.environ),
    )
    running = record.process()
    psutil.wait_procs([running] if running else [], timeout=20)
    (orphan,) = processes.marked(record.mark)
    assert record.process() is None and orphan.environ()[MARK] == record.mark
    assert processes.stop_recorded(run, "part") and not orphan.is_running()


def test_a_part_that_ignores_sigterm_is_killed(tmp_path):
    script = (
        "import signal, time\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "print('deaf', flush=True)\n"
        "time.sleep(60)\n"
    )
    record = processes.spawn(
        "part",
        [sys.executable, "-c", script],
        run=tmp_path,
        log=tmp_path / "part.log",
        environment=dict(os.environ),
    )
    processes.wait_ready(record, lambda: "deaf" in (tmp_path / "part.log").read_text(), 20)
    assert processes.stop_recorded(tmp_path, "part", grace=0.2) and record.process() is None


def test_dagsters_files_are_valid(settings):
    from dagster import DagsterInstance
    from dagster._core.workspace.load import location_origins_from_yaml_paths

    folder = services.prepare_dagster_home(settings)
    with DagsterInstance.from_config(str(folder)) as instance:
        assert not instance.telemetry_enabled and not instance.nux_enabled
        assert instance.get_concurrency_config().run_queue_config.max_concurrent_runs == 2
        assert instance.root_directory == str(folder)
    (origin,) = location_origins_from_yaml_paths([str(dagster_home.workspace_file(settings))])
    assert (origin.host, origin.port, origin.location_name) == (
        "127.0.0.1",
        settings.code_server_port,
        "recsys_assets",
    )
    assert json.dumps(dagster_home.environment(settings))


def test_triton_starts_empty_after_a_promotion_that_died(settings):
    """Whatever a dead promotion left in the repository is put right before the server reads it."""
    repository = settings.model_repository
    (repository / "ensemble_model" / "1").mkdir(parents=True)
    (repository / "ensemble_model" / "config.pbtxt").write_text("half a promotion")
    (repository / "query_tower" / "1").mkdir(parents=True)
    write_json(
        settings.home / "serving" / "promotion.json",
        {
            "release": 1,
            "leaving": None,
            "champion": {},
            "new_versions": [["query_tower", 1]],
            "ensemble": None,
            "configs": {"query_tower": None},
            "step": "loaded",
            "started": 0.0,
        },
    )
    lines: list[str] = []
    (found,) = services.up(settings, ["triton"], lines.append)
    assert found.running and found.detail == "no release promoted yet"
    assert "undoing" in lines[0] and list(repository.iterdir()) == []

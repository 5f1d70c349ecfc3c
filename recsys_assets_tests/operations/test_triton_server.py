"""The launcher, on the real tritonserver of the serving environment's wheel."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from recsys_assets.lib.release.champion import read_champion
from recsys_assets.operations.processes import ProcessError, marked, read_record
from recsys_assets.operations.triton_server import SHARED_MEMORY, TritonServer, servable_models
from recsys_assets.serving.promotion import promotion
from recsys_assets.serving.triton.model_control import GRPC_HEADER, control_key, grpc_headers
from recsys_assets.serving.triton.replicas import Replica, ReplicaError
from recsys_assets.serving.triton.served import CANDIDATES, ENTRANCES
from recsys_assets_tests.support.small_promotion import Shop
from recsys_assets_tests.support.small_triton import (
    settings_for,
    small_release,
    write_templates,
    write_version,
)

pytestmark = pytest.mark.services


@pytest.fixture
def server(tmp_path):
    server = TritonServer(settings_for(tmp_path / "a home"))  # with a space
    yield server
    server.stop()


def regions(server: TritonServer) -> list[str]:
    return [path.name for path in SHARED_MEMORY.glob(f"{server.shared_memory_prefix}*")]


def test_an_empty_repository_starts_ready_and_ends_whole(server):
    record = server.start()
    assert server.ready() and server.stop()
    assert not psutil.pid_exists(record.pid) and marked(record.mark) == [] and not server.ready()


def test_the_wheel_s_stub_stays_readable(server, tmp_path):
    """Triton takes the read permission of the stub that it starts."""
    server.prepare()
    (wheel,) = Path(server._interpreter["wheel"]).glob(
        f"python_backend_stubs/{server._interpreter['version']}/*stub"
    )
    wheel.chmod(0o100)  # as an earlier start had left it
    write_version(write_templates(tmp_path / "templates"), server.repository, "query_tower", 1)
    server.start()
    assert wheel.stat().st_mode & 0o777 == 0o755


def killed(server: TritonServer) -> str:
    """SIGKILL of the server alone; returns the mark of the stubs that it leaves."""
    record = read_record(server.run, server.name)
    os.kill(record.pid, signal.SIGKILL)
    psutil.wait_procs([psutil.Process(record.pid)], timeout=5)
    assert marked(record.mark) and regions(server), (
        "a killed server leaves stubs and regions: else this test shows nothing"
    )
    return record.mark


def test_every_model_with_a_version_is_loaded_and_nothing_is_left_after_a_kill(server, tmp_path):
    templates = write_templates(tmp_path / "templates")
    write_version(templates, server.repository, "query_tower", 3)
    (server.repository / "faiss_retrieval").mkdir()  # no version, no configuration
    write_version(templates, server.repository, "dlrm_ranking", 1)
    for candidate in CANDIDATES.values():
        (server.repository / candidate / "1").mkdir(parents=True)
        (server.repository / candidate / "config.pbtxt").write_text("left by a crash")
    assert servable_models(server.repository, "both") == ["dlrm_ranking", "query_tower"]
    assert servable_models(server.repository, "fused") == []
    server.start()
    assert regions(server), (
        "the backend ignores shm-region-prefix-name: regions could not be told apart"
    )
    mark = killed(server)
    stranger = SHARED_MEMORY / f"triton_python_backend_shm_region_test_{os.getpid()}"
    stranger.touch()
    try:
        server.stop()
        assert marked(mark) == [] and regions(server) == []
        assert stranger.exists(), "a region of another server was removed"
    finally:
        stranger.unlink()


def test_a_start_after_a_kill_clears_what_was_left(server, tmp_path):
    write_version(write_templates(tmp_path / "templates"), server.repository, "query_tower", 1)
    server.start()
    mark = killed(server)
    stubs, left = {process.pid for process in marked(mark)}, set(regions(server))
    record = server.start()
    assert not stubs & {process.pid for process in marked(mark)}, (
        "stubs of the killed server live on beside the new one's"
    )
    assert not left & set(regions(server)), "shared memory of the killed server was kept"
    assert server.ready() and record.process() is not None


def test_a_model_that_fails_ends_the_start_with_the_reason(server, tmp_path):
    write_version(
        write_templates(tmp_path / "templates"),
        server.repository,
        "query_tower",
        1,
        content="broken",
    )
    with pytest.raises(ProcessError, match=r"model\.onnx is broken on purpose"):
        server.start()
    assert read_record(server.run, server.name) is None and regions(server) == []


def test_a_limit_that_passes_ends_the_start(server):
    with pytest.raises(ProcessError, match="was not ready within 0 s"):
        server.start(limit=0.0)
    assert marked(f"{server.run}:triton") == []


def test_the_write_token_and_many_threads_stay_outside(server, monkeypatch):
    monkeypatch.setenv("RECSYS_TOKEN", "secret")
    environment = server.environment()
    assert "RECSYS_TOKEN" not in environment and environment["OMP_NUM_THREADS"] == "1"


def test_versions_are_read_only_by_python(server, tmp_path):
    """The empty file ``__pycache__`` keeps bytecode out, so that a second load does not load the
    version again.
    """
    folder = write_version(
        write_templates(tmp_path / "templates"), server.repository, "query_tower", 1
    )
    before = {path: path.stat().st_mtime_ns for path in [folder, *folder.iterdir()]}
    server.start()
    time.sleep(0.2)
    assert {path: path.stat().st_mtime_ns for path in [folder, *folder.iterdir()]} == before


def test_with_a_token_model_control_needs_the_key_and_answers_do_not(tmp_path):
    settings = settings_for(tmp_path / "home", token="write-token")
    server = TritonServer(settings)
    templates = write_templates(tmp_path / "templates")
    write_version(templates, server.repository, "query_tower", 1)
    try:
        record = server.start()
        address, http = (
            settings.triton_grpc[0],
            f"http://{settings.triton_host}:{settings.triton_http_port}/v2",
        )
        stranger, wrong = Replica(address), Replica(address, {GRPC_HEADER: "guessed"})
        ours = Replica(address, grpc_headers(settings))
        for caller in (stranger, wrong):
            for call in (caller.load, caller.unload):
                with pytest.raises(ReplicaError, match="restricted"):
                    call("query_tower")
        for path in (
            "repository/models/query_tower/unload",
            "repository/models/query_tower/load",
            "repository/index",
            "systemsharedmemory/region/x/register",
            "trace/setting",
            "logging",
        ):
            with pytest.raises(urllib.error.HTTPError) as refused:
                urllib.request.urlopen(
                    urllib.request.Request(f"{http}/{path}", data=b"{}", method="POST"), timeout=5
                )
            assert refused.value.code == 403, path
        assert stranger.serves("query_tower", 1) and server.ready(), (
            "reading and answering need no key"
        )
        write_version(templates, server.repository, "query_tower", 2)
        ours.load("query_tower")
        assert stranger.serves("query_tower", 2)
        ours.unload("query_tower")
        command_line = " ".join(psutil.Process(record.pid).cmdline())
        assert control_key(settings) in command_line and "write-token" not in command_line
        for replica in (stranger, wrong, ours):
            replica.close()
    finally:
        server.stop()


def test_without_a_token_nothing_is_restricted(server):
    assert control_key(server.settings) is None and grpc_headers(server.settings) == {}
    assert not [argument for argument in server.command if "restricted" in argument]


def test_the_key_is_that_of_the_container(tmp_path):
    """The chart's start command asks the module for it."""
    done = subprocess.run(
        [sys.executable, "-m", "recsys_assets.serving.triton.model_control"],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "RECSYS_TOKEN": "write-token"},
    )
    assert done.stdout.strip() == control_key(settings_for(tmp_path, token="write-token"))


def test_a_stub_that_hangs_fails_the_load_within_its_limit_and_the_old_version_serves(
    tmp_path, monkeypatch
):
    monkeypatch.setattr("recsys_assets.serving.triton.replicas.LOAD_LIMIT", 3.0)
    shop = Shop(tmp_path)
    shop.server.start()
    try:
        small_release(shop.store, 1)
        shop.promote(1)
        small_release(shop.store, 2, dlrm_ranking="hangs")
        with pytest.raises(
            promotion.PromotionFailed, match="could not load dlrm_ranking: Deadline Exceeded"
        ):
            shop.promote(2)
        assert shop.ask().query_release == 1 and read_champion(shop.settings).release == 1
        assert shop.ask(model="ensemble_model").ranker_release == 1
        mark = read_record(shop.server.run, "triton").mark
        shop.server.stop(grace=1.0)  # it waits for the load; SIGKILL then ends it and its stubs
        assert marked(mark) == [] and regions(shop.server) == []
        shop.recover()
        shop.server.start()
        assert shop.ask().query_release == 1
        small_release(shop.store, 3)
        shop.promote(3)
        assert shop.ask().query_release == 3
    finally:
        shop.end()


def test_sigterm_lets_requests_in_flight_finish(tmp_path):
    shop = Shop(tmp_path)
    shop.server.start()
    try:
        small_release(shop.store, 1)
        shop.promote(1)
        with ThreadPoolExecutor(3) as pool:
            # two of one ranker, so that one of them waits in its queue while the other is worked on
            begun = [tmp_path / f"begun-{n}" for n in range(3)]
            asked = [
                pool.submit(shop.ask, f"slow:{begun[n]}", None, ENTRANCES[n // 2]) for n in range(3)
            ]
            wait_until(lambda: all(path.exists() for path in begun))
            assert shop.server.stop()
            answers = [one.result() for one in asked]
        assert [len(answer.ids) for answer in answers] == [3] * 3
        assert not shop.server.ready() and regions(shop.server) == []
    finally:
        shop.end()


def wait_until(reached: Callable[[], bool], limit: float = 10.0) -> None:
    end = time.monotonic() + limit
    while not reached():
        assert time.monotonic() < end
        time.sleep(0.02)

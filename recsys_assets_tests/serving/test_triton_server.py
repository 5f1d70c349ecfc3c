"""The launcher, on the real tritonserver of the serving environment's wheel."""

from __future__ import annotations

import os
import signal
import time

import psutil
import pytest

from recsys_assets.processes import ProcessError, marked, read_record
from recsys_assets.serving.triton_server import CANDIDATE_ENSEMBLE, SHARED_MEMORY, TritonServer, servable_models
from recsys_assets_tests.serving.small_triton import settings_for, write_templates, write_version

pytestmark = pytest.mark.services


@pytest.fixture
def server(tmp_path):
    server = TritonServer(settings_for(tmp_path / "home"))
    yield server
    server.stop()


def regions(server: TritonServer) -> list[str]:
    return [path.name for path in SHARED_MEMORY.glob(f"{server.shared_memory_prefix}*")]


def test_an_empty_repository_starts_ready_and_ends_whole(server):
    record = server.start()
    assert server.ready() and server.stop()
    assert not psutil.pid_exists(record.pid) and marked(record.mark) == [] and not server.ready()


def test_every_model_with_a_version_is_loaded_and_nothing_is_left_after_a_kill(server, tmp_path):
    templates = write_templates(tmp_path / "templates")
    write_version(templates, server.repository, "query_tower", 3)
    (server.repository / "faiss_retrieval").mkdir()  # no version, no configuration
    write_version(templates, server.repository, "dlrm_ranking", 1)
    (server.repository / CANDIDATE_ENSEMBLE / "1").mkdir(parents=True)
    (server.repository / CANDIDATE_ENSEMBLE / "config.pbtxt").write_text("left by a crash")
    assert servable_models(server.repository) == ["dlrm_ranking", "query_tower"]
    record = server.start()
    assert regions(server), "the backend ignores shm-region-prefix-name: regions could not be told apart"
    os.kill(record.pid, signal.SIGKILL)
    psutil.wait_procs([psutil.Process(record.pid)], timeout=5)
    orphans = marked(record.mark)
    assert orphans and regions(server), "a killed server leaves stubs and regions: else this test shows nothing"
    stranger = SHARED_MEMORY / f"triton_python_backend_shm_region_test_{os.getpid()}"
    stranger.touch()
    try:
        server.stop()
        assert marked(record.mark) == [] and regions(server) == []
        assert stranger.exists(), "a region of another server was removed"
    finally:
        stranger.unlink()


def test_a_model_that_fails_ends_the_start_with_the_reason(server, tmp_path):
    write_version(write_templates(tmp_path / "templates"), server.repository, "query_tower", 1, content="broken")
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
    """The empty file ``__pycache__`` keeps bytecode out, so that a second load does not load the version again."""
    folder = write_version(write_templates(tmp_path / "templates"), server.repository, "query_tower", 1)
    before = {path: path.stat().st_mtime_ns for path in [folder, *folder.iterdir()]}
    server.start()
    time.sleep(0.2)
    assert {path: path.stat().st_mtime_ns for path in [folder, *folder.iterdir()]} == before

"""Promotion of the real 15 models, the fused one and both ensembles, from an empty server to a full
release, a fine-tune and back.
"""

from __future__ import annotations

import shutil

import numpy as np
import polars as pl
import pytest

from recsys_assets.artifacts import Artifact, ArtifactStore
from recsys_assets.columns import VOCABULARY_START
from recsys_assets.files import write_json
from recsys_assets.lib.release.releases import CODE_VERSION, COMPONENTS, REFRESHED, RELEASE
from recsys_assets.operations.processes import kill_marked
from recsys_assets.operations.triton_server import TritonServer
from recsys_assets.release_files import ITEM_IDS_FILE, SIMILAR_FILE
from recsys_assets.serving.promotion import promotion
from recsys_assets.serving.published.similar import LiveSimilar
from recsys_assets.serving.triton.replicas import Replica
from recsys_assets.serving.triton.served import ENTRANCES
from recsys_assets_tests.conftest import free_port
from recsys_assets_tests.support import tiny_payload, tiny_store
from recsys_assets_tests.support.small_triton import quiet

pytestmark = pytest.mark.services
NOW = 1_768_300_000
GATE = {"passed": True, "checks": [{"name": "auc", "value": 0.7, "threshold": 0.6, "passed": True}]}


def write_release(store: ArtifactStore, models, number: int, generation: int) -> Artifact:
    versions = {model: number if model in REFRESHED else generation for model in COMPONENTS}
    with store.stage(RELEASE, f"{number:06d}", params={"n": number}) as staged:
        shutil.copytree(models, staged.path / "models")
        write_json(
            staged.path / "display.json",
            {"release": number, "items": {i: {} for i in tiny_payload.ITEM_IDS}},
        )
        pl.DataFrame({"image": ["a.png"], "content": [b"png"]}).write_parquet(
            staged.path / "images.parquet"
        )
        write_json(staged.path / ITEM_IDS_FILE, tiny_payload.ITEM_IDS)
        np.save(
            staged.path / SIMILAR_FILE,
            np.full((len(tiny_payload.ITEM_IDS), 1), VOCABULARY_START, np.int32),
        )
        write_json(
            staged.path / "release.json",
            {
                "form": CODE_VERSION,
                "release": number,
                "kind": "full" if number == generation else "fine_tune",
                "day": "2026-01-12",
                "generation": generation,
                "versions": versions,
                "gate": GATE,
                "metrics": {},
                "known_user": "user-1",
                "artifacts": {},
            },
        )
        return staged.publish()


def test_full_release_fine_tune_restart_and_rollback(tmp_path, valkey):
    names = ("triton_http_port", "triton_grpc_port", "triton_metrics_port")
    settings = tiny_store.settings_on(
        tmp_path / "home",
        valkey,
        retrieval_topk=30,
        ranking_topk=tiny_payload.TOPK,
        **{name: free_port() for name in names},
    )
    views = tiny_store.apply_views(settings)
    tiny_store.write_users(views)
    tiny_payload.write_models(tmp_path / "payload", settings)
    store = ArtifactStore(settings.artifacts)
    write_release(store, tmp_path / "payload" / "models", 1, 1)
    write_release(store, tmp_path / "payload" / "models", 2, 1)
    server = TritonServer(settings)
    server.start()
    replica = Replica(settings.triton_grpc[0])
    try:
        report = promotion.promote(settings, 1, log=quiet)
        assert len(report.published) == 16
        first = replica.ask("ensemble_model", "user-1", timestamp=NOW)
        assert first == replica.ask("recommender", "user-1", timestamp=NOW)
        assert LiveSimilar(settings).of(tiny_payload.ITEM_IDS[1], 5) == [tiny_payload.ITEM_IDS[0]]
        assert len(first.ids) == tiny_payload.TOPK and (
            first.query_release,
            first.ranker_release,
        ) == (1, 1)
        report = promotion.promote(settings, 2, log=quiet)
        changed = [*REFRESHED, "fused_model"]
        assert sorted(report.published) == sorted(f"{model}/2" for model in changed)
        for entrance in ENTRANCES:
            second = replica.ask(entrance, "user-1")
            assert (second.query_release, second.ranker_release) == (2, 2)
        server.stop()
        server.start()  # from the repository alone: the same release again
        assert [replica.ask(entrance, "user-1").query_release for entrance in ENTRANCES] == [2, 2]
        promotion.rollback(settings, log=quiet)
        assert [replica.ask(entrance, "user-1", timestamp=NOW) for entrance in ENTRANCES] == [
            first,
            first,
        ]
    finally:
        replica.close()
        kill_marked(f"{server.run}:{server.name}")
        server.stop()

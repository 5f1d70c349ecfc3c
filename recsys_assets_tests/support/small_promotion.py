"""A home with releases of the small models, and a running Triton, for the tests of promotion."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
from pathlib import Path
from typing import Any

import polars as pl

from recsys_assets.artifacts import ArtifactStore
from recsys_assets.operations.processes import kill_marked
from recsys_assets.operations.triton_server import TritonServer
from recsys_assets.serving.promotion import promotion
from recsys_assets.serving.triton.model_control import grpc_headers
from recsys_assets.serving.triton.replicas import Replica, SmokeAnswer
from recsys_assets.serving.triton.repository import ModelRepository
from recsys_assets_tests.support.small_triton import (
    promote_and_die,
    quiet,
    settings_for,
    write_templates,
)


class Shop:
    """A home, its releases, and a Triton, to be started."""

    def __init__(self, folder: Path, **values: Any):
        self.settings = settings_for(folder / "home", **values)
        self.templates = write_templates(folder / "templates")
        self.store = ArtifactStore(self.settings.artifacts)
        self.server = TritonServer(self.settings)
        self.repository = ModelRepository(self.settings.model_repository, self.templates)

    def promote(self, release: int, **arguments: Any) -> promotion.PromotionReport:
        return promotion.promote(
            self.settings, release, log=quiet, templates=self.templates, **arguments
        )

    def rollback(self) -> promotion.PromotionReport:
        return promotion.rollback(self.settings, log=quiet, templates=self.templates)

    def recover(self) -> str | None:
        return promotion.recover(self.settings, log=quiet, templates=self.templates)

    def end(self) -> None:
        """At once: a test that is over needs no graceful stop, which takes seconds."""
        kill_marked(f"{self.server.run}:{self.server.name}")
        self.server.stop()

    def replica(self, address: str | None = None, **options: Any) -> Replica:
        return Replica(
            address or self.settings.triton_grpc[0], grpc_headers(self.settings), **options
        )

    def ask(
        self, user_id: str = "ann", address: str | None = None, model: str | None = None
    ) -> SmokeAnswer:
        replica = self.replica(address)
        try:
            return replica.ask(model or self.settings.recommend_model, user_id)
        finally:
            replica.close()

    def ready(self, *models: str) -> list[str]:
        """Those that the server serves in some version."""
        replica = self.replica()
        try:
            return [model for model in models if replica._client.is_model_ready(model)]
        finally:
            replica.close()

    def answers_hash(self) -> str:
        return hashlib.sha256(repr([self.ask(f"user-{n}") for n in range(20)]).encode()).hexdigest()

    def on_disk(self) -> dict[str, bytes]:
        root = self.settings.model_repository
        return {
            str(p.relative_to(root)): p.read_bytes() for p in sorted(root.rglob("*")) if p.is_file()
        }

    def display(self) -> tuple[int, list[str]]:
        folder = self.settings.home / "serving"
        return (
            json.loads((folder / "display.json").read_text())["release"],
            pl.read_parquet(folder / "images.parquet")["image"].to_list(),
        )


def die_in_child(shop: Shop, release: int, step: str) -> None:
    """Promote in another process, which ends without a word just after a step was written to the
    journal.
    """
    # not a fork of this process, where gRPC has begun: it would hang in the child
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["recsys_assets_tests.support.small_triton"])
    child = context.Process(
        target=promote_and_die, args=(shop.settings, shop.templates, release, step)
    )
    child.start()
    child.join(60)
    assert child.exitcode == 9

"""Promotion on the real Triton server, with small models (see ``small_triton``)."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import threading
import time

import numpy as np
import polars as pl
import pytest
import tritonclient.grpc as grpcclient

from recsys_assets.artifacts import ArtifactStore
from recsys_assets.lib.releases import champion
from recsys_assets.processes import marked
from recsys_assets.serving import promotion
from recsys_assets.serving.promotion_journal import POINT_OF_NO_RETURN, STEPS, journal_path, promotion_lock
from recsys_assets.serving.replicas import Replica, ReplicaError
from recsys_assets.serving.repository import CODE, ModelRepository
from recsys_assets.serving.triton_server import CANDIDATE_ENSEMBLE, TritonServer
from recsys_assets_tests.serving.small_triton import (
    free_ports,
    promote_and_die,
    quiet,
    settings_for,
    small_release,
    write_templates,
)

pytestmark = pytest.mark.services


class Shop:
    """A home, its releases, and a running Triton."""

    def __init__(self, folder, **values):
        self.settings = settings_for(folder / "home", **values)
        self.templates = write_templates(folder / "templates")
        self.store = ArtifactStore(self.settings.artifacts)
        self.server = TritonServer(self.settings)
        self.repository = ModelRepository(self.settings.model_repository, self.templates)

    def promote(self, release, **arguments):
        return promotion.promote(self.settings, release, log=quiet, templates=self.templates, **arguments)

    def rollback(self):
        return promotion.rollback(self.settings, log=quiet, templates=self.templates)

    def recover(self):
        return promotion.recover(self.settings, log=quiet, templates=self.templates)

    def end(self):
        """At once: a test that is over needs no graceful stop, which takes seconds."""
        for process in marked(f"{self.server.run}:{self.server.name}"):
            process.kill()
        self.server.stop()

    def ask(self, user_id="ann", address=None):
        replica = Replica(address or self.settings.triton_grpc[0])
        try:
            return replica.ask("ensemble_model", user_id)
        finally:
            replica.close()

    def on_disk(self):
        root = self.settings.model_repository
        return {str(p.relative_to(root)): p.read_bytes() for p in sorted(root.rglob("*")) if p.is_file()}

    def display(self):
        folder = self.settings.home / "serving"
        return (json.loads((folder / "display.json").read_text())["release"],
                pl.read_parquet(folder / "images.parquet")["image"].to_list())


@pytest.fixture
def shop(tmp_path):
    shop = Shop(tmp_path)
    shop.server.start()
    yield shop
    shop.end()


def answers_hash(shop: Shop) -> str:
    return hashlib.sha256(repr([shop.ask(f"user-{n}") for n in range(20)]).encode()).hexdigest()


def test_the_first_promotion_into_an_empty_server(shop):
    small_release(shop.store, 1)
    report = shop.promote(1)
    assert shop.ask().ids[0].startswith("1.1.1:") and shop.display() == (1, ["1.png"])
    assert sorted(report.published) == ["dlrm_ranking/1", "faiss_retrieval/1", "query_tower/1"]
    assert champion(shop.settings).release == 1 and champion(shop.settings).previous == []
    assert not journal_path(shop.settings).exists()
    assert not (shop.settings.model_repository / CANDIDATE_ENSEMBLE).exists()
    assert json.dumps(report.metadata())  # plain values


def test_a_fine_tune_switches_two_models_and_rollback_gives_the_same_answers(shop):
    small_release(shop.store, 1)
    small_release(shop.store, 2, generation=1)
    shop.promote(1)
    before, disk = answers_hash(shop), shop.on_disk()
    index = shop.settings.model_repository / "faiss_retrieval" / "1"
    untouched = {p: p.stat().st_mtime_ns for p in [index, *index.iterdir()]}
    report = shop.promote(2)
    assert sorted(report.published) == ["dlrm_ranking/2", "query_tower/2"]
    assert shop.ask().ids[0].startswith("2.1.2:") and answers_hash(shop) != before
    assert {p: p.stat().st_mtime_ns for p in [index, *index.iterdir()]} == untouched, "the generation was loaded again"
    report = shop.rollback()
    assert (report.event, report.release, report.previous) == ("rollback", 1, 2)
    assert answers_hash(shop) == before and shop.display() == (1, ["1.png"])
    assert shop.on_disk()["ensemble_model/config.pbtxt"] == disk["ensemble_model/config.pbtxt"]
    with pytest.raises(promotion.PromotionRefused, match="no previous champion"):
        shop.rollback()


def test_rollback_past_what_was_pruned_publishes_again(shop):
    for number in (1, 2, 3):
        small_release(shop.store, number)
        shop.promote(number)
    assert shop.repository.versions("query_tower") == {2, 3}  # the champion and the one before
    assert champion(shop.settings).previous == [2, 1]
    shop.rollback()
    report = shop.rollback()
    assert report.release == 1 and shop.ask().ids[0].startswith("1.1.1:") and len(report.published) == 3


def test_an_absent_or_failed_verdict_is_refused(shop):
    small_release(shop.store, 1, passed=None)
    small_release(shop.store, 2, passed=False)
    with pytest.raises(promotion.PromotionRefused, match="no gate verdict"):
        shop.promote(1)
    with pytest.raises(promotion.PromotionRefused, match=r"auc = 0\.4 \(threshold 0\.6\)"):
        shop.promote(2)
    with pytest.raises(promotion.PromotionRefused, match="000007"):
        shop.promote(7)
    assert shop.on_disk() == {} and champion(shop.settings) is None
    shop.promote(2, force_gate=True)
    assert champion(shop.settings).history[-1]["forced"] is True


@pytest.mark.parametrize(("content", "message"), [
    ({"dlrm_ranking": "broken"}, "broken on purpose"), ({"faiss_retrieval": "broken"}, "broken on purpose"),
    ({"dlrm_ranking": "empty"}, "got no items"), ({"dlrm_ranking": "twice"}, "got items twice"),
])
def test_a_bad_release_is_undone_and_the_old_one_serves(shop, content, message):
    small_release(shop.store, 1)
    shop.promote(1)
    before, disk, display = answers_hash(shop), shop.on_disk(), shop.display()
    small_release(shop.store, 2, **content)
    with pytest.raises(promotion.PromotionFailed, match=message):
        shop.promote(2)
    assert answers_hash(shop) == before and shop.on_disk() == disk and shop.display() == display
    assert champion(shop.settings).release == 1 and not journal_path(shop.settings).exists()
    small_release(shop.store, 3)
    shop.promote(3)  # what was undone does not stand in the way
    assert shop.ask().ids[0].startswith("3.3.3:")


def test_a_bad_first_release_leaves_an_empty_server(shop):
    small_release(shop.store, 1, faiss_retrieval="broken")
    with pytest.raises(promotion.PromotionFailed, match="nothing is served"):
        shop.promote(1)
    assert shop.on_disk() == {} and not (shop.settings.home / "serving" / "display.json").exists()
    small_release(shop.store, 2)
    shop.promote(2)
    assert shop.ask().ids[0].startswith("2.2.2:")


def test_a_changed_byte_is_refused(shop):
    artifact = small_release(shop.store, 1)
    path = artifact.local / "models" / "dlrm_ranking" / "model.onnx"
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    with pytest.raises(promotion.PromotionFailed, match="differs from its manifest"):
        shop.promote(1)
    assert shop.on_disk() == {}


def test_without_a_server_the_message_says_what_to_do(tmp_path):
    shop = Shop(tmp_path)
    small_release(shop.store, 1)
    with pytest.raises(promotion.PromotionFailed, match="recsys up"):
        shop.promote(1)
    assert not journal_path(shop.settings).exists() and shop.on_disk() == {}


def test_switching_under_load_fails_no_request_and_mixes_no_answer(shop):
    small_release(shop.store, 1)
    shop.promote(1)
    faults, tuples, stop = [], [], threading.Event()

    def visit(name: str) -> None:
        replica = Replica(shop.settings.triton_grpc[0])
        while not stop.is_set():
            try:
                answer = replica.ask("ensemble_model", name)
            except ReplicaError as error:
                faults.append(str(error))
                continue
            makers = {tuple(map(int, item.split(":")[0].split("."))) for item in answer.ids}
            tuples.append((*makers, answer.query_release, answer.ranker_release))
        replica.close()

    visitors = [threading.Thread(target=visit, args=(f"user-{n}",)) for n in range(3)]
    for visitor in visitors:
        visitor.start()
    try:
        small_release(shop.store, 2, generation=1)
        shop.promote(2)
        small_release(shop.store, 3)
        shop.promote(3)
        shop.rollback()
        small_release(shop.store, 4, query_tower="broken")
        with pytest.raises(promotion.PromotionFailed):
            shop.promote(4)
        shop.promote(3)
        time.sleep(0.2)
    finally:
        stop.set()
        for visitor in visitors:
            visitor.join()
    assert faults == []
    seen = set(tuples)
    assert seen == {((1, 1, 1), 1, 1), ((2, 1, 2), 2, 2), ((3, 3, 3), 3, 3)}, "an answer that no release gives, or none"
    assert len(tuples) > 100


def die_in_child(shop: Shop, release: int, step: str) -> None:
    """Promote in another process, which ends without a word just after a step was written to the journal."""
    # not a fork of this process, where gRPC has begun: it would hang in the child
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["recsys_assets_tests.serving.small_triton"])
    child = context.Process(target=promote_and_die, args=(shop.settings, shop.templates, release, step))
    child.start()
    child.join(60)
    assert child.exitcode == 9


@pytest.mark.parametrize("running", [True, False], ids=["triton-runs", "triton-was-stopped"])
def test_a_promotion_that_dies_at_any_step_is_finished_or_undone(tmp_path, running):
    """Between death and recovery: one release or the other; after it: a whole one, and room for the next."""
    shop = Shop(tmp_path)
    shop.server.start()
    try:
        small_release(shop.store, 1)
        shop.promote(1)
        number = 1
        for step in STEPS if running else ("switched", "verified"):
            former, number = champion(shop.settings).release, number + 1
            small_release(shop.store, number)
            die_in_child(shop, number, step)
            finished = STEPS.index(step) >= STEPS.index(POINT_OF_NO_RETURN)
            answer = shop.ask()
            assert answer.query_release == answer.ranker_release
            assert answer.query_release in (former, number)
            if not running:
                shop.server.stop()
            assert shop.recover() == ("finished" if finished else "undone"), step
            if not running:
                shop.server.start()
            expected = number if finished else former
            assert shop.ask().query_release == expected and champion(shop.settings).release == expected, step
            assert shop.display()[0] == expected and not journal_path(shop.settings).exists()
            assert (number in shop.repository.versions("faiss_retrieval")) is finished
            assert not (shop.settings.model_repository / CANDIDATE_ENSEMBLE).exists()
            assert shop.recover() is None
    finally:
        shop.end()


def test_the_next_promotion_recovers_by_itself(shop):
    for number in (1, 2, 3):
        small_release(shop.store, number)
    shop.promote(1)
    die_in_child(shop, 2, "switched")
    assert shop.ask().query_release == 2 and champion(shop.settings).release == 1
    shop.promote(3)
    assert shop.ask().query_release == 3 and champion(shop.settings).previous == [1]
    assert shop.repository.versions("query_tower") == {1, 3}


def test_two_promotions_take_turns(shop):
    for number in (1, 2):
        small_release(shop.store, number)
    order: list[str] = []
    with promotion_lock(shop.settings, quiet):
        other = threading.Thread(target=lambda: (shop.promote(2), order.append("promoted")))
        other.start()
        time.sleep(0.3)
        order.append("released")
    other.join()
    assert order == ["released", "promoted"]


def test_two_replicas_get_the_same_release_or_neither(tmp_path):
    first = Shop(tmp_path)
    names = ("triton_http_port", "triton_grpc_port", "triton_metrics_port")
    ports = dict(zip(names, free_ports(3), strict=True))
    second = TritonServer(first.settings.model_copy(update=ports), name="triton-2")
    addresses = [first.settings.triton_grpc[0], second.settings.triton_grpc[0]]
    first.settings.triton_replicas = ",".join(addresses)
    first.server.start()
    second.start()
    try:
        small_release(first.store, 1)
        small_release(first.store, 2)
        first.promote(1)
        assert [first.ask(address=a).query_release for a in addresses] == [1, 1]

        def second_dies(step: str) -> None:
            if step == "loaded":
                second.stop()

        with pytest.raises(promotion.PromotionFailed, match=addresses[1]):
            first.promote(2, on_step=second_dies)
        assert first.ask(address=addresses[0]).query_release == 1
        second.start()  # from disk, which was put back
        assert first.ask(address=addresses[1]).query_release == 1 and champion(first.settings).release == 1
        first.promote(2)
        assert [first.ask(address=a).query_release for a in addresses] == [2, 2]
    finally:
        first.end()
        second.stop()


def test_code_is_refreshed_while_the_server_is_down(shop):
    small_release(shop.store, 1)
    shop.promote(1)
    shop.server.stop()
    template = shop.templates / "query_tower" / CODE
    template.write_text(template.read_text().replace("[self.version]", "[self.version + 100]"))
    assert shop.repository.refresh_code() == ["query_tower"] and shop.repository.refresh_code() == []
    shop.server.start()
    assert shop.ask().query_release == 101


def test_a_smoke_request_reads_the_ensembles_real_tensors(shop):
    """The names that promotion asks for are those that the ensemble declares, in the types that it reads."""
    small_release(shop.store, 1)
    shop.promote(1)
    client = grpcclient.InferenceServerClient(shop.settings.triton_grpc[0])
    declared = {tensor.name: tensor.datatype for tensor in client.get_model_metadata("ensemble_model").outputs}
    client.close()
    assert declared | {"ordered_ids": "BYTES", "ordered_scores": "FP32", "query_release": "INT64"} == declared
    answer = shop.ask()
    assert len(answer.ids) == 3 and np.allclose(answer.scores, [1.0, 0.5, 0.0])

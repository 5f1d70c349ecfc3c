"""Promotion on the real Triton server, with small models (see ``small_triton``)."""

from __future__ import annotations

import json
import threading
import time

import numpy as np
import pytest
import tritonclient.grpc as grpcclient

from recsys_assets.lib.release import releases
from recsys_assets.lib.release.champion import read_champion
from recsys_assets.operations.triton_server import TritonServer
from recsys_assets.release_files import CODE
from recsys_assets.serving.promotion import promotion
from recsys_assets.serving.promotion.journal import journal_path, promotion_lock
from recsys_assets.serving.published.similar import LiveSimilar
from recsys_assets.serving.stages.answer import ANSWER, REQUEST
from recsys_assets.serving.triton.replicas import ReplicaError
from recsys_assets.serving.triton.served import CANDIDATES, ENTRANCES
from recsys_assets_tests.conftest import free_port
from recsys_assets_tests.support.small_promotion import Shop
from recsys_assets_tests.support.small_triton import quiet, small_release

pytestmark = pytest.mark.services


@pytest.fixture
def shop(tmp_path):
    shop = Shop(tmp_path)
    shop.server.start()
    yield shop
    shop.end()


def test_the_first_promotion_into_an_empty_server(shop):
    small_release(shop.store, 1)
    report = shop.promote(1)
    assert shop.ask().ids[0].startswith("1.1.1:") and shop.display() == (1, ["1.png"])
    assert sorted(report.published) == [
        "dlrm_ranking/1",
        "faiss_retrieval/1",
        "fused_model/1",
        "query_tower/1",
    ]
    assert [shop.ask(model=entrance) for entrance in ENTRANCES] == [shop.ask()] * 2
    assert LiveSimilar(shop.settings).of("1.1.1:9", 5) == ["1.1.1:0"]
    assert json.loads(shop.on_disk()["fused_model/1/parts.json"])["versions"] == {
        "query_tower": 1,
        "faiss_retrieval": 1,
        "dlrm_ranking": 1,
    }
    assert read_champion(shop.settings).release == 1 and read_champion(shop.settings).previous == []
    assert not journal_path(shop.settings).exists()
    assert not any((shop.settings.model_repository / name).exists() for name in CANDIDATES.values())
    assert shop.ready(*ENTRANCES, *CANDIDATES.values()) == list(ENTRANCES)
    assert json.dumps(report.metadata())  # plain values


def test_a_fine_tune_switches_two_models_and_rollback_gives_the_same_answers(shop):
    small_release(shop.store, 1)
    small_release(shop.store, 2, generation=1)
    shop.promote(1)
    before, disk = shop.answers_hash(), shop.on_disk()
    index = shop.settings.model_repository / "faiss_retrieval" / "1"
    untouched = {p: p.stat().st_mtime_ns for p in [index, *index.iterdir()]}
    report = shop.promote(2)
    assert sorted(report.published) == ["dlrm_ranking/2", "fused_model/2", "query_tower/2"]
    assert shop.ask().ids[0].startswith("2.1.2:") and shop.answers_hash() != before
    assert {p: p.stat().st_mtime_ns for p in [index, *index.iterdir()]} == untouched, (
        "the generation was loaded again"
    )
    report = shop.rollback()
    assert (report.event, report.release, report.previous) == ("rollback", 1, 2)
    assert shop.answers_hash() == before and shop.display() == (1, ["1.png"])
    for entrance in ENTRANCES:
        assert shop.on_disk()[f"{entrance}/config.pbtxt"] == disk[f"{entrance}/config.pbtxt"]
    with pytest.raises(promotion.PromotionRefused, match="no previous champion"):
        shop.rollback()


def test_rollback_past_what_was_pruned_publishes_again(shop):
    for number in (1, 2, 3):
        small_release(shop.store, number)
        shop.promote(number)
    for model in ("query_tower", "fused_model"):
        assert shop.repository.versions(model) == {2, 3}  # the champion and the one before
    assert read_champion(shop.settings).previous == [2, 1]
    shop.rollback()
    report = shop.rollback()
    assert (
        report.release == 1
        and shop.ask().ids[0].startswith("1.1.1:")
        and len(report.published) == 4
    )


def test_an_absent_or_failed_verdict_is_refused(shop):
    small_release(shop.store, 1, passed=None)
    small_release(shop.store, 2, passed=False)
    with pytest.raises(promotion.PromotionRefused, match="no gate verdict"):
        shop.promote(1)
    with pytest.raises(promotion.PromotionRefused, match=r"auc = 0\.4 \(threshold 0\.6\)"):
        shop.promote(2)
    with (
        pytest.MonkeyPatch.context() as other_code,
        pytest.raises(promotion.PromotionRefused, match="older version of this code"),
    ):
        other_code.setattr(releases, "CODE_VERSION", "a later one")
        shop.promote(2, force_gate=True)
    with pytest.raises(promotion.PromotionRefused, match="000007"):
        shop.promote(7)
    assert shop.on_disk() == {} and read_champion(shop.settings) is None
    shop.promote(2, force_gate=True)
    assert read_champion(shop.settings).history[-1]["forced"] is True


def test_a_release_of_another_look_back_is_refused(tmp_path):
    shop = Shop(tmp_path, look_back_days=30)
    small_release(shop.store, 1)
    for forced in (False, True):
        with pytest.raises(
            promotion.PromotionRefused,
            match=r"release 1 was trained on features of 7 days of clicks, but "
            r"RECSYS_LOOK_BACK_DAYS of this home is 30.*`recsys materialize`.*back to 7",
        ):
            shop.promote(1, force_gate=forced)
    assert shop.on_disk() == {} and read_champion(shop.settings) is None


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"dlrm_ranking": "broken"}, "broken on purpose"),
        ({"faiss_retrieval": "broken"}, "broken on purpose"),
        ({"dlrm_ranking": "empty"}, "got no items"),
        ({"dlrm_ranking": "twice"}, "got items twice"),
        ({"query_tower": "fused breaks"}, "the fused model breaks on purpose"),
        (
            {"query_tower": "fused differs"},
            "other answers from recommender_candidate than from ensemble_candidate",
        ),
    ],
)
def test_a_bad_release_is_undone_and_the_old_one_serves(shop, content, message, monkeypatch):
    monkeypatch.setattr("recsys_assets.serving.triton.replicas.AGREEMENT_PAUSE", 0.0)
    small_release(shop.store, 1)
    shop.promote(1)
    before, disk, display = shop.answers_hash(), shop.on_disk(), shop.display()
    small_release(shop.store, 2, **content)
    with pytest.raises(promotion.PromotionFailed, match=message):
        shop.promote(2)
    assert shop.answers_hash() == before and shop.on_disk() == disk and shop.display() == display
    assert read_champion(shop.settings).release == 1 and not journal_path(shop.settings).exists()
    assert shop.ask(model="recommender") == shop.ask(model="ensemble_model")
    assert LiveSimilar(shop.settings).of("1.1.1:0", 5) == ["1.1.1:1"]
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

    def visit(name: str, model: str) -> None:
        replica = shop.replica()
        while not stop.is_set():
            try:
                answer = replica.ask(model, name)
            except ReplicaError as error:
                faults.append(str(error))
                continue
            makers = {tuple(map(int, item.split(":")[0].split("."))) for item in answer.ids}
            tuples.append((*makers, answer.query_release, answer.ranker_release))
        replica.close()

    visitors = [
        threading.Thread(target=visit, args=(f"user-{n}", ENTRANCES[n % 2])) for n in range(4)
    ]
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
    assert seen == {((1, 1, 1), 1, 1), ((2, 1, 2), 2, 2), ((3, 3, 3), 3, 3)}, (
        "an answer that no release gives, or none"
    )
    assert len(tuples) > 100


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
    ports = {name: free_port() for name in names}
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
        assert (
            first.ask(address=addresses[1]).query_release == 1
            and read_champion(first.settings).release == 1
        )
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
    template.write_text(
        template.read_text().replace("self.version], np", "self.version + 100], np")
    )
    fused = shop.templates / "fused_model" / CODE
    fused.write_text(fused.read_text() + "\n# changed\n")
    assert (
        shop.repository.refresh_code() == ["fused_model", "query_tower"]
        and shop.repository.refresh_code() == []
    )
    shop.server.start()
    assert (
        shop.ask(model="ensemble_model").query_release == 101
        and shop.ask(model="recommender").query_release == 1
    )


def test_both_entrances_declare_the_tensors_of_an_answer(shop):
    small_release(shop.store, 1)
    shop.promote(1)
    triton_types = {"STRING": "BYTES"}
    client = grpcclient.InferenceServerClient(shop.settings.triton_grpc[0])
    for entrance in ENTRANCES:
        declared = client.get_model_metadata(entrance)
        assert [t.name for t in declared.inputs] == [spec.name for spec in REQUEST]
        assert {t.name: t.datatype for t in declared.outputs} == {
            s.name: triton_types.get(s.dtype, s.dtype) for s in ANSWER
        }
    client.close()
    answer = shop.ask()
    assert (
        len(answer.ids) == 3
        and np.allclose(answer.scores, [1.0, 0.5, 0.0])
        and answer.degraded == 0
    )

"""All 15 models on the real Triton server, against the same stages in this process: equal to the bit."""

from __future__ import annotations

import shutil
import time
from types import SimpleNamespace

import numpy as np
import pytest
import tritonclient.grpc as grpcclient
from tritonclient.utils import InferenceServerException

from recsys_assets.serving import bloom
from recsys_assets.serving.pipeline import ANSWER, Pipeline
from recsys_assets.serving.stages.registry import STAGES
from recsys_assets.serving.triton_server import TritonServer
from recsys_assets.settings import VISITOR_DATABASE
from recsys_assets_tests.conftest import free_port
from recsys_assets_tests.serving import tiny_payload, tiny_store
from recsys_assets_tests.serving.tiny_payload import TOPK
from recsys_assets_tests.serving.tiny_store import AS_OF

pytestmark = pytest.mark.services
VERSIONS = {**dict.fromkeys(STAGES, 3), "query_tower": 7, "dlrm_ranking": 9}


@pytest.fixture(scope="module")
def served(tmp_path_factory, valkey_process):
    """Triton with the tiny release published, and its client; ended again whatever happens."""
    home = tmp_path_factory.mktemp("home")
    ports = {f"triton_{kind}_port": free_port() for kind in ("http", "grpc", "metrics")}
    settings = tiny_store.settings_on(home, valkey_process, retrieval_topk=30, ranking_topk=TOPK, **ports)
    store = tiny_store.apply_views(settings)
    tiny_store.write_items(store)
    payload = tiny_payload.write_release(home / "artifacts", settings)
    repository = home / "model_repository"
    tiny_payload.publish(payload, repository, VERSIONS)
    server = TritonServer(settings, repository)
    try:
        server.start()
        client = grpcclient.InferenceServerClient(f"127.0.0.1:{settings.triton_grpc_port}")
        yield SimpleNamespace(settings=settings, store=store, payload=payload, repository=repository, client=client)
        client.close()
    finally:
        server.stop()


@pytest.fixture
def shop(served, valkey):
    tiny_store.write_users(served.store)
    tiny_store.write_items(served.store)
    return served


def tensor(name: str, value: str | bytes | int) -> grpcclient.InferInput:
    given = grpcclient.InferInput(name, [1], "INT64" if isinstance(value, int) else "BYTES")
    encoded = value.encode() if isinstance(value, str) else value
    given.set_data_from_numpy(np.array([encoded], np.int64 if isinstance(value, int) else object))
    return given


def ask(client, model: str = "ensemble_model", **values: str | bytes | int):
    return client.infer(model, [tensor(name, value) for name, value in values.items()], client_timeout=30)


def in_process(pipeline: Pipeline, **values: str | int) -> dict[str, np.ndarray]:
    return pipeline.run({name: np.array([value], np.int64 if isinstance(value, int) else object)
                         for name, value in values.items()})


REQUESTS = [
    {"user_id": "user-1", "device_type": "desktop", "timestamp": AS_OF},
    {"user_id": "user-5", "timestamp": AS_OF + 3_600},
    {"user_id": "seen", "device_type": "mobile", "timestamp": AS_OF},
    {"user_id": "live", "device_type": "toaster", "timestamp": AS_OF},
    {"user_id": "weekly", "device_type": "mobile", "timestamp": AS_OF},
    {"user_id": "nobody", "device_type": "mobile", "timestamp": AS_OF},
    {"user_id": "ü:*", "device_type": "", "timestamp": 0},
]


def test_the_ensemble_equals_the_stages_in_one_process_to_the_bit(shop, valkey):
    now = float(valkey.client().time()[0])
    commands = valkey.client(VISITOR_DATABASE).pipeline()
    bloom.add_commands(commands, "seen", tiny_payload.ITEM_IDS[:25], bloom.day_of(now), shop.settings.seen_days)
    commands.execute()
    tiny_store.write_clicks(shop.store, "live", ("tools", AS_OF - 4_000), ("books", AS_OF - 60))
    weekly = [(name, AS_OF - 200_000 + n) for n, name in enumerate(("beauty", "ünheard") * 120)]  # more than count
    tiny_store.write_clicks(shop.store, "weekly", *weekly)
    pipeline = Pipeline.load(shop.payload, shop.settings, VERSIONS)
    answers = set()
    for values in REQUESTS:
        served, expected = ask(shop.client, **values), in_process(pipeline, **values)
        assert [name.decode() for name in served.as_numpy("ordered_ids")] == expected["ordered_ids"].tolist()
        for name in ANSWER[1:]:
            found = served.as_numpy(name)
            assert (found.dtype, found.tobytes()) == (expected[name].dtype, expected[name].tobytes()), (values, name)
        assert len(expected["ordered_ids"]) == TOPK
        assert (served.as_numpy("query_release").tolist(), served.as_numpy("ranker_release").tolist()) == ([7], [9])
        assert not (served.as_numpy("user_degraded").any() or served.as_numpy("filter_degraded").any())
        answers.add(served.as_numpy("ordered_scores").tobytes())
    assert len(answers) == len(REQUESTS)
    pipeline.close()


def test_device_and_time_may_be_absent(shop):
    answer = ask(shop.client, user_id="user-1")
    assert len(answer.as_numpy("ordered_ids")) == TOPK


def test_without_the_store_it_answers_degraded_and_recovers(shop, valkey):
    values = {"device_type": "desktop", "timestamp": AS_OF}
    cold = ask(shop.client, user_id="nobody", **values).as_numpy("ordered_ids").tolist()
    valkey.kill()
    for _ in range(4):
        answer = ask(shop.client, user_id="user-1", **values)
        assert (answer.as_numpy("user_degraded")[0], answer.as_numpy("filter_degraded")[0]) == (1, 1)
        assert answer.as_numpy("ordered_ids").tolist() == cold
    valkey.start()
    for _ in range(200):
        answer = ask(shop.client, user_id="user-1", **values)
        if not (answer.as_numpy("user_degraded")[0] or answer.as_numpy("filter_degraded")[0]):
            break
        time.sleep(0.05)
    else:
        pytest.fail("still degraded long after the breaker may try again")


@pytest.mark.parametrize(("values", "fault"), [
    ({"user_id": "u", "timestamp": -5}, "context_preprocessor: timestamp must be unix seconds"),
    ({"device_type": "mobile"}, "in ensemble 'ensemble_model'")])  # Triton's own words name no tensor
def test_a_bad_request_names_its_fault_and_shows_no_traceback(shop, values, fault):
    with pytest.raises(InferenceServerException) as caught:
        ask(shop.client, **values)
    assert fault in caught.value.message()
    assert "Traceback" not in caught.value.message() and ".py" not in caught.value.message()
    assert len(ask(shop.client, user_id="user-1").as_numpy("ordered_ids")) == TOPK


def test_ids_that_are_no_utf8_belong_to_unknown_visitors(shop):
    """Repeatedly: an error beside a step that still runs crashes this Triton as a whole within a few requests."""
    values = {"device_type": "mobile", "timestamp": AS_OF}
    cold = ask(shop.client, user_id="nobody", **values).as_numpy("ordered_ids").tolist()
    for _ in range(20):
        assert ask(shop.client, user_id=b"\xff\xfe", **values).as_numpy("ordered_ids").tolist() == cold


def test_a_version_with_a_changed_byte_is_refused_and_the_old_one_serves(shop):
    version = shop.repository / "item_id_decoder" / "4"
    shutil.copytree(shop.repository / "item_id_decoder" / "3", version)
    (version / "item_ids.json").write_text((version / "item_ids.json").read_text().replace("item-00", "item-xx"))
    with pytest.raises(InferenceServerException, match=r"item_ids\.json differs from its digest"):
        shop.client.load_model("item_id_decoder", client_timeout=60)
    assert shop.client.is_model_ready("item_id_decoder", "3")
    assert len(ask(shop.client, user_id="user-1").as_numpy("ordered_ids")) == TOPK
    shutil.rmtree(version)

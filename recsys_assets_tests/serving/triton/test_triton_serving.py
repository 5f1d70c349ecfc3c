"""The 15 models and the fused one on the real Triton server, against the same stages in this
process: equal to the bit.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import tritonclient.grpc as grpcclient
from tritonclient.utils import InferenceServerException

from recsys_assets.lib.feature_store.popular_now import period_key
from recsys_assets.lib.sources.forward_decay import period_of
from recsys_assets.operations.triton_server import TritonServer
from recsys_assets.serving.stages.answer import ANSWER, DEGRADED, TRACE
from recsys_assets.serving.stages.pipeline import Pipeline, trace_layout
from recsys_assets.serving.stages.registry import STAGES
from recsys_assets.settings import VISITOR_DATABASE
from recsys_assets.source_names import ALL_SOURCES, POPULAR_NOW
from recsys_assets_tests.conftest import free_port
from recsys_assets_tests.support import tiny_payload, tiny_store
from recsys_assets_tests.support.seen import mark_seen
from recsys_assets_tests.support.tiny_payload import TOPK
from recsys_assets_tests.support.tiny_store import AS_OF

pytestmark = pytest.mark.services
VERSIONS = {**dict.fromkeys(STAGES, 3), "query_tower": 7, "dlrm_ranking": 9}


@pytest.fixture(scope="module")
def served(tmp_path_factory, valkey_process):
    """Triton with the tiny release published, and its client; ended again whatever happens."""
    yield from serving(tmp_path_factory.mktemp("home"), valkey_process)


def serving(
    home: Path, valkey_process, by_sources: bool = False, **sampling: int
) -> Iterator[SimpleNamespace]:
    ports = {f"triton_{kind}_port": free_port() for kind in ("http", "grpc", "metrics")}
    settings = tiny_store.settings_on(
        home, valkey_process, retrieval_topk=30, ranking_topk=TOPK, **ports
    )
    store = tiny_store.apply_views(settings)
    tiny_store.write_items(store)
    payload = tiny_payload.write_release(
        home / "artifacts", settings, by_sources=by_sources, **sampling
    )
    repository = home / "model_repository"
    tiny_payload.publish(payload, repository, VERSIONS)
    server = TritonServer(settings, repository)
    try:
        server.start()
        client = grpcclient.InferenceServerClient(f"127.0.0.1:{settings.triton_grpc_port}")
        yield SimpleNamespace(
            settings=settings, store=store, payload=payload, repository=repository, client=client
        )
        client.close()
    finally:
        server.stop()


@pytest.fixture
def shop(served, valkey):
    tiny_store.write_users(served.store)
    tiny_store.write_items(served.store)
    return served


ENTRANCES = ("ensemble_model", "recommender")
TYPES = {
    "user_id": "BYTES",
    "device_type": "BYTES",
    "timestamp": "INT64",
    "top_k": "INT32",
    "seed": "INT64",
}
NUMBERS = {"INT64": np.int64, "INT32": np.int32}


def tensor(name: str, values: list[str | bytes | int]) -> grpcclient.InferInput:
    kind = TYPES[name]
    given = grpcclient.InferInput(name, [len(values)], kind)
    encoded = [value.encode() if isinstance(value, str) else value for value in values]
    given.set_data_from_numpy(np.array(encoded, NUMBERS.get(kind, object)))
    return given


def columns(values: dict) -> dict[str, list]:
    """A request of one visitor, or of several where lists are given."""
    return {name: value if isinstance(value, list) else [value] for name, value in values.items()}


def ask(client, model: str = "recommender", version: str = "", outputs=None, **values):
    given = [tensor(name, value) for name, value in columns(values).items()]
    outputs = (
        None if outputs is None else [grpcclient.InferRequestedOutput(name) for name in outputs]
    )
    return client.infer(model, given, model_version=version, outputs=outputs, client_timeout=30)


def answered(result) -> tuple[list[str], bytes, list[list[int]]]:
    return (
        [name.decode() for name in result.as_numpy("ordered_ids")],
        result.as_numpy("ordered_scores").tobytes(),
        result.as_numpy("answer_info").tolist(),
    )


def degraded(result) -> int:
    return int(result.as_numpy("answer_info")[0, DEGRADED])


def in_process(pipeline: Pipeline, **values) -> tuple[list[str], bytes, list[list[int]]]:
    kinds = {name: NUMBERS.get(kind, object) for name, kind in TYPES.items()}
    found = pipeline.run(
        {name: np.array(value, kinds[name]) for name, value in columns(values).items()}
    )
    return (
        found["ordered_ids"].tolist(),
        found["ordered_scores"].tobytes(),
        found["answer_info"].tolist(),
    )


REQUESTS = [
    {"user_id": "user-1", "device_type": "desktop", "timestamp": AS_OF},
    {"user_id": "user-5", "timestamp": AS_OF + 3_600},
    {"user_id": "seen", "device_type": "mobile", "timestamp": AS_OF},
    {"user_id": "live", "device_type": "toaster", "timestamp": AS_OF},
    {"user_id": "weekly", "device_type": "mobile", "timestamp": AS_OF},
    {"user_id": "nobody", "device_type": "mobile", "timestamp": AS_OF},
    {"user_id": "ü:*", "device_type": "", "timestamp": 0},
]


def visitors(shop, valkey) -> None:
    """Some have seen items, some have clicked lately."""
    for user, seen in (("seen", 25), ("everything", 40)):
        mark_seen(
            valkey.client(VISITOR_DATABASE),
            user,
            tiny_payload.ITEM_IDS[:seen],
            valkey.client().time()[0],
        )
    tiny_store.write_clicks(
        shop.store, "live", ("tools", "item-02", AS_OF - 4_000), ("books", "", AS_OF - 60)
    )
    weekly = [
        (name, f"item-{n:02d}", AS_OF - 200_000 + n)
        for n, name in enumerate(("beauty", "ünheard") * 120)
    ]  # more than count
    tiny_store.write_clicks(shop.store, "weekly", *weekly)


@pytest.mark.parametrize("entrance", ENTRANCES)
def test_an_answer_equals_the_stages_in_one_process_to_the_bit(shop, valkey, entrance):
    visitors(shop, valkey)
    pipeline = Pipeline.load(shop.payload, shop.settings, VERSIONS)
    answers = set()
    for values in REQUESTS:
        found = answered(ask(shop.client, entrance, **values))
        assert found == in_process(pipeline, **values), values
        assert found[2] == [[TOPK, 7, 9, 0]]
        answers.add(found[1])
    assert len(answers) == len(REQUESTS)
    pipeline.close()


def random_requests(count: int, seed: int) -> list[dict]:
    """Single visitors and batches of up to five, known, unknown and hostile."""
    random = np.random.default_rng(seed)
    users = [
        *(f"user-{n}" for n in range(8)),
        "seen",
        "everything",
        "live",
        "weekly",
        "nobody",
        "-1",
        "",
        "ü:*\n",
    ]
    made = []
    for _ in range(count):
        size = int(random.choice([1, 1, 1, 2, 5]))
        values = {
            "user_id": random.choice(users, size).tolist(),
            "timestamp": random.integers(0, 2 * AS_OF, size).tolist(),
        }
        if random.random() < 0.7:
            values["device_type"] = random.choice(
                ["mobile", "desktop", "tablet", "", "toaster"], size
            ).tolist()
        if random.random() < 0.5:
            values["top_k"] = random.choice([-1, 1, 3, 10, 400], size).tolist()
        if random.random() < 0.5:
            values["seed"] = random.integers(0, 2**40, size).tolist()
        made.append(values)
    return made


def test_the_fused_model_equals_the_ensemble_over_thousands_of_requests(shop, valkey):
    visitors(shop, valkey)
    asked, different = random_requests(2_000, seed=12), set()
    for values in asked:
        fused = answered(ask(shop.client, "recommender", **values))
        assert fused == answered(ask(shop.client, "ensemble_model", **values)), values
        different.add(fused[1])
    assert sum(len(values["user_id"]) for values in asked) > 3_000 and len(different) > 1_000


@pytest.fixture
def shop_of_sources(tmp_path, valkey_process, valkey):
    for made in serving(tmp_path, valkey_process, by_sources=True, new_item_places=10):
        tiny_store.write_users(made.store)
        yield made


def agreed(shop, values):
    """What both answer; each process reads the counts by itself, on a busy machine late."""
    deadline = time.monotonic() + 60
    while True:
        fused = answered(ask(shop.client, "recommender", **values))
        ensemble = answered(ask(shop.client, "ensemble_model", **values))
        if fused == ensemble or time.monotonic() > deadline:
            break
        time.sleep(0.5)
    assert fused == ensemble, values
    return fused


def test_the_fused_model_equals_the_ensemble_on_what_is_popular_now(shop_of_sources, valkey):
    shop, client = shop_of_sources, valkey.client(VISITOR_DATABASE)
    visitors(shop, valkey)
    key, answers = period_key(3, period_of(time.time(), 3)), set()
    for counts in ({}, {"item-31": 9.0, "item-04": 7.0, "gone": 8.0}, {"item-17": 11.0}):
        if counts:
            client.zadd(key, counts)
            time.sleep(4)  # every process has read them
        pipeline = Pipeline.load(shop.payload, shop.settings, VERSIONS)
        for values in REQUESTS:
            answers.add((str(values), agreed(shop, values)[1]))
        trace = pipeline.explained(pipeline.trace({"user_id": np.array(["nobody"], object)}))
        pipeline.close()
        popular = trace["union_found_by"] >> ALL_SOURCES.index(POPULAR_NOW) & 1
        known = client.zcard(key) - (client.zscore(key, "gone") is not None)
        assert popular.sum() == known
    assert len(answers) > 2 * len(REQUESTS), "what is popular changes the lists"


def test_the_fused_model_tells_every_tensor_to_who_asks(shop):
    values = {"user_id": "user-1", "device_type": "desktop", "timestamp": AS_OF}
    result = ask(
        shop.client,
        "fused_model",
        version="9",
        outputs=[*(spec.name for spec in ANSWER), TRACE],
        **values,
    )
    pipeline = Pipeline.load(shop.payload, shop.settings, VERSIONS)
    expected = pipeline.explained(
        pipeline.trace(
            {
                "user_id": np.array(["user-1"], object),
                "device_type": np.array(["desktop"], object),
                "timestamp": np.array([AS_OF]),
            }
        )
    )
    found = trace_layout().unpack(result.as_numpy(TRACE))
    for name, values in found.items():
        if name != "item_table_version":
            assert (
                values.tolist() == expected[name].tolist()
                if values.dtype == object
                else values.tobytes() == expected[name].tobytes()
            )
    assert answered(result) == answered(
        ask(shop.client, user_id="user-1", device_type="desktop", timestamp=AS_OF)
    )
    pipeline.close()


def test_the_fused_models_figures_reach_tritons_metrics(shop):
    import urllib.request

    ask(shop.client, user_id="user-1")
    time.sleep(5.5)  # of two reports
    ask(shop.client, user_id="user-1")
    with urllib.request.urlopen(
        f"http://127.0.0.1:{shop.settings.triton_metrics_port}/metrics", timeout=5
    ) as page:
        lines = page.read().decode().splitlines()
    for stage in STAGES:
        assert any(
            line.startswith("recsys_stage_microseconds_total{") and f'stage="{stage}"' in line
            for line in lines
        ), stage
    named = {
        line.split("{")[0].split(" ")[0]: float(line.rsplit(" ", 1)[1])
        for line in lines
        if line.startswith("recsys_")
    }
    assert (named["recsys_release_query_tower"], named["recsys_release_dlrm_ranking"]) == (7, 9)
    assert named["recsys_answers_total"] >= 1 and named["recsys_item_table_refreshed_seconds"] > 1e9


def test_device_and_time_may_be_absent(shop):
    answer = ask(shop.client, user_id="user-1")
    assert len(answer.as_numpy("ordered_ids")) == TOPK


def test_without_the_store_it_answers_degraded_and_recovers(shop, valkey):
    values = {"device_type": "desktop", "timestamp": AS_OF}
    cold = ask(shop.client, user_id="nobody", **values).as_numpy("ordered_ids").tolist()
    valkey.kill()
    for _ in range(4):
        for entrance in ENTRANCES:
            answer = ask(shop.client, entrance, user_id="user-1", **values)
            assert degraded(answer) == 1 | 2
            assert answer.as_numpy("ordered_ids").tolist() == cold
    valkey.start()
    for entrance in ENTRANCES:
        for _ in range(200):
            if not degraded(ask(shop.client, entrance, user_id="user-1", **values)):
                break
            time.sleep(0.05)
        else:
            pytest.fail("still degraded long after the breaker may try again")


@pytest.mark.parametrize(
    ("entrance", "values", "fault"),
    [
        (
            "ensemble_model",
            {"user_id": "u", "timestamp": -5},
            "context_preprocessor: timestamp must be unix seconds",
        ),
        (
            "recommender",
            {"user_id": "u", "timestamp": -5},
            "fused_model: timestamp must be unix seconds",
        ),
        (
            "recommender",
            {"user_id": ["u", "v"], "top_k": 3},
            "top_k must be absent or as many as user_id, got 1 for 2",
        ),
        ("recommender", {"user_id": ["u"] * 257}, "user_id must hold 1 to 256 visitors, got 257"),
        ("recommender", {"user_id": []}, "user_id must hold 1 to 256 visitors, got 0"),
        (
            "recommender",
            {"device_type": "mobile"},
            "in ensemble 'recommender'",
        ),  # Triton's own words name no tensor
        ("ensemble_model", {"device_type": "mobile"}, "in ensemble 'ensemble_model'"),
    ],
)
def test_a_bad_request_names_its_fault_and_shows_no_traceback(shop, entrance, values, fault):
    with pytest.raises(InferenceServerException) as caught:
        ask(shop.client, entrance, **values)
    assert fault in caught.value.message()
    assert "Traceback" not in caught.value.message() and ".py" not in caught.value.message()
    assert len(ask(shop.client, user_id="user-1").as_numpy("ordered_ids")) == TOPK


def test_ids_that_are_no_utf8_belong_to_unknown_visitors(shop):
    """Repeatedly: an error beside a step that still runs crashes this Triton as a whole within a
    few requests.
    """
    values = {"device_type": "mobile", "timestamp": AS_OF}
    cold = ask(shop.client, user_id="nobody", **values).as_numpy("ordered_ids").tolist()
    for entrance in ENTRANCES * 10:
        assert (
            ask(shop.client, entrance, user_id=b"\xff\xfe", **values)
            .as_numpy("ordered_ids")
            .tolist()
            == cold
        )


def test_a_version_with_a_changed_byte_is_refused_and_the_old_one_serves(shop):
    version = shop.repository / "item_id_decoder" / "4"
    shutil.copytree(shop.repository / "item_id_decoder" / "3", version)
    (version / "item_ids.json").write_text(
        (version / "item_ids.json").read_text().replace("item-00", "item-xx")
    )
    with pytest.raises(InferenceServerException, match=r"item_ids\.json differs from its digest"):
        shop.client.load_model("item_id_decoder", client_timeout=60)
    assert shop.client.is_model_ready("item_id_decoder", "3")
    assert len(ask(shop.client, user_id="user-1").as_numpy("ordered_ids")) == TOPK
    shutil.rmtree(version)

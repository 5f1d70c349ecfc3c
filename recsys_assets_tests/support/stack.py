"""The whole serving stack as the launcher starts it: Valkey, Triton with the tiny release, gateway
and consumer.

Of the 40 items of the tiny catalogue only the first INDEXED are in the index, so that what
retrieval cannot bring has to come from backfilling. Nothing here judges a time: limits are those of
a test that would otherwise hang.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import psutil
import redis
import tritonclient.grpc as grpcclient

from recsys_assets.columns import VOCABULARY_START
from recsys_assets.files import write_json
from recsys_assets.lib.retrieval.similar_items import similar_items
from recsys_assets.operations import services
from recsys_assets.operations.processes import read_record
from recsys_assets.serving.events.visitor_state import event_key
from recsys_assets.serving.published.display import display_path
from recsys_assets.serving.published.similar import similar_path, write_similar
from recsys_assets.serving.stages.answer import ANSWER, DEGRADED, TRACE
from recsys_assets.serving.stages.pipeline import trace_layout
from recsys_assets.serving.stages.registry import STAGES
from recsys_assets.serving.stores import poller
from recsys_assets.serving.triton.model_control import grpc_headers
from recsys_assets.settings import POPULARITY_DATABASE, VISITOR_DATABASE, Settings
from recsys_assets_tests.conftest import free_port
from recsys_assets_tests.support import tiny_payload, tiny_store
from recsys_assets_tests.support.tiny_payload import ITEM_IDS

PARTS = ("valkey", "triton", "gateway", "consumer")
PORTS = (
    "valkey_port",
    "triton_http_port",
    "triton_grpc_port",
    "triton_metrics_port",
    "gateway_port",
)
TOKEN = "of-the-drills"
INDEXED = 24
#: Items that an answer of ``ask`` holds.
WANTED = 10
RELEASE, QUERY = 9, 7
VERSIONS = {**dict.fromkeys(STAGES, 3), "query_tower": QUERY, "dlrm_ranking": RELEASE}
LIMIT = 60.0


def eventually(condition: Callable[[], Any], what: str, seconds: float = LIMIT) -> Any:
    """The first true value that the condition gives."""
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, f"never happened: {what}"
        time.sleep(0.05)
    return found


def lasting(condition: Callable[[], Any], what: str) -> None:
    """The condition comes true everywhere: each instance of a model looks for changes by itself,
    once in poller.SECONDS.
    """
    until = 0.0

    def held() -> bool:
        nonlocal until
        if not condition():
            until = 0.0
        elif not until:
            until = time.monotonic() + 2 * poller.SECONDS
        return bool(until) and time.monotonic() >= until

    eventually(held, what)


@dataclass
class Asked:
    """One request of a stream: when it was sent and answered (monotonic seconds), and with what."""

    sent: float
    done: float = 0.0
    status: int = 0
    body: dict[str, Any] = field(default_factory=dict)

    @property
    def ids(self) -> list[str]:
        return [item["item_id"] for item in self.body["items"]]


def faults(asked: Sequence[Asked], wanted: int = WANTED) -> list[Any]:
    """What is not an answer of 200 with a full list of distinct items of the catalogue."""
    return [
        one.body if one.status == 200 else (one.status, one.body)
        for one in asked
        if one.status != 200
        or len(one.ids) != wanted
        or len(set(one.ids)) != wanted
        or not set(one.ids) <= set(ITEM_IDS)
    ]


class Stack:
    """Use: ``up``, ``ask``, ``post``, ``signal``; ``down`` ends all of it."""

    def __init__(self, home: Path, **changed: Any):
        ports = {name: free_port() for name in PORTS}
        self.settings = Settings(
            **{
                "home": home,
                "scale": "tiny",
                **ports,
                "token": TOKEN,
                "triton_models": "fused",
                "retrieval_topk": 100,
                "ranking_topk": 100,
                "store_timeout_ms": 50,
                "triton_timeout_ms": 30_000,
                "rate_limit": 0,
                "shed_after_ms": 60_000,
                **changed,
            }
        )
        self.http = httpx.Client(
            base_url=self.settings.gateway_url,
            timeout=LIMIT,
            headers={"authorization": f"Bearer {TOKEN}"},
            limits=httpx.Limits(max_connections=None),
        )
        self.payload = home / "payload"

    # --- life
    def build(self) -> None:
        """Start Valkey, fill it, publish the release, then start the rest."""
        self.up("valkey")
        self.store = tiny_store.apply_views(self.settings)
        tiny_store.write_users(self.store)
        tiny_store.write_items(self.store, count=30)  # ten are missing in the online store
        with self.valkey(POPULARITY_DATABASE) as client:
            client.zadd(
                "popularity:global", {item_id: 100 - n for n, item_id in enumerate(ITEM_IDS[:12])}
            )
        tiny_payload.write_models(self.payload, self.settings, ranking_topk=100)
        self._index_first_items()
        tiny_payload.publish(self.payload, self.settings.model_repository, VERSIONS)
        self._publish_for_the_gateway()
        self.up(*PARTS[1:])

    def up(self, *parts: str) -> None:
        services.up(self.settings, only=parts, progress=lambda line: None)

    def down(self, *parts: str) -> None:
        services.down(self.settings, only=parts or PARTS)
        if not parts:
            self.http.close()

    def process(self, part: str) -> psutil.Process:
        record = read_record(self.settings.home / "run", part)
        process = record.process() if record else None
        assert process is not None, f"{part} does not run: {self.log(part)[-2000:]}"
        return process

    def stubs(self) -> list[psutil.Process]:
        """The processes that run Triton's Python models."""
        return [
            child
            for child in self.process("triton").children(recursive=True)
            if "triton_python" in child.name()
        ]

    def log(self, part: str) -> str:
        return (self.settings.home / "logs" / f"{part}.log").read_text(errors="replace")

    def kill(self, part: str) -> None:
        process = self.process(part)
        process.kill()
        psutil.wait_procs([process], timeout=LIMIT)

    def terminate(self, part: str) -> psutil.Process:
        process = self.process(part)
        process.send_signal(signal.SIGTERM)
        return process

    @contextmanager
    def stopped(self, *processes: psutil.Process) -> Iterator[None]:
        """SIGSTOP, and SIGCONT whatever happens."""
        for process in processes:
            process.suspend()
        try:
            yield
        finally:
            for process in processes:
                process.resume()

    def valkey(self, database: int) -> redis.Redis:
        return redis.Redis.from_url(self.settings.valkey_url(database), socket_timeout=LIMIT)

    # --- requests
    def ask(self, user_id: str, top_k: int = WANTED, **more: Any) -> Asked:
        asked = Asked(time.monotonic())
        answer = self.http.post("/recommend", json={"user_id": user_id, "top_k": top_k, **more})
        asked.done, asked.status, asked.body = time.monotonic(), answer.status_code, answer.json()
        return asked

    def normal(self, user_id: str, top_k: int = WANTED, **more: Any) -> Asked:
        """The first answer that is not degraded; a busy machine may make a store call exceed its
        limit.
        """

        def found() -> Asked | None:
            asked = self.ask(user_id, top_k, **more)
            assert asked.status == 200, asked
            return None if asked.body["degraded"] else asked

        return eventually(found, f"an answer to {user_id} that is not degraded")

    def ids(self, user_id: str, **more: Any) -> list[str]:
        return self.normal(user_id, **more).ids

    def many(
        self, count: int, user: Callable[[int], str] = lambda n: f"user-{n % 6}", clients: int = 4
    ) -> list[Asked]:
        with ThreadPoolExecutor(clients) as pool:
            return list(pool.map(lambda n: self.ask(user(n)), range(count)))

    @contextmanager
    def stream(self, clients: int = 3) -> Iterator[list[Asked]]:
        """Requests one after the other by several clients, for as long as the block runs."""
        asked: list[Asked] = []
        over = threading.Event()

        def client(number: int) -> None:
            while not over.is_set():
                asked.append(self.ask(f"user-{number}"))

        with ThreadPoolExecutor(clients) as pool:
            clients_at_work = [pool.submit(client, number) for number in range(clients)]
            try:
                yield asked
            finally:
                over.set()
        for one in clients_at_work:
            one.result()

    def see(self, user_id: str, items: Sequence[str], event_type: str = "View") -> list[str]:
        """Report an event an item and wait until all are applied; gives their ids."""
        answer = self.http.post(
            "/events",
            json={
                "events": [
                    {
                        "user_id": user_id,
                        "item_id": item,
                        "event_type": event_type,
                        "device_type": "mobile",
                    }
                    for item in items
                ]
            },
        )
        assert answer.status_code == 202, answer.text
        self.applied(answer.json()["event_ids"])
        return answer.json()["event_ids"]

    def applied(self, event_ids: Sequence[str]) -> None:
        with self.valkey(VISITOR_DATABASE) as client:
            eventually(
                lambda: client.exists(*(event_key(one) for one in event_ids)) == len(event_ids),
                "the events are applied",
            )

    def metric(self, name: str, url: str | None = None) -> float:
        """Sum of a metric's series, of the gateway or at another address."""
        text = (self.http.get("/metrics") if url is None else httpx.get(url, timeout=LIMIT)).text
        lines = [line for line in text.splitlines() if line.startswith((f"{name} ", f"{name}{{"))]
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines)

    # --- Triton itself
    @contextmanager
    def triton(self) -> Iterator[grpcclient.InferenceServerClient]:
        client = grpcclient.InferenceServerClient(f"127.0.0.1:{self.settings.triton_grpc_port}")
        try:
            yield client
        finally:
            client.close()

    def trace(self, user_id: str, **more: Any) -> dict[str, np.ndarray]:
        """Every tensor on the way to an answer that is not degraded, as the fused model gives it to
        explain.
        """
        given = [_tensor("user_id", [user_id.encode()], "BYTES")]
        given += [
            _tensor(name, [value.encode()], "BYTES")
            for name, value in more.items()
            if isinstance(value, str)
        ]
        given += [
            _tensor(name, [value], "INT64")
            for name, value in more.items()
            if isinstance(value, int)
        ]
        wanted = [
            grpcclient.InferRequestedOutput(name)
            for name in (*(spec.name for spec in ANSWER), TRACE)
        ]

        def found() -> dict[str, np.ndarray] | None:
            answer = client.infer(
                "fused_model",
                given,
                model_version=str(RELEASE),
                outputs=wanted,
                client_timeout=LIMIT,
            )
            if answer.as_numpy("answer_info")[0, DEGRADED]:
                return None
            return {
                **trace_layout().unpack(answer.as_numpy(TRACE)),
                **{spec.name: answer.as_numpy(spec.name) for spec in ANSWER},
            }

        with self.triton() as client:
            return eventually(found, f"a trace of {user_id}'s answer that is not degraded")

    @property
    def control(self) -> dict[str, str]:
        """Headers of a call of model control."""
        return grpc_headers(self.settings)

    # --- the release
    def _index_first_items(self) -> None:
        import faiss

        index = faiss.IndexIDMap2(faiss.IndexFlatIP(64))
        index.add_with_ids(
            tiny_payload.item_vectors()[:INDEXED],
            np.arange(VOCABULARY_START, VOCABULARY_START + INDEXED),
        )
        for model in ("faiss_retrieval", "filter_seen_items"):
            faiss.write_index(index, str(self.payload / "models" / model / "index.faiss"))

    def _publish_for_the_gateway(self) -> None:
        shown = {
            item_id: {
                "title": item_id,
                "description": "",
                "category_l1": row["category_l1"],
                "category_l2": row["category_l2"],
                "price": row["price"],
                "promoted": False,
                "item_gender": row["item_gender"],
                "image": "",
            }
            for item_id, row in tiny_payload.items().items()
        }
        write_json(display_path(self.settings), {"release": RELEASE, "items": shown})
        neighbours, ids = self.payload / "similar_items.npy", self.payload / "item_ids.json"
        np.save(
            neighbours,
            similar_items(
                self.payload / "models" / "faiss_retrieval" / "index.faiss", len(ITEM_IDS)
            ),
        )
        write_json(ids, ITEM_IDS)
        write_similar(similar_path(self.settings), RELEASE, ids, neighbours)


def _tensor(name: str, values: list[Any], kind: str) -> grpcclient.InferInput:
    tensor = grpcclient.InferInput(name, [len(values)], kind)
    tensor.set_data_from_numpy(np.array(values, object if kind == "BYTES" else np.int64))
    return tensor

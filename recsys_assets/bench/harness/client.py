"""Worker: a client that waits for each answer before it sends the next request.

It asks Triton (gRPC) or the gateway (HTTP, kept alive). Each client is a process: threads of one
Python process would measure its interpreter lock.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from functools import partial
from typing import Any

from recsys_assets.bench.harness.requests import TOP_K, Request, tensors
from recsys_assets.bench.harness.worker import Command, drive, serve, undegraded

LIMIT = 30.0  # seconds for an answer
#: Sends the request of a number and returns item ids, and whether the answer is degraded.
Ask = Callable[[int], tuple[list[str], bool]]


class AnswerRefused(RuntimeError):
    """The gateway's status is not 200, or it closed the connection."""


def triton(address: str, model: str, requests: list[Request]) -> Ask:
    """Return a client of a Triton model; its tensors are made in advance."""
    import tritonclient.grpc as grpcclient
    from tritonclient.utils import np_to_triton_dtype

    from recsys_assets.serving.stages import tensors as t
    from recsys_assets.serving.stages.answer import DEGRADED

    client = grpcclient.InferenceServerClient(address)
    ready = []
    for request in requests:
        inputs = []
        for name, values in tensors(request).items():
            inputs.append(grpcclient.InferInput(name, [1], np_to_triton_dtype(values.dtype)))
            inputs[-1].set_data_from_numpy(values)
        ready.append(inputs)

    def ask(number: int) -> tuple[list[str], bool]:
        answer = client.infer(model, ready[number], client_timeout=LIMIT)
        return [item.decode() for item in answer.as_numpy(t.ORDERED_IDS.name)], bool(
            answer.as_numpy(t.ANSWER_INFO.name)[0, DEGRADED]
        )

    return ask


def gateway(address: str, requests: list[Request]) -> Ask:
    """Return a client of the gateway that posts to /recommend on a plain socket.

    An HTTP library would cost the machine as much as the gateway's own part.
    """
    host, port = address.rsplit(":", 1)
    connection = socket.create_connection((host, int(port)), timeout=LIMIT)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    ready = []
    for request in requests:
        body = json.dumps({**request, "top_k": TOP_K}).encode()
        ready.append(
            b"POST /recommend HTTP/1.1\r\nHost: %b\r\nContent-Type: application/json\r\n"
            b"Content-Length: %d\r\n\r\n%b" % (address.encode(), len(body), body)
        )

    def ask(number: int) -> tuple[list[str], bool]:
        connection.sendall(ready[number])
        status, body = read_response(connection)
        if status != 200:
            raise AnswerRefused(f"the gateway answered {status}: {body[:500]!r}")
        answer = json.loads(body)
        return [item["item_id"] for item in answer["items"]], answer["degraded"]

    return ask


def read_response(connection: socket.socket) -> tuple[int, bytes]:
    """Return status and body of one answer with a Content-Length.

    Raises:
        AnswerRefused: the other side closed the connection.
    """
    received = b""
    while b"\r\n\r\n" not in received:
        received += _block(connection)
    head, _, body = received.partition(b"\r\n\r\n")
    lines = head.split(b"\r\n")
    length = next(
        int(line.split(b":")[1]) for line in lines if line.lower().startswith(b"content-length:")
    )
    while len(body) < length:
        body += _block(connection)
    return int(lines[0].split()[1]), body


def _block(connection: socket.socket) -> bytes:
    block = connection.recv(65_536)
    if not block:
        raise AnswerRefused("the gateway closed the connection before it answered")
    return block


def make(request: dict[str, Any]) -> dict[str, Command]:
    """Connect and return the commands ``run``, ``degraded`` and ``answers``.

    Args:
        request: ``address``, ``requests`` and, for Triton, ``model``.
    """
    requests = request["requests"]
    ask = (
        triton(request["address"], request["model"], requests)
        if "model" in request
        else gateway(request["address"], requests)
    )
    degraded = [0]

    def act(number: int) -> dict[str, float]:
        degraded[0] += ask(number)[1]
        return {}

    return {
        "run": lambda order: drive(act, len(requests), order),
        "degraded": lambda order: degraded[0],
        "answers": lambda order: [
            undegraded(partial(ask, number)) for number in range(len(requests))
        ],
    }


if __name__ == "__main__":
    serve(make)

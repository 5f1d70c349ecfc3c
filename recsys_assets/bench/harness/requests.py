"""The requests that every measured system is asked: real visitors of the release, and some whom
nobody knows.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from recsys_assets import columns as c
from recsys_assets.columns import SECONDS_PER_DAY
from recsys_assets.serving.stages import tensors as t

#: Items an answer shall hold: a home page.
TOP_K = 10
UNKNOWN_SHARE = 0.1
#: Items of the catalogue that a known visitor has seen today, so that the filter has something to
#: do.
SEEN = 20

Request = dict[str, Any]  # user_id, device_type, timestamp


def choose(transforms: dict[str, Any], count: int, now: int, seed: int) -> list[Request]:
    """Requests in a random order: visitors of the training data, each once where there are enough,
    and unknown ones.

    Args:
        transforms: content of the release's transforms.json.
        now: unix seconds of the newest visits; they spread over the day before it.
    """
    random, users = np.random.default_rng(seed), transforms["vocabulary"][c.USER_ID]
    unknown = max(1, round(count * UNKNOWN_SHARE))
    known = [
        users[n]
        for n in random.choice(len(users), count - unknown, replace=len(users) < count - unknown)
    ]
    visitors = [*known, *(f"bench-unknown-{n}" for n in range(unknown))]
    moments = now - random.integers(0, SECONDS_PER_DAY, count)
    return [
        {"user_id": visitors[n], "device_type": c.DEVICES[device], "timestamp": int(moment)}
        for n, device, moment in zip(
            random.permutation(count).tolist(),
            random.integers(0, len(c.DEVICES), count),
            moments,
            strict=True,
        )
    ]


def known_visitors(requests: list[Request]) -> list[str]:
    return sorted(
        {
            request["user_id"]
            for request in requests
            if not request["user_id"].startswith("bench-unknown-")
        }
    )


def tensors(request: Request) -> dict[str, np.ndarray]:
    """The request tensors of one visitor (``serving.answer.REQUEST``)."""
    return {
        t.USER_ID.name: np.array([request["user_id"]], np.object_),
        t.DEVICE_TYPE.name: np.array([request["device_type"]], np.object_),
        t.TIMESTAMP.name: np.array([request["timestamp"]], np.int64),
        t.TOP_K.name: np.array([TOP_K], np.int32),
    }


def write_perf_analyzer(requests: list[Request], path: Path) -> Path:
    """The same requests in perf_analyzer's form; it goes through them in circles."""
    path.write_text(
        json.dumps(
            {
                "data": [
                    {
                        name: {"content": values.tolist(), "shape": [1]}
                        for name, values in tensors(request).items()
                    }
                    for request in requests
                ]
            }
        )
    )
    return path

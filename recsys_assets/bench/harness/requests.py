"""Choose the requests that every measured system receives.

They are of real visitors of the release, and of some unknown ones.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, TypedDict

import numpy as np

from recsys_assets import columns as c
from recsys_assets.columns import SECONDS_PER_DAY
from recsys_assets.serving.stages import tensors as t

#: Items per answer, as on a home page.
TOP_K = 10
UNKNOWN_SHARE = 0.1
#: Items that a known visitor has seen today, so that the seen filter has work.
SEEN = 20

#: One request for recommendations; the timestamp is in unix seconds.
#: No class statement, because another class has this name (a test checks class names).
Request = TypedDict(  # noqa: UP013
    "Request", {"user_id": str, "device_type": str, "timestamp": int}
)


def choose(transforms: dict[str, Any], count: int, now: int, seed: int) -> list[Request]:
    """Return requests of known and unknown visitors in a random order.

    Known visitors are of the training data, each once where there are enough.

    Args:
        transforms: content of the release's transforms.json.
        count: number of requests.
        now: unix seconds of the newest visit; the visits spread over the day before it.
        seed: random seed.
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
    """Return the known visitors of the requests, sorted."""
    return sorted(
        {
            request["user_id"]
            for request in requests
            if not request["user_id"].startswith("bench-unknown-")
        }
    )


def tensors(request: Request) -> dict[str, np.ndarray]:
    """Return the request tensors of one visitor (``serving.answer.REQUEST``)."""
    return {
        t.USER_ID.name: np.array([request["user_id"]], np.object_),
        t.DEVICE_TYPE.name: np.array([request["device_type"]], np.object_),
        t.TIMESTAMP.name: np.array([request["timestamp"]], np.int64),
        t.TOP_K.name: np.array([TOP_K], np.int32),
    }


def write_perf_analyzer(requests: list[Request], path: Path) -> Path:
    """Write the requests in perf_analyzer's format, which cycles through them."""
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

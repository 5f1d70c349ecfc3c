"""Worker: call the stages directly, one request at a time.

It runs in the serving environment, on one thread, as serving does. It also returns what the other
systems are measured on: the candidates of each request, its features in raw form, and its query
embedding.
"""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

from recsys_assets import columns as c
from recsys_assets.bench.harness.requests import tensors
from recsys_assets.bench.harness.worker import Command, drive, serve, undegraded
from recsys_assets.lib.sources.recent import Recent
from recsys_assets.release_files import ITEM_IDS_FILE, model_file
from recsys_assets.serving.stages import tensors as t
from recsys_assets.serving.stages.answer import DEGRADED
from recsys_assets.serving.stages.pipeline import Pipeline
from recsys_assets.settings import get_settings

WARM_UP = 20


def make(request: dict[str, Any]) -> dict[str, Command]:
    """Load the pipeline and return the worker's commands.

    Args:
        request: ``payload`` (the release's folder), ``versions``, ``requests``.
    """
    pipeline = Pipeline.load(Path(request["payload"]), get_settings(), request["versions"])
    requests = request["requests"]
    asked = [tensors(one) for one in requests]
    item_ids = json.loads(
        Path(request["payload"], model_file("item_id_decoder", ITEM_IDS_FILE)).read_text("utf-8")
    )

    def act(number: int) -> dict[str, float]:
        return pipeline.timed(asked[number])[1]

    def ask(number: int) -> tuple[list[str], bool]:
        answer = pipeline.run(asked[number])
        return answer[t.ORDERED_IDS.name].tolist(), bool(answer[t.ANSWER_INFO.name][0, DEGRADED])

    def answers(order: dict[str, Any]) -> list[Any]:
        """Return [ids, degraded] of each request."""
        return [undegraded(partial(ask, number)) for number in range(len(asked))]

    def embeddings(order: dict[str, Any]) -> list[list[float]]:
        """Return the query embedding [64] of each request."""
        return [pipeline.trace(one)[t.QUERY_EMBEDDING.name][0].tolist() for one in asked]

    def raw(order: dict[str, Any]) -> list[dict[str, Any]]:
        """Return the inputs of Feast and NVTabular for each request.

        They are the visitor, the visit and the candidates.
        """
        return [_raw(pipeline.trace(one), one, item_ids) for one in asked]

    def clicks(order: dict[str, Any]) -> list[tuple[list[int], list[float]]]:
        """Return the known clicks of each request's visitor: rows of the vocabulary, hours."""
        traces = [pipeline.trace(one) for one in asked]
        found = [Recent.of(one[t.USER_CLICKED.name][0], one[t.USER_AGES.name][0]) for one in traces]
        return [(one.rows.tolist(), one.ages.tolist()) for one in found]

    for number in range(min(WARM_UP, len(asked))):
        act(number)
    return {
        "run": lambda order: drive(act, len(asked), order),
        "answers": answers,
        "embeddings": embeddings,
        "raw": raw,
        "clicks": clicks,
    }


def _raw(trace: dict[str, Any], asked: dict[str, Any], item_ids: list[str]) -> dict[str, Any]:
    user_id, gender, top_category = trace[t.USER_RAW.name][0]
    age, clicks_24h, hours, clicks_look_back = trace[t.USER_NUMBERS.name][0].tolist()
    return {
        "visitor": asked[t.USER_ID.name][0],
        "user": {
            c.USER_ID: user_id,
            c.GENDER: gender,
            c.TOP_CATEGORY: top_category,
            c.AGE: None if age != age else age,
            c.CLICKS_24H: clicks_24h,
            c.HOURS_SINCE_CLICK: hours,
            c.CLICKS_LOOK_BACK: clicks_look_back,
        },
        "context": {
            c.DEVICE_TYPE: trace[t.CONTEXT_DEVICE.name][0],
            c.TIMESTAMP: int(trace[t.CONTEXT_TIMESTAMP.name][0]),
        },
        "items": [item_ids[index - c.VOCABULARY_START] for index in trace[t.KEPT.name].tolist()],
    }


if __name__ == "__main__":
    serve(make)

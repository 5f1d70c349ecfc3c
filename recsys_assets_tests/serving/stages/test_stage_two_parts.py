"""Stages that ask a store in a first half and read in a second: what may come between the two."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recsys_assets.serving.stages.answer import DEGRADED, REQUEST, Degraded
from recsys_assets.serving.stages.pipeline import Pipeline
from recsys_assets.serving.stages.registry import STAGES
from recsys_assets.serving.stages.stage import Stage, StageInputInvalid, Tensors, TwoPartStage
from recsys_assets.settings import VISITOR_DATABASE, Settings
from recsys_assets_tests.support import tiny_store
from recsys_assets_tests.support.seen import mark_seen
from recsys_assets_tests.support.tiny_payload import ITEM_IDS
from recsys_assets_tests.support.tiny_store import AS_OF

pytestmark = pytest.mark.services
ASKING = ("feast_user_lookup", "filter_seen_items")
WITHOUT = int(Degraded.USER_FEATURES | Degraded.SEEN_FILTER)


@pytest.fixture(scope="module")
def shop(tmp_path_factory, valkey_process):
    return tiny_store.shop(tmp_path_factory.mktemp("home"), valkey_process)


@pytest.fixture
def pipeline(shop, valkey) -> Iterator[Pipeline]:
    tiny_store.write_users(shop.store)
    now = valkey.client().time()[0]
    for n in range(4):
        mark_seen(valkey.client(VISITOR_DATABASE), f"user-{n}", ITEM_IDS[5 * n : 5 * n + 5], now)
    opened = Pipeline.load(shop.payload, shop.settings)
    yield opened
    opened.close()


def request(*users: str) -> Tensors:
    return {"user_id": np.array(users, object), "timestamp": np.full(len(users), AS_OF)}


def stages(pipeline: Pipeline) -> list[Any]:
    return [stage for stage in pipeline.stages if stage.name in ASKING]


def same(found: Tensors, expected: Tensors, names: Any) -> None:
    for name in names:
        assert (
            found[name].dtype == expected[name].dtype and found[name].shape == expected[name].shape
        ), name
        assert (
            found[name].tolist() == expected[name].tolist()
            if found[name].dtype == object
            else found[name].tobytes() == expected[name].tobytes()
        ), name


def test_both_are_asked_before_either_is_read_and_finished_as_late_as_can_be(pipeline):
    steps = [(name, step.__name__) for name, step, _ in pipeline._steps]
    assert steps[:6] == [
        ("context_preprocessor", "run"),
        *((name, "begin") for name in ASKING),
        ("nvt_context_transform", "run"),
        ("feast_user_lookup", "finish"),
        ("nvt_user_transform", "run"),
    ]
    assert sorted(name for name, half in steps if half != "begin") == sorted(STAGES)
    assert {stage.name for stage in pipeline.stages if isinstance(stage, TwoPartStage)} == set(
        ASKING
    )


def test_each_stage_needs_what_it_declares_and_no_more(pipeline):
    """They are handed every tensor there is; a model of its own has but the declared ones, in one
    part.
    """
    trace = pipeline.trace(request("user-1", "nobody", "-1", "user-2"))
    known = {spec.name for spec in REQUEST}
    for stage in pipeline.stages:
        inputs = {spec.name: trace[spec.name] for spec in stage.inputs if spec.name in trace}
        known |= set(inputs)
        assert set(inputs) <= known
        same(stage.run(inputs), trace, (spec.name for spec in stage.outputs))


def test_who_is_not_who_was_begun_is_asked_anew(pipeline):
    right, wrong = pipeline.trace(request("user-1", "user-2")), pipeline.trace(request("user-3"))
    for stage in stages(pipeline):
        for begun_with, given in ((wrong, right), (right, wrong)):
            begun = stage.begin(begun_with)
            found = stage.finish(given, begun)
            same(found, given, (spec.name for spec in stage.outputs))
            begun.drop()  # as whoever began does
        again = stage.begin(right)
        same(stage.finish(right, again), right, (spec.name for spec in stage.outputs))


class Breaking(Stage):
    """A stage of the pipeline that fails while it is told to."""

    def __init__(self, stage: Stage):
        self.name, self.inputs, self.outputs = stage.name, stage.inputs, stage.outputs
        self._stage, self.fails = stage, False

    @classmethod
    def open(cls, directory: Path, settings: Settings, version: int) -> Breaking:
        raise NotImplementedError

    def run(self, inputs: Tensors) -> Tensors:
        if self.fails:
            raise StageInputInvalid("broken")
        return self._stage.run(inputs)


@pytest.mark.parametrize(
    "model", ["nvt_context_transform", "query_tower"]
)  # before either is read, and between the two
def test_a_request_that_fails_between_leaves_no_reply_to_others(pipeline, model):
    breaking = next(Breaking(stage) for stage in pipeline.stages if stage.name == model)
    pipeline = Pipeline([breaking if stage.name == model else stage for stage in pipeline.stages])
    alone = {
        user: pipeline.run(request(user))
        for user in ("user-0", "user-1", "user-2", "user-3", "nobody")
    }
    assert len({answer["ordered_scores"].tobytes() for answer in alone.values()}) == len(alone)
    users = list(alone)
    for n in range(20):
        breaking.fails = True
        with pytest.raises(StageInputInvalid, match="broken"):
            pipeline.run(request(users[n % 4], users[(n + 1) % 4]))
        breaking.fails = False
        user = users[(n * 3) % 5]
        same(pipeline.run(request(user)), alone[user], alone[user])
        assert pipeline.run(request(user))["answer_info"][0, DEGRADED] == 0
    assert all(len(lines._idle) == 1 for lines in lines_of(pipeline))
    assert [breaker._failures for breaker in breakers_of(pipeline)] == [0, 0]


def lines_of(pipeline: Pipeline) -> list[Any]:
    users, seen = stages(pipeline)
    return [users._features._lines, seen._lines]


def breakers_of(pipeline: Pipeline) -> list[Any]:
    users, seen = stages(pipeline)
    return [users._features._breaker, seen._breaker]


def test_a_store_that_dies_between_degrades_that_visitor_and_counts_once(pipeline, valkey):
    expected = pipeline.trace(request("user-1", "-1", "user-2"))
    valkey.hang()  # what is sent arrives, and is not answered any more
    begun = [stage.begin(expected) for stage in stages(pipeline)]
    valkey.kill()
    for stage, one in zip(stages(pipeline), begun, strict=True):
        found = stage.finish(expected, one)
        (name,) = (spec.name for spec in stage.outputs if spec.name.endswith("_degraded"))
        flag = int(Degraded.USER_FEATURES if stage.name == ASKING[0] else Degraded.SEEN_FILTER)
        assert found[name].tolist() == [flag, 0, flag]
        one.drop()
    assert [breaker._failures for breaker in breakers_of(pipeline)] == [1, 1]
    assert pipeline.run(request("user-1"))["answer_info"][0, DEGRADED] == WITHOUT
    assert [breaker._failures for breaker in breakers_of(pipeline)] == [2, 2]
    valkey.start()
    assert (
        pipeline.run(request("user-1"))["answer_info"][0, DEGRADED] == 0
    )  # two are no three: asked, and there again
    assert [breaker._failures for breaker in breakers_of(pipeline)] == [0, 0]


def test_a_store_that_takes_what_is_sent_and_never_answers_opens_the_breakers(pipeline, valkey):
    assert pipeline.run(request("user-1"))["answer_info"][0, DEGRADED] == 0
    valkey.hang()
    try:
        for failures in (1, 2, 3, 3, 3):
            assert pipeline.run(request("user-1"))["answer_info"][0, DEGRADED] == WITHOUT
            assert [breaker._failures for breaker in breakers_of(pipeline)] == [failures] * 2
    finally:
        valkey.resume()


def test_an_anonymous_visitor_asks_nobody(pipeline, valkey):
    direct = valkey.client()
    direct.config_resetstat()
    for stage in stages(pipeline):
        assert stage.begin({"visitor_id": np.array(["-1", "-1"], object)}).replies is None
    assert pipeline.run(request("-1"))["answer_info"][0, DEGRADED] == 0
    assert not {"cmdstat_get", "cmdstat_hmget"} & set(direct.info("commandstats"))


def test_the_time_of_both_halves_is_the_stages(pipeline):
    calls: list[str] = []

    def counted(name: str, step: Any) -> Any:
        return lambda *given: calls.append(name) or step(*given)

    pipeline._steps = [(name, counted(name, step), half) for name, step, half in pipeline._steps]
    _, seconds = pipeline.timed(request("user-2"))
    assert list(seconds) == list(STAGES) and all(spent > 0 for spent in seconds.values())
    assert [calls.count(name) for name in STAGES] == [2 if name in ASKING else 1 for name in STAGES]

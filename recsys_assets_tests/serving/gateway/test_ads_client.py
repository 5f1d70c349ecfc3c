"""The gateway's client of the ads ranker, on a real Triton."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from tritonclient.grpc.service_pb2 import ModelInferResponse

from recsys_assets.ads_columns import CATEGORIES, FEATURES, INTEGERS
from recsys_assets.lib.ads_ctr import ads_release
from recsys_assets.lib.release.lines import ADS
from recsys_assets.serving.gateway.ads_client import MODEL, AdFields, AdsClient
from recsys_assets.serving.gateway.triton_call import TritonUnavailable
from recsys_assets.serving.promotion import promotion
from recsys_assets.serving.triton.served import ADS_ENSEMBLE
from recsys_assets.settings import PROJECT_ROOT
from recsys_assets_tests.support.gateway_calls import error, serve
from recsys_assets_tests.support.small_ads_gateway import ad
from recsys_assets_tests.support.small_ads_release import ads_rows, publish_release
from recsys_assets_tests.support.small_promotion import Shop
from recsys_assets_tests.support.small_triton import quiet


def test_the_model_is_the_one_that_is_served() -> None:
    assert MODEL == ADS_ENSEMBLE


class _Answering(AdsClient):
    """Answers each request with one response."""

    def __init__(self, response: ModelInferResponse) -> None:
        self._model, self._response = MODEL, response

    async def _infer(self, request: Any) -> ModelInferResponse:
        return self._response


def response(scores: list[float], release: list[int] | None = None) -> ModelInferResponse:
    made = ModelInferResponse()
    for name, values in (
        ("score", np.array(scores, np.float32)),
        ("ads_release", np.array([3] if release is None else release)),
    ):
        made.outputs.add(name=name)
        made.raw_output_contents.append(values.tobytes())
    return made


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (response([0.5]), "1 scores for 2 ads"),
        (response([0.5, float("nan")]), "no probabilities"),
        (response([0.5, 1.5]), "no probabilities"),
        (response([0.5, 0.5], []), "cannot be read"),
        (ModelInferResponse(), "cannot be read"),
    ],
)
@pytest.mark.anyio
async def test_an_answer_of_another_form_is_none(given: ModelInferResponse, message: str) -> None:
    two = [AdFields([1] * 13, ["a"] * 26)] * 2
    with pytest.raises(TritonUnavailable, match=message):
        await _Answering(given).score(two, "r")


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    shop = Shop(tmp_path_factory.mktemp("ads-gateway"))
    shop.server.start()
    yield shop
    shop.end()


@pytest.mark.services
def test_a_promoted_release_answers_with_its_own_scores(shop: Shop) -> None:
    rows = ads_rows()
    bodies = [{name: row[name] for name in FEATURES} for row in rows.to_dicts()]
    for client in serve(shop.settings.model_copy(update={"triton_timeout_ms": 5_000})):
        status, _, message = error(client.post("/ads/ctr", json=ad()))
        assert status == 503 and "serves no release of the ads ranker: promote one" in message

        release = publish_release(shop.store, 0.01)
        promotion.promote(shop.settings, 1, ADS, log=quiet, templates=PROJECT_ROOT / "triton_repo")
        answer = client.post("/ads/ctr", json={"ads": bodies})
        assert answer.status_code == 200, answer.text
        assert answer.json()["release"] == 1
        found = [one["ctr"] for one in answer.json()["predictions"]]
        assert np.allclose(found, ads_release.scores_of(release, rows), atol=1e-6)
        assert len(set(found)) > 1
        # all fields empty; and -1, which means empty in logs
        empty, marked = (
            client.post("/ads/ctr", json=body).json()["predictions"][0]["ctr"]
            for body in (
                dict.fromkeys(FEATURES),
                dict.fromkeys(INTEGERS) | dict.fromkeys(CATEGORIES, "-1"),
            )
        )
        assert empty == marked


def test_without_triton_it_says_so(settings: Any) -> None:
    for client in serve(settings):
        status, field, message = error(client.post("/ads/ctr", json=ad()))
        assert (status, field) == (503, None) and "try again" in message

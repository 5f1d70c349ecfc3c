"""The gateway's routes for ads over real ASGI and a real Valkey: predictions, log, labels."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from typing import Any

import pytest
from fastapi.testclient import TestClient

from recsys_assets.ads_columns import CATEGORIES, FEATURES, INTEGERS
from recsys_assets.lib.landing.ads_predictions import predicted_at
from recsys_assets.serving.events.ads_log import LABELS, PREDICTIONS, AdLabel, AdPrediction
from recsys_assets.serving.gateway import ads as ads_route
from recsys_assets.serving.gateway import ads_prediction_log
from recsys_assets.serving.gateway.ads_models import AdRequest
from recsys_assets.settings import Settings
from recsys_assets_tests.support.gateway_calls import error
from recsys_assets_tests.support.small_ads_gateway import RELEASE, CountingAds, ad, ads_gateway
from recsys_assets_tests.support.small_feedback import name_of
from recsys_assets_tests.support.stack import eventually


def metrics(client: TestClient, prefix: str = "recsys_ads_") -> dict[str, float]:
    """Figures of /metrics that are not 0."""
    found = {}
    for line in client.get("/metrics").text.splitlines():
        if line.startswith(prefix) and "_created" not in line:
            name, value = line.rsplit(" ", 1)
            found[name.removeprefix(prefix)] = float(value)
    return {name: value for name, value in found.items() if value}


def logged(valkey: Any) -> list[AdPrediction]:
    with valkey.client(1) as client:
        entries = client.xrange(PREDICTIONS.name)
        return [one for _, fields in entries for one in PREDICTIONS.unpack(fields)]


def labels(valkey: Any) -> list[AdLabel]:
    with valkey.client(1) as client:
        entries = client.xrange(LABELS.name)
        return [one for _, fields in entries for one in LABELS.unpack(fields)]


# --- predictions


def test_the_fields_of_an_ad_are_those_of_the_log_in_their_order() -> None:
    assert tuple(AdRequest.model_fields) == FEATURES


def test_one_ad_and_a_batch_have_one_form_of_answer(settings: Settings) -> None:
    given = CountingAds()
    with ads_gateway(settings, given) as client:
        began = time.time()
        one = client.post(
            "/ads/ctr", json=ad(I1=250, I2=None, C26=None), headers={"x-request-id": "mine"}
        )
        many = client.post(
            "/ads/ctr", json={"ads": [ad(I1=number, I13=7.0) for number in range(500)]}
        ).json()
        assert one.status_code == 200 and set(one.json()) == {
            "predictions",
            "release",
            "request_id",
        }
        ((first,), ended) = one.json()["predictions"], time.time()
        assert (first["ctr"], one.json()["release"]) == (0.25, RELEASE)
        assert one.json()["request_id"] == "mine" == one.headers["x-request-id"]
        assert began - 0.001 <= predicted_at(first["prediction_id"]) <= ended
        assert [made["ctr"] for made in many["predictions"]] == [n / 1_000 for n in range(500)]
        names = [first["prediction_id"], *(made["prediction_id"] for made in many["predictions"])]
        assert len(set(names)) == 501
        assert {name.split("-")[1] for name in names} == {names[0].split("-")[1]}
        found = metrics(client)
        assert (found["predictions_total"], found["release"]) == (501, RELEASE)
        assert metrics(client, "gateway_request")['_seconds_count{route="/ads/ctr"}'] == 2
    assert given.asked[0].counts == [250, None, *[3] * 11]
    assert given.asked[0].categories == [*(f"value of {name}" for name in CATEGORIES[:-1]), None]
    assert given.asked[1].counts[-1] == 7 and isinstance(given.asked[1].counts[-1], int)


NUMBER, TEXT = "must be a whole number", "string"
AD_ERRORS = [
    ({}, "I1", "is required"),
    ({name: 1 for name in INTEGERS}, "C1", "is required"),
    ({k: v for k, v in ad().items() if k != "C17"}, "C17", "is required"),
    (ad(I14=1), "I14", "is not a field"),
    (ad(label=1), "label", "is not a field"),
    (ad(I1="3"), "I1", NUMBER),
    (ad(I2=1.5), "I2", NUMBER),
    (ad(I3=True), "I3", NUMBER),
    (ad(I4=2**53 + 1), "I4", NUMBER),
    (ad(I4=-(2**53) - 1), "I4", NUMBER),
    (ad(I5=1e300), "I5", NUMBER),
    (ad(I5=float("nan")), "I5", NUMBER),
    (ad(I5=float("inf")), "I5", NUMBER),
    (ad(I5=10**400), "I5", NUMBER),
    (ad(I6=[1]), "I6", NUMBER),
    (ad(C1=1), "C1", TEXT),
    (ad(C2=""), "C2", "at least 1 character"),
    (ad(C3="x" * 257), "C3", "at most 256 characters"),
    (ad(C4=True), "C4", TEXT),
    (ad(C5={}), "C5", TEXT),
    ({"ads": []}, "ads", "at least 1"),
    ({"ads": [ad()] * 501}, "ads", "at most 500"),
    ({"ads": {"0": ad()}}, "ads", "array"),
    ({"ads": [ad(), 5]}, "ads.1", "object"),
    ({"ads": [*[ad()] * 3, ad(I1=0.5)]}, "ads.3.I1", NUMBER),
    ({"ads": [ad(), ad(C9="")]}, "ads.1.C9", "at least 1 character"),
    ({"ads": [ad(), {k: v for k, v in ad().items() if k != "I7"}]}, "ads.1.I7", "is required"),
    ({"ads": [ad()], "I1": 3}, "I1", "is not a field"),
    (None, "body", "object"),
    ([ad()], "body", "object"),
]


@pytest.mark.parametrize(("body", "field", "message"), AD_ERRORS)
def test_bad_ads_name_the_field_and_nothing_is_predicted(
    settings: Settings, body: Any, field: str, message: str
) -> None:
    given = CountingAds()
    with ads_gateway(settings, given) as client:
        answer = client.post(
            "/ads/ctr", content=json.dumps(body), headers={"content-type": "application/json"}
        )
        status, named, said = error(answer)
        assert (status, named) == (422, field) and message in said
    assert given.asked == []


@pytest.mark.parametrize(
    "changed",
    [
        {"I1": 2**53, "I2": -(2**53), "I3": 0, "I4": 4.0},
        {"C1": "x" * 256, "C2": "😀" * 256, "C3": "-1", "C4": " "},
        dict.fromkeys(FEATURES),
    ],
)
def test_unusual_values_are_predicted(settings: Settings, changed: dict[str, Any]) -> None:
    with ads_gateway(settings) as client:
        assert client.post("/ads/ctr", json=ad(**changed)).status_code == 200


# --- their log


def test_every_prediction_is_logged_as_it_was_given(settings: Settings, valkey: Any) -> None:
    with ads_gateway(settings) as client:
        answers = [
            client.post("/ads/ctr", json=ad(I1=1, C2=None)).json(),
            client.post("/ads/ctr", json={"ads": [ad(I1=2), ad(I1=3, I13=None)]}).json(),
        ]
        eventually(lambda: metrics(client).get("logged_total") == 3, "all are written")
    found = logged(valkey)
    given = [(answer, one) for answer in answers for one in answer["predictions"]]
    assert len(found) == 3
    for prediction, (answer, one) in zip(found, given, strict=True):
        assert prediction.prediction_id == one["prediction_id"]
        assert (prediction.score, prediction.release) == (one["ctr"], RELEASE)
        assert prediction.request_id == answer["request_id"]
        assert prediction.at == predicted_at(prediction.prediction_id)
    assert [prediction.counts[0] for prediction in found] == [1, 2, 3]
    assert found[0].categories[:2] == ["value of C1", None] and found[2].counts[-1] is None


def test_off_logs_nothing(settings: Settings, valkey: Any) -> None:
    with ads_gateway(settings.model_copy(update={"ads_log": "off"})) as client:
        assert client.post("/ads/ctr", json=ad()).status_code == 200
    assert not valkey.client(1).exists(PREDICTIONS.name)


def test_a_share_is_of_calls(settings: Settings, valkey: Any) -> None:
    with ads_gateway(settings.model_copy(update={"ads_log_share": 0.5})) as client:
        for number in range(60):
            client.post(
                "/ads/ctr", json={"ads": [ad(), ad()]}, headers={"x-request-id": f"call-{number}"}
            )
    calls = [one.request_id for one in logged(valkey)]
    assert 16 < len(set(calls)) < 44 and all(calls.count(call) == 2 for call in calls)


def test_predictions_flow_without_the_store(settings: Settings, valkey: Any) -> None:
    with ads_gateway(settings) as client:
        valkey.kill()
        for _ in range(3):
            began = time.monotonic()
            assert client.post("/ads/ctr", json=ad()).status_code == 200
            assert time.monotonic() - began < 1
        valkey.start()
        eventually(lambda: metrics(client).get("logged_total") == 3, "the rest is written")
    assert len(logged(valkey)) == 3


def test_a_full_stream_drops_and_counts(
    settings: Settings, valkey: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ads_prediction_log, "PREDICTIONS", replace(PREDICTIONS, length=1))
    with ads_gateway(settings) as client:
        client.post("/ads/ctr", json=ad(I1=1))
        eventually(lambda: metrics(client).get("logged_total"), "the first is written")
        client.post("/ads/ctr", json=ad(I1=2))
        eventually(lambda: 'dropped_total{cause="stream_full"}' in metrics(client), "the other not")
    assert [one.counts[0] for one in logged(valkey)] == [1]


# --- labels


def test_labels_of_one_and_of_many_reach_the_stream(client: TestClient, valkey: Any) -> None:
    assert client.post("/ads/labels", json={"prediction_id": name_of(1), "clicked": True}).json()
    ago = int(time.time()) - 600
    many = {
        "labels": [
            {"prediction_id": name_of(n), "clicked": n % 2 == 0, "at": ago + n + 0.5}
            for n in range(500)
        ]
    }
    answer = client.post("/ads/labels", json=many)
    assert (answer.status_code, answer.json()) == (202, {"accepted": 500})
    found = labels(valkey)
    assert found[0] == AdLabel(prediction_id=name_of(1), label=1)
    assert found[1:] == [
        AdLabel(prediction_id=name_of(n), label=1 - n % 2, at=ago + n + 0.5) for n in range(500)
    ]
    assert valkey.client(1).xlen(LABELS.name) == 2, "a call is one entry: all or none"
    assert metrics(client)["labels_total"] == 501


ONE = {"prediction_id": name_of(1), "clicked": True}
LABEL_ERRORS = [
    ({}, "prediction_id", "is required"),
    ({"prediction_id": name_of(1)}, "clicked", "is required"),
    ({**ONE, "clicked": 1}, "clicked", "boolean"),
    ({**ONE, "clicked": "true"}, "clicked", "boolean"),
    ({**ONE, "clicked": None}, "clicked", "boolean"),
    ({**ONE, "label": 1}, "label", "is not a field"),
    ({**ONE, "prediction_id": ""}, "prediction_id", "is no prediction_id"),
    ({**ONE, "prediction_id": 5}, "prediction_id", "string"),
    ({**ONE, "prediction_id": "0-ab-1"}, "prediction_id", "is no prediction_id"),
    ({**ONE, "prediction_id": "ffffffffffff-ab-1"}, "prediction_id", "is no prediction_id"),
    ({**ONE, "prediction_id": name_of(1) + "\n"}, "prediction_id", "is no prediction_id"),
    ({**ONE, "prediction_id": "../" + name_of(1)}, "prediction_id", "is no prediction_id"),
    ({**ONE, "at": -1}, "at", "unix seconds"),
    ({**ONE, "at": True}, "at", "unix seconds"),
    ({**ONE, "at": "now"}, "at", "unix seconds"),
    ({**ONE, "at": float("nan")}, "at", "unix seconds"),
    ({**ONE, "at": 10**400}, "at", "unix seconds"),
    ({**ONE, "at": time.time() + 3_600}, "at", "ahead"),
    ({"labels": []}, "labels", "at least 1"),
    ({"labels": [ONE] * 501}, "labels", "at most 500"),
    ({"labels": [ONE, {**ONE, "clicked": 0}]}, "labels.1.clicked", "boolean"),
    ({"labels": [ONE], "more": 1}, "more", "is not a field"),
]


@pytest.mark.parametrize(("body", "field", "message"), LABEL_ERRORS)
def test_bad_labels_name_the_field_and_none_is_taken(
    client: TestClient, valkey: Any, body: Any, field: str, message: str
) -> None:
    answer = client.post(
        "/ads/labels", content=json.dumps(body), headers={"content-type": "application/json"}
    )
    status, named, said = error(answer)
    assert (status, named) == (422, field) and message in said
    assert valkey.client(1).xlen(LABELS.name) == 0


def test_labels_are_refused_while_the_store_is_away_or_its_stream_is_full(
    client: TestClient, valkey: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(ads_route, "LABELS", replace(LABELS, length=1))
        assert client.post("/ads/labels", json=ONE).status_code == 202
        status, _, message = error(client.post("/ads/labels", json=ONE))
        assert status == 503 and "start the event consumer" in message
    valkey.kill()
    status, field, message = error(client.post("/ads/labels", json=ONE))
    assert (status, field) == (503, None) and "send them again" in message
    valkey.start()
    assert len(labels(valkey)) <= 1

"""Add the routes for ads: click probabilities, and the labels of what was shown."""

from __future__ import annotations

import logging
import time
from typing import Any

from fastapi import APIRouter, Request, Response

from recsys_assets.ads_columns import INTEGERS
from recsys_assets.lib.feature_store.valkey import STORE_ERRORS
from recsys_assets.serving.events.ads_log import LABELS
from recsys_assets.serving.events.log_stream import pack
from recsys_assets.serving.gateway.ads_client import AdFields, AdScores
from recsys_assets.serving.gateway.ads_models import (
    AdBatch,
    AdForms,
    AdLabelBatch,
    AdLabelForms,
    AdLabelsResponse,
    AdRequest,
    AdsResponse,
)
from recsys_assets.serving.gateway.ads_prediction_log import now_ms
from recsys_assets.serving.gateway.body_route import BodyRoute
from recsys_assets.serving.gateway.errors import Refused, documented
from recsys_assets.serving.gateway.metrics import ADS
from recsys_assets.serving.gateway.parts import Parts
from recsys_assets.serving.gateway.reading import BEARER
from recsys_assets.serving.gateway.triton_call import TritonUnavailable
from recsys_assets.serving.gateway.writing import write

logger = logging.getLogger(__name__)

_NOT_STORED = "send them again, a label that is repeated counts once"


def ads_routes(parts: Parts) -> list[APIRouter]:
    """Return the routes for ads."""
    bodies = APIRouter(tags=["ads"], route_class=BodyRoute)
    _add_ctr(bodies, parts)
    _add_labels(bodies, parts)
    return [bodies]


def _fields(ad: AdRequest) -> AdFields:
    """Return the fields of an ad; pydantic keeps them in the order of the class."""
    values = list(ad.__dict__.values())
    return AdFields(values[: len(INTEGERS)], values[len(INTEGERS) :])


def _add_ctr(bodies: APIRouter, parts: Parts) -> None:
    """Add POST /ads/ctr."""

    @bodies.post(
        "/ads/ctr",
        response_model=AdsResponse,
        responses=documented(413, 415, 422, 503),
        summary="Predict the click probability of ads",
    )
    async def ads_ctr(body: AdForms, request: Request) -> Response:
        """Predict for one ad, or for ``{"ads": [...]}`` with at most 500.

        All 39 fields of an ad must be present; null means empty. The answer has the same form for
        one ad. Each prediction has an id, by which POST /ads/labels says whether the ad was
        clicked.
        """
        given = body.ads if isinstance(body, AdBatch) else [body]
        ads, request_id = [_fields(ad) for ad in given], request.state.request_id
        try:
            async with parts.admission.place():
                began = time.perf_counter()
                made = await parts.ads.score(ads, request_id)
        except TritonUnavailable as error:
            logger.warning("request %s: no prediction for ads: %s", request_id, error)
            raise Refused(503, None, _unavailable(error)) from error
        parts.metrics.phases[ADS].observe(time.perf_counter() - began)
        at_ms = now_ms()
        ids = parts.prediction_ids.take(at_ms, len(ads))
        if parts.ads_log is not None:
            parts.ads_log.offer(request_id, ids, at_ms, ads, made)
        parts.metrics.ads_predictions.inc(len(ads))
        parts.metrics.ads_release.set(made.release)
        request.state.answered = {"release": made.release, "ads": len(ads)}
        return Response(_text(ids, made, request_id), media_type="application/json")


def _unavailable(error: TritonUnavailable) -> str:
    """Return the message of an answer without predictions."""
    if error.absent:
        return "Triton serves no release of the ads ranker: promote one, then try again"
    return "the ads ranker does not answer at the moment: try again"


def _text(ids: list[str], made: AdScores, request_id: str) -> str:
    """Return the JSON text of AdsResponse."""
    predictions = ", ".join(
        f'{{"prediction_id": "{one}", "ctr": {score}}}'
        for one, score in zip(ids, made.scores, strict=True)
    )
    return (
        f'{{"predictions": [{predictions}], "release": {made.release}, '
        f'"request_id": "{request_id}"}}'
    )


def _add_labels(bodies: APIRouter, parts: Parts) -> None:
    """Add POST /ads/labels."""

    @bodies.post(
        "/ads/labels",
        status_code=202,
        response_model=AdLabelsResponse,
        responses=documented(401, 403, 413, 415, 422, 503),
        dependencies=[BEARER],
        summary="Report whether ads were clicked",
    )
    async def ads_labels(body: AdLabelForms, request: Request) -> Response:
        """Accept one label, or ``{"labels": [...]}`` with at most 500, all or none.

        A prediction waits RECSYS_ADS_LABEL_HOURS for its label and then counts as not clicked. A
        click counts even if the label "not clicked" came before it.
        """
        given = body.labels if isinstance(body, AdLabelBatch) else [body]
        records = []
        for one in given:
            record: dict[str, Any] = {"prediction_id": one.prediction_id, "label": int(one.clicked)}
            records.append(record if one.at is None else {**record, "at": one.at})
        await _check_room(parts)
        fields = {LABELS.field: pack(records)}
        await write(
            parts.visitors,
            lambda pipeline: pipeline.xadd(LABELS.name, fields),
            "labels",
            _NOT_STORED,
        )
        parts.metrics.ads_labels.inc(len(records))
        answer = AdLabelsResponse(accepted=len(records))
        return Response(answer.model_dump_json(), status_code=202, media_type="application/json")


async def _check_room(parts: Parts) -> None:
    """Raise Refused if the stream of labels is full: a trimmed one would lose labels."""
    try:
        waiting = await parts.visitors.xlen(LABELS.name)
    except STORE_ERRORS as error:
        logger.warning("labels not stored: %s", error)
        raise Refused(503, None, f"labels cannot be stored at the moment: {_NOT_STORED}") from error
    if waiting >= LABELS.length:
        raise Refused(
            503,
            None,
            f"{waiting} calls with labels wait to be landed: start the event consumer, then "
            f"{_NOT_STORED}",
        )

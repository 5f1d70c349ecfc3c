"""The form of predictions and labels in their streams."""

from __future__ import annotations

from typing import Any

import pytest

from recsys_assets.serving.events.ads_log import LABELS, PREDICTIONS, AdLabel, AdPrediction
from recsys_assets.serving.events.log_stream import pack
from recsys_assets_tests.support.small_feedback import NOON, name_of


def prediction(**changed: Any) -> dict[str, Any]:
    return {
        "prediction_id": name_of(1),
        "request_id": "r",
        "at": NOON,
        "release": 3,
        "score": 0.25,
        "counts": [None, *range(12)],
        "categories": [None, *("ü\n" * n for n in range(25))],
        **changed,
    }


def test_what_is_packed_is_unpacked() -> None:
    given = [prediction(), prediction(prediction_id=name_of(2))]
    found = PREDICTIONS.unpack({PREDICTIONS.field: pack(given)})
    assert found == [AdPrediction(**one) for one in given]
    labels = [{"prediction_id": name_of(1), "label": 1}]
    (label,) = LABELS.unpack({LABELS.field: pack(labels)})
    assert label == AdLabel(prediction_id=name_of(1), label=1, at=None)


def test_five_hundred_predictions_of_the_longest_values_fit() -> None:
    longest = prediction(categories=["😀" * 256] * 26)
    assert len(PREDICTIONS.unpack({PREDICTIONS.field: pack([longest] * 500)})) == 500


@pytest.mark.parametrize(
    "changed",
    [
        {"prediction_id": "no id"},
        {"prediction_id": "0-ab-1"},
        {"counts": [1] * 12},
        {"counts": [1.5] * 13},
        {"categories": [None] * 27},
        {"score": 1.5},
        {"score": None},
        {"more": 1},
    ],
)
def test_another_form_is_refused(changed: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        PREDICTIONS.unpack({PREDICTIONS.field: pack([prediction(**changed)])})


@pytest.mark.parametrize("changed", [{"label": 2}, {"label": None}, {"prediction_id": "x"}])
def test_another_label_is_refused(changed: dict[str, Any]) -> None:
    given = {"prediction_id": name_of(1), "label": 1, **changed}
    with pytest.raises(ValueError):
        LABELS.unpack({LABELS.field: pack([given])})

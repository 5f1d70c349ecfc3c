"""Define the log of answers, and the Valkey stream that carries it."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, model_validator

from recsys_assets.columns import MISSING
from recsys_assets.serving.events.events import Arm, Identifier, RequestId
from recsys_assets.serving.events.log_stream import LogStream, is_within


class LoggedFeatures(BaseModel):
    """Holds what the models read for an answer.

    Names of features are those of ``columns``: QUERY_CATEGORICAL and so on.

    Attributes:
        at: moment of the features, unix seconds.
        visitor: feature → value.
        items: feature → value of each of the answer's N items.
        sources: of each item, the sources that found it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    at: int
    visitor: dict[str, float | None]
    items: dict[str, list[float | None]]
    sources: list[list[str]]


class ServedAnswer(BaseModel):
    """One visitor's answer as it was given.

    Attributes:
        answer_id: unique, also if two calls have the same request id.
        request_id: of the call; the answers of a batch share it.
        user_id: the visitor; MISSING: unknown.
        at: unix seconds of the answer.
        device_type: of the request; MISSING: unknown.
        context_at: moment that the request named, unix seconds; None: it named none.
        top_k: number of items that the request asked for.
        item_ids: N ids, best first.
        scores: N, of the items.
        propensities: N, the probability with which each item was drawn, given those before it; 0:
            it was not drawn. None: the list was not drawn by sampling.
        query_release: version of the query tower; None: popular items replaced the ranking.
        release: number of the release; None: as above.
        reasons: the parts that failed.
        arm: of the shop's experiment; None: the request named none.
        features: what the models read; None: not logged for this answer.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    answer_id: str = Field(pattern=r"^[0-9a-f-]{1,64}$")
    request_id: RequestId
    user_id: Identifier
    at: int
    device_type: str = MISSING
    context_at: int | None = None
    top_k: int
    item_ids: list[Identifier]
    scores: list[float]
    propensities: list[float] | None = None
    query_release: int | None = None
    release: int | None = None
    reasons: list[str] = []
    arm: Arm | None = None
    features: LoggedFeatures | None = None

    @model_validator(mode="after")
    def _one_per_item(self) -> ServedAnswer:
        for name, values in (("scores", self.scores), ("propensities", self.propensities)):
            if values is not None and len(values) != len(self.item_ids):
                raise ValueError(f"{len(self.item_ids)} items have {len(values)} {name}")
        if (read := self.features) is not None:
            lengths = {len(read.sources), *map(len, read.items.values())}
            if lengths != {len(self.item_ids)}:
                raise ValueError(f"the features are not those of {len(self.item_ids)} items")
        return self


SERVED = LogStream(
    name="served",
    group="served-landing",
    field=b"answers",
    form=TypeAdapter(list[ServedAnswer]),
    length=4_000,  # an hour of one busy gateway
    most_bytes=16 << 20,  # 500 answers of 100 items with ids of the largest length
)


def is_sampled(user_id: str, request_id: str, share: float) -> bool:
    """Return whether an answer is logged; all answers of a visitor are, or none.

    Unknown visitors are not one person, so their requests are sampled.

    >>> is_sampled("u", "r", 1.0), is_sampled("u", "r", 1e-9)
    (True, False)
    """
    return is_within(request_id if user_id == MISSING else user_id, share)


def has_features(request_id: str, share: float) -> bool:
    """Return whether a logged answer has its features.

    >>> has_features("r", 1.0), has_features("r", 0.0)
    (True, False)
    """
    return is_within(f"features {request_id}", share)

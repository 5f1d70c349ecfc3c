"""Define the log of answers, and the Valkey stream that carries it.

The gateway writes the stream, and the consumer lands it. An entry holds the answers of some moment
together, because one entry per answer would cost the gateway more than the answer's own text.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping, Sequence
from hashlib import blake2b

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, model_validator

from recsys_assets.columns import MISSING
from recsys_assets.serving.events.events import Arm, Identifier, RequestId

STREAM, GROUP, REJECTED = "served", "served-landing", "served:rejected"
#: The field of an entry: answers as lines of JSON, compressed.
ANSWERS = b"answers"
#: Entries that the stream holds at most. The consumer deletes what it has landed, so they are there
#: only while no consumer runs: an hour of one busy gateway.
STREAM_LENGTH = 4_000
#: Most bytes of an entry's answers: 500 answers of 100 items with ids of the largest length.
_MOST_BYTES = 16 << 20


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


_ANSWERS = TypeAdapter(list[ServedAnswer])


def is_sampled(user_id: str, request_id: str, share: float) -> bool:
    """Return whether an answer is logged; all answers of a visitor are, or none.

    Unknown visitors are not one person, so their requests are sampled.

    >>> is_sampled("u", "r", 1.0), is_sampled("u", "r", 1e-9)
    (True, False)
    """
    return _within(request_id if user_id == MISSING else user_id, share)


def has_features(request_id: str, share: float) -> bool:
    """Return whether a logged answer has its features.

    >>> has_features("r", 1.0), has_features("r", 0.0)
    (True, False)
    """
    return _within(f"features {request_id}", share)


def _within(key: str, share: float) -> bool:
    """Return whether the hash of a key is within a share of all hashes."""
    if share >= 1:
        return True
    return int.from_bytes(blake2b(key.encode(), digest_size=8).digest()) < share * 2**64


def pack(answers: Sequence[Mapping[str, object]]) -> bytes:
    """Return answers (fields of ServedAnswer) as the content of an entry.

    Each answer is encoded alone, so that other threads run in between.
    """
    lines = [json.dumps(answer, separators=(",", ":")).encode() for answer in answers]
    return zlib.compress(b"\n".join(lines), 1)


def unpack(fields: Mapping[bytes, bytes]) -> list[ServedAnswer]:
    """Return the answers of a stream entry.

    Raises:
        ValueError: the entry has another form (a pydantic.ValidationError among them).
    """
    if fields.keys() != {ANSWERS}:
        raise ValueError(f"the fields are {sorted(fields)}, not only {ANSWERS!r}")
    reader = zlib.decompressobj()
    try:
        content = reader.decompress(fields[ANSWERS], _MOST_BYTES)
    except zlib.error as error:
        raise ValueError(f"the answers cannot be decompressed: {error}") from error
    if not reader.eof:
        raise ValueError(f"the answers are cut off, or have more than {_MOST_BYTES} bytes")
    return _ANSWERS.validate_json(b"[" + content.replace(b"\n", b",") + b"]")

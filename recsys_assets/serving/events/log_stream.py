"""Carry a log of the gateway through a Valkey stream: many records in one compressed entry.

The gateway writes an entry with the records of some moment together, because one entry per record
would cost more than the record's own text. The consumer lands the records.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Generic, TypeVar

from pydantic import BaseModel, TypeAdapter

R = TypeVar("R", bound=BaseModel)


@dataclass(frozen=True)
class LogStream(Generic[R]):
    """A stream of records.

    Attributes:
        name: of the stream.
        group: of the consumers that land it.
        field: of an entry, which holds the records as lines of JSON, compressed.
        form: of an entry's records.
        length: entries that the stream holds at most. The consumer deletes what it has landed, so
            they are there only while no consumer runs.
        most_bytes: of an entry's records, before compression.
    """

    name: str
    group: str
    field: bytes
    form: TypeAdapter[list[R]]
    length: int
    most_bytes: int

    @property
    def rejected(self) -> str:
        """Return the stream of entries that have another form."""
        return f"{self.name}:rejected"

    def unpack(self, fields: Mapping[bytes, bytes]) -> list[R]:
        """Return the records of a stream entry.

        Raises:
            ValueError: the entry has another form (a pydantic.ValidationError among them).
        """
        what = self.field.decode()
        if fields.keys() != {self.field}:
            raise ValueError(f"the fields are {sorted(fields)}, not only {self.field!r}")
        reader = zlib.decompressobj()
        try:
            content = reader.decompress(fields[self.field], self.most_bytes)
        except zlib.error as error:
            raise ValueError(f"the {what} cannot be decompressed: {error}") from error
        if not reader.eof:
            raise ValueError(f"the {what} are cut off, or have more than {self.most_bytes} bytes")
        return self.form.validate_json(b"[" + content.replace(b"\n", b",") + b"]")


def pack(records: Sequence[Mapping[str, object]]) -> bytes:
    """Return the fields of records as the content of an entry.

    Each record is encoded alone, so that other threads run in between.
    """
    lines = [json.dumps(record, separators=(",", ":")).encode() for record in records]
    return zlib.compress(b"\n".join(lines), 1)


def is_within(key: str, share: float) -> bool:
    """Return whether the hash of a key is within a share of all hashes.

    >>> is_within("r", 1.0), is_within("r", 0.0)
    (True, False)
    """
    if share >= 1:
        return True
    return int.from_bytes(blake2b(key.encode(), digest_size=8).digest()) < share * 2**64

"""Read a Valkey stream as one member of a group, whose pending entries survive a crash."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import redis

Entry = tuple[bytes, Mapping[bytes, bytes] | None]


@dataclass(frozen=True)
class StreamGroup:
    """One member of a group.

    Attributes:
        client: of the store.
        stream: name of the stream.
        group: name of the group.
        member: stable over restarts and unique in the group.
        batch: entries of one call at most.
    """

    client: redis.Redis
    stream: str
    group: str
    member: str
    batch: int

    def make(self) -> None:
        """Make stream and group if there are none."""
        try:
            self.client.xgroup_create(self.stream, self.group, id="0", mkstream=True)
        except redis.ResponseError as error:
            if "BUSYGROUP" not in str(error):
                raise

    def read(self, after: str, block_ms: int | None = None) -> list[Entry]:
        """Return the member's pending entries after an id; ">" gives new ones.

        block_ms: wait so long for a new one; None: do not wait.
        """
        reply: Any = self.client.xreadgroup(
            self.group, self.member, {self.stream: after}, count=self.batch, block=block_ms
        )
        return reply[0][1] if reply else []

"""Extend Feast's Redis online store: a row is replaced only by a newer one.

Feast's own store reads the stored times of a whole batch, compares them, and writes. So a live
click that another process pushes in between is overwritten by an older row. Here the server
compares and writes each row in one step. Keys, fields and values keep Feast's format, and Feast's
own code reads them.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any, Literal

from feast import FeatureView, RepoConfig, utils
from feast.infra.online_stores.helpers import _mmh3, _redis_key
from feast.infra.online_stores.redis import (
    RedisOnlineStore,
    RedisOnlineStoreConfig,
    _versioned_fv_name,
)
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import Value
from google.protobuf.timestamp_pb2 import Timestamp

from recsys_assets.lib.feature_store.views import ITEM_FEATURES, ITEM_POPULARITY

#: KEYS: an entity, and the version of its view if the view has one. The version grows in the same
#: step, so that a crash cannot hide a written row from its readers. ARGV: field of the view's time,
#: seconds, nanoseconds, the time as protobuf, then fields and values. A stored time that is not a
#: protobuf Timestamp counts as none.
_WRITE_IF_NEWER = """
local raw = redis.call('HGET', KEYS[1], ARGV[1])
local stored = {[8] = 0, [16] = 0}  -- protobuf's tags: seconds, nanoseconds
local at = 1
while raw and at <= #raw do
  local tag, value, factor, byte = string.byte(raw, at), 0, 1, nil
  repeat
    at = at + 1
    byte = string.byte(raw, at)
    value, factor = value + (byte or 0) % 128 * factor, factor * 128
  until not byte or byte < 128
  at = at + 1
  if byte and stored[tag] then stored[tag] = value else stored, raw = {[8] = 0, [16] = 0}, nil end
end
local seconds, nanos = tonumber(ARGV[2]), tonumber(ARGV[3])
if seconds < stored[8] or (seconds == stored[8] and nanos <= stored[16]) then return 0 end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[4], unpack(ARGV, 5))
if KEYS[2] then redis.call('INCR', KEYS[2]) end
return 1
"""
#: Views that serving caches in memory and reads again when their version grows.
VERSIONED = (ITEM_FEATURES, ITEM_POPULARITY)


def version_key(project: str, view: str) -> str:
    """Return the key of a view's version, which grows with each written row."""
    return f"online_version:{project}:{view}"


class NewerOnlyRedisOnlineStoreConfig(RedisOnlineStoreConfig):
    """Config of the store; feature_store.yaml sets only the connection string."""

    type: Literal["feature_repo.online_store.NewerOnlyRedisOnlineStore"] = (
        "feature_repo.online_store.NewerOnlyRedisOnlineStore"  # type: ignore[assignment]  # Feast's base class allows only its own name
    )


class NewerOnlyRedisOnlineStore(RedisOnlineStore):
    """Skips rows that are not newer than the stored row of their entity and view."""

    def online_write_batch(
        self,
        config: RepoConfig,
        table: FeatureView,
        data: list[tuple[EntityKey, dict[str, Value], datetime, datetime | None]],
        progress: Callable[[int], Any] | None,
    ) -> None:
        """Write rows that are newer than the stored ones.

        Raises:
            redis.RedisError: a write failed; other rows of the batch may have been written.
        """
        client, view = self._get_client(config.online_store), _versioned_fv_name(table, config)
        versions = [version_key(config.project, table.name)] if table.name in VERSIONED else []
        write = client.register_script(_WRITE_IF_NEWER)
        with client.pipeline(transaction=False) as pipeline:
            for entity_key, values, timestamp, _ in data:
                at = Timestamp()
                at.FromDatetime(utils.make_tzaware(timestamp))
                fields = [
                    part
                    for name, value in values.items()
                    for part in (_mmh3(f"{view}:{name}"), value.SerializeToString())
                ]
                key = _redis_key(
                    config.project,
                    entity_key,
                    entity_key_serialization_version=config.entity_key_serialization_version,
                )
                write(
                    keys=[key, *versions],
                    args=[f"_ts:{view}", at.seconds, at.nanos, at.SerializeToString(), *fields],
                    client=pipeline,
                )
            pipeline.execute()
        if progress:
            progress(len(data))

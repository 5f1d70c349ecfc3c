"""Feast's online store as the stages read it: real ``get_online_features`` calls behind a time limit and a breaker."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from google.protobuf.message import DecodeError, Message

from recsys_assets.serving.stores import STORE_ERRORS, Breaker
from recsys_assets.settings import Settings

if TYPE_CHECKING:
    from feast import FeatureStore

#: A value that no Feast client wrote does not parse, or gives a time outside the calendar: the store is as good as
#: absent for that read.
READ_ERRORS: tuple[type[Exception], ...] = (*STORE_ERRORS, DecodeError, ValueError, OverflowError)


@dataclass(frozen=True)
class Feature:
    """One stored value (an array as a list) and the unix second of its event."""

    value: Any
    timestamp: float


class OnlineFeatures:
    """Reads features of many entities in one round trip.

    Args:
        store: an opened feature store whose online client has a time limit and no retries.
        breaker: counts failed reads; while it is open, no read is tried.
    """

    def __init__(self, store: FeatureStore, breaker: Breaker):
        self._store, self._breaker = store, breaker

    @classmethod
    def open(cls, settings: Settings, timeout_ms: int) -> OnlineFeatures:
        """Open Feast's registry; the online store itself is not touched, so it may be down."""
        # Feast takes seconds to import, and most stages do without it
        from recsys_assets.lib.feature_store import open_store

        return cls(open_store(settings, online_only=True, timeout_ms=timeout_ms), Breaker(READ_ERRORS))

    def read(self, features: Sequence[str], key: str, ids: Sequence[str]) -> list[dict[str, Feature]]:
        """What is stored of each entity.

        Args:
            features: references ``view:name``; the names must differ.
            key: the entity's join key.
            ids: B entity ids.

        Returns:
            B mappings of feature name → stored value; a feature that is not stored is absent.

        Raises:
            StoreUnavailable: the read failed or the breaker is open.
        """
        names = [reference.split(":", 1)[1] for reference in features]
        rows = {key: list(ids)}
        answer = self._breaker.call(lambda: self._store.get_online_features(list(features), rows)).proto
        found: list[dict[str, Feature]] = [{} for _ in ids]
        for name, vector in zip(answer.metadata.feature_names.val, answer.results, strict=True):
            if name not in names:
                continue  # the join key itself
            for row, value, timestamp in zip(found, vector.values, vector.event_timestamps, strict=True):
                kind = value.WhichOneof("val")
                # Feast calls a value PRESENT whenever the read worked, so emptiness is what tells
                if kind is not None and kind != "null_val":
                    row[name] = Feature(_plain(getattr(value, kind)), timestamp.seconds + timestamp.nanos / 1e9)
        return found


def _plain(value: Any) -> Any:
    """A protobuf list as a list; any other value as it is."""
    return list(value.val) if isinstance(value, Message) else value

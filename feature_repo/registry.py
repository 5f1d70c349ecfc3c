"""Write Feast's registry file atomically: readers see the old file or the new one."""

from __future__ import annotations

import os
import uuid
from datetime import datetime, timezone

from feast.infra.registry.file import FileRegistryStore
from feast.protos.feast.core.Registry_pb2 import Registry

from recsys_assets.files import replacing


class AtomicFileRegistryStore(FileRegistryStore):
    """Replaces the registry file as a whole; feature_store.yaml names this class.

    Feast's own file store truncates the file before it writes it, so that a reader may find an
    empty or partial file. On S3, Feast's own store is atomic already.
    """

    def _write_registry(self, registry_proto: Registry) -> None:
        registry_proto.version_id = str(uuid.uuid4())
        registry_proto.last_updated.FromDatetime(datetime.now(timezone.utc))
        with replacing(self._filepath) as temporary, open(temporary, "wb") as stream:
            stream.write(registry_proto.SerializeToString())
            stream.flush()
            os.fsync(stream.fileno())

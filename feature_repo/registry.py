"""Feast's registry file, replaced as a whole: a process that starts meanwhile reads the old one or
the new one.
"""

from __future__ import annotations

import os
import tempfile
import uuid
from datetime import datetime, timezone

from feast.infra.registry.file import FileRegistryStore
from feast.protos.feast.core.Registry_pb2 import Registry


class AtomicFileRegistryStore(FileRegistryStore):
    """Feast's own file store truncates the file before it writes it, so that a reader may find none
    or half of it.

    Named in feature_store.yaml; on S3 Feast's own store is atomic already, for an object is put
    whole.
    """

    def _write_registry(self, registry_proto: Registry) -> None:
        registry_proto.version_id = str(uuid.uuid4())
        registry_proto.last_updated.FromDatetime(datetime.now(timezone.utc))
        self._filepath.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(
            dir=self._filepath.parent, prefix=f".{self._filepath.name}."
        )
        try:
            with open(handle, "wb") as stream:
                stream.write(registry_proto.SerializeToString())
                stream.flush()
                os.fsync(stream.fileno())
            os.replace(temporary, self._filepath)
        except BaseException:
            os.unlink(temporary)
            raise

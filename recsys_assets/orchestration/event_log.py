"""Store Dagster's events of this home in its usual SQLite files, many per second.

Dagster opens and closes the database several times per event, and each close of the last connection
writes the whole log file back. A year of history has 3,650 events: this took longer than the work
on its rows. Here a database stays open, and a commit does not wait for the disk. The files are the
same, so each process of a home may use either class. After a power failure the last events may be
missing; the database stays sound (https://www.sqlite.org/pragma.html#pragma_synchronous).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import sqlalchemy as db
from dagster._core.storage.event_log import SqliteEventLogStorage
from dagster._core.storage.sqlite import SQLITE_BUSY_TIMEOUT_SECONDS
from dagster._serdes import ConfigurableClassData
from sqlalchemy.pool import StaticPool

#: Databases that stay open: the index over all runs, and those of the runs in use.
OPEN_DATABASES = 4


class EventLog(SqliteEventLogStorage):
    """Keeps the databases of the event log open between events."""

    def __init__(self, base_dir: str, inst_data: ConfigurableClassData | None = None) -> None:
        self._engines: OrderedDict[str, db.Engine] = OrderedDict()
        self._tables: set[str] = set()  # no migration removes a table while a process runs
        super().__init__(base_dir, inst_data)

    @classmethod
    def from_config_value(
        cls, inst_data: ConfigurableClassData | None, config_value: Mapping[str, Any]
    ) -> EventLog:
        """Return the storage that dagster.yaml describes."""
        return cls(inst_data=inst_data, **config_value)

    @contextmanager
    def _connect(self, shard: str) -> Iterator[db.Connection]:
        with self._db_lock:  # one thread at a time uses the connection of an engine
            if shard not in self._initialized_dbs:  # new, or wiped since
                self._close(shard)
            engine = self._engines.get(shard) or self._open(shard)
            self._engines.move_to_end(shard)
            if shard not in self._initialized_dbs:
                self._initdb(engine)
                self._initialized_dbs.add(shard)
            with engine.begin() as connection:
                yield connection

    def _open(self, shard: str) -> db.Engine:
        while len(self._engines) >= OPEN_DATABASES:
            self._close(next(iter(self._engines)))
        engine = self._engines[shard] = db.create_engine(
            self.conn_string_for_shard(shard),
            poolclass=StaticPool,
            connect_args={"timeout": SQLITE_BUSY_TIMEOUT_SECONDS, "check_same_thread": False},
        )
        db.event.listen(engine, "connect", _without_waiting)
        return engine

    def _close(self, shard: str) -> None:
        engine = self._engines.pop(shard, None)
        if engine is not None:
            engine.dispose()

    def has_table(self, table_name: str) -> bool:
        """Return whether the index has a table; Dagster asks this several times per event."""
        # super() opens a connection of its own, because Dagster asks while the other one is in use
        if table_name not in self._tables and super().has_table(table_name):
            self._tables.add(table_name)
        return table_name in self._tables

    def dispose(self) -> None:
        """Close every database."""
        for shard in list(self._engines):
            self._close(shard)
        super().dispose()


def _without_waiting(connection: Any, _record: Any) -> None:
    connection.execute("PRAGMA synchronous=NORMAL")

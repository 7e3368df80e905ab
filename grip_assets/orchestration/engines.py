"""SQLAlchemy engines of Dagster's SQLite files, kept as long as an instance lives.

Dagster's storages create an engine for each event that they write or read. A new engine opens the file, compiles every
statement again, and checkpoints the file when it closes. Together this takes a third of the time of a short run. This
module changes only how the storages connect, and only in the process that calls it. It uses private parts of Dagster,
and a test fails when they move.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import dagster as dg
from dagster._core.storage.event_log import SqliteEventLogStorage
from dagster._core.storage.runs import SqliteRunStorage
from dagster._core.storage.sqlite import SQLITE_BUSY_TIMEOUT_SECONDS
from sqlalchemy import Connection, Engine, create_engine

WAIT = {"timeout": SQLITE_BUSY_TIMEOUT_SECONDS}  # seconds, for another process that writes


def keep(instance: dg.DagsterInstance) -> None:
    """Let the storages of ``instance`` keep their engines until it is closed. Those of other databases do so anyway."""
    engines: dict[str, Engine] = {}

    def engine(address: str) -> Engine:
        if address not in engines:
            engines[address] = create_engine(address, connect_args=WAIT)
        return engines[address]

    events, runs = instance.event_log_storage, instance.run_storage
    if isinstance(events, SqliteEventLogStorage):
        events._connect = _of_events(events, engine)  # type: ignore[method-assign]
    if isinstance(runs, SqliteRunStorage):
        runs.connect = _of_runs(runs, engine)  # type: ignore[method-assign]
    close = instance.dispose

    def dispose() -> None:
        close()
        for kept in engines.values():
            kept.dispose()
        engines.clear()

    instance.dispose = dispose  # type: ignore[method-assign]


def _of_events(storage: SqliteEventLogStorage, engine: Any) -> Any:
    """``connect`` of the event log: one file per run (Dagster's word is shard) and one for all assets. One thread at a
    time."""

    @contextmanager
    def connect(shard: str) -> Iterator[Connection]:
        with storage._db_lock:
            kept = engine(storage.conn_string_for_shard(shard))
            if shard not in storage._initialized_dbs:
                storage._initdb(kept)
                storage._initialized_dbs.add(shard)
            with kept.begin() as connection:
                yield connection

    return connect


def _of_runs(storage: SqliteRunStorage, engine: Any) -> Any:
    @contextmanager
    def connect() -> Iterator[Connection]:
        with engine(storage._conn_string).begin() as connection:
            yield connection

    return connect

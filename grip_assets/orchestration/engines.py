"""SQLAlchemy engines of Dagster's SQLite files, kept as long as an instance lives.

Dagster's storages create an engine for each event that they write or read. A new engine opens the file, compiles every
statement again, and checkpoints the file when it closes. Together this takes a third of the time of a short run.

The event log also asks, with each event, whether its file has a table, a column or an index. Files are migrated when an
instance opens them, so here an answer that was yes is kept. And to learn whether the plan of a run is stored already,
it reads that plan whole. Here it asks for its name.

SQLite waits for the disk after each of the two thousand transactions of a run. Here it waits when a run has ended, and
when the instance is closed. A process that dies loses nothing. A power cut may take the last events of a run that is
not over, as if it had been killed earlier. The files stay consistent, since Dagster keeps them in the mode WAL.

This module changes only how the storages connect and what they ask, and only in the process that calls it. It uses
private parts of Dagster, and a test fails when they move.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any
from weakref import WeakKeyDictionary

import dagster as dg
from dagster._core.storage.event_log import SqliteEventLogStorage
from dagster._core.storage.runs import SqliteRunStorage
from dagster._core.storage.sqlite import SQLITE_BUSY_TIMEOUT_SECONDS
from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy.exc import DBAPIError

WAIT = {"timeout": SQLITE_BUSY_TIMEOUT_SECONDS}  # seconds, for another process that writes
_kept = WeakKeyDictionary[dg.DagsterInstance, dict[str, Engine]]()


def keep(instance: dg.DagsterInstance) -> None:
    """Let the storages of ``instance`` keep their engines until it is closed. Those of other databases do so anyway."""
    engines: dict[str, Engine] = {}

    def engine(address: str) -> Engine:
        if address not in engines:  # every connection is used by `begin`, which leaves nothing to reset
            engines[address] = create_engine(address, connect_args=WAIT, pool_reset_on_return=None)
            event.listen(engines[address], "connect", _without_waiting)
        return engines[address]

    events, runs = instance.event_log_storage, instance.run_storage
    if isinstance(events, SqliteEventLogStorage):
        events._connect = _of_events(events, engine)  # type: ignore[method-assign]
        for question in ("has_table", "has_secondary_index", "_has_asset_key_col_on_connection"):
            setattr(events, question, _once_yes_always_yes(getattr(events, question)))
    if isinstance(runs, SqliteRunStorage):
        runs.connect = _of_runs(runs, engine)  # type: ignore[method-assign]
        runs.has_execution_plan_snapshot = runs._has_snapshot_id  # type: ignore[assignment, method-assign]
    close, _kept[instance] = instance.dispose, engines

    def dispose() -> None:
        flush(instance)
        close()
        for kept in engines.values():
            kept.dispose()
        engines.clear()

    instance.dispose = dispose  # type: ignore[method-assign]


def flush(instance: dg.DagsterInstance) -> None:
    """Wait until the disk has all that this process wrote through ``instance``."""
    for engine in _kept.get(instance, {}).values():
        with suppress(DBAPIError), engine.connect() as connection:  # if it fails, the log beside the file has it all
            connection.execute(text("PRAGMA wal_checkpoint(PASSIVE)"))


def _without_waiting(connection: Any, _record: Any) -> None:
    """Transactions of this connection do not wait for the disk; moving them from the log into the file does."""
    connection.execute("PRAGMA synchronous = NORMAL")


def _once_yes_always_yes(ask: Callable[..., bool]) -> Callable[..., bool]:
    """``ask``, whose last argument is a name, without asking again about a name for which the answer was yes."""
    found: set[str] = set()

    def answer(*about: Any) -> bool:
        name = about[-1]
        if name not in found and ask(*about):
            found.add(name)
        return name in found

    return answer


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

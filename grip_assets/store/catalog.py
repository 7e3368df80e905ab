"""``grip.duckdb``: one view for each table in force, and the views ``settings`` and ``artifacts``.

It holds views only, is built aside and swapped by one rename, so a reader never blocks a writer and never sees half
of it. Paths in it are absolute: ``SELECT * FROM budgets`` works from any client and any folder.

The statements that make the views stand beside it, in ``.catalog.sql``. Where the file itself cannot be opened (it is
damaged, or a client has it open to write), our readers make the same views in memory.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import duckdb

from grip_assets.engine.in_force import Record
from grip_assets.engine.stage import Settings, Stage
from grip_assets.errors import GripError
from grip_assets.runtime.notices import warn_once
from grip_assets.settings import trait
from grip_assets.store import disk
from grip_assets.store.artifacts import ArtifactStore, main_table
from grip_assets.store.tables import parts
from grip_assets.store.writing import put


def catalog_path(root: Path) -> Path:
    return root / "grip.duckdb"


def script_path(root: Path) -> Path:
    return root / ".catalog.sql"


def rebuild(
    store: ArtifactStore, stages: Mapping[str, Stage], settings: Settings, in_force: Mapping[str, Record]
) -> None:
    """Write the catalog anew, with the record of each stage in force."""
    script = ";\n".join([*_tables(store, stages, in_force), _settings(settings), _artifacts(store, in_force)])
    target = catalog_path(store.root)
    with disk.room(store.root), store.scratch() as folder:
        with duckdb.connect(folder / "catalog") as connection:
            connection.execute(script)
            connection.execute("CHECKPOINT")  # fails here where the disk is full, and not unseen in close
        store.replace(script_path(store.root), script)
        put(folder / "catalog", target)
    target.with_suffix(".duckdb.wal").unlink(missing_ok=True)  # what a client wrote into the one before


def connect(root: Path) -> duckdb.DuckDBPyConnection:
    """The catalog, read-only; its views in memory where the file cannot be opened."""
    path = catalog_path(root)
    if not path.exists():
        raise GripError(f"{path} is not there: nothing was curated in this data folder. Run `grip curate`.")
    try:
        connection = duckdb.connect(path, read_only=True)
        connection.execute("SELECT 1 FROM artifacts LIMIT 0")
        return connection
    except duckdb.Error as error:
        return _views_in_memory(root, str(error).splitlines()[0])


def _views_in_memory(root: Path, because: str) -> duckdb.DuckDBPyConnection:
    """GripError where the statements are not there or fail."""
    connection = duckdb.connect()
    try:
        connection.execute(script_path(root).read_text(encoding="utf-8"))
        connection.execute("SELECT 1 FROM artifacts LIMIT 0")
    except (OSError, ValueError, duckdb.Error):
        raise GripError(
            f"{catalog_path(root)} cannot be opened: {because}. Close the program that has it open; if none has, run"
            f" `grip curate`, which writes it anew. Nothing is lost: it holds views only."
        ) from None
    warn_once(f"{catalog_path(root)} cannot be opened, so its views are read from the artifacts: {because}")
    return connection


def shown_in_force(root: Path) -> dict[str, Record]:
    """What the catalog says is in force, by stage; empty where there is no catalog, or none that can be read."""
    if not catalog_path(root).exists():
        return {}
    try:
        connection = connect(root)
    except GripError as error:
        warn_once(str(error))
        return {}
    with connection:
        rows = connection.execute(
            "SELECT asset, version, run_id, epoch(materialized_at), reused FROM artifacts WHERE in_force"
        ).fetchall()
    return {asset: Record(version, run_id, at, {"reused": reused}) for asset, version, run_id, at, reused in rows}


def is_current(root: Path, records: Mapping[str, Record]) -> bool:
    """Whether the file itself can be opened, or is held by a client, and shows these versions."""
    shows = {stage: record.version for stage, record in shown_in_force(root).items()}
    return script_path(root).exists() and all(shows.get(name) == r.version for name, r in records.items())


def _tables(store: ArtifactStore, stages: Mapping[str, Stage], in_force: Mapping[str, Record]) -> Iterable[str]:
    for name, record in in_force.items():
        if store.has(name, record.version):
            made = store.manifest(name, record.version)["tables"]
            for table in (t for t in stages[name].table_names if t in made):  # an older version of the stage made fewer
                files = ", ".join(literal(part) for part in parts(store.parquet(name, record.version, table)))
                yield f"CREATE VIEW {table} AS SELECT * FROM read_parquet([{files}])"


def _settings(settings: Settings) -> str:
    rows = [
        (group, name, trait(field, "symbol"), json.dumps(values.model_dump(mode="json")[name]))
        for group, values in settings.items()
        for name, field in type(values).model_fields.items()
    ]
    return _view("settings", {"group": "VARCHAR", "name": "VARCHAR", "symbol": "VARCHAR", "value": "JSON"}, rows)


ARTIFACTS = {
    "asset": "VARCHAR",
    "version": "VARCHAR",
    "run_id": "VARCHAR",
    "materialized_at": "TIMESTAMP",
    "reused": "BOOLEAN",
    "seconds": "DOUBLE",
    "rows": "BIGINT",
    "bytes": "BIGINT",
    "path": "VARCHAR",
    "in_force": "BOOLEAN",
}


def _artifacts(store: ArtifactStore, in_force: Mapping[str, Record]) -> str:
    """One row an artifact. Run, time and ``reused`` are those of the latest materialization where it is in force,
    of its computation otherwise; ``seconds`` is what computing it took."""
    return _view("artifacts", ARTIFACTS, [_artifact(m, store, in_force) for m in store.manifests()])


def _artifact(manifest: Mapping[str, Any], store: ArtifactStore, in_force: Mapping[str, Record]) -> Sequence[Any]:
    record = in_force.get(manifest["stage"])
    current = record is not None and record.version == manifest["version"]
    main = main_table(manifest)
    return (
        manifest["stage"],
        manifest["version"],
        record.run_id if record and current else manifest["run_id"],
        _timestamp(record.timestamp if record and current else manifest["computed_at"]),
        bool(record and current and record.metadata.get("reused")),
        manifest["seconds"],
        main["rows"],
        sum(table["bytes"] for table in manifest["tables"].values()),
        str(store.folder(manifest["stage"], manifest["version"])),
        current,
    )


def _timestamp(seconds: float) -> str:
    from datetime import UTC, datetime

    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S.%f")


def _view(name: str, columns: Mapping[str, str], rows: Sequence[Sequence[Any]]) -> str:
    """A view of constants. An empty one keeps its columns and types."""
    casts = ", ".join(f'"{column}"::{kind} AS "{column}"' for column, kind in columns.items())
    names = ", ".join(f'"{column}"' for column in columns)
    values = [f"({', '.join(literal(v) for v in row)})" for row in rows] or [f"({', '.join(['NULL'] * len(columns))})"]
    empty = "" if rows else " WHERE false"
    return f"CREATE VIEW {name} AS SELECT {casts} FROM (VALUES {', '.join(values)}) AS t({names}){empty}"


def literal(value: Any) -> str:
    """A value as SQL text; quotes inside are doubled, so no value can end its own literal."""
    if value is None:
        return "NULL"
    if isinstance(value, bool | int | float):
        return str(value).upper() if isinstance(value, bool) else repr(value)
    return "'" + str(value).replace("'", "''") + "'"

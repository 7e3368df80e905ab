"""``grip.duckdb``: one view for each table in force, and the views ``settings`` and ``artifacts``.

It holds views only, is built aside and swapped by one rename, so a reader never blocks a writer and never sees half
of it. Paths in it are absolute: ``SELECT * FROM budgets`` works from any client and any folder.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import duckdb

from grip_assets.errors import GripError
from grip_assets.recompute import Settings, Stage
from grip_assets.settings import trait
from grip_assets.store.artifacts import ArtifactStore


def catalog_path(root: Path) -> Path:
    return root / "grip.duckdb"


def rebuild(store: ArtifactStore, stages: Mapping[str, Stage], settings: Settings, in_force: Mapping[str, Any]) -> None:
    """Write the catalog anew. ``in_force`` maps a stage to its ``ledger.Record``."""
    with store.scratch() as folder:
        connection = duckdb.connect(folder / "catalog")
        for statement in [
            *_tables(store, stages, in_force),
            _settings(settings),
            _artifacts(store, in_force),
        ]:
            connection.execute(statement)
        connection.close()
        (folder / "catalog").rename(catalog_path(store.root))


def connect(root: Path) -> duckdb.DuckDBPyConnection:
    """The catalog, read-only."""
    if not catalog_path(root).exists():
        raise GripError(
            f"{catalog_path(root)} is not there: nothing was curated in this data folder. Run `grip curate`."
        )
    return duckdb.connect(catalog_path(root), read_only=True)


def _tables(store: ArtifactStore, stages: Mapping[str, Stage], in_force: Mapping[str, Any]) -> Iterable[str]:
    for name, record in in_force.items():
        if store.has(name, record.version):
            made = store.manifest(name, record.version)["tables"]
            for table in (t for t in stages[name].tables if t in made):  # an older version of the stage made fewer
                files = literal(store.parquet(name, record.version, table))
                yield f"CREATE VIEW {table} AS SELECT * FROM read_parquet({files})"


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


def _artifacts(store: ArtifactStore, in_force: Mapping[str, Any]) -> str:
    """One row an artifact. Run, time and ``reused`` are those of the latest materialization where it is in force,
    of its computation otherwise; ``seconds`` is what computing it took."""
    return _view("artifacts", ARTIFACTS, [_artifact(m, store, in_force) for m in store.manifests()])


def _artifact(manifest: Mapping[str, Any], store: ArtifactStore, in_force: Mapping[str, Any]) -> Sequence[Any]:
    record = in_force.get(manifest["stage"])
    current = record is not None and record.version == manifest["version"]
    main = manifest["tables"][manifest["stage"]]
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

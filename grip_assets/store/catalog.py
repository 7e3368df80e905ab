"""Writes and opens the catalog, ``grip.duckdb``.

The file holds only views: one for each table in force, and the views ``settings`` and ``artifacts``. It is built aside
and put in place by one rename, so a reader never blocks a writer and never sees half of it. Its paths are absolute, so
``SELECT * FROM budgets`` works from any client and any folder.

The statements that make the views are also in ``.catalog.sql``, beside the file. If the file cannot be opened (it is
damaged, or a client has it open to write), GRIP's readers make the same views in memory.

A run writes the catalog once, at its end. Before a run puts anything in force, it makes the empty file
``.catalog-outdated``. This file says that the catalog is older than what is in force. Writing the catalog removes it.
A run that was killed leaves it behind, and the next command that reads the catalog writes the catalog anew.
"""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import duckdb

from grip_assets.errors import GripError
from grip_assets.runtime.notices import warn_once
from grip_assets.store import disk
from grip_assets.store.artifacts import ArtifactStore, main_table
from grip_assets.store.behind import Behind, behind
from grip_assets.store.tables import parts
from grip_assets.store.writing import put


def catalog_path(root: Path) -> Path:
    return root / "grip.duckdb"


def script_path(root: Path) -> Path:
    return root / ".catalog.sql"


class InForce(NamedTuple):
    """The artifact of a stage in force. ``run_id``: the run that put it in force. ``at``: when, in seconds since 1970.
    ``reused``: whether it existed before that run. ``tables``: the tables that the stage makes today. ``added``: by
    table, columns that the artifact may lack, with their types. The view then has NULL."""

    version: str
    run_id: str
    at: float
    reused: bool
    tables: tuple[str, ...] = ()
    added: Mapping[str, Mapping[str, str]] = MappingProxyType({})


def mark_outdated(root: Path) -> None:
    """Call this before something is put in force."""
    root.mkdir(parents=True, exist_ok=True)
    _mark(root).touch()


def is_outdated(root: Path) -> bool:
    """Whether the catalog must be written anew. An object store may have been filled from another machine, or its cache
    on this machine been removed."""
    if _mark(root).exists():
        return True
    return not catalog_path(root).exists() and (store := behind(root)) is not None and bool(store.text(".home.json"))


def _mark(root: Path) -> Path:
    return root / ".catalog-outdated"


def rebuild(store: ArtifactStore, in_force: Mapping[str, InForce], settings: Sequence[Sequence[Any]]) -> None:
    """Write the catalog anew. ``in_force`` is by stage; ``settings`` are rows (group, name, symbol, value as JSON)."""
    views = [_view("settings", SETTINGS, settings), _view("artifacts", ARTIFACTS, _artifacts(store, in_force))]
    script = ";\n".join([*_tables(store, in_force), *views])
    target = catalog_path(store.root)
    with disk.room(store.root), store.scratch() as folder:
        store.replace(script_path(store.root), script)
        with duckdb.connect(folder / "catalog") as connection:
            _make_views(connection, store)
            connection.execute("CHECKPOINT")  # if the disk is full, this fails; close would not say so
        put(folder / "catalog", target)
    target.with_suffix(".duckdb.wal").unlink(missing_ok=True)  # what a client wrote into the catalog before
    _mark(store.root).unlink(missing_ok=True)


def connect(root: Path) -> duckdb.DuckDBPyConnection:
    """The catalog, read-only. If the file cannot be opened, its views are made in memory."""
    path, store = catalog_path(root), behind(root)
    if not path.exists():
        what = f"{path} is not there: nothing was curated in this data folder"
        raise GripError(
            f"{what if store is None else f'Nothing was curated in {store.place.address}'}. Run `grip curate`."
        )
    if store and (elsewhere := _not_here(root, store)):
        return _with_later_tables(_views_of_both(root, store, elsewhere))
    try:
        connection = duckdb.connect(path, read_only=True)
        connection.execute("SELECT 1 FROM artifacts LIMIT 0")
    except duckdb.Error as error:
        connection = _views_in_memory(root, str(error).splitlines()[0])
    return _with_later_tables(connection)


FILE = re.compile(r"'((?:[^']|'')*\.parquet)'")
SMALL = 16 << 20  # bytes of a table that is fetched rather than read where it is


def _not_here(root: Path, store: Behind) -> dict[str, str]:
    """Files of the views that are not in the cache of the object store, with their addresses there.

    Small tables are fetched: a view and a query read a file in several requests, and to fetch it is one.
    """
    named = [name.replace("''", "'") for name in FILE.findall("\n".join(_of_tables(script_path(root))))]
    for table in dict.fromkeys(Path(name).parent for name in named if not Path(name).exists()):
        if store.bytes_of(table) <= SMALL:
            store.bring_table(table)
    return {n: address for n in named if not Path(n).exists() and (address := store.address_of(Path(n)))}


def _of_tables(script: Path) -> list[str]:
    """The statements that make the views of tables; those of constants name no files."""
    text = script.read_text(encoding="utf-8") if script.exists() else ""
    return [line for line in text.split(";\n") if " FROM read_parquet([" in line]


def _views_of_both(root: Path, store: Behind, elsewhere: Mapping[str, str]) -> duckdb.DuckDBPyConnection:
    """The views in memory. DuckDB reads files that are not in the cache from the object store, as far as it needs."""
    connection = duckdb.connect()
    _run_elsewhere(connection, root, store, elsewhere)
    return connection


def _make_views(connection: duckdb.DuckDBPyConnection, store: ArtifactStore) -> None:
    """Run the script, in one transaction: else DuckDB would wait for the disk after each view.

    DuckDB looks into the files of a view when it is made, so those that are not here need their address.
    """
    connection.begin()
    if store.behind and (elsewhere := _not_here(store.root, store.behind)):
        _run_elsewhere(connection, store.root, store.behind, elsewhere)
    else:
        connection.execute(script_path(store.root).read_text(encoding="utf-8"))
    connection.commit()


def _run_elsewhere(
    connection: duckdb.DuckDBPyConnection, root: Path, store: Behind, elsewhere: Mapping[str, str]
) -> None:
    connection.register_filesystem(store.place.opened()[0])
    of_tables = set(_of_tables(script_path(root)))
    for statement in script_path(root).read_text(encoding="utf-8").split(";\n"):
        if statement in of_tables:
            for here, address in elsewhere.items():
                statement = statement.replace(literal(here), literal(address))
        connection.execute(statement)


def _with_later_tables(connection: duckdb.DuckDBPyConnection) -> duckdb.DuckDBPyConnection:
    """Empty tables in place of those that a catalog lacks because it was written before their stage was added."""
    there = {name for (name,) in connection.execute("SELECT view_name FROM duckdb_views()").fetchall()}
    for table, columns in LATER.items():
        if table not in there:
            connection.execute(f"CREATE TEMP TABLE {table} ({columns})")
    return connection


def _views_in_memory(root: Path, because: str) -> duckdb.DuckDBPyConnection:
    """The views, made from the statements. Raises GripError if the statements are missing or fail."""
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


def shown_in_force(root: Path) -> dict[str, str]:
    """The version in force by stage, as the catalog shows it. Empty if there is no catalog that can be read."""
    if not catalog_path(root).exists():
        return {}
    try:
        connection = connect(root)
    except GripError as error:
        warn_once(str(error))
        return {}
    with connection:
        return dict(connection.execute("SELECT asset, version FROM artifacts WHERE in_force").fetchall())


def is_current(root: Path, in_force: Mapping[str, str]) -> bool:
    """Whether the catalog is up to date and shows these versions (by stage), in its file or in memory."""
    shows = shown_in_force(root)
    written = script_path(root).exists() and not is_outdated(root)
    return written and all(shows.get(stage) == version for stage, version in in_force.items())


def _tables(store: ArtifactStore, in_force: Mapping[str, InForce]) -> Iterable[str]:
    for stage, made in in_force.items():
        if store.has(stage, made.version):
            there = store.manifest(stage, made.version)["tables"]
            for table in (t for t in made.tables if t in there):  # an older version of the stage made fewer
                files = _files(store, stage, made.version, table)
                named = ", ".join(literal(part) for part in files)
                lacks = _lacking(there[table]["columns"], made.added.get(table, {}))
                yield f"CREATE VIEW {table} AS SELECT *{lacks} FROM read_parquet([{named}])"


def _files(store: ArtifactStore, stage: str, version: str, table: str) -> list[Path]:
    """The files of a table. Those that only an object store has are named as they will be here, and not fetched."""
    if store.behind is None:
        return parts(store.parquet(stage, version, table))
    return store.behind.files_of(store.folder(stage, version) / table)


def _lacking(there: Collection[str], added: Mapping[str, str]) -> str:
    """Constants for the ``added`` columns that a table does not have."""
    return "".join(f', NULL::{kind} AS "{name}"' for name, kind in added.items() if name not in there)


LATER = {"near_duplicates": "doc_id VARCHAR, stands_for VARCHAR, similarity DOUBLE"}  # tables that queries may name
SETTINGS = {"group": "VARCHAR", "name": "VARCHAR", "symbol": "VARCHAR", "value": "JSON"}
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


def _artifacts(store: ArtifactStore, in_force: Mapping[str, InForce]) -> list[Sequence[Any]]:
    """One row per artifact. ``seconds``: how long computing it took.

    Run, time and ``reused``: of its latest materialization if it is in force, otherwise of its computation.
    """
    return [_artifact(m, store, in_force.get(m["stage"])) for m in store.manifests()]


def _artifact(manifest: Mapping[str, Any], store: ArtifactStore, made: InForce | None) -> Sequence[Any]:
    current = made is not None and made.version == manifest["version"]
    main = main_table(manifest)
    return (
        manifest["stage"],
        manifest["version"],
        made.run_id if made and current else manifest["run_id"],
        _timestamp(made.at if made and current else manifest["computed_at"]),
        bool(made and current and made.reused),
        manifest["seconds"],
        main["rows"],
        sum(table["bytes"] for table in manifest["tables"].values()),
        store.shown(store.folder(manifest["stage"], manifest["version"])),
        current,
    )


def _timestamp(seconds: float) -> str:
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

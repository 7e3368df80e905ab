"""Runs the SQL files of ``sql/``: named tables and parameters in, one table out.

The header of each file says which tables and parameters it reads. Parameters are bound, never pasted into the text.
Queries run on one thread, so that a sum over many rows has one order and one result.
"""

import atexit
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from itertools import count
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pyarrow as pa

from grip_assets.runtime.folders import shipped
from grip_assets.runtime.memory import limit_bytes
from grip_assets.runtime.threads import default_workers
from grip_assets.store.tables import parts

SQL = shipped("sql")
NUMBERS = count()  # of queries in this process


def has_query(name: str) -> bool:
    return (SQL / f"{name}.sql").exists()


def sql_text(name: str) -> str:
    return (SQL / f"{name}.sql").read_text(encoding="utf-8")


def query(
    name: str,
    tables: Mapping[str, str | pl.DataFrame],
    may_lack: Mapping[str, Mapping[str, str]] = {},
    **parameters: Any,
) -> pl.DataFrame:
    """Rows of ``sql/<name>.sql``. ``may_lack``: by table, columns that are null if it lacks them, with their types.

    A table is a data frame, or a glob of Parquet files whose rows are streamed. Parameters that the text does not name
    are left out. Memory is bounded by the budget (memory.py).
    """
    text = sql_text(name)
    bound = {parameter: value for parameter, value in parameters.items() if re.search(rf"\${parameter}\b", text)}
    with _space() as connection:
        for table, rows in tables.items():
            if re.search(rf"\b{re.escape(table)}\b", text):  # opening files that the query does not name costs time
                relation = (
                    connection.read_parquet([str(part) for part in parts(rows)])  # names, not patterns
                    if isinstance(rows, str)
                    else connection.from_arrow(rows.to_arrow())
                )
                missing = {c: k for c, k in may_lack.get(table, {}).items() if c not in relation.columns}
                nulls = [f'NULL::{kind} AS "{column}"' for column, kind in missing.items()]
                (relation.project(", ".join(["*", *nulls])) if nulls else relation).create_view(table)
        return connection.sql(text, params=bound or None).pl()


def query_on_disk(name: str, tables: Mapping[str, str], folder: Path) -> pa.Table:
    """Rows of ``sql/<name>.sql``, which may sort and group more rows than fit into memory: these go to ``folder``.

    It runs on all threads, so the query must not sum floating-point numbers, and must order its rows.
    """
    config: dict[str, str | bool | int | float | list[str]] = {
        "threads": default_workers(),
        "memory_limit": f"{limit_bytes() // 2}B",
        "temp_directory": str(folder),
        "preserve_insertion_order": False,
    }
    with duckdb.connect(config=config) as connection:
        connection.execute("SET enable_progress_bar = false")  # it would be drawn into the log
        for table, files in tables.items():
            connection.read_parquet([str(part) for part in parts(files)]).create_view(table)
        return connection.sql(sql_text(name)).to_arrow_table()


@contextmanager
def _space() -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection to the database of this process. Other queries do not see its tables."""
    name = f"query_{next(NUMBERS)}"
    with _database(os.getpid()).cursor() as connection:
        connection.execute(f"SET GLOBAL memory_limit = '{limit_bytes()}B'")
        connection.execute(f"ATTACH ':memory:' AS {name}")
        connection.execute(f"USE {name}")
        try:
            yield connection
        finally:
            connection.execute("USE memory")
            connection.execute(f"DETACH {name}")


@cache
def _database(process: int) -> duckdb.DuckDBPyConnection:
    """One database per process, since starting DuckDB takes ten times as long as most queries.

    It does not cache the files that it reads, since the next stage needs the memory.
    """
    return duckdb.connect(config={"threads": 1, "enable_external_file_cache": False})


atexit.register(_database.cache_clear)  # DuckDB must be closed before the interpreter ends

"""Runs the SQL files of ``sql/``: tables in by name, parameters by name, one table out.

Each file says what it reads, its parameters and its columns. Parameters are bound, never pasted into the text.
One thread, so that a sum over many rows has one order and one result.
"""

import re
from collections.abc import Mapping
from typing import Any

import duckdb
import polars as pl

from grip_assets.runtime.folders import shipped
from grip_assets.runtime.memory import limit_bytes
from grip_assets.store.tables import parts

SQL = shipped("sql")


def has_query(name: str) -> bool:
    return (SQL / f"{name}.sql").exists()


def sql_text(name: str) -> str:
    return (SQL / f"{name}.sql").read_text(encoding="utf-8")


def query(name: str, tables: Mapping[str, str | pl.DataFrame], **parameters: Any) -> pl.DataFrame:
    """Rows of ``sql/<name>.sql``.

    A table is a data frame, or a glob of Parquet files whose rows are streamed. Parameters that the text does not name
    are left out. Memory is bounded by the budget (memory.py).
    """
    text = sql_text(name)
    bound = {parameter: value for parameter, value in parameters.items() if re.search(rf"\${parameter}\b", text)}
    config: dict[str, Any] = {"threads": 1, "memory_limit": f"{limit_bytes()}B"}
    with duckdb.connect(config=config) as connection:
        for table, rows in tables.items():
            relation = (
                connection.read_parquet([str(part) for part in parts(rows)])  # names, not patterns: any path will do
                if isinstance(rows, str)
                else connection.from_arrow(rows.to_arrow())
            )
            relation.create_view(table)
        return connection.sql(text, params=bound or None).pl()

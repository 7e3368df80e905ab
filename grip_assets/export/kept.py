"""The user's own columns in an export (settings/corpus.keep).

They are stored as one column of JSON. Each becomes a column again, of a type that fits all its values in the subset.
"""

import json
from typing import Any

import duckdb
import pyarrow as pa

from grip_assets.store.catalog import literal

PREFIX = "kept_"  # is put before a name that one of our columns has


class Kept:
    """The user's columns of the table ``export_rows``, in the order of their names."""

    def __init__(self, connection: duckdb.DuckDBPyConnection):
        self.connection = connection
        keys = connection.sql("SELECT DISTINCT unnest(json_keys(kept)) AS key FROM export_rows ORDER BY key").fetchall()
        self.types = {key: _without_nulls(self._structure(key)) for (key,) in keys}

    def _structure(self, key: str) -> Any:
        """The common type of all values, in DuckDB's JSON notation."""
        query = f"SELECT json_group_structure(json_extract(kept, {_pointer(key)})) FROM export_rows"  # noqa: S608
        (row,) = self.connection.sql(query).fetchall()
        kind = json.loads(row[0])
        return "BIGINT" if kind in ("UBIGINT", "HUGEINT") and self._fits(key) else kind

    def _fits(self, key: str) -> bool:
        """Whether all whole numbers fit into BIGINT, the type that most readers know."""
        value = f"json_extract_string(kept, {_pointer(key)})::HUGEINT"
        query = f"SELECT max({value}) < {2**63} AND min({value}) >= -{2**63} FROM export_rows"  # noqa: S608
        return bool(self.connection.sql(query).fetchall()[0][0])

    def expand(self, rows: pa.Table) -> pa.Table:
        """Replace the column of JSON by one column per key. The order of the rows is kept."""
        values, others = rows.select(["kept"]), rows.drop_columns("kept")
        if not self.types:
            return others
        wanted = ", ".join(
            f"json_transform(json_extract(kept, {_pointer(key)}), {literal(json.dumps(kind))}) AS c{i}"
            for i, (key, kind) in enumerate(self.types.items())
        )
        query = f"SELECT {wanted} FROM kept_rows"  # noqa: S608  (every value goes through literal())
        self.connection.register("kept_rows", values)
        try:
            found = self.connection.sql(query).to_arrow_table()
        finally:
            self.connection.unregister("kept_rows")
        for key, column in zip(self.types, found.columns, strict=True):
            others = others.append_column(_free(key, others.column_names), column)
        return others


def _free(key: str, taken: list[str]) -> str:
    while key in (*taken, "text"):  # the column text is added later
        key = PREFIX + key
    return key


def _pointer(key: str) -> str:
    """A JSON pointer as SQL text."""
    return literal("/" + key.replace("~", "~0").replace("/", "~1"))


def _without_nulls(kind: Any) -> Any:
    """The type, with text in place of the type of a value that is null in every row."""
    if isinstance(kind, dict):
        return {name: _without_nulls(inner) for name, inner in kind.items()}
    if isinstance(kind, list):
        return [_without_nulls(inner) for inner in kind]
    return "VARCHAR" if kind == "NULL" else kind

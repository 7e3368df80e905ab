"""How a stage declares its tables and checks: names, column types, descriptions, and the sources of each column.

The schema and lineage in the UI, the reference page and the empty tables of an unused stage are made from these
declarations. ``verify`` compares every finished draft with them. Checks are run in checks.py.
"""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import polars as pl
import pyarrow as pa
from polars.datatypes import DataTypeClass

from grip_assets.errors import GripError
from grip_assets.store.artifacts import Draft
from grip_assets.store.tables import parts

VECTOR32 = pl.Array(pl.Float32, 1)
"""A vector. The declared width means nothing and is not compared: the encoder or the pool decides the width."""
VECTOR16 = pl.Array(pl.Float16, 1)

DataType = pl.DataType | DataTypeClass
SQL_TYPES: dict[DataType, str] = {pl.Int64: "BIGINT", pl.Float64: "DOUBLE", pl.String: "VARCHAR", pl.Boolean: "BOOLEAN"}
"""Types of columns that artifacts may lack, as DuckDB calls them."""


@dataclass(frozen=True)
class Column:
    """``sources``: the columns of other tables from which it is computed, each as "table.column".

    ``added``: artifacts may lack the column, because it is newer than existing data folders or because only some
    settings have it. The catalog then shows NULL. Such columns are declared last.
    """

    name: str
    dtype: DataType
    description: str
    sources: tuple[str, ...] = ()
    added: bool = False

    def source_pairs(self) -> list[tuple[str, str]]:
        """``sources`` as (table, column)."""
        pairs = [source.partition(".") for source in self.sources]
        return [(table, column) for table, _, column in pairs]


@dataclass(frozen=True)
class Table:
    """``columns`` are in the order in which they are stored."""

    name: str
    columns: tuple[Column, ...]

    @cached_property
    def schema(self) -> pl.Schema:
        return pl.Schema({column.name: column.dtype for column in self.columns})

    @property
    def added(self) -> dict[str, str]:
        """The columns that artifacts may lack, with their types in SQL."""
        return {column.name: SQL_TYPES[column.dtype] for column in self.columns if column.added}

    def empty(self) -> pl.DataFrame:
        return pl.DataFrame(schema=self.schema)

    def typed(self, frame: pl.DataFrame) -> pl.DataFrame:
        """``frame`` with two kinds of columns cast to their declared types: whole numbers, and columns of nulls only.

        Polars infers the width of a whole number from its value, and no type at all from nulls. All other differences
        stay, so that ``difference`` can report them.
        """
        loose = {name: self.schema[name] for name, found in frame.schema.items() if name in self.schema}
        return frame.cast({n: t for n, t in loose.items() if _has_no_type_of_its_own(frame.schema[n], t)})

    def difference(self, found: pl.Schema) -> str:
        """The first difference between the declaration and a stored schema, as a sentence; "" if they agree."""
        optional = self.added
        if missing := [name for name in self.schema if name not in found and name not in optional]:
            return f"column {missing[0]} is declared and was not written"
        if unknown := [name for name in found if name not in self.schema]:
            return f"column {unknown[0]} was written and is not declared"
        there = {name: declared for name, declared in self.schema.items() if name in found}
        for name, declared in there.items():
            if not _same_type(declared, found[name]):
                return f"column {name} is declared as {declared} and was written as {found[name]}"
        if list(there) != list(found):
            return f"the columns are declared in the order {', '.join(there)} and written as {', '.join(found)}"
        return ""


@dataclass(frozen=True)
class Check:
    """A query whose rows are violations: ``sql/checks/<stage>__<name>.sql``.

    If a ``blocking`` check fails, the stages that follow do not run.
    """

    name: str
    blocking: bool
    description: str


class DeclaredDraft(Draft):
    """A draft that writes the tables of a stage with their declared types (see ``Table.typed``)."""

    def __init__(self, folder: Path, tables: tuple[Table, ...]):
        super().__init__(folder)
        self.declared = {table.name: table for table in tables}

    def write(self, table: str, frame: pl.DataFrame | pa.Table) -> None:
        if isinstance(frame, pl.DataFrame) and table in self.declared:
            frame = self.declared[table].typed(frame)
        super().write(table, frame)


def verify(stage: str, tables: tuple[Table, ...], draft: Draft) -> None:
    """Compare a finished draft with the declared tables. GripError names the table, the column and the difference."""
    written = {folder.name for folder in draft.folder.iterdir() if folder.is_dir()}
    for name in sorted(written - {table.name for table in tables}):
        raise _broken(stage, name, "it was written and is not declared")
    for table in tables:
        if table.name not in written:
            raise _broken(stage, table.name, "it is declared and was not written")
        if difference := table.difference(stored_schema(draft.parquet(table.name))):
            raise _broken(stage, table.name, difference)


def stored_schema(files: str) -> pl.Schema:
    """Column types of a stored table, from the footer of its first file."""
    return pl.scan_parquet(parts(files)[0], glob=False).collect_schema()


def _broken(stage: str, table: str, difference: str) -> GripError:
    return GripError(
        f"Table {table} of stage {stage}: {difference}. Nothing was published. This is a fault of the program: the"
        f" tables that `compute` writes must agree with the declaration in the stage's module."
    )


def _has_no_type_of_its_own(found: pl.DataType, declared: pl.DataType) -> bool:
    return found != declared and (found == pl.Null or (found.is_integer() and declared.is_integer()))


def _same_type(declared: DataType, found: DataType) -> bool:
    """Whether two types are the same; widths of vectors are not compared."""
    if isinstance(declared, pl.Array) and isinstance(found, pl.Array):
        return declared.inner == found.inner
    return declared == found

"""What every column is and what it is computed from (``columns.yaml``), as Dagster shows it."""

from functools import cache
from pathlib import Path
from typing import NamedTuple

import dagster as dg
import yaml

from grip_assets.engine.stage import Stage


class Column(NamedTuple):
    """``sources``: (table, column) that it is computed from."""

    description: str
    sources: list[tuple[str, str]]


@cache
def columns() -> dict[str, dict[str, Column]]:
    """Columns by table and name."""
    tables = yaml.safe_load(Path(__file__).with_suffix(".yaml").read_text(encoding="utf-8"))
    return {table: {name: _column(said) for name, said in rows.items()} for table, rows in tables.items()}


def _column(said: str) -> Column:
    description, _, sources = said.partition(" <- ")
    pairs = [source.partition(".") for source in sources.split(", ") if source]
    return Column(description, [(table, name) for table, _, name in pairs])


def schema(table: str, types: dict[str, str]) -> dg.TableSchema:
    """Types as stored, descriptions as documented, and the columns that each comes from."""
    known = columns().get(table, {})
    return dg.TableSchema([dg.TableColumn(n, t, description=_said(known.get(n))) for n, t in types.items()])


def _said(column: Column | None) -> str | None:
    """Dagster's own view of column lineage is not in its open edition, so the description says it as well."""
    if column is None or not column.sources:
        return column and column.description
    return f"{column.description} ← {', '.join(f'{table}.{name}' for table, name in column.sources)}"


def lineage(stage: Stage, owners: dict[str, str]) -> dg.TableColumnLineage:
    """Columns of the stage's main table and the columns of other assets that they come from. Dagster knows one table
    an asset; a column of a further table is shown as the asset's."""
    deps = {
        name: [dg.TableColumnDep(dg.AssetKey(owners[table]), source) for table, source in column.sources]
        for name, column in columns().get(stage.name, {}).items()
    }
    return dg.TableColumnLineage(deps)

"""Columns as Dagster shows them: types, descriptions, and the source columns of each."""

import dagster as dg

from grip_assets.engine.declarations import Column
from grip_assets.engine.stage import Stage


def schema(stage: Stage, types: dict[str, str]) -> dg.TableSchema:
    """Columns of the stage's main table: types as stored, descriptions as declared."""
    declared = {column.name: column for column in stage.tables[0].columns}
    return dg.TableSchema([dg.TableColumn(n, t, description=_described(declared.get(n))) for n, t in types.items()])


def _described(column: Column | None) -> str | None:
    """The column's description and its sources. Dagster's open edition does not show column lineage otherwise."""
    if column is None:
        return None
    if not column.sources:
        return column.description
    return f"{column.description} ← {', '.join(column.sources)}"


def column_lineage(stage: Stage, owners: dict[str, str]) -> dg.TableColumnLineage:
    """Columns of the stage's main table, and the columns of other assets that they are computed from.

    Dagster shows one table per asset, so columns of secondary tables are attributed to the asset. Columns of one name
    in two tables of an asset are one column for Dagster.
    """
    deps = {
        column.name: list(dict.fromkeys(_source(owners[table], name) for table, name in column.source_pairs()))
        for column in stage.tables[0].columns
    }
    return dg.TableColumnLineage(deps)


def _source(asset: str, column: str) -> dg.TableColumnDep:
    return dg.TableColumnDep(dg.AssetKey(asset), column)

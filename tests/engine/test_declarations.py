"""What a stage declares is what it stores."""

import dataclasses

import polars as pl
import pyarrow as pa
import pytest
from stub_stages import Stubs

from grip_assets.engine.declarations import VECTOR16, Column, Table
from grip_assets.errors import GripError
from grip_assets.stages import STAGES
from grip_assets.store import catalog
from grip_assets.store.tables import vectors


@pytest.fixture
def stubs(tmp_path) -> Stubs:
    return Stubs(tmp_path)


def cut_that_writes(stubs: Stubs, **tables: pl.DataFrame | pa.Table) -> None:
    def compute(work):
        for name, table in tables.items():
            work.draft.write(name, table)
        return {}

    stubs.stages["cut"] = dataclasses.replace(stubs.stages["cut"], compute=compute)
    stubs.versions["pool"] = stubs.make("pool").version


@pytest.mark.parametrize(
    ("tables", "said"),
    [
        ({"cut": pl.DataFrame({"m": [1]})}, "Table cut of stage cut: column n is declared and was not written"),
        ({"cut": pl.DataFrame({"n": [1], "m": [1]})}, "column m was written and is not declared"),
        ({"cut": pl.DataFrame({"n": ["1"]})}, "column n is declared as Int64 and was written as String"),
        ({"cut": pl.DataFrame({"n": [1.5]})}, "column n is declared as Int64 and was written as Float64"),
        ({}, "Table cut of stage cut: it is declared and was not written"),
        ({"cut": pl.DataFrame({"n": [1]}), "other": pl.DataFrame({"n": [1]})}, "Table other of stage cut: it was writ"),
    ],
)
def test_a_table_that_is_not_as_declared_is_refused_and_nothing_is_published(stubs, tables, said):
    cut_that_writes(stubs, **tables)
    with pytest.raises(GripError, match=said):
        stubs.make("cut")
    assert not stubs.store.folders("cut")


@pytest.mark.parametrize("frame", [pl.DataFrame({"n": [None]}), pl.select(n=pl.lit(3)), pl.DataFrame({"n": []})])
def test_nulls_and_small_numbers_are_stored_with_the_declared_type(stubs, frame):
    assert frame.schema["n"] != pl.Int64
    cut_that_writes(stubs, cut=frame)
    stubs.versions["cut"] = stubs.make("cut").version
    assert stubs.rows("cut").schema == {"n": pl.Int64} and len(stubs.rows("cut")) == len(frame)


def test_a_vector_may_have_any_width_and_no_other_type(tmp_path):
    table = Table("t", (Column("e", VECTOR16, "A vector."),))
    wide = pa.table({"e": vectors(pl.Series([1.0] * 6).to_numpy().reshape(2, 3))})
    assert table.difference(pl.from_arrow(wide).schema) == ""
    assert "declared as Array(Float16" in table.difference(pl.Schema({"e": pl.Array(pl.Float32, 3)}))
    assert table.empty().schema == table.schema


def test_the_order_of_the_columns_is_declared():
    table = Table("t", (Column("a", pl.Int64, "One."), Column("b", pl.Int64, "Two.")))
    assert "order a, b and written as b, a" in table.difference(pl.Schema({"b": pl.Int64, "a": pl.Int64}))


def test_the_first_table_of_a_stage_has_its_name_and_no_table_has_two_owners():
    names = [name for stage in STAGES.values() for name in stage.table_names]
    assert len(names) == len(set(names))
    others = {name: stage.table_names[0] for name, stage in STAGES.items() if stage.table_names[0] != name}
    named_otherwise = {
        "partition": "components",
        "cluster_report": "intruders",
        "mixture_runs": "mixtures",
        "attribution_targets": "attribution_items",
        "reference_model": "reference",
        "counterfactuals": "trial_subsets",
    }
    assert others == named_otherwise, "a row is a component; a cluster; a domain in a training; an item; ..."


def test_every_declared_table_can_be_empty(tmp_path):
    for stage in STAGES.values():
        for table in stage.tables:
            assert table.empty().schema == table.schema and len(table.empty()) == 0


def test_a_column_that_artifacts_may_lack_is_stored_or_not_and_the_catalog_shows_null(stubs):
    """Under one setting the stage writes it, and under another not, so the artifacts of before stay as they are."""
    (declared,) = stubs.stages["cut"].tables
    later = Table("cut", (*declared.columns, Column("rank", pl.Int64, "Added later.", added=True)))
    stubs.stages["cut"] = dataclasses.replace(stubs.stages["cut"], tables=(later,))
    for k, rank in ((2, None), (3, 7)):
        cut_that_writes(stubs, cut=pl.DataFrame({"n": [1]} if rank is None else {"n": [1], "rank": [rank]}))
        stubs.set("clustering", k=k)
        made = stubs.make("cut")
        in_force = {"cut": catalog.InForce(made.version, "", 0.0, False, ("cut",), {"cut": later.added})}
        catalog.rebuild(stubs.store, in_force, [])
        with catalog.connect(stubs.store.root) as connection:
            shown = connection.sql("SELECT rank, typeof(rank) FROM cut").fetchall()
        assert shown == [(rank, "BIGINT")]
    cut_that_writes(stubs, cut=pl.DataFrame({"rank": [7]}))
    stubs.set("clustering", k=4)
    with pytest.raises(GripError, match="column n is declared and was not written"):
        stubs.make("cut")


def test_columns_that_artifacts_may_lack_are_the_last_of_their_table():
    for stage in STAGES.values():
        for table in stage.tables:
            added = [column.added for column in table.columns]
            assert added == sorted(added), table.name

"""The user's own columns are real columns of an export, of types that hold all of their values."""

import json

import duckdb
import polars as pl
import pyarrow as pa
import pytest

from grip_assets.export.formats import HuggingFace, Jsonl, Parquet
from grip_assets.export.rows import Rows
from grip_assets.export.trainers import Mds

OURS = ["doc_id", "text", "language", "source", "n_bytes", "n_tokens", "cluster_id", "density", "length_weight"]
KEPT = [
    {"url": "u0", "n": 1, "meta": {"a": 1, "tags": ["x"]}, "source": "theirs", "text": "t", "URL": "U", "none": None},
    {"url": None, "n": None, "meta": {"a": 2.5}, "source": "theirs too", "text": "t", "d.e": True, 'q"/~': "odd"},
    {"url": "u2", "n": -3, "meta": None, "source": None, "text": None, "none": None},
]


@pytest.fixture
def rows(tmp_path):
    """Rows of a subset of three documents in two parts, with these columns kept."""

    def make(kept=KEPT, columns=True):
        ids = [f"d{i}" for i in range(len(kept))]
        corpus = {
            "doc_id": ids,
            "text": [f"text {i}" for i in ids],
            "language": "en",
            "source": ids,
            "n_bytes": 500,
            "kept": [json.dumps(k) if k is not None else None for k in kept],
        }
        corpus = pl.DataFrame(corpus, schema_overrides={"kept": pl.String})
        corpus = corpus if columns else corpus.drop("kept")
        corpus.write_parquet(tmp_path / "corpus.parquet")
        connection = duckdb.connect()
        connection.execute(f"CREATE VIEW corpus AS FROM '{tmp_path}/corpus.parquet'")
        weights = "0.1 AS density, 0.2 AS length_weight, 0.3 AS selection_weight, 1 AS repeats"
        connection.execute(
            f"CREATE VIEW subset AS SELECT doc_id, 9 AS n_tokens, 0 AS cluster_id, {weights} FROM corpus"
        )
        return Rows(connection, str(tmp_path / "corpus.parquet"), False, None, 1000, tmp_path / "spilled")

    return make


def tables(rows):
    return [table for _, table in rows.of(list(rows.sizes))]


def test_kept_columns_are_columns_of_one_type_in_every_part(rows):
    found = tables(rows())
    assert len(found) > 1 and len({str(t.schema) for t in found}) == 1
    whole = pa.concat_tables(found).to_pylist()
    assert [r["url"] for r in whole] == ["u0", None, "u2"] and [r["URL"] for r in whole] == ["U", None, None]
    assert [r["n"] for r in whole] == [1, None, -3] and [r["d.e"] for r in whole] == [None, True, None]
    assert [r["meta"] for r in whole] == [{"a": 1.0, "tags": ["x"]}, {"a": 2.5, "tags": None}, None]
    assert [r['q"/~'] for r in whole] == [None, "odd", None] and [r["none"] for r in whole] == [None] * 3


def test_no_whole_number_is_lost(rows):
    large = pa.concat_tables(tables(rows([{"n": 2**64 - 1}, {"n": 1}, {"n": None}])))
    assert [None if n is None else int(n) for n in large["n"].to_pylist()] == [2**64 - 1, 1, None]


def test_our_columns_keep_their_names(rows):
    whole = pa.concat_tables(tables(rows())).to_pylist()
    assert [r["source"] for r in whole] == ["d0", "d1", "d2"] and whole[0]["text"] == "text d0"
    assert [r["kept_source"] for r in whole] == ["theirs", "theirs too", None]
    assert [r["kept_text"] for r in whole] == ["t", "t", None] and "kept" not in whole[0]


@pytest.mark.parametrize("columns", [True, False])
def test_where_nothing_is_kept_there_is_no_more_column(rows, columns):
    (found,) = {tuple(t.column_names) for t in tables(rows([None] * 3, columns))}
    assert found == (*OURS, "selection_weight", "repeats")


@pytest.mark.parametrize("kind", [Parquet, Jsonl, HuggingFace, Mds])
def test_every_format_writes_them(rows, tmp_path, kind):
    writer, parts = kind(tmp_path, None, "x"), []
    for number, table in enumerate(tables(rows())):
        parts.append(tmp_path / str(number))
        parts[-1].mkdir()
        (parts[-1] / "part.json").write_text(json.dumps(writer.write(table, parts[-1])))
    out = tmp_path / "out"
    writer.assemble(parts, out)
    if kind is Mds:
        (shard, *_) = json.loads((out / "index.json").read_text())["shards"]
        kinds = dict(zip(shard["column_names"], shard["column_encodings"], strict=True))
        assert kinds["meta"] == kinds["d.e"] == kinds["url"] == "str" and kinds["n"] == "int"
        assert b'{"a": 1.0, "tags": ["x"]}' in (out / "shard.00000.mds").read_bytes()
        return
    if kind is HuggingFace:
        import datasets

        found = datasets.load_from_disk(out).to_list()
    else:
        found = (pl.read_parquet(out) if kind is Parquet else pl.read_ndjson(out)).to_dicts()
    assert [r["url"] for r in found] == ["u0", None, "u2"] and [r["n"] for r in found] == [1, None, -3]
    assert found[0]["meta"] == {"a": 1.0, "tags": ["x"]}

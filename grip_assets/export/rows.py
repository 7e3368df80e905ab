"""The rows of an export, part by part, in bounded memory.

The rows are sorted without their texts. A pass over the corpus then collects the texts of several parts, as many as fit
into a quarter of the memory limit. (DuckDB neither sorts nor joins long texts within a memory limit.)
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from grip_assets.errors import GripError
from grip_assets.export.kept import Kept
from grip_assets.runtime.memory import limit_bytes
from grip_assets.store.catalog import literal
from grip_assets.store.query import sql_text
from grip_assets.store.tables import parts

BATCH = 1024  # documents of the pool per read
GREEDY = ("rank", "gain", "covered", "alignment")  # why a greedy selection took a document
LATER = {"c.kept": "VARCHAR", "s.rank": "BIGINT", "s.gain": "DOUBLE", "s.covered": "DOUBLE", "s.alignment": "DOUBLE"}


class Rows:
    """The rows of an export. ``sizes``: part number to its number of rows."""

    def __init__(
        self,
        connection: duckdb.DuckDBPyConnection,
        corpus: str,
        expand: bool,
        shuffle: int | None,
        part_bytes: int,
        spill: Path,
    ):
        """``corpus``: a glob of the pool's files. ``part_bytes``: bytes of text per part. ``spill``: DuckDB's temporary
        folder. GripError if the subset is empty."""
        self.connection, self.corpus, self.part_bytes = connection, corpus, part_bytes
        connection.execute(f"SET memory_limit = {literal(f'{limit_bytes() // 2}B')}")
        connection.execute(f"SET temp_directory = {literal(str(spill))}")
        seed = None if shuffle is None else str(shuffle)
        connection.execute(_export_sql(connection), {"expand": expand, "shuffle": seed, "part_bytes": part_bytes})
        counted = connection.execute("SELECT part, count(*) FROM export_rows GROUP BY part ORDER BY part").fetchall()
        if not counted:
            raise GripError("The subset has no documents. Raise budget.total and run `grip curate`.")
        self.sizes: dict[int, int] = dict(counted)
        self.kept = Kept(connection)
        (self.ranked,) = connection.execute("SELECT count(rank) > 0 FROM export_rows").fetchall()[0]

    def of(self, numbers: Sequence[int]) -> Iterator[tuple[int, pa.Table]]:
        """The rows of these parts: (part number, table with texts)."""
        at_once = max(limit_bytes() // 4 // self.part_bytes, 1)
        for start in range(0, len(numbers), at_once):
            tables = {number: self._without_texts(number) for number in numbers[start : start + at_once]}
            texts = self._texts(tables)
            for number, rows in tables.items():
                found = pa.Table.from_batches(texts.pop(number)).combine_chunks()
                places = pc.index_in(rows["doc_id"], value_set=found["doc_id"])
                yield number, rows.add_column(1, "text", found["text"].take(places).cast(pa.string()))

    def _without_texts(self, number: int) -> pa.Table:
        rows = self.connection.sql(sql_text("commands/export_part"), params={"part": number}).to_arrow_table()
        return self.kept.expand(rows if self.ranked else rows.drop_columns(list(GREEDY)))

    def _texts(self, tables: Mapping[int, pa.Table]) -> dict[int, list[pa.RecordBatch]]:
        """Ids and texts by part number, in the order of the corpus."""
        readers = defaultdict(set)
        for number, rows in tables.items():
            for doc_id in rows["doc_id"].to_pylist():
                readers[doc_id].add(number)
        found = defaultdict(list)
        for batch in self._documents():
            wanted = defaultdict(list)
            for row, doc_id in enumerate(batch["doc_id"].to_pylist()):
                for number in readers.get(doc_id, ()):
                    wanted[number].append(row)
            for number, chosen in wanted.items():
                found[number].append(batch.take(pa.array(chosen)))
        return found

    def _documents(self) -> Iterator[pa.RecordBatch]:
        """Ids and texts of the whole pool, in batches."""
        for file in parts(self.corpus):
            reader = pq.ParquetFile(file, buffer_size=1 << 20, pre_buffer=False)  # pages as they are needed
            yield from reader.iter_batches(BATCH, columns=["doc_id", "text"])


def _export_sql(connection: duckdb.DuckDBPyConnection) -> str:
    """The query. Columns that an earlier version of this program did not write are null: ``kept`` and ``GREEDY``."""
    text = sql_text("commands/export")
    there = {
        f"{alias}.{name}" for alias, of in (("c", "corpus"), ("s", "subset")) for name in connection.table(of).columns
    }
    for column, kind in LATER.items():
        text = text if column in there else text.replace(column, f"NULL::{kind} AS {column[2:]}")
    return text

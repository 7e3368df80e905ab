"""Reading and writing Parquet: streamed rows, and embeddings as fixed-size lists of float16.

A row group has at most 65,536 rows and 32 MiB: so there are few enough to scan fast, and each is small enough to
stream. Vectors are not compressed, since floats do not compress well.
"""

import glob
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from grip_assets.errors import GripError
from grip_assets.runtime import opened
from grip_assets.store.behind import bring_path

GROUP_ROWS = 65_536
GROUP_BYTES = 32 << 20


class TableWriter:
    """Writes one Parquet file, row group by row group. The same rows give the same bytes."""

    def __init__(self, path: Path, schema: pa.Schema):
        vectors = {f.name for f in schema if pa.types.is_fixed_size_list(f.type)}
        compression = {f.name: "NONE" if f.name in vectors else "ZSTD" for f in schema}
        self.schema = schema
        plain = [name for name in compression if name not in vectors]  # a dictionary of floats reads 6 times slower
        self.writer = pq.ParquetWriter(
            path, schema, compression=compression or "NONE", use_dictionary=plain, write_statistics=plain
        )
        self.pending: list[pa.Table] = []

    def write(self, rows: pa.Table) -> None:
        self.pending.append(rows.cast(self.schema))
        if sum(len(t) for t in self.pending) >= GROUP_ROWS or sum(t.nbytes for t in self.pending) >= GROUP_BYTES:
            self._flush()

    def _flush(self) -> None:
        if self.pending:
            rows = pa.concat_tables(self.pending)
            fit = max(len(rows) * GROUP_BYTES // max(rows.nbytes, 1), 1)
            self.writer.write_table(rows, row_group_size=min(GROUP_ROWS, fit))
            self.pending = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if kind is None:
            self._flush()
        self.writer.close()


def vectors(matrix: np.ndarray) -> pa.FixedSizeListArray:
    """Rows of a (N, d) float16 matrix as an Arrow column."""
    flat = pa.array(np.ascontiguousarray(matrix, np.float16).reshape(-1))
    return pa.FixedSizeListArray.from_arrays(flat, matrix.shape[1])


def matrix(column: pa.ChunkedArray | pa.Array) -> np.ndarray:
    """An Arrow column of vectors as a (N, d) matrix of its type."""
    array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    if isinstance(array, pa.ChunkedArray):  # combine_chunks returns chunks if there are none, or if one would overflow
        array = pa.concat_arrays(array.chunks)
    return array.flatten().to_numpy(zero_copy_only=False).reshape(len(array), array.type.list_size)


def width(files: str) -> int:
    """The number of dimensions d of the column ``embedding``."""
    return pq.ParquetFile(parts(files)[0]).schema_arrow.field("embedding").type.list_size


def blocks(files: str, columns: list[str], rows: int = 16_384) -> Iterator[pa.Table]:
    """Rows of a table in order, in blocks of exactly ``rows`` (the last may be shorter)."""
    yield from _regular((batch for part in parts(files) for batch in _batches(part, columns, rows)), rows)


def _batches(part: Path, columns: list[str], rows: int) -> Iterator[pa.RecordBatch]:
    # Without pre_buffer, pages are read when they are needed. A row group of vectors would take four blocks of memory.
    reader = pq.ParquetFile(part, buffer_size=1 << 20, pre_buffer=False)
    yield from reader.iter_batches(batch_size=rows, columns=columns)


class RowGroup(NamedTuple):
    """Rows ``start`` to ``stop`` of a table, which are one row group of one file."""

    file: Path
    number: int
    start: int
    stop: int


def row_groups(files: str) -> list[RowGroup]:
    """The row groups of a table in order, from the footers of its files."""
    found, start = [], 0
    for file in parts(files):
        metadata = pq.ParquetFile(file).metadata
        for number in range(metadata.num_row_groups):
            stop = start + metadata.row_group(number).num_rows
            found.append(RowGroup(file, number, start, stop))
            start = stop
    return found


def n_rows(files: str) -> int:
    """The number of rows of a table, from the footers of its files."""
    return sum(pq.ParquetFile(file).metadata.num_rows for file in parts(files))


def runs(files: str, columns: list[str], sizes: Iterable[int]) -> Iterator[pl.DataFrame]:
    """Consecutive rows of a table in runs of these sizes, for example cluster by cluster. Memory holds one run."""
    rest, held = blocks(files, columns), pl.DataFrame()
    for size in sizes:
        found = [held]
        while sum(map(len, found)) < size:
            block = pl.from_arrow(next(rest))
            assert isinstance(block, pl.DataFrame)
            found.append(block)
        table = pl.concat(found[not len(held) and len(found) > 1 :])
        held = table[size:]
        yield table[:size]


def rows_between(files: str, columns: list[str], start: int, stop: int, rows: int = 16_384) -> Iterator[pa.Table]:
    """Rows ``start`` to ``stop`` of a table in order, in blocks of ``rows``. Only their row groups are read."""
    inside = [group for group in row_groups(files) if group.start < stop and group.stop > start]
    return _regular((batch for group in inside for batch in _part_of(group, columns, start, stop, rows)), rows)


def _part_of(group: RowGroup, columns: list[str], start: int, stop: int, rows: int) -> Iterator[pa.RecordBatch]:
    reader, at = pq.ParquetFile(group.file, buffer_size=1 << 20, pre_buffer=False), group.start
    for batch in reader.iter_batches(batch_size=rows, columns=columns, row_groups=[group.number]):
        first, last = max(start - at, 0), min(stop - at, len(batch))
        if first < last:
            yield batch.slice(first, last - first)
        at += len(batch)
        if at >= stop:  # so that the rest of the row group is not decoded
            break


def texts(files: str, wanted: Collection[str] | None = None) -> Iterator[tuple[str, str]]:
    """(doc_id, text) of the wanted documents (None: all) of the table ``corpus``, in its order."""
    for block in blocks(files, ["doc_id", "text"], rows=256):
        for doc, text in zip(block["doc_id"].to_pylist(), block["text"], strict=True):
            if wanted is None or doc in wanted:
                yield doc, text.as_py()


def utf8(texts: pa.ChunkedArray) -> tuple[np.ndarray, np.ndarray]:
    """The bytes of a column of B texts, uint8, and B + 1 places at which the texts begin and end, int64. A null is an
    empty text."""
    column = texts.cast(pa.large_string()).fill_null("").combine_chunks()
    column = pa.concat_arrays(column.chunks) if isinstance(column, pa.ChunkedArray) else column
    _, places, data = column.buffers()
    if not len(column) or data is None:
        return np.empty(0, np.uint8), np.zeros(len(column) + 1, np.int64)
    start_B = np.frombuffer(places, np.int64)[column.offset : column.offset + len(column) + 1]
    return np.frombuffer(data, np.uint8)[start_B[0] : start_B[-1]], start_B - start_B[0]


def _regular(batches: Iterator[pa.RecordBatch], rows: int) -> Iterator[pa.Table]:
    """Blocks of exactly ``rows`` rows from batches that end with row groups and files.

    So results cannot depend on the sizes of row groups and files.
    """
    held: list[pa.RecordBatch] = []
    for batch in batches:
        held.append(batch)
        while sum(len(b) for b in held) >= rows:
            table = pa.Table.from_batches(held)
            yield table.slice(0, rows)
            held = table.slice(rows).to_batches()
    if sum(len(b) for b in held):
        yield pa.Table.from_batches(held)


def rows_of(files: str, chosen_N: np.ndarray) -> np.ndarray:
    """Vectors of the chosen rows (a mask), in their order, float16. Memory holds these and one block."""
    return np.concatenate(list(vector_blocks(files, chosen_N)))


def vector_blocks(files: str, chosen_N: np.ndarray | None = None) -> Iterator[np.ndarray]:
    """Vectors of all rows, or of the chosen ones (a mask), in order, float16, block by block. A block may be empty."""
    start = 0
    for block in blocks(files, ["embedding"]):
        x_BD = matrix(block["embedding"])
        yield x_BD if chosen_N is None else x_BD[chosen_N[start : start + len(block)]]
        start += len(block)


def vector_rows(files: str, start: int, stop: int) -> np.ndarray:
    """Vectors of the rows ``start`` to ``stop`` (exclusive), float16 (stop - start, d)."""
    found = [matrix(block["embedding"]) for block in rows_between(files, ["embedding"], start, stop)]
    return np.concatenate(found) if len(found) > 1 else found[0]


def parts(files: str) -> list[Path]:
    """The files of a glob, in the order of their names, which is the order of the rows. GripError if there are none.

    Each result is the name of a file, not a glob. To read it with polars, pass ``glob=False``.
    """
    found = sorted(map(Path, glob.glob(files)))  # noqa: PTH207
    if not found:
        bring_path(files)
        found = sorted(map(Path, glob.glob(files)))  # noqa: PTH207
    if not found:
        raise GripError(f"{files} is not there. Materialize {Path(files).parents[2].name} again.")
    return found


@dataclass(frozen=True)
class RowRange:
    """A shard of work: rows ``start`` to ``stop`` of a table, counted over all of its files.

    ``only``: those rows of the range that belong to the shard; None: all of them.
    """

    start: int
    stop: int
    only: tuple[int, ...] | None = None

    def __len__(self) -> int:
        return self.stop - self.start if self.only is None else len(self.only)


def ranges(sizes_N: np.ndarray, rows: int, n_bytes: int, chosen_N: np.ndarray | None = None) -> list[RowRange]:
    """The chosen rows of a table (a mask; None: all) as ranges of at most ``rows`` rows and ``n_bytes`` bytes.

    ``sizes_N``: the bytes of each row. A row that is larger than ``n_bytes`` is a range of its own.
    """
    at_N = np.arange(len(sizes_N)) if chosen_N is None else np.flatnonzero(chosen_N)
    total_N = np.cumsum(sizes_N[at_N], dtype=np.int64)
    found = []
    first = 0
    while first < len(at_N):
        before = total_N[first - 1] if first else 0
        last = min(first + rows, int(np.searchsorted(total_N, before + n_bytes, "right")), len(at_N))
        last = max(last, first + 1)
        found.append(range_of(at_N[first:last]))
        first = last
    return found


def range_of(rows: np.ndarray) -> RowRange:
    """The range of some rows, which are given in rising order."""
    start, stop = int(rows[0]), int(rows[-1]) + 1
    return RowRange(start, stop, None if stop - start == len(rows) else tuple(rows.tolist()))


def read_range(files: str, columns: list[str], wanted: RowRange) -> pa.Table:
    """The rows of a range, in their order. The last decoded row groups stay in memory while jobs are mapped."""
    found = []
    for path, group, first, n in _row_groups(files):
        start, stop = max(wanted.start, first), min(wanted.stop, first + n)
        if start >= stop:
            continue
        table = opened.recent("row group", (path, group, *columns), partial(_row_group, path, group, columns), 4)
        if wanted.only is None:
            found.append(table.slice(start - first, stop - start))
        else:
            found.append(table.take(pa.array([row - first for row in wanted.only if start <= row < stop], pa.int64())))
    return pa.concat_tables(found)


def _row_group(path: Path, group: int, columns: list[str]) -> pa.Table:
    return pq.ParquetFile(path).read_row_group(group, columns=columns, use_threads=False)


def _row_groups(files: str) -> list[tuple[Path, int, int, int]]:
    """(file, number in the file, its first row in the table, rows) of each row group."""
    return opened.get(("row groups", files), partial(_all_row_groups, files))


def _all_row_groups(files: str) -> list[tuple[Path, int, int, int]]:
    found = []
    first = 0
    for path in parts(files):
        metadata = pq.ParquetFile(path).metadata
        for group in range(metadata.num_row_groups):
            n = metadata.row_group(group).num_rows
            found.append((path, group, first, n))
            first += n
    return found


def ranges_of(corpus: str, documents: pl.Series, rows: int, n_bytes: int) -> list[RowRange]:
    """Some documents of the table ``corpus``, in its order, as ``ranges`` of at most ``rows`` documents and ``n_bytes``
    bytes of text."""
    columns = pl.concat([pl.read_parquet(part, columns=["doc_id", "n_bytes"], glob=False) for part in parts(corpus)])
    chosen_N = columns["doc_id"].is_in(documents.implode()).to_numpy()
    return ranges(columns["n_bytes"].to_numpy(), rows, n_bytes, chosen_N)


def arrow(frame: pl.DataFrame) -> pa.Table:
    """The frame as an Arrow table with types that every reader knows: strings as ``large_string``, not views."""
    return frame.to_arrow(compat_level=pl.CompatLevel.oldest())

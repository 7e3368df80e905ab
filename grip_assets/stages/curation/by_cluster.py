"""Sorts all documents and their vectors by cluster on the disk, for the stage clusters.

Documents are first dealt out to at most BUCKETS files, each for some neighbouring clusters, in the order of the pool.
Then one file after the other is sorted by (cluster_id, doc_id). So memory holds the names of one bucket and one block
of vectors, for a pool of any size, and the disk is written in order. A cluster is never in two buckets, so one cluster
above ROWS is a bucket of its own size.
"""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import numpy as np
import polars as pl
import pyarrow as pa

from grip_assets.store.tables import blocks, matrix

ROWS = 262_144  # documents of a bucket
BUCKETS = 256  # at most: each has two open files
BLOCK = 16_384
NONE = -1  # place of the vector of a document without one


def buckets_of(size_K: np.ndarray, rows: int = ROWS, most: int = BUCKETS) -> np.ndarray:
    """The bucket of each cluster, int32 (K,), ascending from 0. ``size_K``: documents of each cluster."""
    rows = max(rows, -(-int(size_K.sum()) // most) * 2)
    found_K, bucket, held = np.empty(len(size_K), np.int32), 0, 0
    for k, size in enumerate(size_K.tolist()):
        if held and held + size > rows:
            bucket, held = bucket + 1, 0
        found_K[k], held = bucket, held + size
    return found_K


@dataclass
class Bucket:
    """Files of one bucket: ``folder/<number>.arrow`` with the columns of its documents, ``<number>.vectors`` with the
    float16 vectors of those that have one."""

    folder: Path
    number: int
    vectors: BinaryIO
    writer: pa.ipc.RecordBatchFileWriter | None = None
    n_vectors: int = 0

    def write(self, rows: pa.Table, x_BD: np.ndarray | None) -> None:
        place_B = np.full(len(rows), NONE, np.int64)
        if x_BD is not None:
            place_B = np.arange(self.n_vectors, self.n_vectors + len(rows))
            self.vectors.write(np.ascontiguousarray(x_BD, np.float16).data)
            self.n_vectors += len(rows)
        rows = rows.append_column("place", pa.array(place_B))
        self.writer = self.writer or pa.ipc.new_file(str(self.folder / f"{self.number}.arrow"), rows.schema)
        self.writer.write_table(rows.combine_chunks())


@dataclass
class Dealt:
    """Documents in buckets, in the order of the pool inside each. ``folder``: an empty folder on the data's disk.

    ``add`` takes documents with the column cluster_id, as often as wanted; ``sorted`` ends this.
    """

    folder: Path
    bucket_K: np.ndarray
    width: int
    stack: ExitStack = field(default_factory=ExitStack)
    buckets: dict[int, Bucket] = field(default_factory=dict)

    def add(self, rows: pl.DataFrame, x_BD: np.ndarray | None) -> None:
        """Deal out documents. ``x_BD``: their vectors; None if they have none."""
        bucket_B = self.bucket_K[rows["cluster_id"].to_numpy()]
        order_B = np.argsort(bucket_B, kind="stable")
        ends = np.flatnonzero(np.diff(bucket_B[order_B], append=-1)) + 1
        table, start = rows[order_B].to_arrow(compat_level=pl.CompatLevel.oldest()), 0
        for end in ends.tolist():
            at_b = order_B[start:end]
            bucket = self._bucket(int(bucket_B[at_b[0]]))
            bucket.write(table.slice(start, end - start), None if x_BD is None else x_BD[at_b])
            start = end

    def _bucket(self, number: int) -> Bucket:
        if number not in self.buckets:
            file = self.stack.enter_context((self.folder / f"{number}.vectors").open("wb"))
            self.buckets[number] = Bucket(self.folder, number, file)
        return self.buckets[number]

    def sorted(self) -> Iterator[tuple[pl.DataFrame, Iterator[np.ndarray]]]:
        """For each bucket: its documents by (cluster_id, doc_id), and the vectors of those that have one, block by
        block. Read the vectors before the next bucket: its files are removed."""
        for bucket in self.buckets.values():
            if bucket.writer:
                bucket.writer.close()
        self.stack.close()
        for number in sorted(self.buckets):
            yield self._sorted(self.buckets[number])
            for end in ("arrow", "vectors"):
                (self.folder / f"{number}.{end}").unlink()

    def _sorted(self, bucket: Bucket) -> tuple[pl.DataFrame, Iterator[np.ndarray]]:
        with pa.OSFile(str(self.folder / f"{bucket.number}.arrow")) as file:
            rows = pl.from_arrow(pa.ipc.open_file(file).read_all())
        assert isinstance(rows, pl.DataFrame)
        rows = rows.sort("cluster_id", "doc_id")
        place_M = rows["place"].to_numpy()
        place_M = place_M[place_M != NONE]
        return rows.drop("place"), self._vectors(bucket, place_M)

    def _vectors(self, bucket: Bucket, place_M: np.ndarray) -> Iterator[np.ndarray]:
        if not len(place_M):
            return
        file = self.folder / f"{bucket.number}.vectors"
        x_MD = np.memmap(file, np.float16, "r", shape=(bucket.n_vectors, self.width))
        for start in range(0, len(place_M), BLOCK):
            yield x_MD[place_M[start : start + BLOCK]]


def embedded_rows(files: str, columns: list[str]) -> Iterator[tuple[pl.DataFrame, np.ndarray]]:
    """Blocks of the table ``embeddings``: these columns, and the vectors (B, d) in float16."""
    for block in blocks(files, [*columns, "embedding"], rows=4 * BLOCK):
        rows = pl.from_arrow(block.select(columns))
        assert isinstance(rows, pl.DataFrame)
        yield rows, matrix(block["embedding"])

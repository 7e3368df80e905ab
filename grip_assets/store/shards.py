"""Stores results per item, across runs: one new document needs one embedding, and a crash loses one shard.

The path is ``<root>/<stage>/.shards/<how>/<name>.parquet``. ``how`` names all that a result depends on beside the item
(model, window ...). ``name`` is a hash of the keys inside. A shard is immutable and appears by one rename. A key may be
in two shards, after two runs at once. That is harmless: the results are the same, and the first is read.
"""

import hashlib
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from grip_assets.errors import Unfinished
from grip_assets.runtime.executors import Executor, Log, ToDo, silent
from grip_assets.runtime.notices import warn_once
from grip_assets.store.artifacts import ArtifactStore
from grip_assets.store.tables import TableWriter

SHARD_SECONDS = 5.0
AT_ONCE = 16_384  # most rows of a shard
DAMAGED = (pa.ArrowException, OSError, KeyError)
INDEX = pl.Schema({"key": pl.String(), "file": pl.Int32(), "first": pl.Int64(), "n": pl.Int64()})


class Shards:
    """Tables with a string column ``key``, with one or several rows per key."""

    def __init__(self, store: ArtifactStore, stage: str, how: str):
        self.store = store
        store.shards_used.add(how)
        self.folder = store.root / stage / ".shards" / how

    def write(self, table: pa.Table) -> None:
        """Write ``table`` as one shard; durable when this returns."""
        name = hashlib.sha256("\n".join(table["key"].to_pylist()).encode()).hexdigest()[:32]
        with self.store.scratch() as scratch:
            with TableWriter(scratch / "shard", table.schema) as writer:
                writer.write(table)
            self.store.put(scratch / "shard", self.folder / f"{name}.parquet")

    def keep(self, tables: Iterable[pa.Table], at_once: int = AT_ONCE) -> None:
        """Write tables as they come, a shard every SHARD_SECONDS or ``at_once`` rows. A crash loses at most that much.

        Rows are read by key, so their distribution over shards changes no result. Tables without rows are skipped.
        """
        held: list[pa.Table] = []
        since = time.monotonic()
        for table in tables:
            held += [table] if len(table) else []
            if sum(map(len, held)) >= at_once or time.monotonic() - since >= SHARD_SECONDS:
                since = time.monotonic()
                self._write_all(held)
                held = []
        self._write_all(held)

    def _write_all(self, tables: list[pa.Table]) -> None:
        if tables:
            self.write(pa.concat_tables(tables))

    def completed(
        self, keys: Iterable[str], todo: Callable[[pl.Series], ToDo], executor: Executor, log: Log = silent
    ) -> pa.Table:
        """The rows of ``keys``, in their order. Missing rows are made first; see ``ready``."""
        return self.ready(keys, todo, executor, log).read()

    def ready(
        self,
        keys: Iterable[str],
        todo: Callable[[pl.Series], ToDo],
        executor: Executor,
        log: Log = silent,
        optional: bool = False,
    ) -> "Placed":
        """Make missing rows, then return the places of the rows of ``keys``.

        If keys are missing, ``todo(missing_keys)`` is called once. It returns the job that makes them, and its shards
        of work. The executor runs the job, and each table is stored when it comes. ``optional``: the job may leave keys
        out, and the result then has no rows for them. Otherwise such a key raises KeyError.
        """
        wanted = pl.DataFrame({"key": pl.Series("key", keys, pl.String)})
        files, index = self.index()
        missing = wanted.join(index, on="key", how="anti", maintain_order="left")["key"].unique(maintain_order=True)
        if len(missing):
            self.keep(todo(missing).tables(executor, log))
            files, index = self.index()
        placed = wanted.join(index, on="key", how="left", maintain_order="left")
        if optional:
            placed = placed.drop_nulls("file")
        elif placed["file"].null_count():
            raise KeyError(placed.filter(pl.col("file").is_null())["key"][0])
        return Placed(files, placed.drop("key"), self.store)

    def index(self) -> tuple[list[Path], pl.DataFrame]:
        """(the files, the index). The index has for each key its ``file`` number, ``first`` row and number ``n`` of
        rows.

        A shard that cannot be read (0 bytes after a power cut) is removed, with a warning. Its keys are then missing,
        so they are computed again.
        """
        self.store.bring(self.folder)
        files = sorted(self.folder.glob("*.parquet"))
        found = [_runs(file, number, self.store) for number, file in enumerate(files)]
        index = pl.concat([pl.DataFrame(schema=INDEX), *found])
        return files, index.unique("key", keep="first", maintain_order=True)


@dataclass(frozen=True)
class Placed:
    """The places of the rows of some keys, in the order of the keys. It needs no Python object per key."""

    files: list[Path]
    at: pl.DataFrame
    store: ArtifactStore

    def read(self, start: int = 0, stop: int | None = None, columns: list[str] | None = None) -> pa.Table:
        """The rows of the keys number ``start`` to ``stop``, in their order. ``columns``: None for all of them."""
        at = self.at[start:stop].with_row_index("position")
        by_file = at.partition_by("file", maintain_order=True)
        tables = [_taken(_table(self.files[rows["file"][0]], columns, self.store), rows) for rows in by_file]
        return pa.concat_tables(tables).sort_by("position").drop_columns("position")


def _taken(table: pa.Table, at: pl.DataFrame) -> pa.Table:
    """The rows of a shard that ``at`` names, with their ``position``."""
    rows = at.select("position", row=pl.int_ranges("first", pl.col("first") + pl.col("n"))).explode("row")
    taken = table.take(rows["row"].to_arrow())
    return taken.append_column("position", rows["position"].to_arrow())


def _runs(file: Path, number: int, store: ArtifactStore) -> pl.DataFrame:
    """Rows of the index, one per key of a shard. All rows of a key must be consecutive."""
    try:
        keys = pl.from_arrow(pq.read_table(file, columns=["key"])["key"])
    except DAMAGED as error:
        _remove(file, error, store)
        return pl.DataFrame(schema=INDEX)
    assert isinstance(keys, pl.Series)
    runs = pl.DataFrame({"run": keys.cast(pl.String).rle()}).unnest("run")
    first = pl.col("len").cum_sum() - pl.col("len")
    return runs.select(key="value", file=pl.lit(number), first=first, n="len").cast(INDEX)


def _table(shard: Path, columns: list[str] | None, store: ArtifactStore) -> pa.Table:
    try:
        return pq.read_table(shard, columns=columns)
    except DAMAGED as error:
        _remove(shard, error, store)
        raise Unfinished(
            f"{shard} was damaged and is removed. Run the same command again: its documents are computed again."
        ) from None


def _remove(shard: Path, error: Exception, store: ArtifactStore) -> None:
    if isinstance(error, PermissionError):
        raise error
    store.remove_shard(shard)
    warn_once(f"{shard} is damaged and removed: what it held is computed again ({str(error).splitlines()[0]}).")

"""Results per item, kept across runs: one new file embeds one file, a crash loses one shard.

``<root>/<stage>/.shards/<how>/<name>.parquet``: ``how`` names everything but the item that a result depends on
(model, window ...), ``name`` the keys inside. A shard is immutable and appears by one rename. That a key is in two
shards (two runs at once) is harmless: the results are the same, and the first is read.
"""

import hashlib
import time
from collections.abc import Callable, Collection, Iterable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from grip_assets.errors import Unfinished
from grip_assets.runtime.notices import warn_once
from grip_assets.store.artifacts import ArtifactStore, sync_one
from grip_assets.store.tables import TableWriter

Row = TypeVar("Row")
SHARD_SECONDS = 5.0
DAMAGED = (pa.ArrowException, OSError, KeyError)


class Shards:
    """Tables with a string column ``key``, one row or several rows a key."""

    def __init__(self, store: ArtifactStore, stage: str, how: str):
        self.store = store
        store.shards_used.add(how)
        self.folder = store.root / stage / ".shards" / how

    def write(self, table: pa.Table) -> None:
        """Keep ``table`` as one shard, durable when this returns."""
        name = hashlib.sha256("\n".join(table["key"].to_pylist()).encode()).hexdigest()[:32]
        self.folder.mkdir(parents=True, exist_ok=True)
        with self.store.scratch() as scratch:
            with TableWriter(scratch / "shard", table.schema) as writer:
                writer.write(table)
            sync_one(scratch / "shard")
            (scratch / "shard").rename(self.folder / f"{name}.parquet")
        sync_one(self.folder)

    def write_each(self, rows: Iterable[Row], table: Callable[[list[Row]], pa.Table], at_once: int) -> None:
        """Keep rows as they come, a shard every SHARD_SECONDS or ``at_once`` rows: what a crash can lose. How rows fall
        into shards changes no result: they are read by key."""
        held: list[Row] = []
        since = time.monotonic()
        for row in rows:
            held.append(row)
            if len(held) >= at_once or time.monotonic() - since >= SHARD_SECONDS:
                self.write(table(held))
                held, since = [], time.monotonic()
        if held:
            self.write(table(held))

    def completed(self, keys: Collection[str], make: Callable[[list[str]], None]) -> pa.Table:
        """The rows of ``keys`` in their order. ``make`` is given those that are not there, each once, to write them."""
        have = self.index()
        if missing := [key for key in dict.fromkeys(keys) if key not in have]:
            make(missing)
            have = self.index()
        return self.read(keys, have)

    def index(self) -> dict[str, Path]:
        """Where each key is. A shard that cannot be read (0 bytes after a power cut) is removed, and a log line says
        so: its keys are not there, so they are computed again."""
        found: dict[str, Path] = {}
        for shard in sorted(self.folder.glob("*.parquet")):
            for key in _keys(shard):
                found.setdefault(key, shard)
        return found

    def read(self, keys: Collection[str], index: dict[str, Path]) -> pa.Table:
        """The rows of ``keys`` in the order of ``keys``; raises KeyError for one that is not there."""
        by_shard: dict[Path, dict[str, int]] = {}
        for position, key in enumerate(keys):
            by_shard.setdefault(index[key], {})[key] = position
        found = [_rows(_table(shard), wanted) for shard, wanted in by_shard.items()]
        return pa.concat_tables(found).sort_by("position").drop_columns("position")


def _keys(shard: Path) -> list[str]:
    try:
        return pq.read_table(shard, columns=["key"])["key"].unique().to_pylist()
    except DAMAGED as error:
        _remove(shard, error)
        return []


def _table(shard: Path) -> pa.Table:
    try:
        return pq.read_table(shard)
    except DAMAGED as error:
        _remove(shard, error)
        raise Unfinished(
            f"{shard} was damaged inside and is removed. Run the same command again: its documents are computed again."
        ) from None


def _remove(shard: Path, error: Exception) -> None:
    if isinstance(error, PermissionError):
        raise error
    with suppress(FileNotFoundError):
        shard.unlink()
    warn_once(f"{shard} is damaged and removed: what it held is computed again ({str(error).splitlines()[0]}).")


def _rows(table: pa.Table, wanted: dict[str, int]) -> pa.Table:
    """Rows whose key is wanted, with its position."""
    rows = [row for row, key in enumerate(table["key"].to_pylist()) if key in wanted]
    taken = table.take(pa.array(rows, pa.int64()))
    return taken.append_column("position", pa.array([wanted[k] for k in taken["key"].to_pylist()], pa.int64()))

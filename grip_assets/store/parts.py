"""A table of texts in parts that several versions share, so that a new version stores only the parts that changed.

Rows are cut into parts of some megabytes, at places that their own hashes decide. So adding or removing a row changes
only its own part [content-defined chunking: Muthitacharoen et al. 2001]. The name of a part ends with the hash of its
rows. If another version in the data folder has a part of that name, the new version gets a hard link to it, or a copy
if the file system has no links. The bytes of a part are freed with the last version that has it.
"""

import hashlib
import os
import shutil
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

import pyarrow as pa
import pyarrow.parquet as pq

from grip_assets.store.tables import TableWriter

FORMAT = "1"  # of the files; parts of different formats are never shared
SMALLEST = 8 << 20  # mean bytes of a part, before compression
MOST_PARTS = 4096  # per pool, about; larger pools have larger parts


def part_size(pool_bytes: int) -> int:
    """Mean bytes of a part: SMALLEST times a power of two, so that it rarely changes when a pool grows."""
    wanted = SMALLEST
    while wanted * MOST_PARTS < pool_bytes:
        wanted *= 2
    return wanted


class PartsWriter:
    """Writes ``folder/part-<number>-<hash>.parquet``, numbered in the order of the rows; at least one part.

    ``versions``: the folder with the artifacts of this stage. Memory holds the rows of one part, at most twice the mean
    size.
    """

    def __init__(self, folder: Path, schema: pa.Schema, versions: Path, size: int):
        self.folder, self.schema, self.size = folder, schema, size
        self.there = {
            file.name.split("-")[2]: file for file in sorted(versions.glob(f"*/{folder.name}/part-*-*.parquet"))
        }
        self.n_parts = 0
        self._begin()

    def _begin(self) -> None:
        self.rows: list[pa.Table] = []
        self.n_bytes = 0
        self.hash = hashlib.sha256(f"{FORMAT} {self.schema}".encode())

    def write(self, rows: pa.Table, names: Sequence[str], sizes: Sequence[int]) -> None:
        """``names``: for each row a text that identifies all of its values. ``sizes``: bytes of each row."""
        start = 0
        for end, (name, size) in enumerate(zip(names, sizes, strict=True), 1):
            digest = hashlib.sha256(name.encode()).digest()
            self.hash.update(digest)
            self.n_bytes += size
            if self._is_cut(digest, size):
                self.rows.append(rows.slice(start, end - start))
                self._end()
                start = end
        if start < len(rows):
            self.rows.append(rows.slice(start))

    def _is_cut(self, digest: bytes, size: int) -> bool:
        """Whether a part ends after this row: with probability size / mean, or if the part has twice the mean size."""
        return int.from_bytes(digest[:8]) * self.size < size << 64 or self.n_bytes >= 2 * self.size

    def _end(self) -> None:
        name = self.hash.hexdigest()[:32] + ".parquet"
        file = self.folder / f"part-{self.n_parts:05}-{name}"
        if not self._shared(name, file, sum(map(len, self.rows))):
            with TableWriter(file, self.schema) as writer:
                for rows in self.rows:
                    writer.write(rows)
        self.n_parts += 1
        self._begin()

    def _shared(self, name: str, file: Path, n_rows: int) -> bool:
        if name not in self.there or not _is_whole(self.there[name], n_rows):
            return False
        with suppress(OSError):
            os.link(self.there[name], file)
            return True
        with suppress(OSError):  # the other version has just been removed
            shutil.copyfile(self.there[name], file)
            return True
        file.unlink(missing_ok=True)
        return False

    def __enter__(self) -> Self:
        self.folder.mkdir()
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if kind is None and (self.rows or not self.n_parts):
            self._end()


def _is_whole(file: Path, n_rows: int) -> bool:
    """Whether a file of another version can be read. It may be damaged, or have just been removed."""
    with suppress(OSError, pa.ArrowException):
        return bool(pq.ParquetFile(file).metadata.num_rows == n_rows)
    return False

"""A table of texts as files that several versions of it share: a new version stores the rows that are new.

Rows are cut into parts of some megabytes where their own hashes say, so a row that comes or goes changes the part that
it is in and moves no other cut [content-defined chunking: Muthitacharoen et al. 2001]. A part's name ends with the hash
of its rows. Where another version in the data folder has a part of that name, the new version gets a hard link to it,
and nothing is compressed or written; where the file system has no links, a copy. A part's bytes go with the last
version that has it.
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

FORMAT = "1"  # how rows become a file; another one shares nothing with this
SMALLEST = 8 << 20  # bytes of a part, as they come, on average
MOST_PARTS = 4096  # of a pool, about: larger pools have larger parts


def part_size(pool_bytes: int) -> int:
    """Bytes of a part on average: a power of two times SMALLEST, so that a pool that grows seldom changes it."""
    wanted = SMALLEST
    while wanted * MOST_PARTS < pool_bytes:
        wanted *= 2
    return wanted


class PartsWriter:
    """Writes ``folder/part-<number>-<hash>.parquet``, whose order is that of the rows; at least one part.

    ``versions``: the folder with the artifacts of this stage. In memory are the rows of one part, at most twice the
    average size.
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
        """``names``: for each row a text that stands for all of its values; ``sizes``: its bytes."""
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
        """A cut falls after a row with probability size / average, or where the part is twice the average."""
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
    """Whether a file of another version can be read: it may be damaged, or have been removed just now."""
    with suppress(OSError, pa.ArrowException):
        return bool(pq.ParquetFile(file).metadata.num_rows == n_rows)
    return False

"""The formats of an export. Each format writes single parts, and puts all parts together.

Parquet, JSON lines and ``datasets`` are written by their libraries (pyarrow, polars, datasets). The two binary formats
of trainers are in trainers.py.
"""

import gzip
import shutil
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, ClassVar

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from grip_assets.errors import GripError
from grip_assets.extras import missing
from grip_assets.store.tables import TableWriter

COPY = 1 << 20


class Format(ABC):
    """``suffix``: the ending of a path that names the format. ``directory``: the export is a folder. ``expands``: a
    document is written once for each of its repeats, since trainers of this format read no column of repeats.
    ``split``: pattern of the data files, for the front matter of the card."""

    name: ClassVar[str]
    suffix: ClassVar[str] = ""
    directory: ClassVar[bool] = False
    expands: ClassVar[bool] = False
    split: ClassVar[str | None] = None
    tokenizer: str | None = None

    def __init__(self, root: Path, tokenizer: str | None, counter: str):
        """``counter``: the tokenizer that counted the pool's tokens. It is used if ``tokenizer`` is None."""
        if tokenizer:
            raise GripError(f"--tokenizer is for --format megatron; {self.name} contains texts. Leave it out.")

    def facts(self) -> dict[str, Any]:
        """What the bytes depend on, except the rows."""
        return {}

    @abstractmethod
    def write(self, rows: pa.Table, folder: Path) -> dict[str, Any]:
        """Write one part into ``folder``. Returns facts about it for part.json, which ``assemble`` may read."""

    @abstractmethod
    def assemble(self, parts: list[Path], out: Path) -> None:
        """Make the file or folder ``out`` from the folders of the parts."""


class Parquet(Format):
    name, suffix = "parquet", ".parquet"

    def write(self, rows: pa.Table, folder: Path) -> dict[str, Any]:
        with TableWriter(folder / "rows.parquet", rows.schema) as writer:
            writer.write(rows)
        return {}

    def assemble(self, parts: list[Path], out: Path) -> None:
        with TableWriter(out, pq.read_schema(parts[0] / "rows.parquet")) as writer:
            for part in parts:
                writer.write(pq.read_table(part / "rows.parquet"))


class Jsonl(Format):
    """JSON lines. Parts are uncompressed: a compressed file is one stream, since some readers stop after the first."""

    name, suffix = "jsonl", ".jsonl"

    def write(self, rows: pa.Table, folder: Path) -> dict[str, Any]:
        pl.DataFrame(rows).write_ndjson(folder / "rows.jsonl")
        return {}

    def assemble(self, parts: list[Path], out: Path) -> None:
        with self.stream(out) as target:
            for part in parts:
                with (part / "rows.jsonl").open("rb") as lines:
                    shutil.copyfileobj(lines, target, COPY)

    @contextmanager
    def stream(self, out: Path) -> Iterator[IO[bytes]]:
        with out.open("wb") as target:
            yield target


class JsonlGzip(Jsonl):
    name, suffix = "jsonl.gz", ".jsonl.gz"

    @contextmanager
    def stream(self, out: Path) -> Iterator[Any]:
        with out.open("wb") as file, gzip.GzipFile("", "wb", 6, file, mtime=0) as target:  # same bytes each time
            yield target


class JsonlZstd(Jsonl):
    name, suffix = "jsonl.zst", ".jsonl.zst"

    @contextmanager
    def stream(self, out: Path) -> Iterator[Any]:
        with pa.CompressedOutputStream(str(out), "zstd") as target:
            yield target


class HuggingFace(Format):
    """A folder that ``datasets.load_from_disk`` reads. Parts are memory-mapped."""

    name, directory, split = "huggingface", True, "data-*.arrow"

    def write(self, rows: pa.Table, folder: Path) -> dict[str, Any]:
        with pa.OSFile(str(folder / "rows.arrow"), "wb") as file, pa.ipc.new_stream(file, rows.schema) as stream:
            stream.write_table(rows, max_chunksize=1000)
        return {}

    def assemble(self, parts: list[Path], out: Path) -> None:
        try:  # heavy, and an extra
            import datasets
            from datasets.table import MemoryMappedTable, concat_tables
        except ImportError as error:
            raise missing("datasets", "--format huggingface", error) from None

        rows = concat_tables([MemoryMappedTable.from_file(str(part / "rows.arrow")) for part in parts])
        shown = datasets.is_progress_bar_enabled()
        datasets.disable_progress_bars()
        try:  # with a fixed fingerprint, since the default one depends on the time
            datasets.Dataset(rows, fingerprint="grip").save_to_disk(out, max_shard_size="500MB")
        finally:
            if shown:
                datasets.enable_progress_bars()

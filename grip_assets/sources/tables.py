"""Pools whose documents are rows: JSON lines, Parquet, Hugging Face datasets.

Rows are streamed. A row that cannot be used is a rejected row; a file that cannot be read to its end is an error, since
nobody could tell what is missing.
"""

import heapq
import io
import json
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import IO, Any

import fsspec

from grip_assets.errors import GripError
from grip_assets.method.sampling import keyed_uniform
from grip_assets.sources.documents import RawDocument, Reason, Rejected, from_text, readable

TEXT_FIELDS = ("text", "content", "code")
LANGUAGE_FIELDS = ("language", "lang", "programming_language")
JSONL = (".jsonl", ".ndjson", ".jsonl.gz", ".ndjson.gz", ".json.gz", ".jsonl.zst", ".ndjson.zst", ".json.zst")
HINT = "All rows were rejected. Check settings/corpus.text_field, which names the column of the text."


def is_part(format: str, name: str) -> bool:
    endings = {"jsonl": JSONL, "parquet": (".parquet",), "huggingface": (".arrow",)}[format]
    return name.lower().endswith(endings)


@dataclass(frozen=True)
class Rows:
    """How a row becomes a document."""

    text_field: str | None
    id_field: str | None
    project_field: str | None
    max_bytes: int

    def document(self, row: Any, file: str, number: int) -> RawDocument | Rejected:
        place = f"{file}:{number}"
        if not isinstance(row, dict):
            return Rejected(place, Reason.BAD_JSON, f"a {type(row).__name__}, not an object")
        for setting, field in (("id_field", self.id_field), ("project_field", self.project_field)):
            if field and row.get(field) is None:
                return Rejected(place, Reason.MISSING_FIELD, f"no value in '{field}' (settings/corpus.{setting})")
        if self.id_field:
            place = readable(str(row[self.id_field]))
        project = readable(str(row[self.project_field])) if self.project_field else place
        column = self.text_field or next((f for f in TEXT_FIELDS if f in row), "text")
        text = row.get(column)
        if not isinstance(text, str):
            return Rejected(place, Reason.MISSING_FIELD, f"no text in '{column}' (settings/corpus.text_field)")
        if len(text) > self.max_bytes or len(text.encode(errors="replace")) > self.max_bytes:
            return Rejected(place, Reason.TOO_LARGE, f"settings/corpus.max_bytes is {self.max_bytes:,}", len(text))
        language = next((readable(str(row[f]).lower()) for f in LANGUAGE_FIELDS if row.get(f)), None)
        return from_text(text, language, place, project)

    def columns(self, there: list[str], file: str) -> list[str]:
        """Columns to read of a table; GripError where the named ones are not there."""
        for setting in ("text_field", "id_field", "project_field"):
            wanted = getattr(self, setting)
            if wanted and wanted not in there:
                raise GripError(_no_column(file, f"column '{wanted}'", there, setting))
        if not self.text_field and not any(f in there for f in TEXT_FIELDS):
            raise GripError(
                _no_column(file, f"column {', '.join(TEXT_FIELDS[:-1])} or {TEXT_FIELDS[-1]}", there, "text_field")
            )
        named = (self.text_field, self.id_field, self.project_field)
        return [c for c in there if c in (*TEXT_FIELDS, *LANGUAGE_FIELDS, *named)]


def _no_column(file: str, what: str, there: list[str], setting: str) -> str:
    return f"{file} has no {what}. It has: {', '.join(there)}. Set settings/corpus.{setting}."


def _unreadable(file: str, error: Exception) -> GripError:
    return GripError(
        f"{file} cannot be read to its end ({type(error).__name__}: {str(error)[:120]})."
        " It is truncated or damaged: get it again, or take it out of the pool. Nothing of the pool was kept."
    )


def jsonl(rows: Rows) -> Callable[[Any], Iterator[Any]]:
    def read(entry: Any) -> Iterator[RawDocument | Rejected]:
        try:
            with fsspec.open(entry.path, "rb") as raw, _plain(raw, entry.name) as lines:
                for number, line in enumerate(lines, 1):
                    if not line.strip():
                        continue
                    try:
                        row = json.loads(line)
                    except (ValueError, RecursionError) as error:
                        yield Rejected(f"{entry.name}:{number}", Reason.BAD_JSON, str(error)[:200], len(line))
                        continue
                    yield rows.document(row, entry.name, number)
        except (OSError, EOFError, zlib.error) as error:
            raise _unreadable(entry.name, error) from error

    return read


def _plain(raw: IO[bytes], name: str) -> IO[bytes]:
    if name.lower().endswith(".gz"):
        import gzip

        return gzip.open(raw)  # type: ignore[return-value]
    if name.lower().endswith(".zst"):
        import pyarrow as pa

        return io.BufferedReader(pa.CompressedInputStream(pa.PythonFile(raw), "zstd"))  # type: ignore[arg-type]
    return raw


def parquet(rows: Rows) -> Callable[[Any], Iterator[Any]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    def read(entry: Any) -> Iterator[RawDocument | Rejected]:
        try:
            with fsspec.open(entry.path, "rb") as raw:
                file = pq.ParquetFile(raw)
                columns = rows.columns(file.schema_arrow.names, entry.name)
                number = 0
                for batch in file.iter_batches(batch_size=256, columns=columns):
                    for row in batch.to_pylist():
                        number += 1
                        yield rows.document(row, entry.name, number)
        except (OSError, pa.ArrowException) as error:
            raise _unreadable(entry.name, error) from error

    return read


def huggingface(rows: Rows) -> Callable[[Any], Iterator[Any]]:
    """Arrow stream files of ``datasets.save_to_disk``; a row is named by its split folder, file and number."""
    import pyarrow as pa

    def read(entry: Any) -> Iterator[RawDocument | Rejected]:
        try:
            with fsspec.open(entry.path, "rb") as raw, pa.ipc.open_stream(raw) as stream:
                columns = rows.columns(stream.schema.names, entry.name)
                number = 0
                for batch in stream:
                    for row in batch.select(columns).to_pylist():
                        number += 1
                        yield rows.document(row, entry.name, number)
        except (OSError, pa.ArrowException) as error:
            raise _unreadable(entry.name, error) from error

    return read


READERS = {"jsonl": jsonl, "parquet": parquet, "huggingface": huggingface}


def sample(stream: Iterator[RawDocument | Rejected], n: int, seed: int) -> Iterator[RawDocument | Rejected]:
    """The n rows with the smallest keyed hash of their names, in the order of the stream. Holds n rows."""
    heap: list[tuple[float, int, RawDocument | Rejected]] = []
    for number, row in enumerate(stream):
        u = float(keyed_uniform(seed, "corpus", [row.source])[0])
        if len(heap) < n:
            heapq.heappush(heap, (-u, number, row))
        elif -u > heap[0][0]:
            heapq.heapreplace(heap, (-u, number, row))
    yield from (row for _, _, row in sorted(heap, key=lambda item: item[1]))

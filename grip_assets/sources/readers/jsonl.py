"""jsonl: JSON lines and JSON arrays, plain or compressed. Rows are streamed."""

import json
from collections.abc import Iterator
from typing import Any

from grip_assets.errors import GripError
from grip_assets.sources import streams
from grip_assets.sources.documents import RawDocument, Reason, Rejected, only_zeros
from grip_assets.sources.listing import Entry
from grip_assets.sources.readers.rows import TableReader, no_right, partitions_of, unreadable

PACKED = ("", ".gz", ".zst", ".zstd", ".bz2", ".xz")


class Jsonl(TableReader):
    """``endings`` has no plain .json: recognition.py decides by the content whether such a file is a table."""

    name = "jsonl"
    endings = (*(f"{e}{p}" for e in (".jsonl", ".ndjson") for p in PACKED), *(f".json{p}" for p in PACKED if p))
    described = "JSON lines or arrays (.jsonl, .ndjson, .json, also .gz, .zst, .bz2, .xz)"

    def read(self, entry: Entry) -> Iterator[RawDocument | Rejected]:
        partitions = partitions_of(entry.name)
        if entry.is_hole():
            yield Rejected(entry.name, Reason.BINARY, only_zeros(entry.size), entry.size)
            return
        try:
            with streams.plain(entry) as stream:
                for number, row in _json_rows(stream, entry, self.rows.longest_line):
                    if isinstance(row, Rejected):
                        yield row
                        continue
                    if partitions and isinstance(row, dict):
                        row = partitions | row
                    yield self.rows.document(row, entry.name, number)
        except PermissionError as error:
            yield no_right(entry, error)
        except streams.damage() as error:
            raise unreadable(entry, error) from error


def _json_rows(stream: Any, entry: Entry, longest: int) -> Iterator[tuple[int, Any]]:
    """Numbered values of lines or of an array. A line that is no JSON is a rejected row."""
    start = stream.peek(streams.HEAD)
    if start.startswith(streams.POINTER):
        raise GripError(f"{entry.name} {streams.real_reason(entry)}.")
    if streams.kind_of_json(start[: streams.HEAD])[0] == "array":
        yield from enumerate(streams.array(stream, entry.name), 1)
        return
    for number, line in enumerate(streams.lines(stream, longest), 1):
        if isinstance(line, streams.TooLong):
            yield number, _too_long(f"{entry.name}:{number}", line)
        elif line.strip():
            yield number, _value(line, f"{entry.name}:{number}")


def _value(line: bytes, place: str) -> Any:
    try:
        return json.loads(line)
    except UnicodeDecodeError as error:
        return Rejected(place, Reason.INVALID_UTF8, f"at byte {error.start} of the line", len(line))
    except (ValueError, RecursionError) as error:
        zeros = len(line) - len(line.lstrip(b"\0"))
        if zeros == len(line.rstrip(b"\n")):
            return Rejected(place, Reason.BINARY, only_zeros(zeros), len(line))
        return Rejected(place, Reason.BAD_JSON, str(error)[:200], len(line))


def _too_long(place: str, line: streams.TooLong) -> Rejected:
    if line.zeros:
        return Rejected(place, Reason.BINARY, only_zeros(line.n_bytes), line.n_bytes)
    return Rejected(place, Reason.TOO_LARGE, f"a line of {line.n_bytes:,} bytes", line.n_bytes)

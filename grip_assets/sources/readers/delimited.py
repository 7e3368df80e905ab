"""csv: CSV and TSV files with a header, plain or compressed. Rows are streamed.

The first line names the columns. Its most common separator of comma, semicolon, tab and bar is that of the file. A row
with too many or too few values is rejected with its line. So is a value longer than a document may be, which is mostly
an opening quote without its end: reading goes on at the next line.
"""

import csv
from collections.abc import Iterator
from typing import Any

from grip_assets.errors import GripError
from grip_assets.sources import streams
from grip_assets.sources.documents import RawDocument, Reason, Rejected, only_zeros
from grip_assets.sources.listing import Entry
from grip_assets.sources.readers.base import pack
from grip_assets.sources.readers.rows import RowFormat, TableReader, no_right, partitions_of, unreadable

PACKED = (".gz", ".zst", ".zstd", ".bz2", ".xz")
SEPARATORS = ",;\t|"
LARGEST_FIELD = (1 << 31) - 1  # the library's limit, one for the process; ours is by settings/corpus.max_bytes


class Csv(TableReader):
    name = "csv"
    endings = (*pack(".csv", *PACKED), *pack(".tsv", *PACKED))
    described = "CSV and TSV with a header (.csv, .tsv, also .gz, .zst, .bz2, .xz)"

    def read(self, entry: Entry) -> Iterator[RawDocument | Rejected]:
        if entry.is_hole():
            yield Rejected(entry.name, Reason.BINARY, only_zeros(entry.size), entry.size)
            return
        partitions = partitions_of(entry.name)
        try:
            with streams.plain(entry) as stream:
                for number, row in _rows(stream, entry, self.rows, partitions):
                    if isinstance(row, Rejected):
                        yield row
                    else:
                        yield self.rows.document(partitions | row, entry.name, number)
        except PermissionError as error:
            yield no_right(entry, error)
        except streams.damage() as error:
            raise unreadable(entry, error) from error


def header_of(start: bytes) -> list[str]:
    """The names of the columns, from the first bytes of a file. Empty if there is no header."""
    line = start.partition(b"\n")[0].rstrip(b"\r").removeprefix(b"\xef\xbb\xbf").decode(errors="replace")
    return _split(line)


def _split(line: str) -> list[str]:
    separator = max(SEPARATORS, key=line.count)
    row = next(csv.reader([line], delimiter=separator), [])
    return [name.strip() for name in row]


def _rows(
    stream: Any, entry: Entry, format: RowFormat, partitions: dict[str, str | None]
) -> Iterator[tuple[int, dict[str, Any] | Rejected]]:
    """Rows by name of column, each with the number of the line that it begins in."""
    csv.field_size_limit(LARGEST_FIELD)
    first = stream.readline(format.longest_line).removeprefix(b"\xef\xbb\xbf")
    text = first.decode(errors="replace").rstrip("\r\n")
    names = _split(text)
    if not text.strip() or "\0" in text:
        raise GripError(f"{entry.name} {streams.real_reason(entry) or 'begins with no header'}. Nothing was read.")
    format.must_have(names, entry.name, partitions)
    lines = _Lines(stream, format.longest_line)
    reader = csv.reader(lines, delimiter=max(SEPARATORS, key=text.count))
    while True:
        number = lines.number + 1
        try:
            values = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield number, Rejected(f"{entry.name}:{number}", Reason.BAD_RECORD, str(error)[:200])
            continue
        lines.begin()
        if not values:
            continue
        if len(values) != len(names):
            said = f"{len(values):,} value{'s' if len(values) != 1 else ''} for {len(names):,} columns"
            yield number, Rejected(f"{entry.name}:{number}", Reason.BAD_RECORD, said)
            continue
        yield number, dict(zip(names, values, strict=True))


class _Lines:
    """The lines of a file as text, in which each byte that is no UTF-8 is a lone surrogate.

    Raises csv.Error in a row that is longer than a document may be. ``number``: of the last line, from 1.
    """

    def __init__(self, stream: Any, longest: int):
        self.lines, self.longest, self.number, self.held = streams.lines(stream, longest), longest, 1, 0

    def begin(self) -> None:
        """The next line begins a row."""
        self.held = 0

    def __iter__(self) -> "_Lines":
        return self

    def __next__(self) -> str:
        line = next(self.lines)
        self.number += 1
        n_bytes = line.n_bytes if isinstance(line, streams.TooLong) else len(line)
        self.held += n_bytes
        if isinstance(line, streams.TooLong) or self.held > self.longest:
            self.held = 0
            raise csv.Error(f"a row of more than {self.longest:,} bytes: perhaps a quote that does not end")
        return line.decode(errors="surrogateescape")

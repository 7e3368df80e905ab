"""arrow: Arrow IPC files and streams outside of a saved data set: Feather, .ipc, .arrows, and compressed ones.

Files that end in .arrow are read in huggingface.py, which knows the data sets that they mostly belong to.
"""

from collections.abc import Iterator
from typing import Any

import pyarrow as pa

from grip_assets.errors import GripError
from grip_assets.sources import streams
from grip_assets.sources.documents import RawDocument, Rejected
from grip_assets.sources.listing import Entry
from grip_assets.sources.readers.arrow import BATCH, dicts, is_read
from grip_assets.sources.readers.base import pack
from grip_assets.sources.readers.rows import TableReader, no_right, partitions_of, unreadable

PACKED = (".gz", ".zst", ".bz2", ".xz")
FOOTER, OLD = b"ARROW1", b"FEA1"


class ArrowIpc(TableReader):
    """A file with a footer is read as the stream that it holds, so that a compressed one needs no room on disk."""

    name = "arrow"
    endings = tuple(e for kind in (".feather", ".ipc", ".arrows") for e in pack(kind, *PACKED)) + tuple(
        f".arrow{p}" for p in PACKED
    )
    described = "Arrow IPC (.feather, .ipc, .arrows, also .gz, .zst, .bz2, .xz)"

    def read(self, entry: Entry) -> Iterator[RawDocument | Rejected]:
        partitions = partitions_of(entry.name)
        try:
            with streams.plain(entry) as raw, _opened(raw, entry) as stream:
                columns = self.rows.columns(stream.schema, entry.name, partitions)
                tops = [c for c in stream.schema.names if is_read(c, columns)]
                number = 0
                for batch in stream:
                    for at in range(0, batch.num_rows, BATCH):
                        for row in dicts(batch.select(tops).slice(at, BATCH)):
                            number += 1
                            yield self.rows.document(partitions | row, entry.name, number)
        except PermissionError as error:
            yield no_right(entry, error)
        except (*streams.damage(), pa.ArrowException) as error:
            raise unreadable(entry, error) from error


def _opened(raw: Any, entry: Entry) -> Any:
    start = raw.peek(8)
    if start.startswith(OLD):
        raise GripError(f"{entry.name} is of the first version of Feather, which is read no more. Convert it.")
    if start.startswith(FOOTER):
        raw.read(8)
    return pa.ipc.open_stream(raw)

"""huggingface: Arrow files, alone or as a data set that Hugging Face `datasets` saved or cached (saved.py)."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa

from grip_assets.sources.documents import RawDocument, Rejected
from grip_assets.sources.listing import Entry
from grip_assets.sources.readers.arrow import BATCH, dicts, is_read
from grip_assets.sources.readers.base import Files
from grip_assets.sources.readers.rows import TableReader, no_right, partitions_of, unreadable
from grip_assets.sources.readers.saved import Saved, batches, saved


class HuggingFace(TableReader):
    """A row is named by its split folder, file and number."""

    name = "huggingface"
    endings = (".arrow",)
    magic = (b"ARROW1", b"\xff\xff\xff\xff")
    described = "Arrow files and data sets saved by Hugging Face"

    data: Saved | None = None  # None for a single file, which is read whole

    def choose(self, chosen: list[Entry], listing: list[Entry]) -> Files:
        """The files that the data set itself names."""
        self.data = saved(listing)
        caches = sorted({e.name for e in chosen} - {e.name for e in self.data.data})
        more = [f"not read, caches beside the data set: {len(caches):,} ({', '.join(caches[:3])})"] if caches else []
        return Files(self.data.data, self.data.about, more)

    def read(self, entry: Entry) -> Iterator[RawDocument | Rejected]:
        try:
            picked = self.data.picked if self.data else {}
            with batches(entry) as (schema, found):
                partitions = partitions_of(entry.name)
                columns = self.rows.columns(schema, entry.name, partitions)
                tops = [c for c in schema.names if is_read(c, columns)]
                for number, row in _numbered(found, tops, picked.get(entry.name)):
                    yield self.rows.document(partitions | row, entry.name, number)
        except PermissionError as error:
            yield no_right(entry, error)
        except (OSError, pa.ArrowException) as error:
            raise unreadable(entry, error) from error


def _numbered(
    found: Iterator[pa.RecordBatch], columns: list[str], wanted: np.ndarray | None
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Rows with their numbers, from 1. ``wanted``: sorted positions of the rows to read, from 0; None: all rows."""
    start = 0
    for batch in found:
        end = start + batch.num_rows
        inside = np.arange(start, end) if wanted is None else wanted[(wanted >= start) & (wanted < end)]
        for at in range(0, len(inside), BATCH):
            places = inside[at : at + BATCH]
            part = batch.select(columns).take(pa.array(places - start))
            yield from zip((places + 1).tolist(), dicts(part), strict=True)
        start = end

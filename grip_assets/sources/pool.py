"""Opens a pool: its files, which have a fingerprint, and a stream of its documents in a fixed order.

A pool has entries, which are its files sorted by relative name, and a reader of one entry (readers/). listing.py finds
the files, recognition.py their format, and steps/ checks the documents. Documents are streamed: one file of a folder,
or one row group of a table, is in memory at a time.
"""

import hashlib
import heapq
import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field

from grip_assets.errors import GripError
from grip_assets.method.sampling import keyed_uniform
from grip_assets.settings import Corpus
from grip_assets.sources.documents import RawDocument, Rejected
from grip_assets.sources.listing import SKIPPED, Entry, Listing, list_files, look
from grip_assets.sources.readers import READERS, Files, Reader
from grip_assets.sources.readers.rows import RowFormat
from grip_assets.sources.recognition import Recognised, recognise

__all__ = ["SKIPPED", "DocumentPool", "Entry", "list_files", "open_pool"]
ENVIRONMENT = "environment"
# Readers that there were not always. The same files were read as another format before, so a corpus of that time is not
# reused. The names of all other corpora stay.
LATER = ("arrow", "csv", "warc", "wet", "webdataset")


@dataclass
class DocumentPool:
    """``n_listed``: the number of documents before sampling; rows of tables are counted as they are read. ``rejected``:
    files that are not read, with the reason. ``about``: files that name the files to read. ``notes``: lines for the
    user on how the pool is read. ``row_sample``: the number of rows to draw and the seed; None: all rows."""

    label: str
    entries: list[Entry]
    reader: Reader
    n_listed: int = 0
    rejected: list[Rejected] = field(default_factory=list)
    about: list[Entry] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    row_sample: tuple[int, int] | None = None

    def fingerprint(self) -> str:
        """A hash of the listing. The pool is read again only if it changes."""
        lines = [f"{e.name}\0{e.size}\0{e.stamp}" for e in (*self.entries, *self.about)]
        lines += [f"{r.source}\0{r.reason}\0{r.n_bytes}" for r in self.rejected]
        lines += [f"read as {self.reader.name}"] if self.reader.name in LATER else []
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]

    def read(self) -> Iterator[RawDocument | Rejected]:
        documents = self._counted(itertools.chain.from_iterable(map(self.reader.read, self.entries)))
        sampled = sample_rows(documents, *self.row_sample) if self.row_sample else documents
        return itertools.chain(self.rejected, sampled)

    def _counted(self, stream: Iterator[RawDocument | Rejected]) -> Iterator[RawDocument | Rejected]:
        files = self.n_listed
        self.n_listed = files or len(self.rejected)
        for document in stream:
            self.n_listed += not files
            yield document

    def size(self) -> int:
        return sum(e.size for e in self.entries) + sum(r.n_bytes or 0 for r in self.rejected)


def open_pool(settings: Corpus, vector_column: str | None = None) -> DocumentPool:
    """The pool of settings/corpus. ``vector_column``: the column of the pool's own vectors (settings/embedding.column).

    Raises GripError if there are no files, or none of the format.
    """
    listing, found = _recognised(settings)
    reader = READERS[found.format](settings, vector_column)
    chosen = found.chosen
    files = Files(chosen) if listing.one_file else reader.choose(chosen, listing.entries)
    pool = DocumentPool(_label(settings, found), files.entries, reader)
    pool.rejected = [*listing.rejected, *found.unknown]
    pool.about = files.about
    pool.notes = [*found.notes, *listing.notes(), *files.notes]
    if reader.file_is_document:
        _draw_files(pool, settings)
    else:
        n = len(pool.entries)
        pool.notes.insert(0, f"read as {found.format}: {n:,} file{'s' if n != 1 else ''}")
        pool.row_sample = None if settings.max_documents is None else (settings.max_documents, settings.seed)
    return pool


def _recognised(settings: Corpus) -> tuple[Listing, Recognised]:
    """The files at settings/corpus.path, the format of the pool, and the files that are read in it."""
    path, format = settings.path, settings.format
    if format not in (None, *READERS):
        raise GripError(f"settings/corpus.format is '{format}'. Choose one of: {', '.join(READERS)}, or null.")
    if format == ENVIRONMENT or (path is None and format is None):
        return Listing(""), Recognised(ENVIRONMENT, [])
    if path is None:
        raise GripError(f"settings/corpus.format is '{format}', and settings/corpus.path is not set. Set it.")
    listing = look(path)
    return listing, recognise(listing, format, RowFormat.of(settings, None).has_text)


def _label(settings: Corpus, found: Recognised) -> str:
    if settings.path is None or found.format == ENVIRONMENT:
        return "the source code on this machine"
    return settings.path.rstrip("/").rpartition("/")[2] or settings.path


def _draw_files(pool: DocumentPool, settings: Corpus) -> None:
    """Count the documents, one per file, and keep at most settings/corpus.max_documents, drawn by hash of the name."""
    known, most = pool.entries, settings.max_documents
    pool.n_listed = len(known) + len(pool.rejected)
    if most is not None and most < len(known):
        u = keyed_uniform(settings.seed, "corpus", [e.name for e in known])
        pool.entries = [known[i] for i in sorted(u.argsort(kind="stable")[:most])]


def sample_rows(stream: Iterator[RawDocument | Rejected], n: int, seed: int) -> Iterator[RawDocument | Rejected]:
    """The n rows with the smallest keyed hash of their names, in the order of the stream. Holds n rows."""
    heap: list[tuple[float, int, RawDocument | Rejected]] = []
    for number, row in enumerate(stream):
        u = float(keyed_uniform(seed, "corpus", [row.source])[0])
        if len(heap) < n:
            heapq.heappush(heap, (-u, number, row))
        elif -u > heap[0][0]:
            heapq.heapreplace(heap, (-u, number, row))
    yield from (row for _, _, row in sorted(heap, key=lambda item: item[1]))

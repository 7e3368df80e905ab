"""Pools: a listing that can be recognised without reading, and a stream of documents in a fixed order.

Every pool is a list of entries, files sorted by their relative names, and a way to read one entry. Which files there
are: listing.py; what they are: recognition.py. Documents are streamed; the bytes of one file of a folder, or of one row
group of a table, are in memory at a time.
"""

import hashlib
import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from grip_assets.errors import GripError
from grip_assets.method.sampling import keyed_uniform
from grip_assets.sources import environment, tables
from grip_assets.sources.documents import RawDocument, Reason, Rejected, from_bytes, only_zeros, project_of
from grip_assets.sources.languages import language_of
from grip_assets.sources.listing import SKIPPED, Entry, Listing, list_files, look
from grip_assets.sources.recognition import Recognised, recognise
from grip_assets.sources.saved import saved

__all__ = ["FORMATS", "SKIPPED", "Entry", "Pool", "list_files", "open_pool"]
FORMATS = ("folder", "jsonl", "parquet", "huggingface", "environment")

Read = Callable[[Entry], Iterator[RawDocument | Rejected]]


@dataclass
class Pool:
    """``n_listed``: documents there are before sampling; rows of tables are counted as they are read. ``rejected``:
    files that are not read, with the reason. ``about``: files that say what is read. ``notes``: what the user is to
    know of how the pool is read."""

    label: str
    entries: list[Entry]
    read_entry: Read
    sample: Callable[[Iterator[Any]], Iterator[Any]] = field(default=lambda stream: stream)
    n_listed: int = 0
    rejected: list[Rejected] = field(default_factory=list)
    about: list[Entry] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def fingerprint(self) -> str:
        """Digest of the listing: the pool is read again only when it changes."""
        lines = [f"{e.name}\0{e.size}\0{e.stamp}" for e in (*self.entries, *self.about)]
        lines += [f"{r.source}\0{r.reason}\0{r.n_bytes}" for r in self.rejected]
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]

    def read(self) -> Iterator[RawDocument | Rejected]:
        documents = self._counted(itertools.chain.from_iterable(map(self.read_entry, self.entries)))
        return itertools.chain(self.rejected, self.sample(documents))

    def _counted(self, stream: Iterator[RawDocument | Rejected]) -> Iterator[RawDocument | Rejected]:
        files = self.n_listed
        self.n_listed = files or len(self.rejected)
        for document in stream:
            self.n_listed += not files
            yield document

    def size(self) -> int:
        return sum(e.size for e in self.entries) + sum(r.n_bytes or 0 for r in self.rejected)


def open_pool(
    path: str | None,
    format: str | None,
    text_field: str | None,
    id_field: str | None,
    max_bytes: int,
    max_documents: int | None,
    seed: int,
    project_field: str | None = None,
    project_depth: int = 2,
    language_field: str | None = None,
    keep: tuple[str, ...] = (),
    vector_field: str | None = None,
) -> Pool:
    """The pool at ``path`` (None: this machine's installed source code).

    Raises GripError where there is nothing, or nothing of the format.
    """
    if format not in (None, *FORMATS):
        raise GripError(f"settings/corpus.format is '{format}'. Choose one of: {', '.join(FORMATS)}, or null.")
    read_file = partial(_read_file, max_bytes=max_bytes, project_depth=project_depth)
    if format == "environment" or (path is None and format is None):
        entries = [Entry(*entry) for entry in environment.listing()]
        return _of_files(Pool("the source code on this machine", entries, read_file), max_documents, seed)
    if path is None:
        raise GripError(f"settings/corpus.format is '{format}', and settings/corpus.path is not set. Set it.")
    rows = tables.Rows(text_field, id_field, project_field, max_bytes, language_field, keep, vector_field)
    listing = look(path)
    found = recognise(listing, format, rows.has_text)
    pool = _pool(path, listing, found)
    if found.format == "folder":
        pool.read_entry = read_file
        return _of_files(pool, max_documents, seed)
    if found.format == "huggingface":
        _of_saved(pool, rows, listing)
    else:
        pool.read_entry = tables.READERS[found.format](rows)
    pool.notes.insert(0, f"read as {found.format}: {len(pool.entries):,} file{'s' if len(pool.entries) != 1 else ''}")
    if max_documents is not None:
        pool.sample = lambda stream: tables.sample(stream, max_documents, seed)
    return pool


def _pool(path: str, listing: Listing, found: Recognised) -> Pool:
    label = path.rstrip("/").rpartition("/")[2] or path
    notes = [*found.notes, *listing.notes()]
    return Pool(label, found.chosen, lambda e: iter(()), rejected=[*listing.rejected, *found.unknown], notes=notes)


def _of_saved(pool: Pool, rows: tables.Rows, listing: Listing) -> None:
    """Of a saved data set the files that it names itself."""
    if listing.one_file:
        pool.read_entry = tables.huggingface(rows)
        return
    data = saved(listing.entries)
    caches = sorted({e.name for e in pool.entries} - {e.name for e in data.data})
    if caches:
        pool.notes.append(f"not read, caches beside the data set: {len(caches):,} ({', '.join(caches[:3])})")
    pool.entries, pool.about, pool.read_entry = data.data, data.about, tables.huggingface(rows, data)


def _of_files(pool: Pool, max_documents: int | None, seed: int) -> Pool:
    known = pool.entries
    pool.n_listed = len(known) + len(pool.rejected)
    if max_documents is not None and max_documents < len(known):
        u = keyed_uniform(seed, "corpus", [e.name for e in known])
        pool.entries = [known[i] for i in sorted(u.argsort(kind="stable")[:max_documents])]
    return pool


def _read_file(entry: Entry, max_bytes: int, project_depth: int) -> Iterator[RawDocument | Rejected]:
    if entry.size > max_bytes:
        detail = f"{entry.size:,} bytes; settings/corpus.max_bytes is {max_bytes:,}"
        hole = f"; it {only_zeros(entry.size)}" if entry.is_hole() else ""
        yield Rejected(entry.name, Reason.TOO_LARGE, detail + hole, entry.size)
        return
    try:
        with entry.open() as file:
            data = file.read()
    except OSError as error:
        yield Rejected(entry.name, Reason.UNREADABLE, error.strerror or type(error).__name__, entry.size)
        return
    yield from_bytes(data, language_of(entry.name), entry.name, project_of(entry.name, project_depth))

"""Pools: a listing that can be recognised without reading, and a stream of documents in a fixed order.

Every pool is a list of entries, files sorted by their relative names, and a way to read one entry. Files go through
fsspec, so a local folder and a bucket are one code path. Documents are streamed; the bytes of one file of a folder,
or of one row group of a table, are in memory at a time.
"""

import hashlib
import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import fsspec

from grip_assets.errors import GripError
from grip_assets.method.sampling import keyed_uniform
from grip_assets.sources import environment, tables
from grip_assets.sources.documents import RawDocument, Reason, Rejected, from_bytes, project_of, readable
from grip_assets.sources.languages import language_of

FORMATS = ("folder", "jsonl", "parquet", "huggingface", "environment")
SKIPPED = {"__pycache__", "node_modules"}  # besides everything that begins with a dot


@dataclass(frozen=True)
class Entry:
    """A file of the pool: relative name, where it is, size in bytes, and what changes when its content does."""

    name: str
    path: str
    size: int
    stamp: str


Read = Callable[[Entry], Iterator[RawDocument | Rejected]]


@dataclass
class Pool:
    """``n_listed``: documents there are before sampling; rows of tables are counted as they are read."""

    label: str
    entries: list[Entry]
    read_entry: Read
    hint: str
    sample: Callable[[Iterator[Any]], Iterator[Any]] = field(default=lambda stream: stream)
    n_listed: int = 0

    def fingerprint(self) -> str:
        """Digest of the listing: the pool is read again only when it changes."""
        lines = (f"{e.name}\0{e.size}\0{e.stamp}" for e in self.entries)
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]

    def read(self) -> Iterator[RawDocument | Rejected]:
        return self.sample(self._counted(itertools.chain.from_iterable(map(self.read_entry, self.entries))))

    def _counted(self, stream: Iterator[RawDocument | Rejected]) -> Iterator[RawDocument | Rejected]:
        files = self.n_listed
        for n, document in enumerate(stream, 1):
            self.n_listed = files or n
            yield document

    def size(self) -> int:
        return sum(e.size for e in self.entries)


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
) -> Pool:
    """The pool at ``path`` (None: this machine's installed source code).

    Raises GripError where there is nothing, or nothing of the format.
    """
    if format not in (None, *FORMATS):
        raise GripError(f"settings/corpus.format is '{format}'. Choose one of: {', '.join(FORMATS)}, or null.")
    if format == "environment" or (path is None and format is None):
        entries = [Entry(*entry) for entry in environment.listing()]
        return _of_files("the source code on this machine", entries, max_bytes, max_documents, seed, project_depth)
    if path is None:
        raise GripError(f"settings/corpus.format is '{format}', and settings/corpus.path is not set. Set it.")
    entries = list_files(path)
    format = format or infer(path, entries)
    label = path.rstrip("/").rpartition("/")[2] or path
    if format == "folder":
        return _of_files(label, entries, max_bytes, max_documents, seed, project_depth)
    reader = tables.READERS[format](tables.Rows(text_field, id_field, project_field, max_bytes))
    chosen = [e for e in entries if tables.is_part(format, e.name)]
    if not chosen:
        raise GripError(
            f"settings/corpus.path '{path}' holds no {format} file. Check the path and settings/corpus.format."
        )
    pool = Pool(label, chosen, reader, tables.HINT, n_listed=0)
    if max_documents is not None:
        pool.sample = lambda stream: tables.sample(stream, max_documents, seed)
    return pool


def _of_files(
    label: str, entries: list[Entry], max_bytes: int, max_documents: int | None, seed: int, project_depth: int
) -> Pool:
    known = [e for e in entries if language_of(e.name)]
    if not known:
        raise GripError(
            f"{label}: no file of a known language among {len(entries):,} files. Nothing was read."
            " Check settings/corpus.path; for tables set settings/corpus.format to jsonl or parquet."
        )
    n_listed = len(known)
    if max_documents is not None and max_documents < n_listed:
        u = keyed_uniform(seed, "corpus", [e.name for e in known])
        known = [known[i] for i in sorted(u.argsort(kind="stable")[:max_documents])]
    hint = "All files were rejected: the table `rejected` of an earlier run, or the messages above, say why."
    return Pool(label, known, lambda e: _read_file(e, max_bytes, project_depth), hint, n_listed=n_listed)


def _read_file(entry: Entry, max_bytes: int, project_depth: int) -> Iterator[RawDocument | Rejected]:
    if entry.size > max_bytes:
        detail = f"{entry.size:,} bytes; settings/corpus.max_bytes is {max_bytes:,}"
        yield Rejected(entry.name, Reason.TOO_LARGE, detail, entry.size)
        return
    try:
        with fsspec.open(entry.path, "rb") as file:
            data = file.read()
    except OSError as error:
        yield Rejected(entry.name, Reason.UNREADABLE, f"{type(error).__name__}", entry.size)
        return
    yield from_bytes(data, language_of(entry.name), entry.name, project_of(entry.name, project_depth))


def list_files(path: str) -> list[Entry]:
    """All files below ``path`` (or the one it names), sorted by relative name, hidden ones left out."""
    if "://" not in path:
        return _list_local(Path(path).expanduser())
    fs, root = fsspec.core.url_to_fs(path)
    if not fs.exists(root):
        raise GripError(f"settings/corpus.path '{path}' is not there. Check the address and your access to it.")
    found = fs.find(root, detail=True)
    base = "" if fs.isfile(root) else root.rstrip("/") + "/"
    entries = []
    for file, info in found.items():
        name = file.removeprefix(base) if base else PurePosixPath(file).name
        entries.append(Entry(name, fs.unstrip_protocol(file), int(info["size"] or 0), str(fs.ukey(file))))
    return _visible(path, entries)


def _list_local(root: Path) -> list[Entry]:
    if not root.exists():
        raise GripError(f"settings/corpus.path '{root}' is not there. Check the path.")
    files = [root] if root.is_file() else [p for p in root.rglob("*") if p.is_file()]
    inside = root.resolve()
    entries = []
    for file in files:
        if file.is_symlink() and not file.resolve().is_relative_to(inside):
            continue  # a link must not bring a file from outside the pool into it
        stat = file.stat()
        name = file.name if root.is_file() else file.relative_to(root).as_posix()
        entries.append(Entry(readable(name), str(file), stat.st_size, str(stat.st_mtime_ns)))
    return _visible(str(root), entries)


def _visible(path: str, entries: list[Entry]) -> list[Entry]:
    def hidden(name: str) -> bool:
        return any(part.startswith(".") or part in SKIPPED for part in PurePosixPath(name).parts)

    kept = sorted((e for e in entries if not hidden(e.name)), key=lambda e: e.name)
    if not kept:
        raise GripError(f"settings/corpus.path '{path}' holds no files. Nothing was read. Check the path.")
    return kept


def infer(path: str, entries: list[Entry]) -> str:
    """The format that the file names show."""
    names = [PurePosixPath(e.name).name for e in entries]
    if "state.json" in names or "dataset_dict.json" in names:
        return "huggingface"
    for format in ("jsonl", "parquet"):
        if all(tables.is_part(format, name) for name in names):
            return format
    if len(entries) == 1 and path.rstrip("/").endswith(entries[0].name) and not language_of(entries[0].name):
        raise GripError(f"settings/corpus.path '{path}' has no known file name. Set settings/corpus.format.")
    return "folder"

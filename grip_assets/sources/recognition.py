"""Recognises the format of a pool, and which of its files are documents, tables, or neither.

Names decide first, then the first bytes. A card, a licence and the markers of the program that wrote the tables may
lie beside tables: they are no documents. If a pool has tables and other text, it is read as text only if the text is
clearly the larger part. Otherwise it is an error, since the user may have meant either.
"""

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

from grip_assets.errors import GripError
from grip_assets.sources import streams
from grip_assets.sources.documents import Reason, Rejected
from grip_assets.sources.languages import language_of
from grip_assets.sources.listing import Entry, Listing
from grip_assets.sources.readers import READERS
from grip_assets.sources.readers.delimited import header_of

BESIDE = {  # files beside tables that are no documents, by the name before the first dot
    "readme", "license", "licence", "notice", "copying", "authors", "citation", "changelog", "contributing",
    "code_of_conduct", "datasheet", "dataset_card", "card", "dataset_info", "dataset_infos", "dataset_dict", "state",
    "croissant", "manifest", "checksums", "sha256sums", "md5sums", "metadata",
}  # fmt: skip
SUMS = (".crc", ".md5", ".sha256", ".lock")
BESIDE_CODE = {"csv", "webdataset"}  # formats of files that lie beside code too
LOOKED_INTO = 8  # .json files of a folder that are read first; if all are tables, so are the others
DESCRIBED = "; ".join(reader.described for reader in READERS.values() if reader.described)
KNOWN = f"Known are: {DESCRIBED}. Others, such as PDF and zip, are not: convert them first."
SUFFIXES_SHOWN = 10


@dataclass
class Recognised:
    """``chosen``: files to read. ``unknown``: rejected rows for files of unknown kind. ``notes``: for the user."""

    format: str
    chosen: list[Entry]
    unknown: list[Rejected] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def table_kind(name: str) -> str | None:
    """The format of a table, by the file's name. None if the name is not that of a table."""
    return next((kind for kind, reader in READERS.items() if name.lower().endswith(reader.endings)), None)


def recognise(listing: Listing, format: str | None, has_text: Callable[[Any], bool]) -> Recognised:
    """Find the format of a pool and the files to read.

    ``has_text``: whether a row has a column with text. Raises GripError if the format is not certain.
    """
    if listing.one_file and format != "folder":
        entry = listing.entries[0]
        return Recognised(format or _of_file(listing.path, entry, has_text), [entry])
    if format == "folder":
        return _folder(listing)
    if format is not None:
        return _tables_as_told(listing, format)
    return _seen(listing, has_text)


def _of_file(path: str, entry: Entry, has_text: Callable[[Any], bool]) -> str:
    """The format of one file: by its name, else by its first bytes."""
    kind = table_kind(entry.name)
    if kind:
        return kind
    if language_of(entry.name) not in (None, "json"):
        return "folder"
    start = streams.head(entry)
    for kind, reader in READERS.items():
        if start.startswith(reader.magic):
            return kind
    holds, row = streams.kind_of_json(start)
    if holds in ("lines", "array") or (holds == "row" and has_text(row)):
        return "jsonl"
    if language_of(entry.name):
        return "folder"
    reason = streams.real_reason(entry)
    if reason:
        raise GripError(f"settings/corpus.path '{path}' {reason}.")
    raise GripError(
        f"settings/corpus.path '{path}' has no known file name, and its content is of no known kind. {KNOWN}"
        " Where it is a table under another name, set settings/corpus.format."
    )


def _seen(listing: Listing, has_text: Callable[[Any], bool]) -> Recognised:
    entries = listing.entries
    tables = {e.name: kind for e in entries if (kind := table_kind(e.name)) and not _marker(e.name)}
    text = [e for e in entries if e.name not in tables and language_of(e.name)]
    if not _are_tables(entries, tables, text, has_text):
        text += [e for e in entries if tables.get(e.name) in BESIDE_CODE and language_of(e.name)]
        tables = {name: kind for name, kind in tables.items() if kind not in BESIDE_CODE}
    jsons = [e for e in text if _plain_json(e.name) and not _beside(e.name)]
    if jsons and len([e for e in text if not _beside(e.name)]) == len(jsons):
        tables |= dict.fromkeys(_json_tables(jsons, has_text), "jsonl")
        if tables:  # the other .json files describe the tables
            text = [e for e in text if not _plain_json(e.name)]
    if not tables:
        return _folder(listing)
    text = [e for e in text if not _beside(e.name)]
    kinds = Counter(tables.values())
    if not text and len(kinds) == 1:
        return _tables(listing, next(iter(kinds)), set(tables))
    size = sum(e.size for e in entries if e.name in tables)
    if len(text) > len(tables) and sum(e.size for e in text) > size:
        return _folder(listing)
    raise GripError(_two_kinds(listing.path, kinds, text))


def _are_tables(
    entries: list[Entry], tables: dict[str, str], text: list[Entry], has_text: Callable[[Any], bool]
) -> bool:
    """Whether CSV or tar files of a folder are its tables, and not data beside code or other tables.

    They are if the folder has nothing else to read. CSV files need a column of text too.
    """
    kinds = set(tables.values())
    if not kinds & BESIDE_CODE:
        return True
    if len(kinds) > 1 or any(not _beside(e.name) for e in text):
        return False
    first = next(e for e in entries if e.name in tables)
    return kinds != {"csv"} or has_text(dict.fromkeys(header_of(streams.head(first)), ""))


def _two_kinds(path: str, kinds: Counter[str], text: list[Entry]) -> str:
    found = [f"{n:,} {kind}" for kind, n in sorted(kinds.items())]
    found += [f"{len(text):,} of text or code ({', '.join(e.name for e in text[:3])})"] if text else []
    formats = ", ".join([*sorted(kinds), *(["folder"] if text else [])])
    return (
        f"settings/corpus.path '{path}' holds files of more than one kind: {', '.join(found)}. A pool is read as one"
        f" kind, so some would be left out. Set settings/corpus.format to one of {formats}, or move them apart."
    )


def _json_tables(jsons: list[Entry], has_text: Callable[[Any], bool]) -> list[str]:
    """The .json files that are tables. If the first few are tables, all are. A configuration file is no table."""

    def is_table(entry: Entry) -> bool:
        holds, row = streams.kind_of_json(streams.head(entry))
        return holds == "lines" or (holds in ("array", "row") and has_text(row))

    looked = {e.name: is_table(e) for e in jsons[:LOOKED_INTO]}
    if all(looked.values()):
        return [e.name for e in jsons]
    return [e.name for e in jsons if (looked[e.name] if e.name in looked else is_table(e))]


def _tables_as_told(listing: Listing, format: str) -> Recognised:
    entries = [e for e in listing.entries if not _marker(e.name)]
    names = {e.name for e in entries if table_kind(e.name) == format}
    if format == "jsonl":
        names |= {e.name for e in entries if _plain_json(e.name) and not _beside(e.name)}
    if not names:
        raise GripError(
            f"settings/corpus.path '{listing.path}' holds no {format} file, but {kinds_of(listing.entries)}."
            " Check the path and settings/corpus.format."
        )
    return _tables(listing, format, names)


def _tables(listing: Listing, format: str, names: set[str]) -> Recognised:
    chosen, beside, unknown = [], [], []
    for entry in listing.entries:
        if entry.name in names:
            chosen.append(entry)
        elif _beside(entry.name) or _plain_json(entry.name):
            beside.append(entry.name)
        else:
            unknown.append(entry)
    notes = []
    if beside:
        more = ", ..." if len(beside) > 3 else ""
        notes.append(f"no documents, beside tables: {len(beside):,} ({', '.join(beside[:3])}{more})")
    return Recognised(format, chosen, _rejected(unknown), notes + _counted(unknown))


def _folder(listing: Listing) -> Recognised:
    known = [e for e in listing.entries if language_of(e.name)]
    unknown = [e for e in listing.entries if not language_of(e.name)]
    if not known and listing.entries:
        raise GripError(
            f"settings/corpus.path '{listing.path}' has no file of a known language among {kinds_of(unknown)}. Nothing"
            f" was read. {KNOWN} For tables under other names set settings/corpus.format."
        )
    return Recognised("folder", known, _rejected(unknown), _counted(unknown))


def _rejected(unknown: Iterable[Entry]) -> list[Rejected]:
    def detail(entry: Entry) -> str:
        if kind := table_kind(entry.name):
            return f"a table ({kind}) beside text; to read it set settings/corpus.format to {kind}"
        return f"no known ending: {_suffix(entry.name)}"

    return [Rejected(e.name, Reason.UNKNOWN_KIND, detail(e), e.size) for e in unknown]


def _counted(unknown: list[Entry]) -> list[str]:
    if not unknown:
        return []
    tables = any(table_kind(entry.name) for entry in unknown)
    hint = "; to read the tables instead, set settings/corpus.format" if tables else ""
    return [f"left out, neither text nor source code: {kinds_of(unknown)}{hint}"]


def kinds_of(entries: list[Entry]) -> str:
    """The number of files and their most common endings, in words."""
    counts = Counter(_suffix(e.name) for e in entries)
    shown = [f"{suffix} {n:,}" for suffix, n in sorted(counts.items(), key=lambda c: (-c[1], c[0]))]
    more = ", ..." if len(shown) > SUFFIXES_SHOWN else ""
    return f"{len(entries):,} file{'s' if len(entries) != 1 else ''} ({', '.join(shown[:SUFFIXES_SHOWN])}{more})"


def _suffix(name: str) -> str:
    return PurePosixPath(name.lower()).suffix or "without ending"


def _plain_json(name: str) -> bool:
    return name.lower().endswith(".json")


def _marker(name: str) -> bool:
    """Whether a file is a marker that Spark or others write beside tables: _SUCCESS, _temporary/, _delta_log/."""
    return any(part.startswith("_") for part in PurePosixPath(name).parts)


def _beside(name: str) -> bool:
    base = PurePosixPath(name.lower()).name
    return _marker(name) or base.endswith(SUMS) or base.partition(".")[0] in BESIDE

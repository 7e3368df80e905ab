"""One document of a pool, or the reason why it is rejected."""

import hashlib
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import cached_property
from typing import Any

from grip_assets.sources.encodings import bom, decode


class Reason(StrEnum):
    TOO_LARGE = "too large"
    BINARY = "binary"
    INVALID_UTF8 = "invalid utf-8"
    EMPTY = "empty"
    BAD_JSON = "bad json"
    BAD_RECORD = "bad record"
    MISSING_FIELD = "missing field"
    BAD_VECTOR = "bad vector"
    UNREADABLE = "unreadable"
    UNKNOWN_KIND = "unknown kind"
    DUPLICATE = "duplicate"
    CONTAMINATED = "contaminated"
    PERSONAL_DATA = "personal data"
    SECRET = "secret"
    LANGUAGE = "language"
    OVER_CAP = "over the cap"


WOULD_READ = {
    Reason.TOO_LARGE: "Raise settings/corpus.max_bytes, or cut the documents before they come here.",
    Reason.BINARY: "Binary files are no documents: check settings/corpus.path, and convert them to text first.",
    Reason.INVALID_UTF8: "Convert them to UTF-8 first, for example with iconv.",
    Reason.EMPTY: "Check settings/corpus.path and settings/corpus.text_field: there is no text where they point.",
    Reason.BAD_JSON: "Check settings/corpus.format: JSON lines are one object a line.",
    Reason.BAD_RECORD: "Check settings/corpus.format, and get the files again if they are damaged.",
    Reason.MISSING_FIELD: "Set settings/corpus.text_field (or id_field, project_field) to a column that the rows have.",
    Reason.BAD_VECTOR: "Check settings/embedding.column: each document needs a vector, of one width and not zero.",
    Reason.UNREADABLE: "Give yourself the right to read them, or take them out of the pool.",
    Reason.CONTAMINATED: "They hold problems of a benchmark: see settings/corpus.benchmarks.",
    Reason.PERSONAL_DATA: "Mask what is found instead: settings/corpus.personal_data=mask.",
    Reason.SECRET: "Mask what is found instead: settings/corpus.secrets=mask.",
    Reason.LANGUAGE: "Check settings/corpus.languages: the detail names the language of each document.",
}
"""What to do if all documents are rejected, most of them for this reason."""


@dataclass(frozen=True)
class RawDocument:
    """``source``: stable name in the pool, never an absolute path. ``project``: its documents are held out together.

    ``decoded_from``: the encoding, if it was not UTF-8. ``kept``: the user's columns (settings/corpus.keep) as JSON.
    ``vector``: the user's own embedding (settings/embedding.column), float32 as bytes. ``doc_id``: a hash of the text.
    ``found``: what was masked (steps/masking.py), as JSON. ``licence``: an SPDX expression.
    ``licence_from``: where it stands, "head" or the file of the project, which is named even if it is not recognised.
    ``language_confidence``: of a language that was recognised from the text.
    """

    text: str
    language: str | None
    source: str
    n_bytes: int
    project: str
    decoded_from: str | None = None
    kept: str | None = None
    vector: bytes | None = None
    found: str | None = None
    licence: str | None = None
    licence_from: str | None = None
    language_confidence: float | None = None

    @cached_property
    def doc_id(self) -> str:
        return name_of(self.text)


@dataclass(frozen=True)
class Rejected:
    """``doc_id``: that of the text, if there is one. ``stands_for``: the document that is kept instead of a duplicate.
    ``finding``: for a contaminated document, a contamination.Finding. ``found``: as in RawDocument."""

    source: str
    reason: Reason
    detail: str
    n_bytes: int | None = None
    doc_id: str | None = None
    stands_for: str | None = None
    finding: Any = None
    found: str | None = None


def name_of(text: str) -> str:
    """``doc_id``: the first 32 hex digits of the SHA-256 of the text."""
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def readable(name: str) -> str:
    """A file name or a value of a table as text that can be stored. Characters that UTF-8 cannot encode become '?'."""
    return name.encode(errors="replace").decode()


def project_of(source: str, depth: int) -> str:
    """The first ``depth`` folders of a file's path. A file that lies higher is a project of its own."""
    return "/".join(source.split("/")[:depth])


def from_bytes(data: bytes, language: str | None, source: str, project: str) -> RawDocument | Rejected:
    """Decode a file. If its bytes are text in no encoding, the document is rejected. No byte is ever replaced."""
    if b"\0" in data[:65_536] and not bom(data):
        return Rejected(
            source, Reason.BINARY, only_zeros(len(data)) if is_zero(data) else "it has NUL bytes", len(data)
        )
    try:
        text, encoding = decode(data)
    except UnicodeDecodeError as error:
        return Rejected(source, Reason.INVALID_UTF8, f"at byte {error.start}, and text in no other encoding", len(data))
    document = from_text(text, language, source, project)
    return replace(document, decoded_from=encoding) if encoding and isinstance(document, RawDocument) else document


def is_zero(data: bytes) -> bool:
    return data.count(0) == len(data)


def only_zeros(n_bytes: int) -> str:
    """The detail of a rejected file of zero bytes, such as a crash leaves."""
    return f"holds no text: {n_bytes:,} zero bytes"


def from_text(text: str, language: str | None, source: str, project: str) -> RawDocument | Rejected:
    try:
        size = len(text.encode())
    except UnicodeEncodeError as error:  # a JSON string may hold half of a surrogate pair
        return Rejected(source, Reason.INVALID_UTF8, f"lone surrogate at character {error.start}")
    if "\0" in text:
        return Rejected(source, Reason.BINARY, "it has NUL characters", size)
    if not text or text.isspace():
        return Rejected(source, Reason.EMPTY, "nothing but white space" if text else "no characters", size)
    return RawDocument(text, language, source, size, project)

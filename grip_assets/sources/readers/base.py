"""The interface of readers. A reader takes an entry of a listing, which is one file, and yields the documents in it.

A reader is made from settings/corpus and holds no open file, so it can be sent to another process.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import ClassVar

from grip_assets.settings import Corpus
from grip_assets.sources.documents import RawDocument, Rejected
from grip_assets.sources.listing import Entry


@dataclass
class Files:
    """The files that a reader reads. ``about``: files that name them; a change of these changes the pool.
    ``notes``: lines for the user."""

    entries: list[Entry]
    about: list[Entry] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


class Reader(ABC):
    """``name``: the value of settings/corpus.format. ``endings``: ends of the names of its files, in lower case.
    ``magic``: first bytes of its files. ``described``: the format in words, for errors. ``file_is_document``: True if a
    file is one document; documents are then counted and drawn by the listing."""

    name: ClassVar[str]
    endings: ClassVar[tuple[str, ...]] = ()
    magic: ClassVar[tuple[bytes, ...]] = ()
    described: ClassVar[str] = ""
    file_is_document: ClassVar[bool] = False

    def __init__(self, settings: Corpus, vector_column: str | None = None):
        self.settings, self.vector_column = settings, vector_column

    def choose(self, chosen: list[Entry], listing: list[Entry]) -> Files:
        """The files to read. ``chosen``: the files of the format. ``listing``: all files of the pool."""
        return Files(chosen)

    @abstractmethod
    def read(self, entry: Entry) -> Iterator[RawDocument | Rejected]:
        """The documents of one file, in its order. A document that cannot be used is a Rejected with a reason.

        Raises GripError if the file cannot be read to its end, since nobody could tell what is missing.
        """


def pack(ending: str, *packed: str) -> tuple[str, ...]:
    """An ending and its compressed variants: .csv, .csv.gz ..."""
    return (ending, *(ending + more for more in packed))

"""What a reader is: it takes one file of a pool, an entry of its listing, and gives the documents in it.

A reader is made of settings/corpus and holds nothing that is open, so it can be sent to another process.
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
    """The files that a reader reads. ``about``: files that say which ones, and whose change changes the pool;
    ``notes``: lines for the user."""

    entries: list[Entry]
    about: list[Entry] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


class Reader(ABC):
    """``name``: the value of settings/corpus.format. ``endings``: names of files that are of the format, in lower case;
    ``magic``: first bytes of such files. ``described``: the format in words, for errors. ``file_is_document``: a file
    is one document, so that documents are counted, and drawn, by the listing."""

    name: ClassVar[str]
    endings: ClassVar[tuple[str, ...]] = ()
    magic: ClassVar[tuple[bytes, ...]] = ()
    described: ClassVar[str] = ""
    file_is_document: ClassVar[bool] = False

    def __init__(self, settings: Corpus, vector_column: str | None = None):
        self.settings, self.vector_column = settings, vector_column

    def choose(self, chosen: list[Entry], listing: list[Entry]) -> Files:
        """The files to read, of those that are of the format and of all that the pool's folder holds."""
        return Files(chosen)

    @abstractmethod
    def read(self, entry: Entry) -> Iterator[RawDocument | Rejected]:
        """The documents of one file, in its order, each with a reason if it cannot be used. GripError if the file
        cannot be read to its end: nobody could tell what is missing."""

"""webdataset: tar files, plain or compressed. Files of the same name up to the first dot are one sample.

Each text in a sample is a document. Its language is that of its name, as in a folder. The columns of the sample are the
fields of its .json, which may also hold the text itself, and ``key``. Other members (pictures, sounds) are no text: a
sample without any is a rejected row. So a tar of source code is read too.
"""

import json
import tarfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import PurePosixPath
from typing import Any

from grip_assets.sources import streams
from grip_assets.sources.documents import RawDocument, Reason, Rejected, from_bytes, readable
from grip_assets.sources.languages import language_of
from grip_assets.sources.listing import Entry, hidden
from grip_assets.sources.readers.base import pack
from grip_assets.sources.readers.rows import TableReader, no_right, unreadable

PACKED = (".gz", ".zst", ".zstd", ".bz2", ".xz")
TEXT = (".txt", ".text")
METADATA = ".json"
MOST_MEMBERS = 1000  # of one sample


class WebDataset(TableReader):
    name = "webdataset"
    endings = (*pack(".tar", *PACKED), ".tgz", ".tbz2", ".txz")
    described = "tar files (.tar, also .gz, .zst, .bz2, .xz)"

    def read(self, entry: Entry) -> Iterator[RawDocument | Rejected]:
        try:
            with streams.plain(entry) as stream, tarfile.open(fileobj=stream, mode="r|") as tar:
                sample = _Sample(self, entry.name, "")
                for member in tar:
                    if not member.isfile() or any(map(hidden, PurePosixPath(member.name).parts)):
                        continue
                    if _key(member.name) != sample.key or sample.n == MOST_MEMBERS:
                        yield from sample.documents()
                        sample = _Sample(self, entry.name, _key(member.name))
                    yield from sample.add(tar, member)
                yield from sample.documents()
        except PermissionError as error:
            yield no_right(entry, error)
        except tarfile.TarError as error:
            raise unreadable(entry, error) from error
        except streams.damage() as error:
            raise unreadable(entry, error) from error


def _key(name: str) -> str:
    """The name up to the first dot of its last part."""
    folder, slash, file = name.rpartition("/")
    return readable(folder + slash + file.partition(".")[0])


class _Sample:
    def __init__(self, reader: WebDataset, file: str, key: str):
        self.reader, self.file, self.key, self.n = reader, file, key, 0
        self.texts: list[RawDocument] = []
        self.columns: dict[str, Any] = {}
        self.others: list[str] = []

    def add(self, tar: tarfile.TarFile, member: tarfile.TarInfo) -> Iterator[Rejected]:
        """Take up a member. A text that cannot be used is a rejection."""
        name, place = readable(member.name), f"{self.file}:{readable(member.name)}"
        self.n += 1
        is_metadata = name.lower().endswith(METADATA)
        if not is_metadata and not self._is_text(name):
            self.others.append(PurePosixPath(name).suffix or name)
            return
        most = self.reader.settings.max_bytes
        if member.size > (self.reader.rows.longest_line if is_metadata else most):
            yield Rejected(place, Reason.TOO_LARGE, f"settings/corpus.max_bytes is {most:,}", member.size)
            self.others.append("too large")
            return
        file = tar.extractfile(member)
        data = file.read() if file else b""
        if len(data) < member.size:
            raise EOFError(f"{name} ends after {len(data):,} of {member.size:,} bytes")
        if not is_metadata:
            document = from_bytes(data, language_of(name), place, place)
            if isinstance(document, Rejected):
                self.others.append("rejected")
                yield document
            else:
                self.texts.append(document)
            return
        try:
            value = json.loads(data)
        except (ValueError, RecursionError) as error:
            yield Rejected(place, Reason.BAD_JSON, str(error)[:200], member.size)
            self.others.append("rejected")
            return
        self.columns |= value if isinstance(value, dict) else {"json": value}

    def _is_text(self, name: str) -> bool:
        return name.lower().endswith(TEXT) or language_of(name) is not None

    def documents(self) -> Iterator[RawDocument | Rejected]:
        if not self.key or not self.n:
            return
        rows, row = self.reader.rows, {"key": self.key} | self.columns
        if self.texts:
            for text in self.texts:
                own = {"language": text.language} if text.language not in (None, "text") else {}
                column = rows.text_field or "text"
                document = rows.document(own | row | {column: text.text}, self.file, text.source.partition(":")[2])
                if isinstance(document, RawDocument):
                    document = replace(document, decoded_from=text.decoded_from)
                yield document
        elif self.columns and rows.has_text(row):
            yield rows.document(row, self.file, self.key)
        elif not {"rejected", "too large"} & set(self.others):
            has = ", ".join(sorted({*self.others, *([METADATA] if self.columns else [])})[:12])
            yield Rejected(f"{self.file}:{self.key}", Reason.MISSING_FIELD, f"no text in the sample; it has: {has}")

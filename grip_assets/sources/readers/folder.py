"""folder: text and source code, one document per file."""

from collections.abc import Iterator

from grip_assets.sources.documents import RawDocument, Reason, Rejected, from_bytes, only_zeros, project_of
from grip_assets.sources.languages import language_of
from grip_assets.sources.listing import Entry
from grip_assets.sources.readers.base import Reader


class Folder(Reader):
    """Reads the files whose names tell their language (../languages.py)."""

    name = "folder"
    described = "text and code by the endings of their names"
    file_is_document = True

    def read(self, entry: Entry) -> Iterator[RawDocument | Rejected]:
        most = self.settings.max_bytes
        if entry.size > most:
            hole = f"; it {only_zeros(entry.size)}" if entry.is_hole() else ""
            detail = f"{entry.size:,} bytes; settings/corpus.max_bytes is {most:,}{hole}"
            yield Rejected(entry.name, Reason.TOO_LARGE, detail, entry.size)
            return
        try:
            with entry.open() as file:
                data = file.read()
        except OSError as error:
            yield Rejected(entry.name, Reason.UNREADABLE, error.strerror or type(error).__name__, entry.size)
            return
        project = project_of(entry.name, self.settings.project_depth)
        yield from_bytes(data, language_of(entry.name), entry.name, project)

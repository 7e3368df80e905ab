"""folder: text and source code, one document per file. With settings/corpus.project_licences, each document has the
licence of its project, until its own head names one (steps/licences.py)."""

from collections.abc import Iterable, Iterator
from dataclasses import replace

from grip_assets.settings import Corpus
from grip_assets.sources.documents import RawDocument, Reason, Rejected, from_bytes, only_zeros, project_of
from grip_assets.sources.languages import language_of
from grip_assets.sources.licences import ProjectLicences
from grip_assets.sources.listing import Entry
from grip_assets.sources.readers.base import Files, Reader


class Folder(Reader):
    """Reads the files whose names tell their language (../languages.py)."""

    name = "folder"
    described = "text and code by the endings of their names"
    file_is_document = True

    def __init__(self, settings: Corpus, vector_column: str | None = None):
        super().__init__(settings, vector_column)
        self.licences = ProjectLicences(())

    def choose(self, chosen: list[Entry], listing: list[Entry]) -> Files:
        return self._with_licences(chosen, listing)

    def _with_licences(self, chosen: list[Entry], listing: Iterable[Entry]) -> Files:
        """The files to read. If licences of projects are asked for, their files are a part of what the pool is."""
        if not (self.settings.licences and self.settings.project_licences):
            return Files(chosen)
        self.licences = ProjectLicences(listing)
        return Files(chosen, about=list(self.licences.entries()))

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
        document = from_bytes(data, language_of(entry.name), entry.name, project)
        said = self.licences.of(entry.name)
        if said and isinstance(document, RawDocument):
            document = replace(document, licence=said.licence, licence_from=said.source)
        yield document

"""The licence of a document: what its head names, else what its project says (../licences.py, readers/folder.py)."""

from dataclasses import replace

from grip_assets.extras import must_have
from grip_assets.sources.documents import RawDocument
from grip_assets.sources.licences import HEAD, is_licence_file, of_file, of_head
from grip_assets.sources.steps.base import Outcome, Step


class Licences(Step):
    """``of_projects``: a file such as LICENSE is read as the text of a licence, and not for its head."""

    def __init__(self, of_projects: bool = False) -> None:
        must_have("clean", "settings/corpus.licences", "license_expression")
        self.of_projects = of_projects

    def one(self, document: RawDocument) -> Outcome:
        whole = self.of_projects and is_licence_file(document.source)
        found = of_file(document.text) if whole else of_head(document.text)
        return replace(document, licence=found, licence_from=HEAD) if found else document

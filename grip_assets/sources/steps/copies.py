"""Exact copies: if documents have the same text, only the first is kept."""

from grip_assets.sources.documents import RawDocument, Reason, Rejected
from grip_assets.sources.steps.base import Outcome, Step


class ExactCopies(Step):
    """Keeps the first copy that is read, held out or not. So a text is never both in the pool and held out.

    Memory: a name and a source per document, about 200 bytes.
    """

    ordered = True

    def __init__(self) -> None:
        self.seen: dict[bytes, str] = {}

    def one(self, document: RawDocument) -> Outcome:
        name = document.doc_id
        key = bytes.fromhex(name)
        if key not in self.seen:
            self.seen[key] = document.source
            return document
        detail = f"same text as {self.seen[key]}"
        return Rejected(document.source, Reason.DUPLICATE, detail, document.n_bytes, name, stands_for=name)

"""The pool's own vectors: all have the width of the first."""

from grip_assets.sources.documents import RawDocument, Reason, Rejected
from grip_assets.sources.steps.base import Outcome, Step


class OneWidth(Step):
    ordered = True

    def __init__(self) -> None:
        self.width = 0  # bytes

    def one(self, document: RawDocument) -> Outcome:
        vector = document.vector
        self.width = self.width or len(vector or b"")
        if vector is None or len(vector) == self.width:
            return document
        detail = f"a vector of {len(vector) // 4:,} numbers; that of the first document has {self.width // 4:,}"
        return Rejected(document.source, Reason.BAD_VECTOR, detail, document.n_bytes)

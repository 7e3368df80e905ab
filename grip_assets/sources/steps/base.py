"""What a step is."""

from collections.abc import Sequence
from typing import ClassVar

from grip_assets.sources.documents import RawDocument, Rejected

Outcome = RawDocument | Rejected


class Step:
    """Override ``one``, or ``batch`` where many documents at once are faster.

    ``ordered``: False if a document is looked at alone; such a step keeps no state and may run in any thread or
    process. True if documents are compared with those before; such a step gets them one by one in the pool's order.
    """

    ordered: ClassVar[bool] = False

    def one(self, document: RawDocument) -> Outcome:
        """The document, another in its place, or its rejection."""
        raise NotImplementedError

    def batch(self, documents: Sequence[RawDocument]) -> list[Outcome]:
        """One outcome per document, in order."""
        return [self.one(document) for document in documents]

"""The interface of steps."""

from collections.abc import Sequence
from typing import ClassVar

from grip_assets.sources.documents import RawDocument, Rejected

Outcome = RawDocument | Rejected


class Step:
    """Override ``one``, or ``batch`` if many documents at once are faster.

    ``ordered``: False if the step looks at each document alone. Such a step keeps no state and may run in any thread or
    process. True if it compares a document with earlier ones. Such a step gets the documents one by one, in the pool's
    order.
    """

    ordered: ClassVar[bool] = False

    def one(self, document: RawDocument) -> Outcome:
        """The document, a changed one, or its rejection."""
        raise NotImplementedError

    def batch(self, documents: Sequence[RawDocument]) -> list[Outcome]:
        """One outcome per document, in order."""
        return [self.one(document) for document in documents]

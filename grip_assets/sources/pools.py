"""A pool of several named sources (settings/corpus.sources). Each is a pool of its own (pool.py).

The sources with the role keep come first. So of several copies of a text, the one in the background is kept.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from grip_assets.errors import GripError
from grip_assets.settings import Corpus
from grip_assets.settings.sources import OVERRIDDEN, PoolSource
from grip_assets.sources.documents import Rejected
from grip_assets.sources.pool import DocumentPool, open_pool


@dataclass(frozen=True)
class Part:
    """One source: what settings/corpus says of it, its settings as those of a pool of its own, and its files."""

    source: PoolSource
    settings: Corpus
    pool: DocumentPool


@dataclass(frozen=True)
class Pools:
    """The sources of a pool, in the order in which they are read. It answers what a DocumentPool does."""

    parts: Sequence[Part]

    @property
    def label(self) -> str:
        return ", ".join(part.source.name for part in self.parts)

    @property
    def n_listed(self) -> int:
        """Documents that were listed. 0 if rows of a table have to be counted first."""
        counts = [part.pool.n_listed for part in self.parts]
        return sum(counts) if all(counts) else 0

    @cached_property
    def rejected(self) -> list[Rejected]:
        return [rejected for part in self.parts for rejected in part.pool.rejected]

    @property
    def notes(self) -> list[str]:
        return [f"{part.source.name}: {note}" for part in self.parts for note in part.pool.notes]

    def size(self) -> int:
        return sum(part.pool.size() for part in self.parts)

    def fingerprint(self) -> str:
        said = [f"{part.source.name}\0{part.pool.fingerprint()}" for part in self.parts]
        return hashlib.sha256("\n".join(said).encode()).hexdigest()[:16]


def open_pools(settings: Corpus, vector_column: str | None = None) -> Pools:
    """The pools of settings/corpus.sources. GripError names the source that cannot be opened."""
    ordered = sorted(settings.sources, key=lambda source: source.role != "keep")
    return Pools([_part(source, settings, vector_column) for source in ordered])


def _part(source: PoolSource, settings: Corpus, vector_column: str | None) -> Part:
    own = settings_of(source, settings)
    try:
        return Part(source, own, open_pool(own, vector_column))
    except GripError as error:
        raise GripError(f"The source '{source.name}' (settings/corpus.sources): {error}") from None


def settings_of(source: PoolSource, settings: Corpus) -> Corpus:
    """The settings of a source as those of a pool of its own. What is kept is never held out."""
    said = {name: value for name in OVERRIDDEN if (value := getattr(source, name)) is not None}
    if source.keep is not None:
        said["keep"] = source.keep
    held_out = 0.0 if source.role == "keep" else settings.held_out
    most = settings.max_documents if source.max_documents is None else source.max_documents
    return settings.model_copy(
        update={"path": source.path, "sources": [], "held_out": held_out, "max_documents": most, **said}
    )

"""The user's own test sets (settings/corpus.test_sets): texts that no document of the pool may hold.

A test set is a pool of its own: a folder, or a table. Of a table, every column with text counts: prompt, solution, and
what else there is.
"""

import json
from collections.abc import Iterator, Sequence
from typing import Any

from grip_assets.errors import GripError
from grip_assets.settings import Corpus
from grip_assets.sources.documents import RawDocument
from grip_assets.sources.pool import DocumentPool, open_pool

TEXT_FIELDS = (None, "prompt", "question", "problem", "instruction", "code")  # the first that rows have names them


def named(test_sets: Sequence[str]) -> dict[str, str]:
    """Name to path, from NAME=PATH."""
    return {name.strip(): path.strip() for name, _, path in (text.partition("=") for text in test_sets)}


def content(path: str) -> str:
    """A hash of the listing, for a recipe."""
    return _pool(path, None).fingerprint()


def texts(name: str, path: str) -> list[tuple[str, str]]:
    """(item, text) of all texts. GripError if there are none."""
    for field in TEXT_FIELDS:
        try:
            found = [pair for d in _pool(path, field).read() if isinstance(d, RawDocument) for pair in _texts_of(d)]
        except GripError as error:
            if "has no column" not in str(error):
                raise
            found = []
        if found:
            return found
    raise GripError(
        f"settings/corpus.test_sets names {name}={path}, and no text could be read there. Its rows need a"
        " column such as text, prompt or question."
    )


def _pool(path: str, field: str | None) -> DocumentPool:
    try:
        return open_pool(Corpus(path=path, text_field=field, keep=["*"], benchmarks=[]))
    except GripError as error:
        raise GripError(f"settings/corpus.test_sets: {error}") from None


def _texts_of(document: RawDocument) -> Iterator[tuple[str, str]]:
    yield document.source, document.text
    if document.kept:
        yield from ((document.source, text) for text in _strings(json.loads(document.kept)))


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _strings(inner)

"""Languages that are recognised from the text, and documents that are dropped for their language.

A language that a column or a file name gives is never changed, except that "text" and other kinds of prose become the
language in which they are written. Prose is recognised by py3langid, programs by magika; both have their model in their
package. Only the beginning of a text is looked at, so the time for a document is bounded.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from grip_assets.extras import must_have
from grip_assets.runtime import opened
from grip_assets.settings import Corpus
from grip_assets.sources.documents import RawDocument, Reason, Rejected
from grip_assets.sources.languages import CODE, is_prose, named
from grip_assets.sources.steps.base import Outcome, Step

MOST_CHARACTERS = 10_000  # of a text that py3langid reads
MOST_BYTES = 100_000  # that magika is given: it reads the first and the last two thousand
WRITTEN = {"text", "markdown", "rst"}  # kinds of files whose language may be named by py3langid
UNKNOWN = "unknown"
OF_MAGIKA = {  # labels of magika whose language has another name here; others are named as they are
    "asp": "aspx-vb", "batch": "batch", "c": "c", "cs": "csharp", "dockerfile": "docker", "gemfile": "ruby",
    "gemspec": "ruby", "ipynb": "jupyter", "jsonl": "json", "makefile": "make", "objectivec": "objectivec",
    "rakefile": "ruby", "shell": "bash", "tex": "latex", "vba": "vbnet", "svg": "xml",
}  # fmt: skip
OF_PROSE = {"txt", "markdown", "rst", "unknown", "undefined", "txtascii", "txtutf8", "empty"}
Recognised = tuple[str, float]


class DetectLanguages(Step):
    """``of_prose``, ``of_code``: what is recognised. ``least``: confidence below which nothing is."""

    def __init__(self, settings: Corpus):
        self.of_prose = settings.detect_languages in ("prose", "all")
        self.of_code = settings.detect_languages in ("code", "all")
        self.least = settings.language_confidence
        if self.of_prose:
            must_have("clean", "settings/corpus.detect_languages", "py3langid")
        if self.of_code:
            must_have("clean", "settings/corpus.detect_languages", "magika")

    def one(self, document: RawDocument) -> Outcome:
        if document.language is not None and not (self.of_prose and document.language in WRITTEN):
            return document
        found = self._recognise(document)
        if found is None:
            return document
        language, confidence = found
        is_sure = confidence >= self.least
        return replace(document, language=language if is_sure else document.language, language_confidence=confidence)

    def _recognise(self, document: RawDocument) -> Recognised | None:
        if self.of_code and document.language is None:
            language, confidence = language_of_code(document.text)
            if language or not self.of_prose:
                return (language, confidence) if language else None
        return language_of_prose(document.text) if self.of_prose else None


def language_of_prose(text: str) -> Recognised:
    """ISO 639-1, and py3langid's probability."""
    identifier = opened.get("py3langid", _open_langid)
    language, confidence = identifier.classify(text[:MOST_CHARACTERS])
    return language, round(float(confidence), 4)


def language_of_code(text: str) -> tuple[str | None, float]:
    """The name of a programming language, and magika's score; None for what magika takes for prose."""
    magika = opened.get("magika", _open_magika)
    found = magika.identify_bytes(text[:MOST_BYTES].encode()[:MOST_BYTES])
    label = str(found.output.label)
    if label in OF_PROSE:
        return None, 0.0
    language = OF_MAGIKA.get(label, label)
    return named(language, of_code=True), round(float(found.score), 4)


def _open_langid() -> Any:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier  # an extra

    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)


def _open_magika() -> Any:
    from magika import Magika, PredictionMode  # an extra, with onnxruntime

    return Magika(prediction_mode=PredictionMode.BEST_GUESS)


class OfLanguages(Step):
    """Rejects documents by their language. ``names``: languages to keep or, each after a minus, to drop."""

    def __init__(self, names: Sequence[str]):
        self.drops = any(name.startswith("-") for name in names)
        self.names = {_named(name.removeprefix("-")) for name in names}

    def one(self, document: RawDocument) -> Outcome:
        language = document.language or UNKNOWN
        if (language in self.names) != self.drops:
            return document
        return Rejected(document.source, Reason.LANGUAGE, language, document.n_bytes)


def _named(name: str) -> str:
    return name.strip().lower() if is_prose(name) or name in CODE else named(name)

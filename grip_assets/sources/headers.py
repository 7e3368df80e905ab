"""The head of a document: the comments and import lines at its start, in blocks that can be compared with other files.

A block is a paragraph of a comment, or a run of import lines. What documents share is found by the hash of a block:
years, names after "Copyright", the marks of the comment and white space make no difference.
stages/curation/headers.py counts the hashes over a pool and decides which blocks are skipped.
"""

import hashlib
import re
from collections.abc import Callable, Collection, Iterator
from itertools import islice
from typing import NamedTuple

MOST_CHARACTERS = 20_000  # of a document that are looked at: the longest licences are shorter
MOST_BLOCKS = 32
PROSE = {"text", "markdown", "rst", "latex", "html", "xml"}  # a line that begins with # is no comment there
CLOSED_BY = {
    "/*": "*/",
    "<!--": "-->",
    "(*": "*)",
    "{-": "-}",
    '"""': '"""',
    "'''": "'''",
    "#|": "|#",
    "=begin": "=end",
}
LINE_MARKS = ("//", "--", ";", "%", "!", "dnl ", "REM ", "rem ", "#")
PREPROCESSOR = re.compile(r"#\s*(?:include|define|undef|pragma|if|ifdef|ifndef|else|elif|endif|error)\b")
IMPORT = re.compile(
    r"(?:import|from|package|use|using|require|require_relative|include|open|extern crate|module|namespace)\b[^{}()]*$"
    r"|#\s*include\b|@import\b|(?:const|var|let)\s[^=]{1,200}=\s*require\("
)
FIRST_LINES = re.compile(r"#!|<\?php|<\?xml|<!DOCTYPE|#.{0,40}coding[:=]|['\"]use strict['\"];?$|%YAML|---$")
OF_ONE_FILE = re.compile(r"copyright|\(c\)|©|@author|\bauthors?:|all rights reserved|\$id|@version")
WORDS = re.compile(r"[^\W\d_]+")


class Block(NamedTuple):
    """``end``: the character after it, in the document. ``name``: 0 if it says nothing that other files could share
    (a year, a line of stars); otherwise the hash of its words, an unsigned number of 64 bits."""

    end: int
    name: int


def head_of(text: str, language: str | None) -> list[Block]:
    """The blocks at the start of a document, in their order. It takes time in proportion to MOST_CHARACTERS."""
    blocks = _blocks(text[:MOST_CHARACTERS], language, len(text) > MOST_CHARACTERS)
    return list(islice(blocks, MOST_BLOCKS))


def skipped(text: str, blocks: Collection[Block], shared: Collection[int]) -> int:
    """How many characters of a document are skipped: its first blocks, as long as each is shared or says nothing.

    0 if no block is shared, and if nothing else is in the document.
    """
    end = 0
    for block in blocks:
        if block.name and block.name not in shared:
            break
        if block.name:
            end = block.end
    rest = text[end:]
    return end if end and WORDS.search(rest) else 0


def _blocks(text: str, language: str | None, is_cut: bool) -> Iterator[Block]:
    """``is_cut``: the document goes on after ``text``, so that a block at its very end is not whole."""
    at = 0
    while at < len(text):
        line, after = _line(text, at)
        said = line.strip()
        if not said or FIRST_LINES.match(said):
            at = after
            continue
        end = _end_of_comment(text, at, said, language) or _end_of_imports(text, at)
        if not end or (is_cut and end >= len(text)):
            return
        yield from _paragraphs(text, at, end)
        at = end


def _line(text: str, at: int) -> tuple[str, int]:
    end = text.find("\n", at)
    end = len(text) if end < 0 else end
    return text[at:end], min(end + 1, len(text))


def _end_of_comment(text: str, at: int, said: str, language: str | None) -> int:
    """Where the comment that begins at ``at`` ends, after its line end; 0 if there is none."""
    closing = next((close for open, close in CLOSED_BY.items() if said.startswith(open)), None)
    if language == "pascal" and said.startswith("{"):
        closing = "}"
    if closing and (language not in PROSE or closing == "-->"):
        start = text.index(said, at)
        end = text.find(closing, start + 2)
        return _after_line(text, end + len(closing)) if end >= 0 else 0
    mark = next((mark for mark in LINE_MARKS if said.startswith(mark)), None)
    if mark is None or language in PROSE or PREPROCESSOR.match(said):
        return 0
    return _end_of_lines(text, at, lambda line: line.startswith(mark) and not PREPROCESSOR.match(line))


def _after_line(text: str, at: int) -> int:
    """After the line end, if nothing but white space comes before it."""
    rest, after = _line(text, at)
    return at if rest.strip() else after


def _end_of_imports(text: str, at: int) -> int:
    return _end_of_lines(text, at, lambda line: len(line) < 400 and IMPORT.match(line) is not None)


def _end_of_lines(text: str, at: int, belongs: Callable[[str], bool]) -> int:
    """The end of the run of lines that belong together; 0 if the first does not."""
    end = 0
    while at < len(text):
        line, after = _line(text, at)
        if not belongs(line.strip()):
            break
        end = at = after
    return end


def _paragraphs(text: str, start: int, end: int) -> Iterator[Block]:
    """A comment in paragraphs. Lines without words part them, and belong to the one before."""
    words: list[str] = []
    at, is_apart = start, False
    while at < end:
        line, after = _line(text, at)
        after = min(after, end)
        found = WORDS.findall(text[at:after].lower())
        if found and is_apart and words:
            yield Block(at, _name(words))
            words = []
        is_apart = not found
        if not OF_ONE_FILE.search(line.lower()):
            words += found
        at = after
    yield Block(end, _name(words) if words else 0)


def _name(words: list[str]) -> int:
    return int.from_bytes(hashlib.blake2b(" ".join(words).encode(), digest_size=8).digest()) or 1

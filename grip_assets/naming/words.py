"""The words of a document from which its cluster is named: sub-words of identifiers, and words of any script.

The name ``parse_HTTPHeader`` has the sub-words parse, http and header. Scripts that set no spaces (Chinese, Japanese)
are cut into overlapping pairs of characters. Two words that stand next to each other are also a pair.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterator

from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS

CHARACTERS = 10_000  # of a document, after its licence; the rest says little more about its subject
TITLE = 5  # occurrences for which a word of the title stands
TERMS = 300  # most terms of a document: its most frequent ones
LONGEST = 24  # letters of a word; longer ones are data
SHORTEST = 3  # letters of a word in an alphabet

# Words that say how a text is written and not what it is about, beside the English ones.
_OF_CODE = """
abc abs abstract add addr alg alias allclose and any api append approx arg args argv arr array assert async attr
attribute auto await bar base baz begin bool boolean break buf byte bytes call callable case cast cdef char cimport
class cls code coding com cond const construct continue copyright cout cpdef ctypedef cur current data datatype def
default define del delete dict div doc docs doctest double dtype elif else elsif end endif ensure enum equal err error
eval example examples except exception exit expected extends extern false file final finally fixture flake float foo
found func function functools generated get getattr github given global goto has hasattr href html http https idx
ifdef ifndef impl implemented implements import importorskip include index info init initialize inline input instance
instanceof int integer interface intp isinstance item items iter iterable iterator join key keys kwarg kwargs lambda
len length let lib list loc long main make map mark match max message method min misc mod module msg mut mypy name
named names namespace ndarray new next nil noexcept nogil non none nonlocal noqa note notes null num number numpy obj
object old open optional options org out output override package param parameter parameters parametrize params pass
pointer pos pragma pre print private property protected ptr pub public put pylint pyrefly pyright pytest raise raises
range ref reference references register repr require required res result results ret return returned returns rst run
see self set setattr setup shape short signed size sizeof sorted span src static staticmethod std step str string
struct sub super switch sys teardown temp template test testing tests then this throw throws tmp todo todos true try
tuple type typedef typename types typing undefined union unittest unsigned update usage use used uses using utf util
utils val valid value values var variable version versionadded versionchanged virtual void volatile warn warning while
with www xrange yield
"""
STOP_WORDS = ENGLISH_STOP_WORDS | set(_OF_CODE.split())

_MARKS = "".join(c for c in map(chr, range(0x300, 0x10000)) if unicodedata.category(c) in ("Mn", "Mc"))  # vowel signs
_UNSPACED = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003134f"  # kana, Han
PHRASE = re.compile(rf"[^\W\d_][\w{_MARKS}]*(?:[ ._-][\w{_MARKS}]+)*")  # words with one mark between each two
BETWEEN = re.compile(rf"[^\w{_MARKS}]|[\d_]+|(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
SEPARATOR = re.compile(rf"[^\w{_MARKS}]|_")
UNSPACED = re.compile(f"[{_UNSPACED}]+")

HEAD = 20_000  # characters in which a licence is looked for
COMMENT = re.compile(
    r"\s*(?:/\*.*?\*/|<!--.*?-->|\(\*.*?\*\)|\{-.*?-\}|(?P<quote>\"\"\"|''').*?(?P=quote)"
    r"|(?:[ \t]*(?:\#|//|--|;|%|!)[^\n]*(?:\n|\Z))+)",
    re.DOTALL,
)
OF_LICENCES = re.compile(r"copyright|licen[sc]e|spdx|all rights reserved|warrant|redistribut|\(c\) \d|©", re.IGNORECASE)


def without_licence(text: str) -> str:
    """The text without the comments at its head that speak of a licence."""
    kept, at = [], 0
    while found := COMMENT.match(text, at, HEAD):
        if not OF_LICENCES.search(found[0]):
            kept.append(found[0])
        at = found.end()
    return "".join([*kept, text[at:]])


def terms(text: str, title: str = "") -> dict[str, int]:
    """How often the most frequent words and pairs of a document occur. They are in lower case, without stop words.

    ``title``: such as the name of its file. Its words count as TITLE occurrences.
    """
    counts = Counter[str]()
    for part, times in ((without_licence(text)[:CHARACTERS], 1), (title[:CHARACTERS], TITLE)):
        for phrase in PHRASE.findall(unicodedata.normalize("NFKC", part)):
            before = ""
            for word in words(phrase):
                if word:
                    counts[word] += times
                if word and before and word != before:
                    counts[f"{before} {word}"] += times
                before = word
    common = sorted(counts.items(), key=lambda term: (-term[1], term[0]))
    return dict(common[:TERMS])


def words(phrase: str) -> Iterator[str]:
    """The words of a phrase in lower case; "" in the place of one that says nothing."""
    for part in BETWEEN.split(phrase):
        if part.isascii():
            word = part.lower()
            if word:
                yield word if SHORTEST <= len(word) <= LONGEST and word not in STOP_WORDS else ""
        elif part:
            yield from _of_any_script(part.lower())


def _of_any_script(part: str) -> Iterator[str]:
    """The words of a part with other letters than those of ASCII."""
    at = 0
    for run in UNSPACED.finditer(part):
        yield _spaced(part[at : run.start()])
        yield from (run[0][i : i + 2] for i in range(max(len(run[0]) - 1, 1)))
        at = run.end()
    yield _spaced(part[at:])


def _spaced(word: str) -> str:
    return word if SHORTEST <= len(word) <= LONGEST else ""

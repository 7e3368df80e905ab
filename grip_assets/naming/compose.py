"""Short names from places and words, each different from all others."""

import itertools
from collections.abc import Iterable, Iterator, Sequence

from grip_assets.naming import inert

WORDS = 3  # terms of a name, at most
PAIR = 0.5  # a pair stands for its word if its score is at least this share of the word's
NEAR = 12  # terms among which such a pair is looked for


def chosen(scores: Sequence[tuple[str, float]]) -> list[str]:
    """Terms without repetition, the best first: a pair in place of its word, and no word twice.

    ``scores``: terms with their scores, the best first.
    """
    found: list[str] = []
    used: set[str] = set()
    for term, score in scores:
        best = next((pair for pair, other in scores[:NEAR] if _completes(pair, term) and other >= PAIR * score), term)
        stems = set(map(_stem, best.split()))
        if not any(_alike(stem, other) for stem in stems for other in used):
            found.append(best)
            used |= stems
    return found


def names(
    places: Sequence[str], words: Sequence[Sequence[str]], taken: Iterable[str] = (), what: str = "cluster"
) -> list[str]:
    """A name for each cluster, in their order: its place, then its words. ``taken``: names that are in use. ``what``:
    the word for one that has neither.

    If the name of an earlier cluster is the same, further words set them apart; only if there are none, a number.
    """
    used, found = {name.casefold() for name in taken}, []
    for place, terms in zip(places, words, strict=True):
        name = next(name for name in _candidates(place, terms, what) if name and name.casefold() not in used)
        used.add(name.casefold())
        found.append(name)
    return found


def apart(given: Sequence[str], words: Sequence[Sequence[str]], taken: Iterable[str] = ()) -> list[str]:
    """The ``given`` names; to one that an earlier cluster has, a word of its own is added."""
    used, found = {name.casefold() for name in taken}, []
    for name, terms in zip(given, words, strict=True):
        longer = (_fitting(name, [term]) for term in terms if term.casefold() not in name.casefold())
        numbered = (f"{inert.name(name, inert.NAME - 6)} {i}" for i in itertools.count(2))
        new = next(n for n in itertools.chain([name], longer, numbered) if n and n.casefold() not in used)
        used.add(new.casefold())
        found.append(new)
    return found


def _candidates(place: str, terms: Sequence[str], what: str) -> Iterator[str]:
    """Names of a cluster, the best first; the last ones have a number."""
    said = set(map(_stem, place.split()))
    terms = [term for term in terms if not set(map(_stem, term.split())) & said]
    best = _fitting(place, terms)
    yield best
    for i, other in enumerate(terms):  # another word in the last place, or alone
        yield _fitting(place, [*terms[: min(i, WORDS - 1)], other])
        yield _fitting(place, [other])
    for number in itertools.count(1 if not best else 2):
        yield f"{inert.name(best, inert.NAME - 6) or what} {number}"


def _fitting(place: str, terms: Sequence[str]) -> str:
    """The place and the first terms for which a name has room, at most WORDS."""
    name = inert.name(place)
    added = 0
    for term in terms:
        longer = f"{name}{', ' if added else ': ' if name else ''}{term}"
        if added < WORDS and inert.is_name(longer):
            name, added = longer, added + 1
    return name


def _completes(pair: str, word: str) -> bool:
    return " " in pair and " " not in word and word in pair.split()


def _alike(one: str, other: str) -> bool:
    """Whether one word begins with the other, such as `render` and `renderable`."""
    return one.startswith(other) or other.startswith(one)


def _stem(word: str) -> str:
    """The word without its ending, so that `graph` and `graphs` are one, and `weight` and `weighted`."""
    if len(word) > 4 and word.endswith("ies"):
        return f"{word[:-3]}y"
    for ending in ("ing", "ed"):
        if word.endswith(ending) and len(word) > len(ending) + 3:
            return word.removesuffix(ending)
    return word[:-1] if len(word) > 3 and word.endswith("s") and not word.endswith("ss") else word

"""Decontamination: finds documents that hold a benchmark's prompt or solution [Brown et al. 2020, appendix C].

Words are the lower-case ``\\w+`` of a text. A document is contaminated by a problem if ``N`` consecutive words of it
stand in the problem's prompt or solution too, unless they say too little (``telling``). The finding is "exact" if the
document holds the whole prompt or solution, apart from white space. A prompt or solution with fewer than N words
(``return x + y``) never matches.

Cost: one look-up per word, in the benchmark's small vocabulary (HumanEval: 1,434 words). More is computed only if N
known words follow one another: a hash of each such run (screening.py). The words themselves are compared only if the
benchmark has that hash.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from itertools import chain, repeat
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from grip_assets.errors import GripError
from grip_assets.sources.benchmarks import problems
from grip_assets.sources.documents import RawDocument, Reason, Rejected
from grip_assets.sources.steps.base import Outcome, Step
from grip_assets.sources.test_sets import named, texts

if TYPE_CHECKING:
    from grip_assets.sources.steps.screening import Screen

N = 13  # GPT-3's
RULES = ("exact", f"{N}-gram")
TELLING = 5  # different words of letters that a run must have
WORD = re.compile(r"\w+")
MULTIPLIER_N = np.random.default_rng(0).integers(1, 2**63, N, dtype=np.uint64) | np.uint64(1)


class Finding(NamedTuple):
    """``rule``: exact if one of the problems is held exactly; otherwise 13-gram."""

    benchmark: str
    rule: str
    problems: list[str]

    def __str__(self) -> str:
        more = f" and {len(self.problems) - 1} more" if len(self.problems) > 1 else ""
        return f"{self.benchmark}: {self.problems[0]}{more}, {self.rule}"


def words(text: str) -> list[str]:
    return WORD.findall(_lines(text).lower())


def spaced(text: str) -> str:
    return " ".join(_lines(text).split())


def _lines(text: str) -> str:
    """The text with real line ends in place of written-out ones, which JSON and notebooks have.

    Otherwise the n of a written-out line end would be a letter of the next word.
    """
    return text.replace("\\n", "\n")


def ngrams(sequence: list) -> Iterator[tuple]:
    return zip(*(sequence[i:] for i in range(N)), strict=False)


def telling(run: tuple[str, ...]) -> bool:
    """Whether a run has enough different words to tell of a benchmark.

    Counting does not: '0 1 2 3 4 5 6 7 8 9 a b c' is in many documents. A stricter limit would lose solutions. Of 164,
    36 are shorter than N words. With a limit of 5, 8 more have no such run; with a limit of 8, 58 more.
    """
    return len({word for word in run if len(word) > 1 and word.isalpha()}) >= TELLING


class Index:
    """The telling runs of N words in a benchmark's prompts and solutions, and the problems of each run."""

    def __init__(self, benchmark: str, texts: Iterable[tuple[str, str]]):
        """``texts``: (problem, prompt or solution)."""
        self.benchmark = benchmark
        self.number: dict[str, int] = {}  # of each known word, from 1
        self.owners: dict[tuple[int, ...], set[str]] = defaultdict(set)
        self.whole: dict[str, list[str]] = defaultdict(list)
        for problem, text in texts:
            self.whole[problem].append(spaced(text))
            for run in filter(telling, ngrams(words(text))):
                self.owners[tuple(self.number.setdefault(word, len(self.number) + 1) for word in run)].add(problem)
        self.hashes = np.unique(_hashes(np.array(list(self.owners), np.uint64).reshape(-1, N).T))

    @cached_property
    def screen(self) -> "Screen":
        from grip_assets.sources.steps.screening import Screen  # numba: not needed to load the definitions

        return Screen(self.number, self.hashes, MULTIPLIER_N)

    def suspects(self, texts: Sequence[str]) -> np.ndarray:
        """For each text, whether `find` may find anything in it. If False, it finds nothing."""
        return self.screen.suspects([_lines(text).lower() for text in texts])

    def find(self, text: str) -> Finding | None:
        found = set().union(*(self.owners[run] for run in self.runs(text)))
        if not found:
            return None
        plain = spaced(text)
        exact = any(whole in plain for p in found for whole in self.whole[p] if len(words(whole)) >= N)
        return Finding(self.benchmark, RULES[0] if exact else RULES[1], [p for p in self.whole if p in found])

    def runs(self, text: str) -> set[tuple[int, ...]]:
        """The benchmark's runs that stand in the text."""
        said = words(text)
        numbers = np.fromiter(map(self.number.get, said, repeat(0)), np.uint64, len(said))
        here = {tuple(numbers[start : start + N].tolist()) for start in self._candidates(numbers)}
        return here & self.owners.keys()

    def _candidates(self, numbers: np.ndarray) -> np.ndarray:
        """The positions where N known words begin whose hash is one of the benchmark's."""
        known = np.concatenate([[0], np.cumsum(numbers > 0)])
        starts = np.flatnonzero(known[N:] - known[:-N] == N)
        hashes = _hashes(numbers[starts + i] for i in range(N))
        nearest = np.searchsorted(self.hashes[:-1], hashes)  # np.isin would sort all hashes for every document
        return starts[self.hashes[nearest] == hashes]


def _hashes(columns: Iterable[np.ndarray]) -> np.ndarray:
    """The hashes of runs. ``columns``: the first words of the runs, then their second words, and so on."""
    return sum(column * multiplier for column, multiplier in zip(columns, MULTIPLIER_N, strict=True))


def index(benchmark: str) -> Index:
    return Index(benchmark, ((p.id, text) for p in problems(benchmark) for text in (p.prompt, p.solution)))


def index_of_test_set(name: str, path: str) -> Index:
    """GripError if no text of the set is long enough to be found again."""
    found = Index(name, texts(name, path))
    if not len(found.hashes):
        raise GripError(
            f"settings/corpus.test_sets names {name}={path}, which has no text of {N} words, so nothing could be found"
        )
    return found


def containment(passages: Sequence[str], texts: Iterable[str]) -> list[float]:
    """For each passage, the largest share of its runs of N words that one of the texts holds [Broder 1997].

    The share is 1 for a copy, and 0 for a passage without such runs.
    """
    known = Index("", ((str(i), passage) for i, passage in enumerate(passages)))
    runs_of = Counter(chain.from_iterable(known.owners.values()))
    largest: Counter[str] = Counter()
    for text in texts:
        largest |= Counter(chain.from_iterable(known.owners[run] for run in known.runs(text)))
    return [largest[str(i)] / max(runs_of[str(i)], 1) for i in range(len(passages))]


class Decontamination(Step):
    """Rejects documents that hold a benchmark's problem, and every copy of one too. The rejection has the finding."""

    def __init__(self, benchmarks: Iterable[str], test_sets: Sequence[str] = ()):
        own = [index_of_test_set(name, path) for name, path in named(test_sets).items()]
        self.indexes = [*(index(name) for name in benchmarks), *own]

    def batch(self, documents: Sequence[RawDocument]) -> list[Outcome]:
        suspected = self._suspects([document.text for document in documents])
        return [self.one(d) if is_one else d for d, is_one in zip(documents, suspected.tolist(), strict=True)]

    def one(self, document: RawDocument) -> Outcome:
        finding = next(filter(None, (index.find(document.text) for index in self.indexes)), None)
        if not finding:
            return document
        return Rejected(
            document.source,
            Reason.CONTAMINATED,
            str(finding),
            document.n_bytes,
            document.doc_id,
            finding=finding,
        )

    def _suspects(self, texts: Sequence[str]) -> np.ndarray:
        """For each text, whether any of the benchmarks may be in it."""
        found = np.zeros(len(texts), bool)
        for index in self.indexes:
            found |= index.suspects(texts)
        return found

"""Subsets on which models are retrained: which documents each has.

Uniform subsets alone would understate interactions: on them the quadratic term is nearly a constant (R7). So most
subsets have a structure: of few clusters or evenly of many, with duplicates, of one length or one language.

Each subset is drawn by its own name. So more subsets change none of those before, and no subset of the check is one of
the calibration. ``order`` ranks the documents of a subset, and ``fitted`` takes as many as its size allows. Shapes: N
documents, M of a subset.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import polars as pl

from grip_assets.method.sampling import keyed_order, keyed_uniform

UNIFORM, FEW, MANY, DUPLICATES, LENGTH, LANGUAGE = (
    "uniform", "few_clusters", "many_clusters", "duplicates", "length", "language",
)  # fmt: skip
STRUCTURED = (FEW, MANY, DUPLICATES, LENGTH, LANGUAGE)
CALIBRATION, CHECK = "calibration", "check"
COPIES = (2, 4, 8)  # of each document of a subset with duplicates
BANDS = 3  # of length, each with the same number of tokens
LARGEST_SHARE = 0.5  # of the pool that a subset may be: larger ones are nearly the same
CLOSE = 0.98  # of its size: a subset is then full
MORE = 1.5  # of its size: documents that are looked at, since some do not fit


@dataclass(frozen=True)
class Trial:
    """One subset. ``number``: among those of its role, family (uniform or structured) and size, from 0.

    ``block``: of the calibration; -1 for the check.
    """

    role: str
    kind: str
    size: int
    number: int
    block: int

    @property
    def name(self) -> str:
        return f"{self.role}:{self.kind}:{self.size}:{self.number}"


@dataclass(frozen=True)
class Pool:
    """``tokens_N``: size of each document. ``cluster_N``, ``language_N``: numbers from 0; -1: unknown."""

    ids: pl.Series
    tokens_N: np.ndarray
    cluster_N: np.ndarray
    language_N: np.ndarray

    def tokens_of(self, group_N: np.ndarray) -> np.ndarray:
        """Tokens of each group of a numbering, int64. Documents of group -1 are left out."""
        known_N = group_N >= 0
        return np.bincount(group_N[known_N], self.tokens_N[known_N]).astype(np.int64)

    @cached_property
    def band_N(self) -> np.ndarray:
        """Band of length of each document, 0 for the shortest. Each has about the same number of tokens."""
        order_N = np.argsort(self.tokens_N, kind="stable")
        before_N = np.cumsum(self.tokens_N[order_N]) - self.tokens_N[order_N]
        band_N = np.empty(len(order_N), np.int64)
        band_N[order_N] = np.minimum(before_N * BANDS // max(self.tokens_N.sum(), 1), BANDS - 1)
        return band_N


def kinds(pool: Pool, size: int) -> tuple[str, ...]:
    """The structured kinds that the pool can have. Clusters and languages must be enough to differ."""
    clusters = int((pool.tokens_of(pool.cluster_N) > 0).sum())
    languages = int((pool.tokens_of(pool.language_N) >= size).sum())
    needed = {FEW: clusters >= 2, MANY: clusters >= 4, LANGUAGE: languages >= 2}
    return tuple(kind for kind in STRUCTURED if needed.get(kind, True))


def trials(
    possible: Mapping[int, Sequence[str]], calibration: tuple[int, int], check: tuple[int, int], blocks: int
) -> Iterator[Trial]:
    """All subsets. ``possible``: size to the ``kinds`` of structured ones, which they have in turn. ``calibration``,
    ``check``: how many structured and how many uniform ones of each size. Blocks of the calibration get them in turn.
    """
    for role, (structured, uniform) in ((CALIBRATION, calibration), (CHECK, check)):
        for size, of_size in possible.items():
            named = [(of_size[i % len(of_size)], i) for i in range(structured)]
            named += [(UNIFORM, i) for i in range(uniform)]
            for place, (kind, number) in enumerate(named):
                yield Trial(role, kind, size, number, place % blocks if role == CALIBRATION else -1)


def repeated(names: Sequence[str], n: int, seed: int) -> list[str]:
    """The ``n`` subsets that are retrained under one more seed. A larger ``n`` keeps those of a smaller one."""
    order_S = np.argsort(keyed_uniform(seed, "trials: repeated", list(names)), kind="stable")[:n]
    return [names[i] for i in order_S]


def order(pool: Pool, trial: Trial, seed: int) -> tuple[np.ndarray, int]:
    """(documents in the order in which they are taken, int64 (N,); how often each is taken).

    Documents that fit the kind come first. The others follow, for a pool in which the first ones are too few.
    """
    u_N = keyed_uniform(seed, f"trial {trial.name}", pool.ids)
    by_u_N = np.argsort(u_N, kind="stable")
    draw = _Draw(seed, trial.name)
    if trial.kind == UNIFORM:
        return by_u_N, 1
    if trial.kind == DUPLICATES:
        return by_u_N, COPIES[draw.below(len(COPIES))]
    if trial.kind == MANY:
        return _in_turn(pool.cluster_N, draw.some_of(pool.tokens_of(pool.cluster_N) > 0, 0.5, 4), by_u_N), 1
    if trial.kind == LENGTH:
        first = draw.below(BANDS)
        return _groups_first(np.abs(pool.band_N - first), by_u_N), 1
    if trial.kind == LANGUAGE:
        return _groups_first(draw.ranks(pool.tokens_of(pool.language_N) >= trial.size)[pool.language_N], by_u_N), 1
    rank_K = draw.ranks(pool.tokens_of(pool.cluster_N) > 0)
    few = 1 + draw.below(max(min(3, (rank_K < len(rank_K)).sum() // 2), 1))
    rank_N = np.maximum(rank_K[pool.cluster_N] - few + 1, 0)  # the first few clusters are mixed
    return _groups_first(rank_N, by_u_N), 1


class _Draw:
    """Random numbers of one subset."""

    def __init__(self, seed: int, name: str):
        self.seed, self.name = seed, f"trial {name}: groups"

    def below(self, n: int) -> int:
        return int(keyed_uniform(self.seed, f"{self.name} below", [str(n)])[0] * n)

    def ranks(self, fits_G: np.ndarray) -> np.ndarray:
        """A random rank of each group. Groups that do not fit come after the others. The last entry, which a group of
        -1 gets, is behind all of them."""
        order_G = keyed_order(self.seed, self.name, len(fits_G))
        order_G = order_G[np.argsort(~fits_G[order_G], kind="stable")]
        rank_G = np.full(len(fits_G) + 1, len(fits_G))
        rank_G[order_G] = np.arange(len(fits_G))
        return rank_G

    def some_of(self, fits_G: np.ndarray, share: float, least: int) -> np.ndarray:
        """The ``ranks``, of which only the first ``share`` of the fitting groups, but at least ``least``, are used:
        all others get the same last rank."""
        rank_G = self.ranks(fits_G)
        n = max(int(np.ceil(fits_G.sum() * share)), least)
        return np.where(rank_G < min(n, int(fits_G.sum())), rank_G, len(fits_G))


def _groups_first(rank_N: np.ndarray, by_u_N: np.ndarray) -> np.ndarray:
    """Documents by rank; within a rank in the order ``by_u_N``."""
    return by_u_N[np.argsort(rank_N[by_u_N], kind="stable")]


def _in_turn(cluster_N: np.ndarray, rank_K: np.ndarray, by_u_N: np.ndarray) -> np.ndarray:
    """One document of each ranked cluster, then the second one of each, and so on. The others follow."""
    last = len(rank_K) - 1
    rank_N = rank_K[cluster_N][by_u_N]
    by_rank_N = np.argsort(rank_N, kind="stable")
    start_N = np.searchsorted(rank_N[by_rank_N], rank_N[by_rank_N])
    turn_N = np.empty(len(rank_N), np.int64)
    turn_N[by_rank_N] = np.arange(len(rank_N)) - start_N
    return by_u_N[np.lexsort((rank_N, turn_N, rank_N >= last))]


def candidates(order_N: np.ndarray, tokens_N: np.ndarray, copies: int, size: int) -> np.ndarray:
    """The first documents of which those that fit into ``size`` have half as much again, since sizes are estimates.

    Documents that are longer do not count, however many come first. Those that may fit all the same are among them.
    """
    long_N = tokens_N[order_N] * copies
    so_far_N = np.cumsum(np.where(long_N <= size, long_N, 0))
    stop = int(np.searchsorted(so_far_N, MORE * size)) + 1
    return order_N[:stop][long_N[:stop] <= MORE * size]


def fitted(tokens_M: np.ndarray, copies: int, size: int) -> np.ndarray:
    """Which documents are taken, bool (M,): in their order, each that still fits, until the subset is nearly full."""
    taken_M, left = np.zeros(len(tokens_M), bool), size
    for i, tokens in enumerate((tokens_M * copies).tolist()):
        if tokens <= left:
            taken_M[i] = True
            left -= tokens
            if left <= (1 - CLOSE) * size:
                break
    return taken_M

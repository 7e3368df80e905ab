"""The interface of a selection: documents, budgets and features in, copies of each document out.

To add a selection, write a function in a module of this folder, an entry in registry.py, and its name in
settings/selection.rule. tests/method/test_selections.py tests every entry. Features are computed from files in
stages/curation/features.py, when a selection asks for them.

A selection makes one key for each document. Documents with the largest keys are taken until a budget is met: the budget
of each cluster, of the whole pool, or of strata, which are groups that the selection makes.
Shapes: N documents, K clusters, S strata (each with a budget of its own).
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Protocol

import numpy as np
import polars as pl

from grip_assets.method.attribution.objective import Aim
from grip_assets.method.budget.allocation import largest_remainder, water_fill
from grip_assets.method.sampling import keyed_uniform
from grip_assets.method.selection.draw import Drawn, draw


@dataclass(frozen=True)
class Documents:
    """N documents, cluster after cluster.

    ``size_K``: number of documents of each cluster. ``unit``: unit of the budgets, tokens or documents. Documents
    longer than ``max_tokens`` are not taken. ``weight_N``: weights of their sources; None if all are 1.
    """

    ids: pl.Series
    tokens_N: np.ndarray
    size_K: np.ndarray
    unit: str = "tokens"
    max_tokens: int | None = None
    weight_N: np.ndarray | None = None

    @cached_property
    def cost_N(self) -> np.ndarray:
        """The size of each document in the unit of the budgets, int64 (N,)."""
        return self.tokens_N if self.unit == "tokens" else np.ones(len(self.tokens_N), np.int64)

    @cached_property
    def cluster_N(self) -> np.ndarray:
        """The number of each document's cluster, from 0, int32 (N,)."""
        return np.repeat(np.arange(len(self.size_K), dtype=np.int32), self.size_K)

    @cached_property
    def place_N(self) -> np.ndarray:
        """The place of each document by its id, from 1, int64 (N,): what decides between equals."""
        return self.ids.rank("ordinal").to_numpy().astype(np.int64)

    @cached_property
    def may_N(self) -> np.ndarray:
        """Which documents may be taken, a mask (N,)."""
        return np.ones(len(self.tokens_N), bool) if self.max_tokens is None else self.tokens_N <= self.max_tokens

    def uniform(self, seed: int) -> np.ndarray:
        """A random number from 0 to 1 for each document, float64 (N,).

        All selections use the same numbers for a seed, so luck adds little to their differences.
        """
        return keyed_uniform(seed, "subset", self.ids)


@dataclass(frozen=True)
class Budgets:
    """Budgets of the clusters, in the unit of the documents. ``utility_K``: weights by which a rest is shared out among
    other clusters. ``max_repeats``: most copies of a document."""

    allocated_K: np.ndarray
    utility_K: np.ndarray
    max_repeats: int = 1

    @property
    def total(self) -> int:
        return int(self.allocated_K.sum())


@dataclass(frozen=True)
class Attributed:
    """What a greedy selection reads of the attribution. N documents, F numbers of a sketch.

    ``blocks``: yields the sketches of all documents in their order, (B, F), each time that it is called. ``unit``:
    whether each counts at length 1. ``aim``: the targets and how a selection is scored.
    """

    blocks: Callable[[], Iterator[np.ndarray]]
    unit: bool
    aim: Aim


class Features(Protocol):
    """Properties of the documents, each an array in their order. A feature is computed when it is asked for."""

    def density(self) -> np.ndarray:
        """ρ(x) [G8], float64 (N,)."""
        ...

    def quality(self) -> np.ndarray:
        """The static judge's score from 0 to 10, float64 (N,); -1 for a document without one."""
        ...

    def language(self) -> np.ndarray:
        """The number of each document's language, from 0, int64 (N,)."""
        ...

    def likeness(self) -> np.ndarray:
        """SemDeDup's largest cosine to a preferred document of the cluster (baselines.likeness), float64 (N,)."""
        ...

    def prototypicality(self, kept_N: np.ndarray) -> np.ndarray:
        """For the documents of a mask (N,): the cosine to their centroid, if only these documents are clustered."""
        ...

    def target(self) -> tuple[np.ndarray, np.ndarray]:
        """DSIR's log weight, float64 (N,), and whether the document is long enough for it, bool (N,)."""
        ...

    def attributed(self) -> Attributed:
        """Sketches of the documents and of the targets that they should help with."""
        ...


class Parameters(Protocol):
    """The fields of settings/selection that selections read."""

    @property
    def weight(self) -> str: ...
    @property
    def beta(self) -> float: ...
    @property
    def neighbours(self) -> int: ...
    @property
    def rho_floor(self) -> float: ...
    @property
    def clip_quantile(self) -> float: ...
    @property
    def seed(self) -> int: ...
    @property
    def scope(self) -> str: ...
    @property
    def rounds(self) -> int: ...


@dataclass(frozen=True)
class Steps:
    """Why a greedy selection took each document, or did not. All numbers are divided by the size of the document.

    ``rank_N``: its place among the documents that were taken, from 1, int64; 0 if it was not taken. ``alignment_N``:
    what it would add to an empty selection. ``covered_N``: how much of that others had covered when its turn came.
    ``gain_N``: what it added, the difference of the two less its own penalty. For a document that was not taken, its
    turn is the end. float64.
    """

    rank_N: np.ndarray
    gain_N: np.ndarray
    covered_N: np.ndarray
    alignment_N: np.ndarray


@dataclass(frozen=True)
class Selected:
    """The result of a selection.

    ``key_N``: documents with the largest keys are taken. ``allocated_S``: the budgets that were followed. ``drawn``:
    what was drawn to each of them. ``budgets``: CLUSTERS, POOL or STRATA, the owner of these budgets.
    ``length_weight_N`` and ``selection_weight_N``: the weights of a weighted draw; 1 for other selections. ``steps``:
    of a greedy selection, otherwise None. ``said``: metrics of the selection itself.
    """

    key_N: np.ndarray
    drawn: Drawn
    allocated_S: np.ndarray
    budgets: str
    length_weight_N: np.ndarray
    selection_weight_N: np.ndarray
    steps: Steps | None = None
    said: Mapping[str, Any] = field(default_factory=dict)

    @property
    def repeats_N(self) -> np.ndarray:
        """Copies of each document, int64 (N,); 0 if it is not taken."""
        return self.drawn.repeats_N


CLUSTERS, POOL, STRATA = "clusters", "pool", "strata"
"""The owner of the budgets that a selection follows."""
Select = Callable[[Documents, Budgets, Features, Parameters], Selected]


@dataclass(frozen=True)
class Rule:
    """An entry of the registry.

    ``budgets``: CLUSTERS, if it follows the table ``budgets``; POOL or STRATA, if it uses only their total.
    ``features``: the features that it asks for. ``clustered``: whether it needs clusters or vectors.
    """

    select: Select
    budgets: str = POOL
    features: tuple[str, ...] = ()
    clustered: bool = False


def take_in_clusters(documents: Documents, budgets: Budgets, key_N: np.ndarray) -> Selected:
    """Take the largest keys of each cluster until its budget is met [A17b]."""
    may_N, size_K = documents.may_N, documents.size_K
    if not may_N.all():
        stop_K = np.cumsum(size_K)
        size_K = np.array([may_N[stop - size : stop].sum() for stop, size in zip(stop_K, size_K, strict=True)], int)
    return _taken(documents, key_N, size_K, budgets.allocated_K, budgets.utility_K, budgets.max_repeats, CLUSTERS)


def take_from_pool(documents: Documents, budgets: Budgets, key_N: np.ndarray) -> Selected:
    """Take the largest keys of the whole pool until the whole budget is met. Documents longer than it are skipped."""
    may_N, cost_N = documents.may_N, documents.cost_N
    total = np.array([min(budgets.total, budgets.max_repeats * int(cost_N.sum(where=may_N)))])
    taken = _taken(documents, key_N, np.array([may_N.sum()]), total, np.ones(1), budgets.max_repeats, POOL)
    return replace(taken, allocated_S=np.array([budgets.total]))


def take_equally(
    documents: Documents, budgets: Budgets, key_N: np.ndarray, stratum_N: np.ndarray, whose: str = STRATA
) -> Selected:
    """Take the largest keys of each stratum until its share of the whole budget is met. All shares are equal.

    If a stratum has less than its share, or documents that are too long for it, the rest goes to the others
    (water-filling). ``stratum_N``: number of each document's stratum, from 0.
    """
    may_N = np.flatnonzero(documents.may_N)
    stratum_n, cost_n, n_strata = stratum_N[may_N], documents.cost_N[may_N], int(stratum_N.max(initial=-1)) + 1
    cap_S = np.bincount(stratum_n, cost_n, n_strata).astype(np.int64) * budgets.max_repeats
    total = min(budgets.total, int(cap_S.sum()))
    share_S = largest_remainder(water_fill(np.ones(n_strata), cap_S, total), cap_S, total)
    order = np.argsort(stratum_n, kind="stable")
    sizes_S = np.bincount(stratum_n, minlength=n_strata)
    drawn = draw(key_N[may_N][order], cost_n[order], sizes_S, share_S, np.ones(n_strata), budgets.max_repeats)
    return _selected(key_N, _everywhere(drawn, may_N[order], len(key_N)), share_S, whose)


def _taken(
    documents: Documents,
    key_N: np.ndarray,
    size_S: np.ndarray,
    allocated_S: np.ndarray,
    utility_S: np.ndarray,
    max_repeats: int,
    whose: str,
) -> Selected:
    """The draw of the documents that may be taken. ``size_S``: how many of them are in each budget."""
    may_N, cost_N = documents.may_N, documents.cost_N
    if may_N.all():  # nothing is copied
        return _selected(key_N, draw(key_N, cost_N, size_S, allocated_S, utility_S, max_repeats), allocated_S, whose)
    drawn = draw(key_N[may_N], cost_N[may_N], size_S, allocated_S, utility_S, max_repeats)
    return _selected(key_N, _everywhere(drawn, may_N, len(key_N)), allocated_S, whose)


def _everywhere(drawn: Drawn, rows: np.ndarray, n: int) -> Drawn:
    """A draw of some ``rows`` (their numbers, or a mask) as a draw of all ``n`` documents."""
    repeats_N = np.zeros(n, np.int64)
    repeats_N[rows] = drawn.repeats_N
    return replace(drawn, repeats_N=repeats_N)


def _selected(key_N: np.ndarray, drawn: Drawn, allocated_S: np.ndarray, whose: str) -> Selected:
    ones_N = np.ones(len(key_N))
    return Selected(key_N, drawn, allocated_S, whose, ones_N, ones_N)

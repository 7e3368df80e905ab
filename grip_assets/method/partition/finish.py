"""From a fit to clusters, the same for every method: dissolve small clusters, number them, compute centroids [G1, A18,
A18b].

A cluster is small if it has fewer documents than settings/clustering.min_cluster_docs. The smallest one is dissolved:
each of its documents is assigned again, among the components that are left. This is repeated until no cluster is small,
or only one is left. Only documents of small clusters ever move, so only these are held in memory.

With settings/embedding.sample this counts only documents with a vector: ``settled`` sees no others. So every cluster
has enough vectors for its centroid and its spread. ``numbered`` then counts all documents.

Centroids are normalised sums of members. So mean cosine = ||mean vector|| (P2), on which sql/equations/sigma_k.sql
relies.

Shapes: N documents, B rows of a block, K clusters, d dimensions. Nothing of size N x K is held.
"""

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import NamedTuple, Protocol

import numpy as np
import polars as pl

from grip_assets.method.geometry import unit_rows
from grip_assets.method.partition import lloyd
from grip_assets.method.partition.base import NO_LABEL, Assigned, Fitted
from grip_assets.method.screening import compiled
from grip_assets.runtime import threads


class Block(NamedTuple):
    """Rows of the pool: vectors and, for a partition by a column, the values of the column."""

    x_BD: np.ndarray
    value_B: pl.Series | None = None


class Documents(Protocol):
    """All documents; each call passes over them again. In memory here, on the disk in stages/curation/clusters.py."""

    def assign(self, fitted: Fitted, live: np.ndarray | None = None) -> Iterable[Assigned]:
        """Labels of all rows, block by block, in order, among the components ``live`` (None: all)."""
        ...

    def rows(self, chosen_N: np.ndarray) -> Block:
        """The rows of a mask, in order."""
        ...


class InMemory:
    """``Documents`` in memory. ``blocks()`` starts a fresh pass over them."""

    def __init__(self, blocks: Callable[[], Iterable[np.ndarray]], values: pl.Series | None = None):
        self.blocks, self.values = blocks, values

    def _blocks(self) -> Iterator[Block]:
        start = 0
        for x_BD in self.blocks():
            yield Block(x_BD, None if self.values is None else self.values[start : start + len(x_BD)])
            start += len(x_BD)

    def assign(self, fitted: Fitted, live: np.ndarray | None = None) -> Iterable[Assigned]:
        among = fitted if live is None else fitted.only(live)
        return threads.each(lambda block: among.assign(*block), self._blocks())

    def rows(self, chosen_N: np.ndarray) -> Block:
        found, start = [], 0
        for x_BD in self.blocks():
            found.append(x_BD[chosen_N[start : start + len(x_BD)]])
            start += len(x_BD)
        return Block(np.concatenate(found), None if self.values is None else self.values.filter(pl.Series(chosen_N)))


class Finished(NamedTuple):
    """``cluster_N``: the cluster of each document, int32; cluster 0 is the largest. ``confidence_N``, ``by_N``: see
    ``Assigned``. ``generative_N``: the cluster without the offset of a mixture, or NO_LABEL. ``component_K``: for each
    cluster, its component in the fit."""

    cluster_N: np.ndarray
    confidence_N: np.ndarray
    by_N: np.ndarray
    generative_N: np.ndarray
    component_K: np.ndarray

    @property
    def counts_K(self) -> np.ndarray:
        return np.bincount(self.cluster_N, minlength=len(self.component_K))

    @property
    def imbalance(self) -> float:
        """Documents of the largest cluster over those of the median one."""
        return float(self.counts_K.max() / np.median(self.counts_K))


def finish(fitted: Fitted, documents: Documents, minimum: float) -> Finished:
    """Assign every document to a cluster, dissolve small clusters, number the others. See the module's docstring."""
    return numbered(*settled(fitted, documents, minimum))


def settled(fitted: Fitted, documents: Documents, minimum: float) -> tuple[Assigned, np.ndarray]:
    """(labels of all documents, the components that are left when no cluster is small). Labels are places in these."""
    assigned = joined(documents.assign(fitted))
    live = dissolve(fitted, assigned.label_B, documents.rows, minimum)
    if len(live) < len(fitted.centroids_KD):
        assigned = joined(documents.assign(fitted, live))  # confidence, too, counts only the components that are left
    return assigned, live


def numbered(assigned: Assigned, live: np.ndarray) -> Finished:
    """Clusters numbered by falling size. ``live``: the component of each label."""
    counts_K = np.bincount(assigned.label_B, minlength=len(live))
    order = np.lexsort((live, -counts_K))
    id_K = np.empty(len(live), np.int32)
    id_K[order] = np.arange(len(live), dtype=np.int32)
    return Finished(
        id_K[assigned.label_B], assigned.confidence_B, assigned.by_B, _mapped(id_K, assigned.generative_B), live[order]
    )


def _mapped(id_K: np.ndarray, label_N: np.ndarray) -> np.ndarray:
    """The cluster of each label, int32; NO_LABEL stays."""
    return np.where(label_N == NO_LABEL, np.int32(NO_LABEL), id_K[np.maximum(label_N, 0)])


def dissolve(fitted: Fitted, label_N: np.ndarray, rows: Callable[[np.ndarray], Block], minimum: float) -> np.ndarray:
    """The components that stay, ascending: those that have documents when no cluster is small any more.

    The smallest is dissolved first; of equal ones that with the lowest id; ``fitted.rest`` after all others. ``rows``
    returns the documents of a mask.
    """
    k = len(fitted.centroids_KD)
    count_K = np.bincount(label_N, minlength=k)
    small_K = (count_K < minimum) & (count_K > 0)
    moving_N = small_K[label_N]
    label_M, block = label_N[moving_N].copy(), None
    live_K = np.ones(k, bool)
    while (smallest := _smallest(count_K, live_K, minimum, fitted.rest)) is not None:
        block = block or rows(moving_N)
        live_K[smallest] = False
        live, some_M = np.flatnonzero(live_K), label_M == smallest
        values = None if block.value_B is None else block.value_B.filter(pl.Series(some_M))
        label_M[some_M] = live[fitted.only(live).assign(block.x_BD[some_M], values).label_B]
        count_K[smallest] = 0
        count_K += np.bincount(label_M[some_M], minlength=k)
    return np.flatnonzero(live_K & (count_K > 0))


def _smallest(count_K: np.ndarray, live_K: np.ndarray, minimum: float, rest: int | None) -> int | None:
    """The cluster to dissolve next; None if no cluster is small, or if all documents are in one."""
    filled = np.flatnonzero(live_K & (count_K > 0))
    small = filled[count_K[filled] < minimum]
    if len(filled) == 1 or not len(small):
        return None
    first = small[np.lexsort((small, count_K[small], small == rest))]
    return int(first[0])


def joined(blocks: Iterable[Assigned]) -> Assigned:
    return Assigned(*(np.concatenate(column) for column in zip(*blocks, strict=True)))


def centre(blocks: Callable[[], Iterable[np.ndarray]], cluster_N: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """The centroids of all clusters, float64 (K, d), and the cosine of each row to its centroid, float64 (N,)."""
    total_KD: np.ndarray | None = None
    for sums_KD in threads.each(partial(_sums, k=k), _with_ids(blocks(), cluster_N)):
        total_KD = sums_KD if total_KD is None else total_KD + sums_KD  # in the order of the blocks
    assert total_KD is not None
    centroids_KD = directions(total_KD)
    with_centroids = partial(_cosines, centroids_KD=centroids_KD)
    return centroids_KD, np.concatenate(list(threads.each(with_centroids, _with_ids(blocks(), cluster_N))))


def sums(x_BD: np.ndarray, ids_B: np.ndarray, k: int) -> np.ndarray:
    """Sum of the unit vectors of each cluster, in the order of the rows, float64 (K, d)."""
    sums_KD = np.zeros((k, x_BD.shape[1]))
    _add_rows(unit_rows(x_BD), ids_B, sums_KD)
    return sums_KD


def cosines(x_BD: np.ndarray, ids_B: np.ndarray, centroids_KD: np.ndarray) -> np.ndarray:
    """Cosine of each row to its centroid, float64 (B,)."""
    cosine_B = np.empty(len(ids_B))
    lloyd.cosines(unit_rows(x_BD), centroids_KD, ids_B, cosine_B)
    return cosine_B


def directions(sums_KD: np.ndarray) -> np.ndarray:
    """Normalised sums, float64 (K, d); a row of zeros if the members cancel out."""
    norms_K = np.linalg.norm(sums_KD, axis=1, keepdims=True)
    return sums_KD / np.maximum(norms_K, 1e-12)


def _sums(block: tuple[np.ndarray, np.ndarray], k: int) -> np.ndarray:
    return sums(*block, k)


def _cosines(block: tuple[np.ndarray, np.ndarray], centroids_KD: np.ndarray) -> np.ndarray:
    return cosines(*block, centroids_KD)


def _with_ids(blocks: Iterable[np.ndarray], cluster_N: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    start = 0
    for x_BD in blocks:
        yield x_BD, cluster_N[start : start + len(x_BD)]
        start += len(x_BD)


@compiled
def _add_rows(x_BD, ids_B, sums_KD):
    for i in range(x_BD.shape[0]):
        for j in range(x_BD.shape[1]):
            sums_KD[ids_B[i], j] += x_BD[i, j]

"""Spherical k-means [G1, A18]: centroids by Lloyd's iterations on a sample, a document to the nearest.

Fit, with the kernels of lloyd.py: ``seeds`` starts of ``iterations`` each, and the one with the highest mean cosine is
kept. It then goes on until it is at rest, and what is small is dissolved on the way. So no document of a small sample
is nearer to another centroid than to its own, and about one in a thousand of a large sample. The starts take at most
seeds x iterations x N K d operations, most of which are never computed.

Confidence is the simplified silhouette, 1 - a / b, where a and b are the distances to the nearest and to the second
nearest centroid: 1 on a centroid, 0 half-way between two. Labels are exact, so the number of workers changes nothing.
Shapes: N rows of the sample, B rows of a block, K clusters, d dimensions. Rows are unit vectors.
"""

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import polars as pl

from grip_assets.errors import GripError
from grip_assets.method.geometry import unit_rows
from grip_assets.method.partition import lloyd
from grip_assets.method.partition.base import (
    FIT_TRACE,
    Assigned,
    FitSettings,
    Log,
    PoolFacts,
    by_centroid,
    centroids_of,
    choose_k,
    components_table,
)
from grip_assets.method.partition.finish import Block, dissolve
from grip_assets.method.partition.nearest import silhouette, two_nearest
from grip_assets.method.sampling import keyed_order
from grip_assets.method.screening import Codes, encode, fastest
from grip_assets.runtime.progress import Progress

SAME_DIRECTION = 1 - 1e-5  # cosine above which two centroids are one: halves of a split that nothing parted
SETTLE = 100  # iterations, at most, in which the best start comes to rest
AT_REST = 0.001  # share of the sample below which what still changes cluster is let be; nothing of a small pool

Trace = list[tuple[int, int, float]]
"""Rows of ``fit_trace``: seed, iteration, mean cosine."""


@dataclass(frozen=True)
class KMeans:
    """``centroids_KD``: unit rows, float32. ``trace``: mean cosine of the sample by seed and iteration."""

    centroids_KD: np.ndarray
    trace: Trace = field(default_factory=list)
    rest: None = None

    @cached_property
    def _codes(self) -> Codes:
        return encode(self.centroids_KD, fastest()[0])

    def assign(self, x_BD: np.ndarray, value_B: pl.Series | None = None) -> Assigned:
        """The nearest centroid by cosine, as in float64; ties go to the lowest id."""
        two = two_nearest(unit_rows(x_BD), self.centroids_KD, self._codes)
        return Assigned(two.label_B, silhouette(two.first_B, two.second_B), by_centroid(len(x_BD)))

    def only(self, components: np.ndarray) -> "KMeans":
        return KMeans(np.ascontiguousarray(self.centroids_KD[components]), self.trace)

    def tables(self) -> dict[str, pl.DataFrame]:
        trace = pl.DataFrame(self.trace, FIT_TRACE, orient="row")
        return {"components": components_table("kmeans", self.centroids_KD), "fit_trace": trace}


def read(components: pl.DataFrame) -> KMeans:
    return KMeans(centroids_of(components))


def fit(
    sample_ND: np.ndarray, settings: FitSettings, log: Log = lambda line: None, pool: PoolFacts | None = None
) -> KMeans:
    """Ids of the components run by falling size in the sample. Without ``pool`` the sample is all of it."""
    n_documents = pool.n_documents if pool else len(sample_ND)
    k = choose_k(n_documents, settings.k)
    if k > len(sample_ND):
        raise GripError(
            f"settings/clustering.fit_sample leaves {len(sample_ND)} documents to fit {k} clusters on."
            f" Raise fit_sample to {k} or more, or lower k."
        )
    x_ND = unit_rows(sample_ND)
    rows, trace = lloyd.prepare(x_ND), Trace()
    seed, best_KD = _best_start(rows, k, settings, trace, log)
    minimum = settings.min_cluster_docs * len(x_ND) / n_documents
    return KMeans(_settled(rows, best_KD, minimum, seed, trace), trace)


def _best_start(rows: lloyd.Rows, k: int, settings: FitSettings, trace: Trace, log: Log) -> tuple[int, np.ndarray]:
    """(seed, centroids) with the highest mean cosine, ties by the earlier seed. A start is k rows drawn at random."""
    x_ND = rows.x_ND
    best_seed, best_KD, highest = settings.seed, x_ND[:0], -np.inf
    for seed in range(settings.seed, settings.seed + settings.seeds):
        progress = Progress(f"k-means, seed {seed}", settings.iterations, "iterations", log)
        start_KD = x_ND[np.sort(keyed_order(seed, "clusters", len(x_ND))[:k])]
        found = lloyd.lloyd(rows, start_KD, settings.iterations, progress.advance)
        trace += [(seed, iteration, value) for iteration, value in enumerate(found.objectives)]
        if found.objectives[-1] > highest:
            best_seed, best_KD, highest = seed, found.centroids_KD, found.objectives[-1]
    return best_seed, best_KD


def _settled(rows: lloyd.Rows, c_KD: np.ndarray, minimum: float, seed: int, trace: Trace) -> np.ndarray:
    """Lloyd's iterations and dissolving in turn, until neither changes anything. Ids by falling size."""
    while True:
        found = lloyd.lloyd(rows, distinct(c_KD), SETTLE, at_rest=AT_REST)
        done = sum(row[0] == seed for row in trace)
        trace += [(seed, done + i, value) for i, value in enumerate(found.objectives)]
        c_KD = distinct(found.centroids_KD)
        if len(c_KD) < len(found.centroids_KD):
            continue
        live = dissolve(KMeans(c_KD), found.label_N, lambda chosen_N: Block(rows.x_ND[chosen_N]), minimum)
        if len(live) == len(c_KD):
            count_K = np.bincount(found.label_N, minlength=len(c_KD))
            return np.ascontiguousarray(c_KD[np.lexsort((live, -count_K))])
        c_KD = c_KD[live]


def distinct(c_KD: np.ndarray) -> np.ndarray:
    """Centroids without copies of one direction; of copies the first stays."""
    keep: list[int] = []
    for i, row in enumerate(c_KD):
        if not (c_KD[keep] @ row > SAME_DIRECTION).any():
            keep.append(i)
    return c_KD[keep]

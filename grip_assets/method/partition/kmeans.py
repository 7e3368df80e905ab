"""Spherical k-means [G1, A18]: centroids by Lloyd's iterations on a sample; each document goes to the nearest centroid.

The fit uses the kernels of lloyd.py. It makes ``seeds`` starts of ``iterations`` each, from the rows that k-means++
draws (seeding.py), and keeps the start with the highest mean cosine. This start goes on until it is at rest; small
clusters are dissolved on the way. Afterwards no document of a small sample is nearer to another centroid than to its
own, and about one in a thousand of a large sample is. The starts need at most seeds x iterations x N K d operations,
most of which are skipped.

Confidence is the simplified silhouette, 1 - a / b, where a and b are the distances to the nearest and to the second
nearest centroid: 1 on a centroid, 0 half-way between two. Labels are exact, so the number of workers changes nothing.
Shapes: N rows of the sample, B rows of a block, K clusters, d dimensions. Rows are unit vectors.
"""

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import polars as pl

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
    enough_rows,
    no_labels,
)
from grip_assets.method.partition.finish import Block, cosines, dissolve
from grip_assets.method.partition.nearest import silhouette, two_nearest
from grip_assets.method.partition.seeding import kmeanspp
from grip_assets.method.screening import Codes, encode, fastest
from grip_assets.runtime.progress import Progress

SAME_DIRECTION = 1 - 1e-5  # above this cosine two centroids are one: halves of a split that stayed together
SETTLE = 100  # most iterations in which the best start comes to rest
AT_REST = 0.001  # at rest: at most this share of the sample changes its cluster (less than one row of a small pool)

Trace = list[tuple[int, int, float]]
"""Rows of ``fit_trace``: seed, iteration, mean cosine."""


@dataclass(frozen=True)
class KMeans:
    """A fitted k-means. ``centroids_KD``: unit rows, float32. ``trace``: mean cosine by seed and iteration."""

    centroids_KD: np.ndarray
    trace: Trace = field(default_factory=list)
    rest: None = None

    @cached_property
    def _codes(self) -> Codes:
        return encode(self.centroids_KD, fastest()[0])

    def assign(self, x_BD: np.ndarray, value_B: pl.Series | None = None) -> Assigned:
        """The nearest centroid by cosine, as in float64; ties go to the lowest id."""
        two = two_nearest(unit_rows(x_BD), self.centroids_KD, self._codes)
        n = len(x_BD)
        return Assigned(two.label_B, silhouette(two.first_B, two.second_B), by_centroid(n), no_labels(n))

    def log_density(self, x_BD: np.ndarray, label_B: np.ndarray) -> np.ndarray:
        """The cosine of each row to its centroid."""
        return cosines(x_BD, label_B, self.centroids_KD)

    def only(self, components: np.ndarray) -> "KMeans":
        return KMeans(np.ascontiguousarray(self.centroids_KD[components]), self.trace)

    def tables(self) -> dict[str, pl.DataFrame]:
        trace = pl.DataFrame([(*row, None) for row in self.trace], FIT_TRACE, orient="row")
        return {"components": components_table("kmeans", self.centroids_KD), "fit_trace": trace}


def read(components: pl.DataFrame) -> KMeans:
    return KMeans(centroids_of(components))


def fit(
    sample_ND: np.ndarray, settings: FitSettings, log: Log = lambda line: None, pool: PoolFacts | None = None
) -> KMeans:
    """Component 0 is the largest in the sample. Without ``pool``, the sample counts as the whole pool.

    GripError if the sample has fewer rows than clusters.
    """
    n_documents = pool.n_documents if pool else len(sample_ND)
    k = choose_k(n_documents, settings.k)
    enough_rows(len(sample_ND), k)
    minimum = settings.min_cluster_docs * len(sample_ND) / n_documents
    return fit_rows(lloyd.prepare(unit_rows(sample_ND)), k, settings, minimum, log)


def fit_rows(rows: lloyd.Rows, k: int, settings: FitSettings, minimum: float, log: Log = lambda line: None) -> KMeans:
    """Clusters with fewer than ``minimum`` rows are dissolved."""
    trace = Trace()
    seed, best_KD = _best_start(rows, k, settings, trace, log)
    return KMeans(_settled(rows, best_KD, minimum, seed, trace), trace)


def _best_start(rows: lloyd.Rows, k: int, settings: FitSettings, trace: Trace, log: Log) -> tuple[int, np.ndarray]:
    """(seed, centroids) of the start with the highest mean cosine; of equal ones the earlier seed."""
    x_ND = rows.x_ND
    best_seed, best_KD, highest = settings.seed, x_ND[:0], -np.inf
    for seed in range(settings.seed, settings.seed + settings.seeds):
        progress = Progress(f"k-means, seed {seed}", settings.iterations, "iterations", log)
        found = lloyd.lloyd(rows, x_ND[np.sort(kmeanspp(x_ND, k, seed))], settings.iterations, progress.advance)
        trace += [(seed, iteration, value) for iteration, value in enumerate(found.objectives)]
        if found.objectives[-1] > highest:
            best_seed, best_KD, highest = seed, found.centroids_KD, found.objectives[-1]
    return best_seed, best_KD


def _settled(rows: lloyd.Rows, c_KD: np.ndarray, minimum: float, seed: int, trace: Trace) -> np.ndarray:
    """Iterate and dissolve in turn, until neither changes anything. Centroid 0 is that of the largest cluster."""
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
    """The centroids without duplicates: of those with the same direction, the first stays."""
    keep: list[int] = []
    for i, row in enumerate(c_KD):
        if not (c_KD[keep] @ row > SAME_DIRECTION).any():
            keep.append(i)
    return c_KD[keep]

"""Families of clusters: the second level of the taxonomy, by agglomeration of centroids.

Shapes: K clusters, F families, d dimensions.
"""

import math

import numpy as np


def number_of_families(k: int, wanted: int | None) -> int:
    """``wanted``, or about sqrt(K); from 1 to K."""
    return max(min(round(math.sqrt(k)) if wanted is None else wanted, k), 1)


def families(centroids_KD: np.ndarray, size_K: np.ndarray, n: int) -> np.ndarray:
    """The family of each cluster, int32 (K,). Family 0 has the most documents.

    Ward's linkage on unit rows: it joins the two families whose join adds the least squared distance to their means.
    Average linkage would put most clusters into one family and leave others alone. The result depends on no seed.

    ``size_K``: documents of each cluster, by which the families are numbered.
    """
    if n >= len(centroids_KD):
        label_K = np.arange(len(centroids_KD))
    elif n == 1:
        label_K = np.zeros(len(centroids_KD), np.int64)
    else:
        from sklearn.cluster import AgglomerativeClustering  # slow to import

        label_K = AgglomerativeClustering(n, linkage="ward").fit_predict(np.asarray(centroids_KD, np.float64))
    size_F = np.bincount(label_K, weights=size_K)
    first_F = np.array([np.flatnonzero(label_K == family)[0] for family in range(len(size_F))])
    number_F = np.empty(len(size_F), np.int32)
    number_F[np.lexsort((first_F, -size_F))] = np.arange(len(size_F), dtype=np.int32)
    return number_F[label_K]

"""Spherical k-means in 20 lines, the specification of lloyd.py. That gives the same labels and centroids in less time.

Every distance is computed, in float64. Only tests use this. Shapes: N unit rows, K centroids, d dimensions.
"""

import numpy as np

from grip_assets.method.partition.lloyd import Found, split_empty, unit_means


def exhaustive(x_ND: np.ndarray, c_KD: np.ndarray, iterations: int) -> Found:
    """``iterations`` of Lloyd's algorithm, from the centroids ``c_KD``.

    Each row goes to its nearest centroid, ties to the lowest id. Each centroid becomes the direction of the sum of its
    rows. A centroid without rows takes half of the largest cluster.
    """
    x64_ND, objectives = x_ND.astype(np.float64), []
    for iteration in range(iterations + 1):
        cosine_NK = x64_ND @ c_KD.astype(np.float64).T
        label_N = cosine_NK.argmax(1)
        objectives.append(float(cosine_NK.max(1).mean()))
        if iteration < iterations:
            sums_KD, counts_K = np.zeros(c_KD.shape), np.bincount(label_N, minlength=len(c_KD))
            np.add.at(sums_KD, label_N, x64_ND)
            c_KD = split_empty(unit_means(sums_KD, counts_K, c_KD), counts_K.copy())
    return Found(c_KD, label_N, objectives)

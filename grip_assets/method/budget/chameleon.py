"""Chameleon: more of the clusters that are like the others, by ridge leverage scores [arXiv 2505.24844].

With K the Gram matrix of the centroids, centred, the leverage of cluster i is S_i = [K (K + λ k I)^-1]_ii: large where
the cluster is unlike all others. We use the paper's direction for pre-training, share ∝ exp(1 / (S_i T)), which favours
what many clusters have in common. Its other direction, exp(S_i / T), is for fine-tuning.

Two scales are ours. The paper embeds with a proxy model, whose vectors have lengths; ours are unit vectors, so K is
divided by the mean of its diagonal. And S is divided by its mean, so that T means the same for any number of clusters.
The authors' program divides by the sum, at T = 5 for seven domains: that is T = 0.71 here.
"""

import numpy as np
from threadpoolctl import threadpool_limits

from grip_assets.method.budget.base import Domains, normalised

SMALLEST = 1e-9  # leverage, as a share of the mean: two clusters with one centroid have none


def shares(domains: Domains) -> np.ndarray:
    """float64 (K,). Uniform if all centroids are alike. A cluster without a centroid has the mean leverage."""
    assert domains.centroid_KV is not None
    known_K = np.isfinite(domains.centroid_KV).all(axis=1) & domains.centroid_KV.any(axis=1)
    leverage_K = np.ones(len(known_K))
    if known_K.sum() > 1:
        leverage_K[known_K] = _leverage(domains.centroid_KV[known_K], domains.ridge)
    height_K = 1 / np.maximum(leverage_K, SMALLEST) / domains.leverage_temperature
    return normalised(np.exp(height_K - height_K.max(initial=0)))


def _leverage(centroid_KV: np.ndarray, ridge: float) -> np.ndarray:
    """Leverage scores over their mean, float64 (K,); 1 each if all centroids are alike."""
    centred_KV = np.asarray(centroid_KV, np.float64)
    centred_KV = centred_KV - centred_KV.mean(axis=0)
    k = len(centred_KV)
    with threadpool_limits(1):  # more threads could sum in another order
        gram_KK = centred_KV @ centred_KV.T
        scale = np.trace(gram_KK) / k
        if scale < SMALLEST:
            return np.ones(k)
        leverage_K = np.diag(np.linalg.solve(gram_KK / scale + ridge * k * np.eye(k), gram_KK / scale))
    return np.maximum(leverage_K, 0) / leverage_K.mean()

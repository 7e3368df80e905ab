"""Vectors as points in the plane, for pictures. Shapes: N documents, d dimensions.

t-SNE keeps neighbours together. Distances between far groups, and their sizes, mean nothing [van der Maaten & Hinton
2008]. O(N log N) by Barnes and Hut's approximation; about fifteen seconds for 3,000 documents.
"""

import numpy as np

PERPLEXITY = 30  # neighbours that a point is kept near to
SEED = 0


def tsne(x_ND: np.ndarray) -> np.ndarray:
    """Points, float32 (N, 2). Fewer than four vectors, or equal vectors, are projected on their principal components.

    It runs on one thread: several threads sum in varying order, which changes last bits, and t-SNE amplifies these.
    """
    x_ND = np.asarray(x_ND, np.float32)
    if len(x_ND) < 4 or not np.ptp(x_ND, axis=0).any():
        return principal(x_ND)
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits

    perplexity = min(PERPLEXITY, (len(x_ND) - 1) / 3)
    with threadpool_limits(1):
        return TSNE(perplexity=perplexity, init="pca", random_state=SEED, n_jobs=1).fit_transform(x_ND)


def principal(x_ND: np.ndarray) -> np.ndarray:
    """The first two principal components, float32 (N, 2); missing ones are 0."""
    x_ND = x_ND - x_ND[0]  # equal vectors become exactly 0; subtracting their rounded mean might not do that
    left_NR, scale_R, _ = np.linalg.svd(x_ND - x_ND.mean(0), full_matrices=False)
    found_N2 = np.zeros((len(x_ND), 2), np.float32)
    found_N2[:, : len(scale_R)] = (left_NR * scale_R)[:, :2]
    return found_N2

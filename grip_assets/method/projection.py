"""Vectors as points of the plane, for pictures. Shapes: N documents, d dimensions.

t-SNE keeps neighbours together; distances between far groups, and their sizes, say nothing [van der Maaten & Hinton
2008]. O(N log N) by Barnes and Hut's approximation; about fifteen seconds for 3,000 documents.
"""

import numpy as np

PERPLEXITY = 30  # neighbours that a point is kept near to
SEED = 0


def tsne(x_ND: np.ndarray) -> np.ndarray:
    """Float32 (N, 2). Fewer than four vectors, or vectors that are all the same, are projected on their principal
    components. On one thread: the order in which threads sum would change the last bits, which t-SNE amplifies."""
    x_ND = np.asarray(x_ND, np.float32)
    if len(x_ND) < 4 or not np.ptp(x_ND, axis=0).any():
        return principal(x_ND)
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits

    perplexity = min(PERPLEXITY, (len(x_ND) - 1) / 3)
    with threadpool_limits(1):
        return TSNE(perplexity=perplexity, init="pca", random_state=SEED, n_jobs=1).fit_transform(x_ND)


def principal(x_ND: np.ndarray) -> np.ndarray:
    """The first two principal components, float32 (N, 2); 0 where there are fewer."""
    x_ND = x_ND - x_ND[0]  # equal vectors become 0, which their rounded mean need not
    left_NR, scale_R, _ = np.linalg.svd(x_ND - x_ND.mean(0), full_matrices=False)
    found_N2 = np.zeros((len(x_ND), 2), np.float32)
    found_N2[:, : len(scale_R)] = (left_NR * scale_R)[:, :2]
    return found_N2

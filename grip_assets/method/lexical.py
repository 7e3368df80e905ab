"""Documents as vectors of their words: TF-IDF, reduced by latent semantic analysis [Deerwester et al. 1990].

The intruder test needs an encoder that had no part in the partition. This one is fitted on the texts that it compares,
so it is independent of every encoder, and it needs no model. Shapes: N documents, d dimensions.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

DIMENSIONS = 100
NAME = "TF-IDF"
IDEOGRAM = r"[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af]"  # such texts have no spaces: each one is a word
WORD = rf"{IDEOGRAM}|[^\W\d_]{{2,}}"
COMMON = 0.5  # words in more than this share of the documents tell them not apart


def document_vectors(texts: Sequence[str], dimensions: int = DIMENSIONS) -> np.ndarray:
    """Unit vectors, float64 (N, d) with d at most ``dimensions``; a zero row for a text without any word that counts.

    A word counts if it is in two documents or more, and in at most half of them. It runs on one thread, since several
    threads sum in varying order.
    """
    from threadpoolctl import threadpool_limits

    weights_NV = _tf_idf(texts)
    if weights_NV is None:
        return np.zeros((len(texts), 1))
    rank = min(dimensions, *(size - 1 for size in weights_NV.shape))
    with threadpool_limits(1):
        x_ND = weights_NV.toarray() if rank < 2 else _reduced(weights_NV, rank)
    length_N1 = np.linalg.norm(x_ND, axis=1, keepdims=True)
    return np.where(length_N1 > 1e-9, x_ND / np.maximum(length_N1, 1e-9), 0.0)


def _tf_idf(texts: Sequence[str]) -> Any:
    """A sparse matrix, float64 (N, V), or None if no word counts."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    most = max(int(COMMON * len(texts)), 2)
    try:
        return TfidfVectorizer(token_pattern=WORD, sublinear_tf=True, min_df=2, max_df=most).fit_transform(texts)
    except ValueError:  # scikit-learn's way to say that the vocabulary is empty
        return None


def _reduced(weights_NV: Any, rank: int) -> np.ndarray:
    from sklearn.decomposition import TruncatedSVD

    return TruncatedSVD(rank, random_state=0).fit_transform(weights_NV)

"""Whether names tell the clusters apart: documents are assigned to the cluster whose words they contain.

Shapes: N documents, K clusters, V words.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from grip_assets.method.statistics import Estimate, bootstrap


def nearest_by_words(counts_N: Sequence[Mapping[str, int]], words_K: Sequence[Sequence[str]]) -> np.ndarray:
    """The cluster of each document whose words are nearest to it, as places in ``words_K``, int64 (N,).

    Nearness is the cosine of two vectors over all words of the clusters. A document has log(1 + count) idf, a cluster
    has idf for each of its words, with idf = log((1 + N) / (1 + documents with the word)) + 1. Equal cosines, and a
    document with none of the words, go to the first cluster; so documents that are drawn equally from the clusters
    would be guessed in one of K cases.
    """
    vocabulary = {word: v for v, word in enumerate(dict.fromkeys(w for words in words_K for w in words))}
    tf_NV = np.zeros((len(counts_N), len(vocabulary)))
    for n, counts in enumerate(counts_N):
        for word in counts.keys() & vocabulary.keys():
            tf_NV[n, vocabulary[word]] = np.log1p(counts[word])
    idf_V = np.log((1 + len(counts_N)) / (1 + np.count_nonzero(tf_NV, axis=0))) + 1
    words_KV = np.zeros((len(words_K), len(vocabulary)))
    for k, words in enumerate(words_K):
        words_KV[k, [vocabulary[word] for word in words]] = idf_V[[vocabulary[word] for word in words]]
    words_KV /= np.maximum(np.linalg.norm(words_KV, axis=1, keepdims=True), 1e-12)
    cosine_NK = np.einsum("nv,kv->nk", tf_NV * idf_V, words_KV)
    return np.argmax(np.round(cosine_NK, 9), axis=1)


def difference(one_N: np.ndarray, other_N: np.ndarray, group_N: np.ndarray) -> Estimate:
    """Mean difference of two judgements (right or wrong) of the same documents, with a bootstrap interval over groups.

    ``group_N``: the cluster of each document. Each cluster has the same weight, and whole clusters are drawn with
    replacement, since a name that misleads does so for all documents of its cluster. Fewer than four clusters have no
    interval.
    """
    apart_N = np.asarray(one_N, np.float64) - np.asarray(other_N, np.float64)
    if not len(apart_N):
        return Estimate(np.nan, np.nan, np.nan, 0)
    _, group_N = np.unique(group_N, return_inverse=True)
    apart_G = np.bincount(group_N, apart_N) / np.bincount(group_N)
    if len(apart_G) < 4:
        return Estimate(float(apart_G.mean()), np.nan, np.nan, len(apart_N))
    return Estimate(float(apart_G.mean()), *bootstrap(lambda rows: apart_G[rows].mean(), len(apart_G)), len(apart_N))

"""Baselines: the selections with which GRIP's subset is compared.

Each implements the interface in base.py. Of the budgets it uses only the total, not those of the clusters.
    SemDeDup  Abbas et al. 2023, "SemDeDup: Data-efficient learning at web-scale through semantic deduplication"
    D4        Tirumala et al. 2023, "D4: Improving LLM pretraining via document de-duplication and diversification",
              with the prototypes of Sorscher et al. 2022, "Beyond neural scaling laws"
    DSIR      Xie et al. 2023, "Data selection for language models via importance resampling"
Written from the papers. Shapes: N documents (of the pool, or of one cluster in ``likeness``), S strata, d dimensions.
"""

import numpy as np

from grip_assets.method.selection.base import (
    CLUSTERS,
    Budgets,
    Documents,
    Features,
    Parameters,
    Selected,
    take_equally,
    take_from_pool,
)
from grip_assets.method.selection.draw import draw_one, keys

DEDUPLICATED = 0.75  # share of the tokens that D4's first step, SemDeDup, keeps: R_dedup in the paper
ROWS = 1024  # rows and columns of a block of cosines


def random(documents: Documents, budgets: Budgets, features: Features, settings: Parameters) -> Selected:
    """Uniform from the whole pool, or by the weights of sources.

    Drawing cluster by cluster (profile ``proportional``) never takes a document longer than its cluster's budget
    [A17b], so that is a poor baseline.
    """
    key_N = documents.uniform(settings.seed)
    if documents.weight_N is not None:
        key_N = keys(key_N, documents.weight_N)
    return take_from_pool(documents, budgets, key_N)


def by_cluster(documents: Documents, budgets: Budgets, features: Features, settings: Parameters) -> Selected:
    """The same amount of every cluster, uniform inside."""
    key_N = documents.uniform(settings.seed)
    return take_equally(documents, budgets, key_N, documents.cluster_N, CLUSTERS)


def by_language(documents: Documents, budgets: Budgets, features: Features, settings: Parameters) -> Selected:
    """The same amount of every language, uniform inside."""
    return take_equally(documents, budgets, documents.uniform(settings.seed), features.language())


def longest(documents: Documents, budgets: Budgets, features: Features, settings: Parameters) -> Selected:
    key_N = first(documents.uniform(settings.seed), documents.tokens_N)
    return take_from_pool(documents, budgets, key_N)


def shortest(documents: Documents, budgets: Budgets, features: Features, settings: Parameters) -> Selected:
    key_N = first(documents.uniform(settings.seed), -documents.tokens_N)
    return take_from_pool(documents, budgets, key_N)


def top_quality(documents: Documents, budgets: Budgets, features: Features, settings: Parameters) -> Selected:
    """The best by the static judge's score. Documents without a score come last."""
    key_N = first(documents.uniform(settings.seed), features.quality())
    return take_from_pool(documents, budgets, key_N)


def semdedup(documents: Documents, budgets: Budgets, features: Features, settings: Parameters) -> Selected:
    """Documents that are least like another document of their cluster (``likeness``). The seed changes nothing."""
    key_N = first(documents.uniform(0), -features.likeness())
    return take_from_pool(documents, budgets, key_N)


def d4(documents: Documents, budgets: Budgets, features: Features, settings: Parameters) -> Selected:
    """SemDeDup keeps 75% of the pool, and of these the least prototypical come first. The seed changes nothing.

    Documents that SemDeDup removed come last. If the budget is above 75%, SemDeDup keeps as much as the budget.
    """
    u_N, likeness_N, cost_N = documents.uniform(0), features.likeness(), documents.cost_N
    kept = max(round(DEDUPLICATED * int(cost_N.sum())), budgets.total)
    kept_N = draw_one(first(u_N, -likeness_N), cost_N, kept).repeats_N > 0
    prototypical_N = np.zeros(len(kept_N))
    prototypical_N[kept_N] = features.prototypicality(kept_N)
    key_N = first(u_N, kept_N.astype(float), -prototypical_N, -likeness_N)
    return take_from_pool(documents, budgets, key_N)


def dsir(documents: Documents, budgets: Budgets, features: Features, settings: Parameters) -> Selected:
    """Importance resampling without replacement, by the Gumbel top-k trick: log weight plus Gumbel noise.

    Documents that are too short for the package's filter come last.
    """
    log_weight_N, long_N = features.target()
    u_N = documents.uniform(settings.seed)
    key_N = first(u_N, long_N.astype(float), log_weight_N - np.log(-np.log(u_N)))
    return take_from_pool(documents, budgets, key_N)


def first(u_N: np.ndarray, *values_N: np.ndarray) -> np.ndarray:
    """Keys, float64 (N,), that put the largest value first: by the first of ``values_N``, among equals by the next, and
    at last by ``u_N``."""
    key_N = np.empty(len(u_N))
    key_N[np.lexsort([-values for values in (*values_N, u_N)][::-1])] = -np.arange(len(u_N))
    return key_N


def likeness(x_ND: np.ndarray, cosine_N: np.ndarray) -> np.ndarray:
    """SemDeDup inside one cluster: the largest cosine of each document to one that is preferred to it, float64 (N,).

    ``x_ND``: unit rows of the cluster. ``cosine_N``: their cosines to the centroid. A document is preferred to another
    if it is farther from the centroid (lower cosine; of equals the earlier one). The first in this order has -1.

    SemDeDup with threshold 1 - ε removes the documents whose value is above it, so the document of each group of
    duplicates that is farthest from the centroid stays. Taking the smallest values first, until the budget is met, is
    the same rule with ε chosen for the budget. Values are rounded to 1e-6, since float32 products differ below that
    between machines. O(N² d), with one block of cosines in memory.
    """
    order = np.argsort(cosine_N, kind="stable")
    x_ND = x_ND[order]
    highest_N = np.full(len(x_ND), -1.0)
    for start in range(0, len(x_ND), ROWS):
        rows = slice(start, start + ROWS)
        for left in range(0, start + 1, ROWS):
            cosine_BB = x_ND[rows] @ x_ND[left : left + ROWS].T
            if left == start:
                cosine_BB[np.triu_indices(len(cosine_BB))] = -1  # the row itself, and rows that it is preferred to
            highest_N[rows] = np.maximum(highest_N[rows], cosine_BB.max(1))
    likeness_N = np.empty(len(x_ND))
    likeness_N[order] = highest_N.round(6)
    return likeness_N

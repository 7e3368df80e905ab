"""In proportion to size: every cluster has the same share of the subset as of the pool. It needs no measurement."""

import numpy as np

from grip_assets.method.budget.base import Domains, normalised


def shares(domains: Domains) -> np.ndarray:
    """float64 (K,)."""
    return normalised(domains.size_K)

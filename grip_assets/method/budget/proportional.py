"""In proportion to size: every cluster has the share of the subset that it has of the pool. Nothing is measured."""

import numpy as np

from grip_assets.method.budget.base import Domains, normalised


def shares(domains: Domains) -> np.ndarray:
    """float64 (K,)."""
    return normalised(domains.size_K)

"""The same for every cluster, large or small."""

import numpy as np

from grip_assets.method.budget.base import Domains, normalised


def shares(domains: Domains) -> np.ndarray:
    """float64 (K,)."""
    return normalised(np.ones(len(domains.size_K)))

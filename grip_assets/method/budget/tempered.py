"""By a power of size: share ∝ N_k^exponent, between uniform (0) and proportional (1)."""

import numpy as np

from grip_assets.method.budget.base import Domains, normalised


def shares(domains: Domains) -> np.ndarray:
    """float64 (K,)."""
    return normalised(normalised(domains.size_K) ** domains.exponent)

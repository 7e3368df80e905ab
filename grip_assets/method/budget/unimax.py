"""UniMax: uniform, but no cluster is read more than ``max_epochs`` times [Chung et al. 2023, arXiv 2304.09151].

The paper goes from the smallest to the largest: each gets an equal part of what is left of the budget, at most its cap.
That is water-filling with equal utilities. If even the caps do not fill the budget, shares follow the caps.
"""

import numpy as np

from grip_assets.method.budget.allocation import water_fill
from grip_assets.method.budget.base import Domains, normalised


def shares(domains: Domains) -> np.ndarray:
    """float64 (K,)."""
    scale = max(float(domains.size_K.max(initial=0)), 1.0)  # the sum of very large caps would overflow
    cap_K = domains.max_epochs * (domains.size_K / scale)
    return normalised(water_fill(np.ones(len(cap_K)), cap_K, domains.total / scale))

"""Neyman's capacity: share ∝ (N_k σ_k)^τ exp(Q_k / T) [G4, paper eq. 5].

The equation is in sql/equations/neyman.sql.
"""

import numpy as np

from grip_assets.method.budget.base import Domains


def shares(domains: Domains) -> np.ndarray:
    """float64 (K,). In proportion to size if every weight is 0."""
    assert domains.equation is not None
    return domains.equation("equations/neyman")["share"].to_numpy()

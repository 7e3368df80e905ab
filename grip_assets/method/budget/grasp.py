"""GRASP: the mixture of clusters whose mean sketch fits the targets best. A reconstruction, see method/attribution/.

A mixture with weights alpha has v = Σ alpha_k M_k, where M_k is the mean sketch of cluster k, and the utility of a
subset: R5, <G, v> - (gamma s / 2) ||v||², or the cross-entropy. With attribution.combine=maxmin it is that of the
target that gains least. No cluster gets more than it has. Utilities are in method/attribution/objective.py, their
optimum in method/attribution/simplex.py.
"""

import numpy as np
from threadpoolctl import threadpool_limits

from grip_assets.errors import GripError
from grip_assets.method.budget.base import Domains, normalised


def shares(domains: Domains) -> np.ndarray:
    """float64 (K,). GripError if clusters have no sketch: nothing was attributed, or other clusters were."""
    aim = domains.aim
    if aim is None or domains.mean_KF is None or not np.isfinite(domains.mean_KF).all():
        raise GripError(
            "settings/budget.base is grasp, and clusters have no sketch in the table attribution_clusters. Curate with"
            " settings/budget.base=grasp first, so that they are attributed."
        )
    cap_K = np.minimum(domains.cap_K, 1) if domains.cap_K is not None else None
    with threadpool_limits(1):  # more threads could sum in another order
        share = domains.total / max(domains.size_K.sum(), 1)
        weight_K = aim.mixture(domains.mean_KF, share, cap_K, normalised(domains.size_K))
    return normalised(weight_K)

"""The weights that settings/mixing learned, by cluster id. They come from the table ``mixture``."""

import numpy as np

from grip_assets.errors import GripError
from grip_assets.method.budget.base import Domains, normalised


def shares(domains: Domains) -> np.ndarray:
    """float64 (K,). GripError if a cluster has no weight: no mixture was learned, or one of other clusters."""
    ids = [str(cluster) for cluster in domains.ids_K]
    if missing := [name for name in ids if name not in domains.weights]:
        raise GripError(
            f"settings/budget.base is mixture, and {len(missing):,} of {len(ids):,} clusters have no weight in the"
            " table mixture. Curate with settings/budget.base=mixture first, so that weights are learned."
        )
    return normalised(np.array([domains.weights[name] for name in ids], np.float64))

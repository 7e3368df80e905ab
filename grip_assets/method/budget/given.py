"""The user's weights, normalised. They name a cluster by its value, if the partition is by a column, or by its id.

The file is read in stages/curation/weights_file.py.
"""

import math

import numpy as np

from grip_assets.errors import GripError
from grip_assets.method.budget.base import Domains, normalised

SHOWN = 5


def shares(domains: Domains) -> np.ndarray:
    """float64 (K,). GripError for a cluster without a weight, an unknown name, a negative weight, or weights all 0."""
    names_K = _names(domains)
    missing = [name for name in names_K if name not in domains.weights]
    unknown = [name for name in domains.weights if name not in set(names_K)]
    if missing or unknown:
        faults = [f"no weight for {_listed(missing)}"] * bool(missing)
        faults += [f"weights for {_listed(unknown)}, which no cluster is called"] * bool(unknown)
        raise GripError(
            f"settings/budget.weights has {', and '.join(faults)}. It needs one weight for each cluster; the clusters"
            f" are {_listed(names_K)}. A weight of 0 leaves a cluster out."
        )
    weight_K = np.array([domains.weights[name] for name in names_K], np.float64)
    wrong = [n for n, w in zip(names_K, weight_K, strict=True) if not (math.isfinite(w) and w >= 0)]
    if wrong or not weight_K.sum() > 0:
        what = f"the weight of {_listed(wrong)} is not a number of at least 0" if wrong else "all weights are 0"
        raise GripError(f"settings/budget.weights: {what}. Correct the file.")
    return normalised(weight_K)


def _names(domains: Domains) -> list[str]:
    """The names by which the weights call the clusters: their values, or their ids if no weight names a value."""
    ids = [str(cluster) for cluster in domains.ids_K]
    if domains.names_K is None:
        return ids
    names = list(domains.names_K)
    by_id = set(domains.weights) & set(ids) and not set(domains.weights) & set(names)
    return ids if by_id else names


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(f"'{name}'" for name in names[:SHOWN]) + more

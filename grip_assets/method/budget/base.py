"""The interface of a base budget: the share of each cluster before replay, caps and rounding.

To add one, write a module next to this one with a function ``shares``, an entry in registry.py, and a choice in
settings/budget.base. tests/method/test_budgets.py tests every entry. Replay [G6, G7] multiplies the shares of any base
(sql/equations/budgets.sql). Caps and rounding are common to all (allocation.py).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import polars as pl

from grip_assets.errors import GripError
from grip_assets.method.attribution.objective import Aim


@dataclass(frozen=True)
class Domains:
    """The input of a base budget: K clusters in the order of their ids.

    ``size_K``: sizes in the unit of the budget, float64. ``names_K``: the value of each cluster if the partition is by
    a column, otherwise None. ``weights``: the user's weights, by cluster id or value, or learned ones, by cluster id.
    ``equation``: runs a query of sql/equations over the measurements of the clusters, with settings/budget as
    parameters; it returns one row per cluster. ``total``: the budget, in the same unit as the sizes. ``centroid_KV``:
    unit vectors of the clusters; NaN or 0 for a cluster without one. ``aim``, ``mean_KF``: for grasp, the targets and
    the mean sketch of each cluster, NaN for a cluster without one. ``cap_K``: the most that each cluster can give, as a
    share of the budget. The rest are fields of settings/budget.
    """

    ids_K: np.ndarray
    size_K: np.ndarray
    names_K: Sequence[str] | None = None
    weights: Mapping[str, float] = field(default_factory=dict)
    equation: Callable[[str], pl.DataFrame] | None = None
    total: float = 0.0
    centroid_KV: np.ndarray | None = None
    exponent: float = 0.5
    max_epochs: float = 4.0
    ridge: float = 0.1
    leverage_temperature: float = 1.0
    aim: Aim | None = None
    mean_KF: np.ndarray | None = None
    cap_K: np.ndarray | None = None


Shares = Callable[[Domains], np.ndarray]
"""Returns float64 (K,): none below 0, with the sum 1."""


def checked(share_K: np.ndarray, name: str) -> np.ndarray:
    """The shares, float64 (K,). GripError if one is negative or not finite, or if they do not sum to 1."""
    share_K = np.asarray(share_K, np.float64)
    if not (np.isfinite(share_K).all() and (share_K >= 0).all() and abs(share_K.sum() - 1) < 1e-6):
        raise GripError(
            f"settings/budget.base: {name} returned shares that are negative or do not sum to 1. This is a fault of the"
            f" program. Choose another base."
        )
    return share_K


def normalised(weight_K: np.ndarray) -> np.ndarray:
    """Weights as shares; equal shares if all weights are 0."""
    weight_K = np.asarray(weight_K, np.float64)
    largest = weight_K.max(initial=0)
    if not largest > 0:
        return np.full(len(weight_K), 1 / max(len(weight_K), 1))
    return (weight_K / largest) / (weight_K / largest).sum()  # the sum of very large weights would overflow

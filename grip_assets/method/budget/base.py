"""A base budget: what share of the whole each cluster gets before replay, caps and rounding. The interface.

A new one is a module next to this one with a function ``shares``, an entry in registry.py, and a choice in
settings/budget.base; tests/method/test_budgets.py holds every entry to the same promises. Replay [G6, G7] multiplies
the shares of any base (sql/equations/budgets.sql); caps and rounding are common to all (allocation.py).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import polars as pl

from grip_assets.errors import GripError


@dataclass(frozen=True)
class Domains:
    """What a base budget may read: K clusters in the order of their ids.

    ``size_K``: in the unit of the budget, float64. ``names_K``: the value of each cluster where a column of the pool is
    the partition; None elsewhere. ``weights``: those that the user gave, by cluster id or name; empty where none were.
    ``equation``: runs a query of sql/equations over what was measured of the clusters, with settings/budget as its
    parameters; one row per cluster.
    """

    ids_K: np.ndarray
    size_K: np.ndarray
    names_K: Sequence[str] | None = None
    weights: Mapping[str, float] = field(default_factory=dict)
    equation: Callable[[str], pl.DataFrame] | None = None


Shares = Callable[[Domains], np.ndarray]
"""float64 (K,): none below 0, together 1."""


def checked(share_K: np.ndarray, name: str) -> np.ndarray:
    """The shares of a base, held to the interface: GripError where they are no shares."""
    share_K = np.asarray(share_K, np.float64)
    if not (np.isfinite(share_K).all() and (share_K >= 0).all() and abs(share_K.sum() - 1) < 1e-6):
        raise GripError(
            f"settings/budget.base: {name} gives no shares that are at least 0 and sum to 1. This is a fault of the"
            f" program; choose another base."
        )
    return share_K


def normalised(weight_K: np.ndarray) -> np.ndarray:
    """Weights as shares; equal shares where all weights are 0."""
    weight_K = np.asarray(weight_K, np.float64)
    largest = weight_K.max(initial=0)
    if not largest > 0:
        return np.full(len(weight_K), 1 / max(len(weight_K), 1))
    return (weight_K / largest) / (weight_K / largest).sum()  # the sum of very large weights would overflow

"""The targets that budgets and selections aim at, from the tables of the stage ``attribution``."""

import numpy as np
import polars as pl

from grip_assets.method.attribution.choice import ENTROPY
from grip_assets.method.attribution.objective import Aim


def aim_of(aims: pl.DataFrame, clusters: pl.DataFrame) -> Aim:
    """``aims``, ``clusters``: the tables attribution_aims and attribution_clusters. Targets without weight are left
    out."""
    aims = aims.filter(pl.col("weight") > 0)
    by_entropy = "source" in aims.columns and aims["source"][0] == ENTROPY
    more = {"prior": aims["prior"][0]} if by_entropy else {}
    if "temperature" in aims.columns:  # tables of an earlier version do not have it
        more["temperature"] = aims["temperature"][0]
    return Aim(
        aims["sketch"].to_numpy().astype(np.float64),
        aims["scale"].to_numpy(),
        aims["gamma"][0],
        aims["weight"].to_numpy(),
        aims["combine"][0],
        _pool(clusters) if by_entropy else None,
        **more,
    )


def _pool(clusters: pl.DataFrame) -> np.ndarray:
    """The mean sketch of the pool, weighted by tokens, float64 (F,)."""
    tokens_K = clusters["n_tokens"].to_numpy().astype(np.float64)
    return np.einsum("k,kf->f", tokens_K / tokens_K.sum(), clusters["sketch"].to_numpy().astype(np.float64))

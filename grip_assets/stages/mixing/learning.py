"""What a method gets to learn from, and what it returns.

Each method is a module with ``learn(given) -> Learned``: regmix.py, doremi.py, perf.py. The stage is in mixture.py.
Shapes: D domains, K clusters, S samples.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import polars as pl

from grip_assets.engine.stage import Work
from grip_assets.errors import GripError
from grip_assets.method.budget.allocation import resolve_total, water_fill
from grip_assets.method.statistics import Estimate, mean
from grip_assets.settings import Budget, Mixing
from grip_assets.stages.mixing.objective import Objective

FEWEST = 8  # mixtures that a regression needs


@dataclass(frozen=True)
class Pool:
    """D domains and K clusters. ``share_DK``: the share of a domain's tokens that a cluster has. ``most_D``: the
    largest weight of each domain. ``natural_D``: shares of tokens, without held-out documents. ``size_D``, ``total``:
    sizes and the budget, in its unit."""

    domains: pl.DataFrame
    cluster_K: np.ndarray
    share_DK: np.ndarray
    natural_D: np.ndarray
    natural_K: np.ndarray
    size_D: np.ndarray
    total: int
    most_D: np.ndarray

    def capped(self, weight_D: np.ndarray) -> np.ndarray:
        """The weights with none above its cap; the rest goes to the others in proportion."""
        return water_fill(weight_D, self.most_D, 1.0)


def pool_of(domains: pl.DataFrame, documents: pl.DataFrame, budget: Budget, epochs: float) -> Pool:
    """``documents``: domain, cluster_id, n_tokens of each document. ``epochs``: most readings of a domain."""
    domains = domains.sort("domain")
    unit = pl.sum("n_tokens") if budget.unit == "tokens" else pl.len().cast(pl.Int64)
    tokens = documents.group_by("domain", "cluster_id").agg(pl.sum("n_tokens"), size=unit)
    cluster_K = tokens["cluster_id"].unique().sort().to_numpy()
    tokens_DK, size_DK = np.zeros((2, len(domains), len(cluster_K)))
    at = (tokens["domain"].to_numpy(), np.searchsorted(cluster_K, tokens["cluster_id"].to_numpy()))
    tokens_DK[at], size_DK[at] = tokens["n_tokens"].to_numpy(), tokens["size"].to_numpy()
    size_D = size_DK.sum(axis=1)
    total = resolve_total(budget.total, int(size_D.sum()))
    return Pool(
        domains,
        cluster_K,
        tokens_DK / np.maximum(tokens_DK.sum(axis=1, keepdims=True), 1),
        domains["natural_share"].to_numpy() / domains["natural_share"].sum(),
        tokens_DK.sum(axis=0) / tokens_DK.sum(),
        size_D,
        total,
        np.minimum(epochs * size_D / total, 1),
    )


def epochs_of(mixing: Mixing, budget: Budget) -> float:
    """Most readings of a domain in the subset."""
    repeats = budget.max_repeats if budget.overflow == "repeat" else 1
    return repeats if mixing.max_epochs is None else mixing.max_epochs


@dataclass(frozen=True)
class Given:
    """``work`` has the tables of mixture_runs. ``cheap``: mixers that need no training, and their weights (D,)."""

    work: Work
    mixing: Mixing
    pool: Pool
    objective: Objective
    cheap: Mapping[str, np.ndarray]

    @property
    def losses(self) -> pl.DataFrame:
        return self.work.frame("mixture_losses")


@dataclass(frozen=True)
class Learned:
    """What a method found.

    ``samples_SD``: weights by resample (regmix) or by seed (doremi, perf), for intervals; no rows if there are none.
    ``resampled``: whether they are resamples, so that percentiles are the interval. ``fit``: rows of ``mixture_fit``.
    ``predicted``: of each mixer, the prediction and its interval. ``effect_D``: from ``effects``; None if nothing is
    predicted. ``said``: columns of ``mixture_summary``. ``words``: sentences about them, or "".
    """

    weight_D: np.ndarray
    samples_SD: np.ndarray
    resampled: bool = False
    fit: list[dict[str, Any]] = field(default_factory=list)
    predicted: Mapping[str, Estimate] = field(default_factory=dict)
    effect_D: np.ndarray | None = None
    said: dict[str, Any] = field(default_factory=dict)
    words: Sequence[str] = ()

    def interval(self, of_DX: np.ndarray) -> tuple[np.ndarray | None, np.ndarray | None]:
        """Low and high ends (X,) of the 95% interval of ``weights @ of_DX``; None with fewer than two samples."""
        if len(self.samples_SD) < 2:
            return None, None
        found_SX = self.samples_SD @ of_DX
        if self.resampled:
            low_X, high_X = np.quantile(found_SX, [0.025, 0.975], axis=0)
        else:
            ends = [mean(column) for column in found_SX.T]
            low_X, high_X = np.array([e.low for e in ends]), np.array([e.high for e in ends])
        return np.clip(low_X, 0, 1), np.clip(high_X, 0, 1)


def weights_of(mixtures: pl.DataFrame) -> np.ndarray:
    """The shares that were read, or the wanted ones where no training went well, float64 (n, D), by mixture and
    domain."""
    rows = mixtures.sort("mixture_id", "domain").select("domain", share=pl.coalesce("achieved", "weight"))
    weights_nD = rows["share"].to_numpy().reshape(-1, rows["domain"].n_unique())
    return weights_nD / weights_nD.sum(axis=1, keepdims=True)


def failures(losses: pl.DataFrame) -> str:
    """The trainings that failed, in words; "" if all went well."""
    failed = losses.drop_nulls("failed").unique(["mixture_id", "seed"]).sort("mixture_id", "seed")
    if failed.is_empty():
        return ""
    n = losses.select("mixture_id", "seed").n_unique()
    return f"{len(failed):,} of {n:,} trainings failed: {failed['failed'][0]}"


def swarm_of(mixtures: pl.DataFrame, losses: pl.DataFrame, objective: Objective) -> tuple[np.ndarray, np.ndarray]:
    """Shares that the trainings of the swarm really read, float64 (n, D), and their losses, float64 (n, T): the mean
    over seeds. A mixture without a loss is left out. GripError if there are too few."""
    swarm = mixtures.filter(pl.col("kind").is_in(["swarm", "natural"]))
    ids = swarm.select("mixture_id").unique().sort("mixture_id")
    weights_nD = weights_of(swarm)
    loss_nT = objective.matrix(_mean_over_seeds(losses), ids)
    there_n = np.isfinite(loss_nT).all(axis=1)
    if there_n.sum() < FEWEST:
        raise GripError(
            f"Only {there_n.sum()} of {len(ids)} mixtures have a loss, and a regression needs {FEWEST}."
            f" {failures(losses) or 'Raise settings/mixing.mixtures.'}"
        )
    return weights_nD[there_n], loss_nT[there_n]


def _mean_over_seeds(losses: pl.DataFrame) -> pl.DataFrame:
    return losses.group_by("mixture_id", "target").agg(pl.mean("loss"))

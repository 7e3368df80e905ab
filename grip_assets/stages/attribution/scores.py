"""Scores of subsets by each configuration: what the surrogate [R5] says of the trials, and what it needs for that.

The sketches of a source are read once for each normalisation, block by block. Memory holds sums: of the pool, of every
trial and of every cluster. The surrogate is in method/attribution/surrogate.py. Shapes: N documents, S subsets, K
clusters, T targets, F numbers of a sketch.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from grip_assets.engine.stage import Work
from grip_assets.errors import GripError
from grip_assets.method.attribution.choice import ENTROPY, MATCHED, Configuration
from grip_assets.method.attribution.objective import Aim
from grip_assets.method.attribution.surrogate import Pool, memberships, pool_of, scale, unit, utility
from grip_assets.stages.attribution.measured import Trials
from grip_assets.store.sketches import rows_of_source, sketch_blocks


@dataclass(frozen=True)
class Sketched:
    """The sums of one source under one normalisation.

    ``target_TF``: sketches of the targets. Those of gradients have length 1, so that each target counts by its weight.
    ``scale_T``: s_t. ``trial_SF``, ``cluster_KF``: token-weighted means of the trials and of the clusters. ``share_S``:
    of the pool's tokens, of each trial. ``prior``: of the source cross_entropy, None for others.
    """

    pool: Pool
    target_TF: np.ndarray
    scale_T: np.ndarray
    trial_SF: np.ndarray
    cluster_KF: np.ndarray
    share_S: np.ndarray
    prior: float | None = None

    def predicted(self, gamma: float) -> np.ndarray:
        """The utility of every trial, float64 (T, S): R5, or the cross-entropy."""
        if self.prior is None:
            return utility(self.target_TF, self.trial_SF, gamma, self.scale_T)
        each = Aim(self.target_TF, self.scale_T, gamma, None, "maxmin", self.pool.mean_F, self.prior)
        trials = zip(self.share_S, self.trial_SF, strict=True)
        found = [each.objective(share).values(v_F) for share, v_F in trials]
        return np.array(found).reshape(len(self.trial_SF), len(self.target_TF)).T


class Sketches:
    """The sketches of a pool. ``documents``: doc_id, cluster_id and n_tokens, in the order of the table ``clusters``.
    ``share``: of the pool, of a typical subset.

    Documents of a trial are weighed by the tokens that the retrained model reads, those of the pool and of clusters by
    the tokens of the corpus, in which budgets are."""

    def __init__(self, work: Work, documents: pl.DataFrame, trials: Trials | None, share: float = 0.1):
        from scipy.sparse import vstack  # slow to import

        self.files, self.documents, self.share = work.files("sketches"), documents, share
        self.tokens_N = documents["n_tokens"].to_numpy().astype(np.float64)
        self.targets_table, sources = work.frame("target_sketches"), work.frame("sketch_sources")
        self.priors = dict(sources.select("source", "prior").iter_rows()) if "prior" in sources.columns else {}
        sizes_K = documents.group_by("cluster_id", maintain_order=True).len()["len"].to_numpy().astype(np.int64)
        stops_K = np.cumsum(sizes_K)
        clusters = [np.arange(stop - size, stop) for size, stop in zip(sizes_K, stops_K, strict=True)]
        members = trials.members if trials else []
        self.trials, self.clusters = len(members), len(clusters)
        of_trials = memberships(members, trials.tokens_N if trials else self.tokens_N)
        self.share_S = np.array([self.tokens_N[rows].sum() for rows in members]) / max(self.tokens_N.sum(), 1)
        self.weights = vstack([of_trials, memberships(clusters, self.tokens_N)]).tocsc()  # blocks are columns

    @property
    def targets(self) -> list[str]:
        return self.targets_table["target"].unique(maintain_order=True).to_list()

    def blocks(self, source: str) -> Iterator[np.ndarray]:
        """The sketches of a source in the order of the documents, (B, F)."""
        return sketch_blocks(self.files, rows_of_source(self.files, source, self.documents["doc_id"]))

    def target_TF(self, source: str) -> np.ndarray:
        """The sketches of the targets, float64 (T, F). GripError if a target has none."""
        rows = dict(self.targets_table.filter(source=source).select("target", "sketch").iter_rows())
        if missing := [name for name in self.targets if name not in rows]:
            raise GripError(
                f"The target '{missing[0]}' has no sketch of the source {source}. Materialize sketches again."
            )
        return np.array([rows[name] for name in self.targets], np.float64)

    def of(self, source: str, normalize: str) -> Sketched:
        """One pass over the sketches of a source."""
        sums = _Sums(self.weights)
        pool = pool_of(sums.watching(self.blocks(source), self.tokens_N, normalize == "unit"))
        matched = source in MATCHED
        target_TF = self.target_TF(source)
        if normalize == "unit" or not matched:
            target_TF = unit(target_TF).astype(np.float64)
        mean_XF = sums.means()
        scale_T = scale(target_TF, pool, self.share, matched)
        means = mean_XF[: self.trials], mean_XF[self.trials :]
        return Sketched(pool, target_TF, scale_T, *means, self.share_S, self.prior(source))

    def prior(self, source: str) -> float | None:
        """The smoothing of the source cross_entropy, as a share of the pool's tokens; None for others."""
        return self.priors[source] if source == ENTROPY else None

    def predictions(self, grid: Sequence[Configuration]) -> tuple[dict[Configuration, np.ndarray], dict]:
        """(what each configuration predicts of the trials, (T, S); the sums by source and normalisation)."""
        sketched = {
            (source, normalize): self.of(source, normalize)
            for source, normalize in dict.fromkeys((c.source, c.normalize) for c in grid)
        }
        return {c: sketched[c.source, c.normalize].predicted(c.gamma) for c in grid}, sketched


class _Sums:
    """Weighted sums of sketches, of which one block at a time is there. ``weights``: sparse (X, N)."""

    def __init__(self, weights: Any):
        self.weights, self.sum_XF = weights, np.zeros((weights.shape[0], 1))

    def watching(
        self, blocks: Iterator[np.ndarray], tokens_N: np.ndarray, unit_norm: bool
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """The blocks with their tokens, as ``pool_of`` wants them. Each is added to the sums on its way."""
        at = 0
        for phi_BF in blocks:
            phi_BF, stop = unit(phi_BF) if unit_norm else phi_BF, at + len(phi_BF)
            self.sum_XF = self.sum_XF + self.weights[:, at:stop] @ phi_BF.astype(np.float64)
            yield phi_BF, tokens_N[at:stop]
            at = stop

    def means(self) -> np.ndarray:
        """float64 (X, F); zeros for a row without tokens."""
        total_X = np.asarray(self.weights.sum(axis=1), np.float64).ravel()
        return self.sum_XF / np.where(total_X > 0, total_X, 1)[:, None]

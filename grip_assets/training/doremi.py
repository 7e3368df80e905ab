"""DoReMi's proxy as a job: a small model whose weights of domains follow its excess loss over a reference [2305.10429].

The reference is a model that ``TrainMixture`` kept (mixtures.py). The update of the weights is in
method/mixing/doremi.py. Shapes: D domains, N windows of a training, B windows of a step, C predicted tokens of a
window.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
import pyarrow as pa

from grip_assets.method.mixing.doremi import Weights
from grip_assets.method.sampling import keyed_order
from grip_assets.runtime import device
from grip_assets.runtime.executors import ToDo
from grip_assets.runtime.progress import worked
from grip_assets.settings import digest
from grip_assets.store.tables import arrow
from grip_assets.training.domain_tokens import DomainTokens
from grip_assets.training.mixtures import (
    SETTINGS,
    KeptModel,
    Reader,
    order_of,
    ready_to_train,
    reason,
    worse_than_guessing,
)
from grip_assets.training.recipe import Shape, TrainingRecipe, pace

if TYPE_CHECKING:
    from torch import Tensor

STEPS = {
    "key": pl.String,
    "step": pl.Int64,
    "domain": pl.Int32,
    "weight": pl.Float64,
    "excess_loss": pl.Float64,
    "failed": pl.String,
}
"""Columns of the table of ``TrainProxy``."""


@dataclass(frozen=True)
class ProxyRun:
    """A shard of work: one proxy. ``limits``: different windows of each domain; then a new epoch of them begins."""

    key: str
    seed: int
    limits: tuple[int, ...]
    reference: KeptModel


def proxy_run(reference: KeptModel, limits_D: np.ndarray, seed: int, shape: Shape, recipe: TrainingRecipe) -> ProxyRun:
    """The proxy of a reference. ``limits_D``: int64, at least 1. A limit that is not reached changes no name."""
    steps, per_step = pace(shape, recipe)
    most = -(-steps * per_step // len(limits_D))
    limits = tuple(max(min(int(limit), most), 1) for limit in limits_D)
    return ProxyRun(digest([seed, limits, reference.key]), seed, limits, reference)


def uniform_reading(tokens: DomainTokens, run: ProxyRun, context: int, n: int) -> np.ndarray:
    """Positions of the ``n`` windows that a proxy reads, in their order, int64 (N,).

    The domains come in rounds. Each domain is once in a round, in a keyed order. So the draw is uniform over domains,
    and a batch holds all domains if it is as large as a round.
    """
    there_D = tokens.windows_D(context)
    rounds = range(-(-n // len(there_D)))
    domain_N = np.concatenate([keyed_order(run.seed, f"domains of round {i}", len(there_D)) for i in rounds])[:n]
    at_N = np.empty(n, np.int64)
    for d in range(len(there_D)):
        of_domain = np.flatnonzero(domain_N == d)
        window_n = order_of(run.seed, d, int(there_D[d]), run.limits[d], len(of_domain))
        at_N[of_domain] = tokens.at(np.full(len(of_domain), d), window_n, context)
    return at_N


@dataclass
class ExcessLoss:
    """The loss of the proxy, equations M2 to M4. It is a hook of ``loop``, and keeps the history of the weights.

    ``before``: nats of the reference for each predicted token of the windows (B, C + 1).
    """

    before: Callable[["Tensor"], "Tensor"]
    weights: Weights
    history: list[tuple[np.ndarray, np.ndarray]] = field(default_factory=list)

    def __call__(self, nats_BC: "Tensor", tokens_BL: "Tensor", domain_B: np.ndarray | None) -> "Tensor":
        """Update the weights, and return the mean over the tokens, weighted by those of their domains.

        M2: the excess of a domain is the mean over its tokens of max(nats - nats of the reference, 0). M4: the weights
        of all tokens of the batch sum to 1.
        """
        assert domain_B is not None
        over_BC = (nats_BC.detach() - self.before(tokens_BL)).clamp_min(0)
        over_B = over_BC.double().mean(1).cpu().numpy()
        n_D = np.bincount(domain_B, minlength=len(self.weights.alpha_D))
        excess_D = np.bincount(domain_B, over_B, len(n_D)) / np.maximum(n_D, 1)
        weight_D = self.weights.update(excess_D, n_D > 0)
        self.history.append((weight_D, self.weights.excess_D))
        weight_B = nats_BC.new_tensor(weight_D[domain_B] / weight_D[domain_B].sum())
        return (nats_BC.mean(1) * weight_B).sum()


@dataclass(frozen=True)
class TrainProxy:
    """The job: train one proxy. Its unit of progress is a token.

    The table has the ``weight`` and ``excess_loss`` of each domain after each ``step``, from 0. Then come rows without
    a step: the average weights over all steps (M5). A training that diverged has one row, with the reason in
    ``failed``.
    """

    tokens: DomainTokens
    shape: Shape
    recipe: TrainingRecipe
    eta: float
    smoothing: float

    def run(self, shard: ProxyRun) -> pa.Table:
        from grip_assets.training.small import Diverged, by_tenths, loop, nats_of, new_model, unpacked  # torch

        tokens, context = ready_to_train(self.tokens, self.recipe), self.shape.context
        steps, per_step = pace(self.shape, self.recipe)
        with device.turn(self.recipe.device):
            reference = unpacked(shard.reference.bytes(), self.shape).to(self.recipe.device)
            weights = Weights(len(tokens.tokens_D), self.eta, self.smoothing)
            loss = ExcessLoss(partial(nats_of, reference, recipe=self.recipe), weights)
            batches = Reader.of(tokens, context).batches(
                uniform_reading(tokens, shard, context, steps * per_step), per_step
            )
            model = new_model(self.shape, shard.seed, SETTINGS)
            try:
                losses = loop(model, batches, self.recipe, steps, loss, worked)
            except Diverged as error:
                return _failed(shard.key, reason(str(error)))
        if failed := worse_than_guessing(by_tenths(losses), self.shape.vocabulary):
            return _failed(shard.key, failed)
        rows = [*_rows(shard.key, loss.history), *_average(shard.key, weights)]
        return arrow(pl.DataFrame(rows, STEPS, orient="row"))


def _failed(key: str, why: str) -> pa.Table:
    return arrow(pl.DataFrame([{"key": key, "failed": why}], STEPS))


def _rows(key: str, history: Sequence[tuple[np.ndarray, np.ndarray]]) -> Iterator[tuple]:
    for step, (weight_D, excess_D) in enumerate(history):
        for domain, (weight, excess) in enumerate(zip(weight_D.tolist(), excess_D.tolist(), strict=True)):
            yield key, step, domain, weight, excess, None


def _average(key: str, weights: Weights) -> Iterator[tuple]:
    for domain, weight in enumerate(weights.average.tolist()):
        yield key, None, domain, weight, None, None


def to_follow(job: TrainProxy, runs: Sequence[ProxyRun], missing: pl.Series) -> ToDo:
    """The proxies whose keys are ``missing``, as work for ``Shards``."""
    wanted = set(missing)
    left = [run for run in {run.key: run for run in runs}.values() if run.key in wanted]
    steps, per_step = pace(job.shape, job.recipe)
    return ToDo(job, left, "training proxies", len(left) * steps * per_step * job.shape.context, "tokens")

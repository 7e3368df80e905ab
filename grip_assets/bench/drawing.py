"""Compares rules for the end of a draw: which lengths each rule favours, and how near it comes to the budgets.

``python -m grip_assets.bench.drawing`` draws from planted clusters with heavy-tailed lengths.
``python -m grip_assets.bench.drawing FOLDER`` draws from the curated pool of a data folder. docs/decisions.md has the
numbers.

The target is a draw by keys log(u)/w above a fixed threshold, without a rule for its end: document i is in with
probability 1 - exp(-λ w_i), and λ is chosen so that the cluster's budget is met on average. Shapes: N documents, K
clusters.
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from grip_assets.method.budget.allocation import allocate
from grip_assets.method.selection import draw as selection

SEEDS = 400
BANDS = (0.0, 0.01, 0.1, 0.5, 1.0, np.inf)  # length of a document over the budget of its cluster


@dataclass(frozen=True)
class Pool:
    """Documents, cluster after cluster. ``weight_N``: weights of the draw. ``size_K``: number of documents of a
    cluster."""

    weight_N: np.ndarray
    cost_N: np.ndarray
    size_K: np.ndarray
    allocated_K: np.ndarray
    utility_K: np.ndarray

    @property
    def parts(self) -> list[slice]:
        ends = np.cumsum(self.size_K)
        return [slice(int(end - n), int(end)) for end, n in zip(ends, self.size_K, strict=True)]


Rule = Callable[[Pool, np.ndarray, np.random.Generator], np.ndarray]
"""A function of the pool, the keys and a random generator that returns the mask of the documents taken, bool (N,)."""


def planted(clusters: int = 64, share: float = 0.1, seed: int = 0) -> Pool:
    """Lognormal lengths with σ = 2: in some clusters one document has more tokens than the budget."""
    rng = np.random.default_rng(seed)
    size_K = rng.integers(20, 200, clusters)
    cost_N = rng.lognormal(6, 2, size_K.sum()).astype(np.int64) + 1
    weight_N = rng.lognormal(0, 0.5, len(cost_N)) * (cost_N / cost_N.mean()) ** 0.3
    tokens_K = np.add.reduceat(cost_N, np.cumsum(size_K) - size_K)
    utility_K = np.sqrt(tokens_K) * rng.uniform(1, 3, clusters)
    allocated_K = allocate(utility_K, tokens_K, int(share * tokens_K.sum()), "waterfill")
    return Pool(weight_N, cost_N, size_K, allocated_K, utility_K)


def curated(root: Path) -> Pool:
    """The pool in force in a data folder, with the weights with which its subset was drawn."""
    from grip_assets.store.catalog import connect

    with connect(root) as connection:
        documents = connection.sql("SELECT selection_weight, n_tokens FROM selection_weights").pl()
        budgets = connection.sql("SELECT n_docs, allocated, utility FROM budgets ORDER BY cluster_id").pl()
    columns = (documents["selection_weight"], documents["n_tokens"], *budgets)
    return Pool(*(column.to_numpy() for column in columns))


def in_force(pool: Pool, key_N: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return selection.draw(key_N, pool.cost_N, pool.size_K, pool.allocated_K, pool.utility_K).repeats_N > 0


def nearest_in_each(pool: Pool, key_N: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """As in force, but each cluster ends nearest to its own budget, without regard to the total."""
    return _ended(pool, key_N, lambda room, cost: 2 * room >= cost)


def coin_among_fitting(pool: Pool, key_N: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """As in force, but the last document is taken with probability left / length."""
    return _ended(pool, key_N, lambda room, cost: rng.random() * cost < room)


def coin(pool: Pool, key_N: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """No document is passed over; the last one is taken with probability left / length."""
    taken_N = np.zeros(len(key_N), bool)
    for part, target in zip(pool.parts, pool.allocated_K, strict=True):
        taken_N[part] = _until(
            key_N[part], pool.cost_N[part], int(target), lambda room, cost: rng.random() * cost < room
        )
    return taken_N


def first_fit(pool: Pool, key_N: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A document that does not fit is skipped, and shorter documents after it fill the rest."""
    taken_N = np.zeros(len(key_N), bool)
    for part, target in zip(pool.parts, _granted(pool, key_N), strict=True):
        left = int(target)
        for i in np.argsort(-key_N[part]) + part.start:
            if pool.cost_N[i] <= left:
                taken_N[i] = True
                left -= int(pool.cost_N[i])
    return taken_N


def carried(pool: Pool, key_N: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The rest of a budget, or its excess, is carried to the next cluster. No document is passed over."""
    taken_N, deficit = np.zeros(len(key_N), bool), 0
    for part, target in zip(pool.parts, pool.allocated_K, strict=True):
        cost_n = pool.cost_N[part]
        room = int(target) + deficit
        taken_N[part] = _until(key_N[part], cost_n, room, lambda room, cost: 2 * room >= cost)
        deficit = room - int(cost_n[taken_N[part]].sum())
    return taken_N


def _granted(pool: Pool, key_N: np.ndarray) -> np.ndarray:
    return selection.draw(key_N, pool.cost_N, pool.size_K, pool.allocated_K, pool.utility_K).granted_K


def _ended(pool: Pool, key_N: np.ndarray, last: Callable[[int, int], bool]) -> np.ndarray:
    taken_N = np.zeros(len(key_N), bool)
    for part, target in zip(pool.parts, _granted(pool, key_N), strict=True):
        fits = np.flatnonzero(pool.cost_N[part] <= target) + part.start
        taken_N[fits] = _until(key_N[fits], pool.cost_N[fits], int(target), last)
    return taken_N


def _until(key_n: np.ndarray, cost_n: np.ndarray, target: int, last: Callable[[int, int], bool]) -> np.ndarray:
    """Take the largest keys first while they fit. ``last`` decides on the first document that does not fit."""
    order = np.argsort(-key_n)
    reached = np.cumsum(cost_n[order])
    n = int(np.searchsorted(reached, target, side="right"))
    room = target - (int(reached[n - 1]) if n else 0)
    if room > 0 and n < len(order) and last(room, int(cost_n[order[n]])):
        n += 1
    taken_n = np.zeros(len(key_n), bool)
    taken_n[order[:n]] = True
    return taken_n


RULES: dict[str, Rule] = {
    "in force": in_force,
    "nearest in each": nearest_in_each,
    "coin, passing over": coin_among_fitting,
    "coin": coin,
    "first fit": first_fit,
    "carried": carried,
}


def target(pool: Pool, fitting: bool) -> np.ndarray:
    """Probability of each document to be in under the target of this module, float64 (N,).

    ``fitting``: without the documents that are longer than the budget of their cluster.
    """
    found = []
    for part, budget in zip(pool.parts, pool.allocated_K, strict=True):
        weight_n, cost_n = pool.weight_N[part] / pool.weight_N[part].max(), pool.cost_N[part]
        weight_n = np.where(cost_n > budget, 0, weight_n) if fitting else weight_n
        low, high = 0.0, 1e9
        for _ in range(200):
            level = (low + high) / 2
            more = (-np.expm1(-level * weight_n) @ cost_n) < budget
            low, high = (level, high) if more else (low, level)
        found.append(-np.expm1(-high * weight_n))
    return np.concatenate(found)


def compared(pool: Pool, seeds: int = SEEDS) -> dict[str, list[float]]:
    """Numbers by rule.

    First: mean and worst distance of a cluster to its budget, and distance of the total to its budget. Then, for each
    band of lengths: the tokens taken, divided by the target of all documents. Then the same, divided by the target of
    the documents that fit.
    """
    budget_N = np.repeat(pool.allocated_K, pool.size_K)
    band_N = np.digitize(pool.cost_N / np.maximum(budget_N, 1), BANDS) - 1
    starts = [part.start for part in pool.parts]
    some_K = pool.allocated_K > 0
    wanted = [np.bincount(band_N, target(pool, f) * pool.cost_N, len(BANDS) - 1) for f in (False, True)]
    rows = {}
    for name, rule in RULES.items():
        got_b, apart, worst, whole = np.zeros(len(BANDS) - 1), [], [], []
        for seed in range(seeds):
            rng = np.random.default_rng(seed)
            key_N = selection.keys(rng.random(len(pool.cost_N)), pool.weight_N)
            tokens_N = rule(pool, key_N, rng) * pool.cost_N
            got_b += np.bincount(band_N, tokens_N, len(BANDS) - 1) / seeds
            off_K = (np.add.reduceat(tokens_N, starts) / np.maximum(pool.allocated_K, 1) - 1)[some_K]
            apart.append(np.abs(off_K).mean())
            worst.append(np.abs(off_K).max())
            whole.append(abs(tokens_N.sum() / pool.allocated_K.sum() - 1))
        bias = [np.divide(got_b, w_b, out=np.full(len(got_b), np.nan), where=w_b > 0) for w_b in wanted]
        rows[name] = [*(float(np.mean(v)) for v in (apart, worst, whole)), *bias[0].tolist(), *bias[1][:-1].tolist()]
    return rows


if __name__ == "__main__":
    the_pool = curated(Path(sys.argv[1])) if len(sys.argv) > 1 else planted()
    bands = ("<1%", "1-10%", "10-50%", "50-100%", ">100%")
    heads = ("mean", "worst", "whole", *bands, *bands[:-1])
    print("rule".ljust(20), *(head.rjust(8) for head in heads))
    for rule_name, values in compared(the_pool).items():
        print(rule_name.ljust(20), *(f"{v:8.1%}" for v in values[:3]), *(f"{v:8.3f}" for v in values[3:]))

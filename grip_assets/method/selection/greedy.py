"""GRASP: documents are taken for what they add to those taken before, by residual alignment [R4]. A reconstruction.

The greedy selection is in method/attribution/greedy.py. Here its order becomes keys, and the common draw takes the
largest of these. So budgets end as they do for every selection: a cluster may get one document more than fits, if that
brings the whole nearer to the budget. No document is taken twice.
"""

from dataclasses import replace

import numpy as np
from threadpoolctl import threadpool_limits

from grip_assets.errors import GripError
from grip_assets.method.attribution.greedy import Greedy, Pool, bound, held
from grip_assets.method.attribution.greedy import select as greedy
from grip_assets.method.attribution.objective import Aim
from grip_assets.method.attribution.surrogate import unit
from grip_assets.method.selection.base import (
    Attributed,
    Budgets,
    Documents,
    Features,
    Parameters,
    Selected,
    Steps,
    take_from_pool,
    take_in_clusters,
)
from grip_assets.method.selection.draw import Uses, grants

ROWS = 4096  # documents in float64 at a time


def select(documents: Documents, budgets: Budgets, features: Features, settings: Parameters) -> Selected:
    """In ``settings.rounds`` rounds, to the budget of the pool or of each cluster (``settings.scope``).

    GripError if the whole budget is above the pool, since no document is taken twice.
    """
    if budgets.total > documents.cost_N.sum():
        raise GripError(
            f"The budget is {budgets.total:,} {documents.unit}, and the pool has {documents.cost_N.sum():,}. A greedy"
            " selection takes each document once. Lower settings/budget.total, or choose another"
            " settings/selection.rule."
        )
    attributed, budgets = features.attributed(), replace(budgets, max_repeats=1)
    in_clusters = settings.scope == "clusters"
    aim = attributed.aim
    pool = held(_pool(documents, attributed, in_clusters), aim.objective().width)
    room = _granted(documents, budgets) if in_clusters else budgets.total
    found = greedy(pool, room, aim, settings.rounds)
    certificate = bound(pool, room, aim, found)
    steps = _at_the_end(pool, documents, aim, found)
    taken = (take_in_clusters if in_clusters else take_from_pool)(documents, budgets, _keys(steps, found, documents))
    said = {"utility": found.utility, "utility_bound": certificate.bound, "certificate": certificate.words}
    return replace(taken, steps=_ranked(steps, taken), said=said)


def _pool(documents: Documents, attributed: Attributed, in_clusters: bool) -> Pool:
    return Pool(
        attributed.blocks,
        documents.cost_N,
        documents.cluster_N if in_clusters else None,
        documents.may_N,
        documents.place_N,
        attributed.unit,
    )


def _granted(documents: Documents, budgets: Budgets) -> np.ndarray:
    """The budget that each cluster can use, int64 (K,): see ``draw.grants``."""
    may_N, n_clusters = documents.may_N, len(documents.size_K)
    cost_N, cluster_N = documents.cost_N[may_N], documents.cluster_N[may_N]
    first_K = np.full(n_clusters, len(documents.ids) + 1)
    np.minimum.at(first_K, cluster_N, documents.place_N[may_N])
    order_K = np.argsort(first_K, kind="stable")  # so that the numbers of the clusters decide nothing
    stop_K = np.cumsum(np.bincount(cluster_N, minlength=n_clusters))
    start_K = np.concatenate([[0], stop_K[:-1]])
    uses = [Uses(cost_N[start_K[k] : stop_K[k]], 1) for k in order_K]
    granted_K = np.empty(n_clusters, np.int64)
    granted_K[order_K] = grants(uses, budgets.allocated_K[order_K], budgets.utility_K[order_K])
    return granted_K


def _at_the_end(pool: Pool, documents: Documents, aim: Aim, found: Greedy) -> Steps:
    """Alignment, what is covered, and gain of each document after the last was taken, in one pass; no ranks yet.

    For maxmin they are those of the goal that is then the worst.
    """
    objective = aim.objective(found.budget / max(int(documents.cost_N.sum()), 1))
    weight_J = np.eye(objective.goals)[int(np.argmin(found.utility_J))]
    share_N = documents.cost_N / max(found.budget, 1)
    gain_N, covered_N, alignment_N = np.empty((3, len(share_N)))
    at = 0
    with threadpool_limits(1):  # more threads could sum in another order
        for block in pool.blocks():
            for start in range(0, len(block), ROWS):
                part = block[start : start + ROWS]
                phi_RF = (unit(part) if pool.unit else part).astype(np.float64)
                here = slice(at, at + len(phi_RF))
                shown = objective.shown(phi_RF, share_N[here], found.v_F, found.filled, weight_J)
                alignment_N[here], covered_N[here], gain_N[here] = (
                    shown.alignment_R, shown.covered_R, shown.gain_R,
                )  # fmt: skip
                at = here.stop
    return Steps(np.zeros(len(share_N), np.int64), gain_N, covered_N, alignment_N)


def _keys(steps: Steps, found: Greedy, documents: Documents) -> np.ndarray:
    """Keys, float64 (N,): the documents that were taken, in their order, and then the others by their gain.

    The numbers of the documents that were taken become those of their turn.
    """
    rows, n = found.row_M, len(steps.gain_N)
    steps.gain_N[rows] = found.worth_M
    steps.covered_N[rows], steps.alignment_N[rows] = found.covered_M, found.alignment_M
    place_N = np.full(n, len(rows))
    place_N[rows] = np.arange(len(rows))
    key_N = np.empty(n)
    key_N[np.lexsort((documents.place_N, -steps.gain_N, place_N))] = -np.arange(n)
    return key_N


def _ranked(steps: Steps, taken: Selected) -> Steps:
    """With the place of each document among those that are in the subset, from 1."""
    rows = np.flatnonzero(taken.repeats_N)
    steps.rank_N[rows[np.argsort(-taken.key_N[rows], kind="stable")]] = np.arange(1, len(rows) + 1)
    return steps

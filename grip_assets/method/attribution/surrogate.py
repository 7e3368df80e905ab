"""The utility of a subset, predicted from sketches [R1 to R7]. A reconstruction: GRASP's equations are not public.

A document i of w_i tokens has features phi_i, which are a mean over its tokens. A subset S has the token-weighted mean
v_S = Σ w_i phi_i / Σ w_i, and a target t has G_t. If training on S moves the model by -η v_S, and the loss is smooth,
the loss on t falls by at least

    R1  η <G_t, v_S> - (L η² / 2) ||v_S||²

which as a score is R5: <G_t, v_S> - (gamma / 2) s_t ||v_S||². The inner product alone is additive: each document adds
its own alignment. The square is the interaction: documents whose features point the same way are worth less together
than alone. gamma = 0 is the additive score, which other methods stop at.

Weights are tokens and not documents, because training sees tokens. Selections by this score are in greedy.py, mixtures
in simplex.py. Shapes: N documents, S subsets, T targets, F numbers of a sketch. Sums are in float64 and on one thread,
because more threads would sum in another order.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from grip_assets.errors import GripError

SMALL = 1e-3  # a mean below this share of the mean norm counts as vanishing [R5]
DAMPING = 0.1  # of a Fisher matrix, times its mean eigenvalue
TINY = 1e-300
ROWS = 4096  # documents that are in float64 at a time


def means(phi_NF: np.ndarray, weight_N: np.ndarray, members: Sequence[np.ndarray]) -> np.ndarray:
    """v_S of each subset, float64 (S, F). ``members``: its rows of ``phi_NF``; a row that is listed twice counts twice.

    GripError if a feature of a member is not finite, or if a subset has no tokens.
    """
    weight_N = np.asarray(weight_N, np.float64)
    found_SF = np.zeros((len(members), phi_NF.shape[1]))
    for s, rows in enumerate(members):
        total = weight_N[rows].sum()
        if not total > 0:
            raise GripError(f"Subset {s} has no tokens, so it has no mean.")
        for start in range(0, len(rows), ROWS):
            some = rows[start : start + ROWS]
            found_SF[s] += np.einsum("r,rf->f", weight_N[some], phi_NF[some].astype(np.float64))
        found_SF[s] /= total
    if not np.isfinite(found_SF).all():
        bad = int(np.argmin(np.isfinite(found_SF).all(axis=1)))
        raise GripError(f"A feature of a document in subset {bad} is not finite. Compute the sketches again.")
    return found_SF


def unit(phi_NF: np.ndarray) -> np.ndarray:
    """Rows of norm 1, float32 (N, F); a row of zeros stays one.

    Token-mean gradients are large for short documents, so without it the shortest ones lead every ranking.
    """
    phi_NF = np.asarray(phi_NF, np.float32)
    norm_N = np.sqrt(np.einsum("nf,nf->n", phi_NF, phi_NF, dtype=np.float64))
    return (phi_NF / np.where(norm_N > 0, norm_N, 1)[:, None]).astype(np.float32)


def memberships(members: Sequence[np.ndarray], weight_N: np.ndarray) -> Any:
    """The weight of each document in each group of documents, as a sparse matrix (S, N) of SciPy. A row that is listed
    twice is there twice."""
    from scipy.sparse import csr_matrix  # slow to import

    starts = np.cumsum([0, *map(len, members)])
    rows = np.concatenate([np.zeros(0, np.int64), *members])
    return csr_matrix((np.asarray(weight_N, np.float64)[rows], rows, starts), (len(members), len(weight_N)))


@dataclass(frozen=True)
class Pool:
    """What the scale needs of all documents. ``mean_F``: v of the whole pool. ``mean_norm``: token-weighted mean of
    ||phi_i||. ``mean_square``: token-weighted mean of ||phi_i||². ``documents``: as many documents of equal length as
    have the same Σ w² / (Σ w)² [Kish 1965]."""

    mean_F: np.ndarray
    mean_norm: float
    mean_square: float
    documents: float

    def typical_norm(self, share: float) -> float:
        """The root mean square of ||v_S|| of random subsets of a ``share`` of the pool, by R7:
        ||vbar||² + (1 / m)(1 - m / n) tr Cov n / (n - 1)."""
        square = float(self.mean_F @ self.mean_F)
        n = max(self.documents, 1.0 + 1e-9)
        m = max(share * n, 1.0)
        spread = max(self.mean_square - square, 0.0) * n / (n - 1)
        return float(np.sqrt(square + max(1 - m / n, 0.0) / m * spread))


def pool_of(blocks: Iterable[tuple[np.ndarray, np.ndarray]], unit_norm: bool = False) -> Pool:
    """The moments of the pool from blocks of (features (n, F), tokens (n,)), in one pass and bounded memory.

    GripError if a feature is not finite, with the number of its row; and if no document has tokens.
    """
    tokens = squares = norms = square_norms = 0.0
    sum_F: np.ndarray = np.zeros(1)
    row = 0
    for phi_nF, weight_n in blocks:
        for start in range(0, len(phi_nF), ROWS):
            phi_RF = phi_nF[start : start + ROWS].astype(np.float64)
            weight_R = np.asarray(weight_n[start : start + ROWS], np.float64)
            square_R = finite_squares(phi_RF, row)
            if unit_norm:
                phi_RF /= np.sqrt(np.where(square_R > 0, square_R, 1))[:, None]
                square_R = np.where(square_R > 0, 1.0, 0.0)
            sum_F = sum_F + np.einsum("r,rf->f", weight_R, phi_RF)
            tokens, squares = tokens + float(weight_R.sum()), squares + float(weight_R @ weight_R)
            norms, square_norms = norms + float(weight_R @ np.sqrt(square_R)), square_norms + float(weight_R @ square_R)
            row += len(phi_RF)
    if not tokens > 0:
        raise GripError("The pool has no tokens, so there is nothing to attribute to.")
    return Pool(sum_F / tokens, norms / tokens, square_norms / tokens, tokens**2 / squares)


def finite_squares(phi_RF: np.ndarray, first_row: int = 0) -> np.ndarray:
    """||phi||² of each row, float64 (R,). GripError for a row that is not finite."""
    square_R = np.einsum("rf,rf->r", phi_RF, phi_RF)
    if not np.isfinite(square_R).all():
        bad = first_row + int(np.argmin(np.isfinite(square_R)))
        raise GripError(f"The features of the document in row {bad:,} are not finite. Compute the sketches again.")
    return square_R


def scale(target_TF: np.ndarray, pool: Pool, share: float = 0.1, matched: bool = False) -> np.ndarray:
    """s_t of R5, float64 (T,): ||G_t|| / ||vbar||, which makes gamma a number without a unit.

    If the pool's mean vanishes (below 0.001 of the mean norm, as for centred features), the typical norm of random
    subsets of a ``share`` of the pool is in its place.

    ``matched``: G_t is itself a mean of such features, as of token counts or embeddings. Then s_t is 1: with gamma = 1,
    R5 is (||G_t||² - ||v_S - G_t||²) / 2, which says how near the subset's mean is to the target's [R3]. Features of
    norm 1 are not matched: their mean is far shorter than the target, so a scale of 1 leaves little of the square.
    """
    target_TF = np.atleast_2d(np.asarray(target_TF, np.float64))
    if not np.isfinite(target_TF).all():
        raise GripError("The features of a target are not finite. Check the reference model and the target's items.")
    if matched:
        return np.ones(len(target_TF))
    norm = float(np.linalg.norm(pool.mean_F))
    if norm < SMALL * pool.mean_norm or norm == 0:
        norm = pool.typical_norm(share)
    return np.linalg.norm(target_TF, axis=1) / max(norm, TINY) if norm > 0 else np.zeros(len(target_TF))


@threadpool_limits.wrap(limits=1)
def utility(target_TF: np.ndarray, v_SF: np.ndarray, gamma: float, s_T: np.ndarray) -> np.ndarray:
    """R5, float64 (T, S): <G_t, v_S> - (gamma / 2) s_t ||v_S||². More is better."""
    v_SF = np.asarray(v_SF, np.float64)
    linear_TS = np.atleast_2d(np.asarray(target_TF, np.float64)) @ v_SF.T
    if gamma == 0:
        return linear_TS
    return linear_TS - gamma / 2 * np.asarray(s_T)[:, None] * np.einsum("sf,sf->s", v_SF, v_SF)


def combined(target_TF: np.ndarray, s_T: np.ndarray, weight_T: np.ndarray) -> tuple[np.ndarray, float]:
    """One target out of several: Σ ω_t U_t has G = Σ ω_t G_t and s = Σ ω_t s_t. Weights need not sum to 1.

    Give unit targets (``unit``) if each should count by its weight alone, and not by the norm of its features.
    GripError if no weight is above 0, or if one is below.
    """
    weight_T = np.asarray(weight_T, np.float64)
    if not (weight_T >= 0).all() or not weight_T.sum() > 0:
        raise GripError("Weights of targets must be at least 0, and one must be above. See target_weights.")
    return weight_T @ np.atleast_2d(np.asarray(target_TF, np.float64)), float(weight_T @ np.asarray(s_T))


def lower_bound(
    gradient_F: np.ndarray, v_SF: np.ndarray, step: float, smoothness: float, metric_FF: np.ndarray | None = None
) -> np.ndarray:
    """R1: the least by which a loss falls after a step -η v_S, float64 (S,). ``step``: η. ``smoothness``: L.

    ``metric_FF``: M of the norm in which the loss is L-smooth; None: the identity.
    """
    v_SF = np.asarray(v_SF, np.float64)
    pulled_SF = v_SF if metric_FF is None else v_SF @ metric_FF
    square_S = np.einsum("sf,sf->s", v_SF, pulled_SF)
    return step * (v_SF @ gradient_F) - smoothness * step**2 / 2 * square_S


@threadpool_limits.wrap(limits=1)
def influence_utility(
    target_TF: np.ndarray,
    v_SF: np.ndarray,
    hessian_FF: np.ndarray,
    gamma: float = 1.0,
    target_hessian_FF: np.ndarray | None = None,
) -> np.ndarray:
    """R6 for a converged model, float64 (T, S): <G, H⁻¹ v_S> - (gamma / 2) v_S H⁻¹ H_f H⁻¹ v_S.

    A subset moves the model by -H⁻¹ v_S, and the target's loss has the Hessian H_f (None: H). Give a damped H
    (``fisher``): without damping, directions that the pool hardly has get all the weight.
    """
    v_SF = np.asarray(v_SF, np.float64)
    moved_SF = np.linalg.solve(hessian_FF, v_SF.T).T
    curved_SF = v_SF if target_hessian_FF is None else moved_SF @ target_hessian_FF
    square_S = np.einsum("sf,sf->s", moved_SF, curved_SF)
    return np.atleast_2d(target_TF).astype(np.float64) @ moved_SF.T - gamma / 2 * square_S


@threadpool_limits.wrap(limits=1)
def fisher(phi_NF: np.ndarray, weight_N: np.ndarray, damping: float = DAMPING) -> np.ndarray:
    """The damped Fisher matrix Σ w phi phiᵀ / Σ w + d I, float64 (F, F), where d is ``damping`` times the mean
    eigenvalue. It is the identity if all features are 0."""
    weight_N = np.asarray(weight_N, np.float64)
    parts = (slice(start, start + ROWS) for start in range(0, len(phi_NF), ROWS))
    return fisher_of(((phi_NF[part], weight_N[part]) for part in parts), phi_NF.shape[1], damping)


def fisher_of(blocks: Iterable[tuple[np.ndarray, np.ndarray]], width: int, damping: float = DAMPING) -> np.ndarray:
    """``fisher`` from blocks of (features (n, F), weights (n,)). One block at a time is in float64. ``width``: F."""
    found_FF, total, row = np.zeros((width, width)), 0.0, 0
    for phi_nF, weight_n in blocks:
        phi_nF = phi_nF.astype(np.float64)
        finite_squares(phi_nF, row)
        found_FF += phi_nF.T @ (weight_n[:, None] * phi_nF)
        total, row = total + float(weight_n.sum()), row + len(phi_nF)
    found_FF /= max(total, TINY)
    ridge = damping * np.trace(found_FF) / len(found_FF)
    return found_FF + (ridge if ridge > 0 else 1.0) * np.eye(len(found_FF))


@threadpool_limits.wrap(limits=1)
def whitener(fisher_FF: np.ndarray) -> np.ndarray:
    """The symmetric inverse root P^(1/2) = F^(-1/2) of a damped Fisher matrix, float64 (F, F).

    Features and targets that are multiplied by it have the inner product <G, F⁻¹ g> of TRAK (precondition = fisher).
    """
    value_F, vector_FF = np.linalg.eigh(fisher_FF)
    return (vector_FF / np.sqrt(value_F)) @ vector_FF.T

"""The E-steps of a mixture with a balance term [E3 to E9]: given the components, better weights Gamma.

For logits l_ik, masses pi = mean of gamma_i and a target u, an E-step raises
    F(Gamma) = mean_i (gamma_i.l_i + H(gamma_i)) - lambda / 2 ||pi - u||^2.
``dual``    solves for the maximiser. It is softmax(l + v), where v minimises D(v), a convex function of K numbers.
``mirror``  takes steps of mirror ascent with the largest step size that is safe, 1 / (1 + lambda / 2).
``l2``      maximises the bound E5 for each row, a few times.
None of them keeps N x K numbers. The weights of the dual and of the mirror are a softmax of functions that are linear
in the row; those of l2 are computed again from the masses after each step. Passes run over chunks on threads, and sums
are in the order of the chunks, so the number of workers changes no bit.

Logits, offsets and lambda are in units of the temperature (mixture.py). Shapes: N rows, B rows of a chunk, K
components, d dimensions.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from scipy.special import wrightomega

from grip_assets.method.partition import posterior
from grip_assets.method.partition.lloyd import CHUNK, Rows
from grip_assets.method.partition.posterior import ALL, CUT, Kept, Linear, Moments, kept
from grip_assets.method.screening import compiled
from grip_assets.runtime import threads

FULL = 256  # most components for which the whole Hessian is held; above, it is multiplied with vectors
STEPS = 200  # most steps of Newton's method
CONJUGATE, CLOSE = 50, 0.01  # of conjugate gradients: most steps, and the share of the residual at which they end
LARGEST = 30.0  # most by which a step moves two offsets apart
HALVINGS = 40
HELD = 8  # most pairs a row, on average, that are held between two evaluations; else they are computed again
MARGIN = 10.0  # held pairs are enough while offsets move apart by less


class Balance(NamedTuple):
    """``strength``: lambda in units of the temperature. ``target_K``: u, which sums to 1."""

    strength: float
    target_K: np.ndarray

    def cost(self, mass_K: np.ndarray) -> float:
        """lambda / 2 ||pi - u||^2."""
        return self.strength / 2 * float(((mass_K - self.target_K) ** 2).sum())

    def pull(self, mass_K: np.ndarray) -> np.ndarray:
        """-lambda (pi - u), the gradient of minus the cost."""
        return -self.strength * (mass_K - self.target_K)


class Weights(NamedTuple):
    """Gamma and its sums. ``linear``: Gamma is the softmax of these logits (for l2, of where it began). ``offset_K``: v
    of the dual. ``moments``: with sum_KD."""

    linear: Linear
    offset_K: np.ndarray
    moments: Moments


def total(rows: Rows, of: Callable[[slice], Moments]) -> Moments:
    """The sum of ``of`` over all chunks of the rows, in their order."""
    chunks = [slice(start, start + CHUNK) for start in range(0, len(rows.x_ND), CHUNK)]
    found: Moments | None = None
    for part in threads.each(of, chunks) if len(chunks) > 1 else map(of, chunks):
        if found is None:
            found = part
        else:
            found.add(part)
    assert found is not None
    return found


def plain(rows: Rows, linear: Linear) -> Moments:
    """Moments of Gamma = softmax(logits), with sum_KD."""
    none_K = np.zeros(len(linear.bias_K))

    def of(some: slice) -> Moments:
        x_BD = rows.x_ND[some]
        return posterior.summed(kept(x_BD, rows.codes[some], linear), none_K, x_BD)

    return total(rows, of)


class Near:
    """The pairs of rows and components that count for offsets near ``offset_K``. At most HELD a row are held in memory;
    those of a chunk with more are computed anew by each evaluation."""

    def __init__(self, rows: Rows, linear: Linear, offset_K: np.ndarray):
        self.rows, self.linear = rows, linear
        self._look(offset_K)

    def _look(self, offset_K: np.ndarray) -> None:
        self.offset_K, self.pairs = offset_K.copy(), dict[int, Kept]()

    def _pairs(self, some: slice, offset_K: np.ndarray) -> tuple[Kept, np.ndarray]:
        """The pairs of a chunk, and what is to be added to their logits."""
        pairs = self.pairs.get(some.start)
        if pairs is not None:
            return pairs, offset_K - self.offset_K
        codes, shifted = self.rows.codes[some], self.linear.shifted(self.offset_K)
        pairs = kept(self.rows.x_ND[some], codes, shifted, CUT + MARGIN)
        if pairs.n <= HELD * len(codes):
            self.pairs[some.start] = pairs
        return pairs, offset_K - self.offset_K

    def _follow(self, offset_K: np.ndarray) -> None:
        if np.ptp(offset_K - self.offset_K) > MARGIN:
            self._look(offset_K)

    def curved(self, offset_K: np.ndarray) -> Moments:
        """Moments of softmax(l + v), with the curvature."""
        self._follow(offset_K)
        full = len(offset_K) <= FULL
        return total(self.rows, lambda some: posterior.curved(*self._pairs(some, offset_K), full))

    def curvature_times(self, offset_K: np.ndarray, vector_K: np.ndarray) -> np.ndarray:
        """The Hessian of the sum of log sum exp at this offset, times a vector, float64 (K,)."""
        self._follow(offset_K)
        found = total(
            self.rows, lambda some: posterior.curvature_times(*self._pairs(some, offset_K), vector_K)
        ).curvature
        assert found is not None
        return found

    def summed(self, offset_K: np.ndarray) -> Moments:
        """Moments of softmax(l + v), with the sums of gamma x."""
        self._follow(offset_K)
        return total(self.rows, lambda some: posterior.summed(*self._pairs(some, offset_K), self.rows.x_ND[some]))


def dual(rows: Rows, linear: Linear, start_K: np.ndarray, balance: Balance) -> Weights:
    """The exact E-step [E8, E9]: v from ``start_K`` by a damped Newton's method with Armijo's rule.

    At the end v = -lambda (pi(v) - u), to the rounding of pi or to 1e-9, whichever is larger.
    """
    near = Near(rows, linear, start_K if balance.strength else np.zeros_like(start_K))
    offset_K = near.offset_K
    if balance.strength:
        offset_K = _minimised(near, offset_K, balance)
    return Weights(linear.shifted(offset_K), offset_K, near.summed(offset_K))


def _minimised(near: Near, offset_K: np.ndarray, balance: Balance) -> np.ndarray:
    n, enough = len(near.rows.x_ND), max(1e-9 / max(balance.strength, 1.0), 1e-13)
    moments = near.curved(offset_K)
    for _ in range(STEPS):
        gradient_K = moments.mass_K / n - balance.target_K + offset_K / balance.strength
        if np.abs(gradient_K).max() <= enough:
            break
        step_K = _step(near, offset_K, moments, gradient_K, balance)
        found = _downhill(near, offset_K, step_K, _value(moments, offset_K, n, balance), gradient_K, balance)
        if found is None:
            break  # nothing lower can be told from rounding
        offset_K, moments = found
    return offset_K


def _value(moments: Moments, offset_K: np.ndarray, n: int, balance: Balance) -> float:
    """D(v) [E8]."""
    square = float(offset_K @ offset_K) / (2 * balance.strength)
    return moments.log_sum / n - float(offset_K @ balance.target_K) + square


def _step(near: Near, offset_K: np.ndarray, moments: Moments, gradient_K: np.ndarray, balance: Balance) -> np.ndarray:
    """Newton's step, shortened to LARGEST. Above FULL components it is approximate."""
    n = len(near.rows.x_ND)
    assert moments.curvature is not None
    if moments.curvature.ndim == 1:

        def times(vector_K: np.ndarray) -> np.ndarray:
            return near.curvature_times(offset_K, vector_K) / n + vector_K / balance.strength

        step_K = conjugate(times, -gradient_K, moments.curvature / n + 1 / balance.strength)
    else:
        step_K = -solved(moments.curvature / n + np.eye(len(gradient_K)) / balance.strength, gradient_K)
    return step_K * min(1.0, LARGEST / max(float(np.ptp(step_K)), 1e-300))


def _downhill(
    near: Near, offset_K: np.ndarray, step_K: np.ndarray, value: float, gradient_K: np.ndarray, balance: Balance
) -> tuple[np.ndarray, Moments] | None:
    """The first of the steps 1, 1/2, 1/4 ... that lowers D enough (Armijo); None if none does."""
    n, slope = len(near.rows.x_ND), float(gradient_K @ step_K)
    size, rounding = 1.0, 1e-15 * abs(value)
    for _ in range(HALVINGS):
        trial_K = offset_K + size * step_K
        moments = near.curved(trial_K)
        lower = _value(moments, trial_K, n, balance)
        if lower <= value + 1e-4 * size * slope:
            return trial_K, moments
        if abs(lower - value) <= rounding:  # D is flat to rounding: the gradient decides
            after_K = moments.mass_K / n - balance.target_K + trial_K / balance.strength
            return (trial_K, moments) if np.abs(after_K).max() < 0.9 * np.abs(gradient_K).max() else None
        size /= 2
    return None


def mirror(rows: Rows, linear: Linear, before: Weights, balance: Balance, steps: int) -> Weights:
    """``steps`` of E7 from the weights ``before``.

    log gamma of each step is a mean of l and of the last log gamma, so it stays linear in the row.
    """
    keep = balance.strength / 2
    now, moments = before.linear, before.moments
    n = len(rows.x_ND)
    for _ in range(steps):
        bias_K = linear.bias_K + balance.pull(moments.mass_K / n)
        c_KD = (linear.c_KD + keep * now.c_KD) / (1 + keep)
        now = Linear.of(c_KD, (bias_K + keep * now.bias_K) / (1 + keep), rows.codes.format)
        moments = plain(rows, now)
    return Weights(now, balance.pull(moments.mass_K / n), moments)


def l2(rows: Rows, linear: Linear, offset_K: np.ndarray, balance: Balance, steps: int) -> Weights:
    """``steps`` of maximising E5 for each row, from the weights softmax(l + ``offset_K``).

    The weights after a step follow from those at the start and from the masses after each earlier step.
    """
    n, k = len(rows.x_ND), len(offset_K)
    moments = plain(rows, linear.shifted(offset_K))
    pulls: list[np.ndarray] = []
    for _ in range(steps if balance.strength else 0):
        pulls.append(balance.pull(moments.mass_K / n))

        def of(some: slice, pulls: Sequence[np.ndarray] = tuple(pulls)) -> Moments:
            x_BD = rows.x_ND[some]
            found = Moments(np.zeros(k), sum_KD=np.zeros((k, x_BD.shape[1])))
            for start in range(0, len(x_BD), posterior.BLOCK):
                part = slice(start, start + posterior.BLOCK)
                pairs = kept(x_BD[part], rows.codes[some][part], linear, ALL)
                pairs = pairs._replace(logit_M=_replayed(pairs, offset_K, pulls, balance.strength))
                found.add(posterior.summed(pairs, np.zeros(k), x_BD[part]))
            return found

        moments = total(rows, of)
    return Weights(linear.shifted(offset_K), balance.pull(moments.mass_K / n), moments)


def _replayed(pairs: Kept, offset_K: np.ndarray, pulls: Sequence[np.ndarray], strength: float) -> np.ndarray:
    """log gamma of all pairs after steps with these ``pulls``, float64 (B x K,)."""
    logit_BK = pairs.logit_M.reshape(len(pairs.end_B), -1)
    log_BK = logit_BK + offset_K
    gamma_BK = np.exp(log_BK - log_BK.max(1, keepdims=True))
    gamma_BK /= gamma_BK.sum(1, keepdims=True)
    for pull_K in pulls:
        gamma_BK = nearby(logit_BK + pull_K, gamma_BK, strength)
    return np.log(np.maximum(gamma_BK, 1e-300)).reshape(-1)


def conjugate(times: Callable[[np.ndarray], np.ndarray], b_K: np.ndarray, diagonal_K: np.ndarray) -> np.ndarray:
    """About the x of a x = b, where ``times`` multiplies a vector with a, by conjugate gradients; ``diagonal_K`` of a.

    Whenever it ends, x.b is above 0: it is a direction of descent.
    """
    x_K, rest_K = np.zeros_like(b_K), b_K.copy()
    scaled_K = rest_K / diagonal_K
    along_K, square = scaled_K.copy(), float(rest_K @ scaled_K)
    for _ in range(CONJUGATE):
        product_K = times(along_K)
        size = square / max(float(along_K @ product_K), 1e-300)
        x_K += size * along_K
        rest_K -= size * product_K
        if np.abs(rest_K).max() <= CLOSE * np.abs(b_K).max():
            break
        scaled_K = rest_K / diagonal_K
        before, square = square, float(rest_K @ scaled_K)
        along_K = scaled_K + square / before * along_K
    return x_K


@compiled
def solved(a_KK, b_K):
    """x of a x = b for a positive definite matrix, by Cholesky's factors on one thread: always with the same bits."""
    k = b_K.shape[0]
    low_KK, x_K = a_KK.copy(), b_K.copy()
    for j in range(k):
        for i in range(j, k):
            total = low_KK[i, j]
            for p in range(j):
                total -= low_KK[i, p] * low_KK[j, p]
            low_KK[i, j] = np.sqrt(max(total, 1e-300)) if i == j else total / low_KK[j, j]
    for i in range(k):
        for p in range(i):
            x_K[i] -= low_KK[i, p] * x_K[p]
        x_K[i] /= low_KK[i, i]
    for i in range(k - 1, -1, -1):
        for p in range(i + 1, k):
            x_K[i] -= low_KK[p, i] * x_K[p]
        x_K[i] /= low_KK[i, i]
    return x_K


def nearby(c_BK: np.ndarray, before_BK: np.ndarray, strength: float) -> np.ndarray:
    """The maximiser of gamma.c + H(gamma) - lambda / 2 ||gamma - before||^2 for each row, float64 (B, K).

    gamma = omega(c + lambda before - 1 - nu + log lambda) / lambda, with Wright's omega. The number nu, for which gamma
    sums to 1, is found by Newton's method. It starts below, and the sum is convex in nu, so it never overshoots.
    """
    a_BK = c_BK + strength * before_BK - 1 + np.log(strength)
    nu_B = a_BK.max(1) - strength - np.log(strength)
    for _ in range(STEPS):
        omega_BK = wrightomega(a_BK - nu_B[:, None])
        step_B = (omega_BK.sum(1) - strength) / (omega_BK / (1 + omega_BK)).sum(1)
        nu_B += step_B
        if np.abs(step_B).max() <= 1e-13 * (1 + strength + np.abs(nu_B).max()):
            break
    gamma_BK = wrightomega(a_BK - nu_B[:, None]) / strength
    return gamma_BK / gamma_BK.sum(1, keepdims=True)

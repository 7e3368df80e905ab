"""The posterior of a mixture whose log densities are linear in the row: gamma_i = softmax_k(c_k.x_i + b_k).

Products are screened in eight bits (screening.py). A component whose logit is more than CUT below the best has a weight
below the rounding of a float64, so it counts as 0, exactly, whatever the format of the screening. All others are
computed in float64, one row at a time, so a weight depends on its row alone. In several hundred dimensions only one or
two components of a row are left.

Shapes: N rows, B rows of a block, K components, d dimensions. M counts the (row, component) pairs that are left.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from grip_assets.method.screening import LANES, Codes, Format, compiled, encode, products, rounding

BLOCK = 512  # rows of a product
CUT = 38.0  # nats; e^-38 is below the rounding of 1 in float64
ALL = 1e30  # a cut at which every component counts


@dataclass(frozen=True)
class Linear:
    """Logits c_k.x + b_k. ``c_KD``, ``bias_K``: float64. ``codes``: of c_KD, to screen with."""

    c_KD: np.ndarray
    bias_K: np.ndarray
    codes: Codes

    @classmethod
    def of(cls, c_KD: np.ndarray, bias_K: np.ndarray, format: Format) -> "Linear":
        c_KD = np.ascontiguousarray(c_KD, np.float64)
        return cls(c_KD, np.asarray(bias_K, np.float64), encode(c_KD.astype(np.float32), format))

    def shifted(self, offset_K: np.ndarray) -> "Linear":
        """The same with ``offset_K`` added to every row's logits."""
        return Linear(self.c_KD, self.bias_K + offset_K, self.codes)


class Kept(NamedTuple):
    """The pairs that are left of some rows. ``end_B``: for each row the pair after its last. ``component_M``: int32,
    ascending in a row. ``logit_M``: c_k.x + b_k, float64."""

    end_B: np.ndarray
    component_M: np.ndarray
    logit_M: np.ndarray

    @property
    def n(self) -> int:
        """The number of pairs, M."""
        return len(self.component_M)


def kept(x_BD: np.ndarray, coded: Codes, linear: Linear, cut: float = CUT) -> Kept:
    """The pairs of unit rows, float32, whose logit is at most ``cut`` below the row's best; on one thread.

    ``coded``: codes of the rows.
    """
    if coded.on_device:
        return _kept_on_device(x_BD, coded, linear, cut)
    starts = range(0, max(len(x_BD), 1), BLOCK)
    parts = [_kept_block(x_BD[s : s + BLOCK], coded[s : s + BLOCK], linear, cut) for s in starts]
    return _joined(parts)


def _joined(parts: list[Kept]) -> Kept:
    if len(parts) == 1:
        return parts[0]
    before = np.cumsum([0, *(part.n for part in parts)])
    ends = [part.end_B + start for part, start in zip(parts, before[:-1], strict=True)]
    return Kept(np.concatenate(ends), *(np.concatenate([part[i] for part in parts]) for i in (1, 2)))


def _kept_on_device(x_BD: np.ndarray, coded: Codes, linear: Linear, cut: float) -> Kept:
    """The device leaves over a few pairs of each row, whose logits are computed here."""
    from grip_assets.method import on_device  # torch

    assert isinstance(coded, on_device.OnDevice) and isinstance(linear.codes, on_device.OnDevice)
    parts = {0: Kept(np.zeros(0, np.int64), np.zeros(0, np.int32), np.zeros(0))}

    def use(some: slice, pairs: on_device.Pairs) -> None:
        end_B, logit_M = np.empty(len(pairs.end_B), np.int64), np.empty(len(pairs.column_M))
        n = _keep_some(*pairs, x_BD[some], linear.c_KD, linear.bias_K, np.float64(cut), end_B, logit_M)
        parts[some.start] = Kept(end_B, pairs.column_M[:n].copy(), logit_M[:n].copy())

    on_device.likely(coded, linear.codes, linear.bias_K - linear.bias_K.max(), cut, use)
    return _joined([parts[start] for start in sorted(parts)])


def _kept_block(x_BD: np.ndarray, coded: Codes, linear: Linear, cut: float) -> Kept:
    k, codes = len(linear.bias_K), linear.codes
    end_B = np.empty(len(x_BD), np.int64)
    component_M, logit_M = np.empty(len(x_BD) * k, np.int32), np.empty(len(x_BD) * k)
    # The float32 bias is relative to the highest, so that its rounding is small where it matters.
    bias_K = (linear.bias_K - linear.bias_K.max()).astype(np.float32)
    far_K, near_K = codes.norm_N + codes.slack_N, codes.slack_N + codes.norm_N * rounding(x_BD.shape[1])
    n = _keep(
        products(coded, codes), codes.scale_N, bias_K, far_K, near_K, coded.scale_N, coded.slack_N, coded.norm_N,
        x_BD, linear.c_KD, linear.bias_K, np.float64(cut), end_B, component_M, logit_M,
    )  # fmt: skip
    return Kept(end_B, component_M[:n].copy(), logit_M[:n].copy())


@compiled
def _keep(
    product_BK, scale_K, bias_K, far_K, near_K, scale_B, slack_B, norm_B, x_BD, c_KD, bias64_K, cut, end_B,
    component_M, logit_M,
):  # fmt: skip
    """Write the pairs that are left, and return their number.

    A screened logit is wrong by at most slack (far) + norm (near) of its component, as in ``screening.bound``.
    """
    k = product_BK.shape[1]
    room = (k + LANES - 1) // LANES * LANES
    upper_K, top_L = np.empty(room, np.float32), np.empty(LANES, np.float32)
    found_K = np.empty(k + 1, np.int32)
    m = 0
    for b in range(product_BK.shape[0]):
        scale, slack, norm = scale_B[b], slack_B[b] * np.float32(1.001), norm_B[b] * np.float32(1.001)
        _screen(product_BK[b], scale_K, bias_K, far_K, near_K, scale, slack, norm, k, upper_K, top_L)
        least = top_L[0]
        for lane in range(LANES):
            least = max(least, top_L[lane])
        # float32 rounding of scores below a thousand or so
        least = np.float32(least - cut) - np.float32(1e-3) - abs(least) * np.float32(1e-5)
        n = 0
        for j in range(k):
            found_K[n] = j
            n += upper_K[j] >= least
        first, best = m, -1e300
        for position in range(n):
            j = found_K[position]
            total = 0.0
            for i in range(x_BD.shape[1]):
                total += np.float64(x_BD[b, i]) * c_KD[j, i]
            total += bias64_K[j]
            component_M[m], logit_M[m] = j, total
            best = max(best, total)
            m += 1
        m = _pairs_above(component_M, logit_M, first, m, best - cut)
        end_B[b] = m
    return m


@compiled
def _keep_some(last_B, component_M, x_BD, c_KD, bias64_K, cut, end_B, logit_M):
    """``_keep`` among a few components of each row, which end at ``last_B``. The pairs that are left move to the front
    of ``component_M``."""
    m = left = 0
    for b in range(last_B.shape[0]):
        first, best = m, -1e300
        for position in range(left, last_B[b]):
            j = component_M[position]
            total = 0.0
            for i in range(x_BD.shape[1]):
                total += np.float64(x_BD[b, i]) * c_KD[j, i]
            total += bias64_K[j]
            component_M[m], logit_M[m] = j, total
            best = max(best, total)
            m += 1
        left = last_B[b]
        m = _pairs_above(component_M, logit_M, first, m, best - cut)
        end_B[b] = m
    return m


@compiled
def _screen(product_K, scale_K, bias_K, far_K, near_K, scale, slack, norm, k, upper_K, top_L):
    """Write an upper bound of each logit, and for each lane the largest lower bound."""
    for lane in range(LANES):
        top_L[lane] = np.float32(-1e30)
    whole = k // LANES
    for g in range(whole):
        at = g * LANES
        for lane in range(LANES):
            score = np.float32(product_K[at + lane]) * (scale_K[at + lane] * scale) + bias_K[at + lane]
            reach = slack * far_K[at + lane] + norm * near_K[at + lane]
            upper_K[at + lane] = score + reach
            top_L[lane] = max(top_L[lane], score - reach)
    for j in range(whole * LANES, k):
        score = np.float32(product_K[j]) * (scale_K[j] * scale) + bias_K[j]
        reach = slack * far_K[j] + norm * near_K[j]
        upper_K[j] = score + reach
        top_L[j - whole * LANES] = max(top_L[j - whole * LANES], score - reach)


@compiled
def _pairs_above(component_M, logit_M, first, stop, cut):
    """Move the pairs whose logit is at least ``cut`` to the front; returns the end of them."""
    m = first
    for position in range(first, stop):
        if logit_M[position] >= cut:
            component_M[m], logit_M[m] = component_M[position], logit_M[position]
            m += 1
    return m


@dataclass
class Moments:
    """Sums over rows, of the weights gamma. ``mass_K``: sum of gamma. ``log_sum``: sum of log sum exp of the logits.
    ``entropy``: sum of the entropies of gamma. ``curvature``: sum of gamma_k (1 - gamma_k), float64 (K,), or of
    diag(gamma) - gamma gamma^T, float64 (K, K). ``sum_KD``: sum of gamma x."""

    mass_K: np.ndarray
    log_sum: float = 0.0
    entropy: float = 0.0
    curvature: np.ndarray | None = None
    sum_KD: np.ndarray | None = None

    def add(self, other: "Moments") -> None:
        self.mass_K += other.mass_K
        self.log_sum += other.log_sum
        self.entropy += other.entropy
        if self.curvature is not None and other.curvature is not None:
            self.curvature += other.curvature
        if self.sum_KD is not None and other.sum_KD is not None:
            self.sum_KD += other.sum_KD


def curved(pairs: Kept, offset_K: np.ndarray, full: bool) -> Moments:
    """Moments of softmax(logits + ``offset_K``), with the curvature; ``full``: all of it, not only its diagonal."""
    k = len(offset_K)
    found = Moments(np.zeros(k), curvature=np.zeros((k, k)) if full else np.zeros(k))
    assert found.curvature is not None
    curvature = found.curvature if full else found.curvature.reshape(1, k)
    found.log_sum, found.entropy = _sum_up(*pairs, offset_K, found.mass_K, curvature, full)
    return found


def curvature_times(pairs: Kept, offset_K: np.ndarray, vector_K: np.ndarray) -> Moments:
    """The curvature of softmax(logits + ``offset_K``), times a vector: moments with that as their ``curvature``."""
    found = Moments(np.zeros(len(offset_K)), curvature=np.zeros(len(offset_K)))
    _times(*pairs, offset_K, vector_K, found.curvature)
    return found


def summed(pairs: Kept, offset_K: np.ndarray, x_BD: np.ndarray) -> Moments:
    """Moments of softmax(logits + ``offset_K``), with the sums of gamma x."""
    k = len(offset_K)
    found = Moments(np.zeros(k), sum_KD=np.zeros((k, x_BD.shape[1])))
    found.log_sum, found.entropy = _sum_rows(*pairs, offset_K, x_BD, found.mass_K, found.sum_KD)
    return found


class Label(NamedTuple):
    """``label_B``: the component with the largest logit, int32; of equal ones the lowest. ``weight_B``: its gamma,
    float64. ``log_weight_B``: the logarithm of that. ``without_offset_B``: the component whose logit is the largest
    when the offset is taken away, int32."""

    label_B: np.ndarray
    weight_B: np.ndarray
    log_weight_B: np.ndarray
    without_offset_B: np.ndarray


def labels(pairs: Kept, offset_K: np.ndarray) -> Label:
    """Labels of rows. ``pairs``: with a cut of at least CUT plus the spread of ``offset_K``, which is in the logits."""
    n = len(pairs.end_B)
    found = Label(np.empty(n, np.int32), np.empty(n), np.empty(n), np.empty(n, np.int32))
    _label(*pairs, offset_K, CUT, *found)
    return found


def dense(pairs: Kept, k: int) -> np.ndarray:
    """gamma, float64 (B, K), of a block of rows."""
    gamma_BK = np.zeros((len(pairs.end_B), k))
    _spread(*pairs, gamma_BK)
    return gamma_BK


@compiled
def _weights(component_M, logit_M, offset_K, first, stop, weight_M):
    """Write gamma of one row's pairs. Returns (log sum exp of the logits, entropy)."""
    top = -1e300
    for position in range(first, stop):
        weight_M[position - first] = logit_M[position] + offset_K[component_M[position]]
        top = max(top, weight_M[position - first])
    total = mean = 0.0
    for position in range(stop - first):
        above = weight_M[position] - top
        weight_M[position] = np.exp(above)
        total += weight_M[position]
        mean += weight_M[position] * above
    for position in range(stop - first):
        weight_M[position] /= total
    return top + np.log(total), np.log(total) - mean / total


@compiled
def _sum_up(end_B, component_M, logit_M, offset_K, mass_K, curvature, full):
    weight_M = np.empty(mass_K.shape[0])
    first, log_sum, entropy = 0, 0.0, 0.0
    for b in range(end_B.shape[0]):
        stop = end_B[b]
        row_sum, row_entropy = _weights(component_M, logit_M, offset_K, first, stop, weight_M)
        log_sum += row_sum
        entropy += row_entropy
        for position in range(first, stop):
            k, weight = component_M[position], weight_M[position - first]
            mass_K[k] += weight
            if not full:
                curvature[0, k] += weight * (1 - weight)
                continue
            curvature[k, k] += weight
            for other in range(first, stop):
                curvature[k, component_M[other]] -= weight * weight_M[other - first]
        first = stop
    return log_sum, entropy


@compiled
def _times(end_B, component_M, logit_M, offset_K, vector_K, product_K):
    weight_M = np.empty(vector_K.shape[0])
    first = 0
    for b in range(end_B.shape[0]):
        stop = end_B[b]
        _weights(component_M, logit_M, offset_K, first, stop, weight_M)
        mean = 0.0
        for position in range(first, stop):
            mean += weight_M[position - first] * vector_K[component_M[position]]
        for position in range(first, stop):
            k = component_M[position]
            product_K[k] += weight_M[position - first] * (vector_K[k] - mean)
        first = stop


@compiled
def _sum_rows(end_B, component_M, logit_M, offset_K, x_BD, mass_K, sum_KD):
    weight_M = np.empty(mass_K.shape[0])
    first, log_sum, entropy = 0, 0.0, 0.0
    for b in range(end_B.shape[0]):
        stop = end_B[b]
        row_sum, row_entropy = _weights(component_M, logit_M, offset_K, first, stop, weight_M)
        log_sum += row_sum
        entropy += row_entropy
        for position in range(first, stop):
            k, weight = component_M[position], weight_M[position - first]
            mass_K[k] += weight
            if weight > 1e-17:
                for i in range(x_BD.shape[1]):
                    sum_KD[k, i] += weight * x_BD[b, i]
        first = stop
    return log_sum, entropy


@compiled
def _label(end_B, component_M, logit_M, offset_K, cut, label_B, weight_B, log_weight_B, without_offset_B):
    first = 0
    for b in range(end_B.shape[0]):
        stop, best, bare = end_B[b], first, first
        for position in range(first + 1, stop):
            if logit_M[position] > logit_M[best]:
                best = position
            here = logit_M[position] - offset_K[component_M[position]]
            if here > logit_M[bare] - offset_K[component_M[bare]]:
                bare = position
        total = 0.0
        for position in range(first, stop):
            if logit_M[position] >= logit_M[best] - cut:
                total += np.exp(logit_M[position] - logit_M[best])
        label_B[b], weight_B[b], log_weight_B[b] = component_M[best], 1 / total, -np.log(total)
        without_offset_B[b] = component_M[bare]
        first = stop


@compiled
def _spread(end_B, component_M, logit_M, gamma_BK):
    none_K = np.zeros(gamma_BK.shape[1])
    weight_M = np.empty(gamma_BK.shape[1])
    first = 0
    for b in range(end_B.shape[0]):
        stop = end_B[b]
        _weights(component_M, logit_M, none_K, first, stop, weight_M)
        for position in range(first, stop):
            gamma_BK[b, component_M[position]] = weight_M[position - first]
        first = stop

"""A mixture of von Mises-Fisher distributions with a balance term, fitted by expectation-maximisation [E1 to E13].

    F = (1/N) sum_i [ sum_k gamma_ik l_ik + T H(gamma_i) ] - lambda / 2 ||pi - u||^2 + P
with l_ik = log f_ik + log alpha_k. With a uniform prior alpha and lambda > 0 this is GEM. With lambda = 0 it is the
plain mixture with a uniform or a learned prior. T is the temperature; the paper has 1. P is 0, or with kappa="shrunk"
    P = (n_0 / N) sum_k [ kappa_k R_0 + log C_d(kappa_k) ],
as if each component had n_0 more rows whose mean has the length R_0 of the start. So the M-step is exact for every
choice of kappa, and F never falls while lambda stays the same. In the first iterations lambda rises to its value
(continuation).

A component whose mass is below LEAST keeps its parameters. The E-steps are in estep.py; the last one is always exact,
so the fit is whole in mu, kappa and the offset v: gamma = softmax((l + v) / T).
Shapes: N rows, K components, d dimensions.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np

from grip_assets.errors import GripError
from grip_assets.method.partition import estep, lloyd, posterior, vmf
from grip_assets.method.partition.estep import Balance, Weights
from grip_assets.method.partition.kmeans import distinct
from grip_assets.method.partition.lloyd import Rows
from grip_assets.method.partition.posterior import ALL, Kept, Linear, Moments, kept
from grip_assets.method.partition.seeding import kmeanspp
from grip_assets.method.screening import Format
from grip_assets.runtime.progress import Progress

LLOYD = 10  # iterations of spherical k-means before the first E-step
LEAST = 1e-6  # share of the rows below which a component keeps its parameters
PRIORS = ((10_000_000, 50.0), (50_000, 20.0), (0, 5.0))
"""n_0 of the shrunk kappa, from this number of rows on."""
GAP_ROWS = 2048  # rows on which the gap between the two best components is measured
TEMPERED = 3.0  # the chosen temperature is the median gap divided by this
FALLS = 1e-9  # share of F by which it may fall: the rounding of its sums

Log = Callable[[str], None]
Trace = list[tuple[int, int, float, float]]
"""Rows of ``fit_trace``: seed, iteration, F, lambda."""


@dataclass(frozen=True)
class Options:
    """How a mixture is fitted. ``balance``: in units of ``balance_scale``. ``kappa_prior``: n_0; None: by the number of
    rows. ``temperature``: None: from the gaps. ``target_K``: u, for the components from the heaviest to the lightest;
    None: uniform."""

    balance: float = 0.125
    balance_scale: Literal["relative", "per_sample", "sum"] = "relative"
    estep: Literal["dual", "mirror", "l2"] = "dual"
    inner_steps: int = 5
    kappa: Literal["shrunk", "tied", "free"] = "shrunk"
    kappa_prior: float | None = None
    temperature: float | None = 1.0
    iterations: int = 100
    tolerance: float = 1e-6
    continuation: int = 10
    target_K: np.ndarray | None = None
    prior: Literal["uniform", "learned"] = "uniform"
    seeds: int = 3
    seed: int = 0


class Mixture(NamedTuple):
    """A fitted mixture. Components run from the heaviest to the lightest.

    ``mu_KD``: float32; a direction, normalised in float64 where it is used. ``log_norm_K``: log C_d(kappa).
    ``offset_K``: v in nats; for a learned prior log(K alpha). ``soft_mass_K``: pi. ``balance``: lambda of E3, in nats.
    ``trace``: of all starts.
    """

    mu_KD: np.ndarray
    kappa_K: np.ndarray
    log_norm_K: np.ndarray
    offset_K: np.ndarray
    soft_mass_K: np.ndarray
    temperature: float
    balance: float
    prior: str
    trace: Trace

    @property
    def objective(self) -> float:
        """F of this fit."""
        return self.trace[-1][2]

    def logits(self, format: Format) -> Linear:
        """(l + v) / T, but for a constant."""
        return logits(self.mu_KD, self.kappa_K, self.log_norm_K + self.offset_K, self.temperature, format)


def logits(mu_KD: np.ndarray, kappa_K: np.ndarray, bias_K: np.ndarray, temperature: float, format: Format) -> Linear:
    """(kappa mu.x + bias) / T, with mu normalised."""
    return Linear.of(unit(mu_KD) * (kappa_K / temperature)[:, None], bias_K / temperature, format)


def unit(mu_KD: np.ndarray) -> np.ndarray:
    """Rows of length 1, float64 (K, d)."""
    mu_KD = mu_KD.astype(np.float64)
    return mu_KD / np.sqrt(np.einsum("kd,kd->k", mu_KD, mu_KD))[:, None]


class Components(NamedTuple):
    """Theta: ``mu_KD`` of length 1, float64; ``kappa_K``; ``log_prior_K``: log alpha."""

    mu_KD: np.ndarray
    kappa_K: np.ndarray
    log_prior_K: np.ndarray

    def logits(self, temperature: float, format: Format) -> Linear:
        bias_K = vmf.log_norm(self.kappa_K, self.mu_KD.shape[1]) + self.log_prior_K
        return logits(self.mu_KD, self.kappa_K, bias_K, temperature, format)


class Scale(NamedTuple):
    """What the first start fixes for all starts, so that their F can be compared: ``balance``: lambda in nats.
    ``temperature``: T. ``more``: n_0, 0 unless kappa is shrunk. ``length``: R_0."""

    balance: float
    temperature: float
    more: float
    length: float


def fit(rows: Rows, k: int, options: Options, log: Log = lambda line: None) -> Mixture:
    """The best of ``options.seeds`` starts by F. ``rows``: unit rows (``lloyd.prepare``).

    Where rows are equal there may be fewer components than ``k``. GripError if F falls, which a correct fit never does.
    """
    if k > len(rows.x_ND):
        raise GripError(f"A mixture of {k} components cannot be fitted on {len(rows.x_ND)} documents.")
    scale: Scale | None = None
    best: tuple[Components, Weights, Trace] | None = None
    traces: Trace = []
    for seed in range(options.seed, options.seed + options.seeds):
        progress = Progress(f"mixture, seed {seed}", options.iterations, "iterations", log)
        start, moments = _start(rows, k, seed, options, log)
        scale = scale or _scale(rows, start, moments, options)
        start = _maximised(start, moments, scale, options)
        found = _climb(rows, start, scale, options, seed, progress.advance)
        log(f"mixture, seed {seed}: F {found[2][-1][2]:.6f} after {len(found[2]) - 1} iterations")
        if best is None or found[2][-1][2] > best[2][-1][2]:
            traces += [] if best is None else best[2]
            best = found
        else:
            traces += found[2]
    assert best is not None and scale is not None
    return _finished(*best, traces, len(rows.x_ND), scale, options)


def _start(rows: Rows, k: int, seed: int, options: Options, log: Log) -> tuple[Components, Moments]:
    """Spherical k-means from the rows of k-means++ (seeding.py); a row's weight is 1 for its cluster."""
    begin_KD = rows.x_ND[np.sort(kmeanspp(rows.x_ND, k, seed))]
    c_KD, label_N, _ = lloyd.lloyd(rows, begin_KD, LLOYD)
    different_KD = distinct(c_KD)
    if len(different_KD) < k:
        log(f"the start has only {len(different_KD)} different directions: {k} components become as many")
        label_N = lloyd.lloyd(rows, different_KD, 0).label_N
    return _hard(rows, label_N, different_KD)


def _hard(rows: Rows, label_N: np.ndarray, c_KD: np.ndarray) -> tuple[Components, Moments]:
    """Components around labels, largest first, without kappa; and the moments of the labels."""
    order = np.argsort(-np.bincount(label_N, minlength=len(c_KD)), kind="stable")
    place_K = np.argsort(order).astype(np.int32)
    k, label_N = len(c_KD), place_K[label_N]

    def of(some: slice) -> Moments:
        label_B = label_N[some]
        pairs = Kept(np.arange(1, len(label_B) + 1), label_B, np.zeros(len(label_B)))
        return posterior.summed(pairs, np.zeros(k), rows.x_ND[some])

    mu_KD = c_KD[order].astype(np.float64)
    return Components(mu_KD, np.ones(k), np.full(k, -np.log(k))), estep.total(rows, of)


def _scale(rows: Rows, start: Components, moments: Moments, options: Options) -> Scale:
    assert moments.sum_KD is not None
    n = len(rows.x_ND)
    length = float(np.linalg.norm(moments.sum_KD, axis=1).sum()) / n
    more = 0.0
    if options.kappa == "shrunk":
        by_size = next(n_0 for least, n_0 in PRIORS if n >= least)
        more = by_size if options.kappa_prior is None else options.kappa_prior
    scale = Scale(0.0, 1.0, more, length)
    first = _maximised(start, moments, scale, options)
    by = {"relative": float(first.kappa_K.mean()), "per_sample": 1.0, "sum": 1 / n}[options.balance_scale]
    temperature = options.temperature or _temperature(rows, first)
    return scale._replace(balance=options.balance * by, temperature=temperature)


def _temperature(rows: Rows, start: Components) -> float:
    """A third of the median gap between the logits of a row's two best components; at least 1."""
    some = slice(0, GAP_ROWS)
    if len(start.kappa_K) == 1:
        return 1.0
    pairs = kept(rows.x_ND[some], rows.codes[some], start.logits(1.0, rows.codes.format), ALL)
    two_B2 = np.partition(pairs.logit_M.reshape(len(pairs.end_B), -1), -2, axis=1)[:, -2:]
    return max(1.0, float(np.median(two_B2[:, 1] - two_B2[:, 0])) / TEMPERED)


def _climb(
    rows: Rows, now: Components, scale: Scale, options: Options, seed: int, done: Callable[[float], None]
) -> tuple[Components, Weights, Trace]:
    """E-steps and M-steps in turn, until F rises by less than the tolerance, and then an exact E-step."""
    target_K = _target(options, len(now.kappa_K))
    ramp = min(options.continuation, options.iterations - 1)
    weights: Weights | None = None
    trace: Trace = []
    for iteration in range(options.iterations):
        part = min(1.0, (iteration + 1) / (ramp + 1)) * scale.balance
        balance = Balance(part / scale.temperature, target_K)
        linear = now.logits(scale.temperature, rows.codes.format)
        weights = _expected(rows, linear, weights, balance, options)
        trace.append((seed, iteration, _objective(now, weights.moments, balance, scale), part))
        _never_falls(trace)
        done(1)
        if iteration > ramp and trace[-1][2] - trace[-2][2] <= options.tolerance * abs(trace[-1][2]):
            break
        now = _maximised(now, weights.moments, scale, options)
    assert weights is not None
    now = now._replace(mu_KD=unit(now.mu_KD.astype(np.float32)))  # as it is stored
    balance = Balance(scale.balance / scale.temperature, target_K)
    linear = now.logits(scale.temperature, rows.codes.format)
    weights = estep.dual(rows, linear, weights.offset_K, balance)
    trace.append((seed, len(trace), _objective(now, weights.moments, balance, scale), scale.balance))
    _never_falls(trace)
    return now, weights, trace


def _expected(rows: Rows, linear: Linear, before: Weights | None, balance: Balance, options: Options) -> Weights:
    """The E-step. ``before``: the weights of the last iteration."""
    none_K = np.zeros(len(linear.bias_K))
    if options.estep == "dual":
        return estep.dual(rows, linear, none_K if before is None else before.offset_K, balance)
    if options.estep == "mirror":
        if before is None:
            before = Weights(linear, none_K, estep.plain(rows, linear))
        return estep.mirror(rows, linear, before, balance, options.inner_steps)
    return estep.l2(rows, linear, _begin_l2(rows, linear, before, balance), balance, options.inner_steps)


def _begin_l2(rows: Rows, linear: Linear, before: Weights | None, balance: Balance) -> np.ndarray:
    """The offset from which the steps of l2 begin.

    Their last weights are no softmax that could be kept. The softmax with the offset of their masses takes their place.
    If F would fall by that, the exact offset does.
    """
    n = len(rows.x_ND)
    if before is None:
        return np.zeros(len(linear.bias_K))
    offset_K = balance.pull(before.moments.mass_K / n)
    begun = estep.plain(rows, linear.shifted(offset_K))
    if _gain(linear, begun, balance, n) >= _gain(linear, before.moments, balance, n):
        return offset_K
    return estep.dual(rows, linear, offset_K, balance).offset_K


def _gain(linear: Linear, moments: Moments, balance: Balance, n: int) -> float:
    """F / T without P, of weights with these moments."""
    assert moments.sum_KD is not None
    expected = float(np.einsum("kd,kd->", linear.c_KD, moments.sum_KD)) + float(linear.bias_K @ moments.mass_K)
    return (expected + moments.entropy) / n - balance.cost(moments.mass_K / n)


def _objective(now: Components, moments: Moments, balance: Balance, scale: Scale) -> float:
    """F, with P."""
    n, d = float(moments.mass_K.sum()), now.mu_KD.shape[1]
    log_norm_K = vmf.log_norm(now.kappa_K, d)
    assert moments.sum_KD is not None
    along_K = np.einsum("kd,kd->k", now.mu_KD, moments.sum_KD)
    expected = float(now.kappa_K @ along_K + (log_norm_K + now.log_prior_K) @ moments.mass_K) / n
    penalty = scale.more / n * float((now.kappa_K * scale.length + log_norm_K).sum())
    return expected + scale.temperature * (moments.entropy / n - balance.cost(moments.mass_K / n)) + penalty


def _maximised(now: Components, moments: Moments, scale: Scale, options: Options) -> Components:
    """The M-step [E10 to E13]: the only maximiser of F for fixed weights."""
    sum_KD, mass_K = moments.sum_KD, moments.mass_K
    assert sum_KD is not None
    n, d = mass_K.sum(), sum_KD.shape[1]
    norm_K = np.linalg.norm(sum_KD, axis=1)
    some_K = mass_K >= LEAST * n
    mu_KD = now.mu_KD.copy()
    turned_K = some_K & (norm_K > 1e-9 * mass_K)
    mu_KD[turned_K] = sum_KD[turned_K] / norm_K[turned_K, None]
    if options.kappa == "tied":
        along = max(float(np.einsum("kd,kd->", mu_KD, sum_KD)) / n, 0.0)
        kappa_K = np.full(len(mass_K), vmf.concentration(np.array([along]), d)[0])
    else:
        kappa_K = now.kappa_K.copy()
        length_K = (norm_K[some_K] + scale.more * scale.length) / (mass_K[some_K] + scale.more)
        kappa_K[some_K] = vmf.concentration(np.minimum(length_K, 1.0), d)
    log_prior_K = now.log_prior_K
    if options.prior == "learned":
        log_prior_K = np.log(np.maximum(mass_K / n, 1e-12))
    return Components(mu_KD, kappa_K, log_prior_K)


def _never_falls(trace: Trace) -> None:
    if len(trace) < 2 or trace[-1][3] != trace[-2][3]:
        return
    before, after = trace[-2][2], trace[-1][2]
    if not after >= before - FALLS * abs(before):
        raise GripError(
            f"The objective of the mixture fell from {before!r} to {after!r} in iteration {trace[-1][1]} of seed"
            f" {trace[-1][0]}, which a correct fit never does. Try another settings/clustering.seed or"
            " settings/clustering.estep, and report this."
        )


def _target(options: Options, k: int) -> np.ndarray:
    """u, float64 (K,), of components that run from the heaviest to the lightest."""
    if options.target_K is None:
        return np.full(k, 1 / k)
    target_K = np.sort(np.asarray(options.target_K, np.float64))[::-1]
    if len(target_K) != k:
        raise GripError(f"There are {len(target_K)} target masses, and {k} components.")
    return target_K / target_K.sum()


def _finished(
    now: Components, weights: Weights, trace: Trace, others: Trace, n: int, scale: Scale, options: Options
) -> Mixture:
    """Components from the heaviest to the lightest. The trace of the best start comes last."""
    mass_K, k = weights.moments.mass_K / n, len(now.kappa_K)
    order = np.argsort(-mass_K, kind="stable")
    offset_K = weights.offset_K * scale.temperature + now.log_prior_K + np.log(k)
    return Mixture(
        now.mu_KD[order].astype(np.float32),
        now.kappa_K[order],
        vmf.log_norm(now.kappa_K[order], now.mu_KD.shape[1]),
        offset_K[order],
        mass_K[order],
        scale.temperature,
        scale.balance,
        options.prior,
        others + trace,
    )

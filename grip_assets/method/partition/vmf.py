"""The von Mises-Fisher distribution on the unit sphere: its normaliser, its mean length and the fit of its
concentration [E2, E11 to E13]. The mixture of such distributions is in mixture.py.

A vector x of length 1 has the density C_d(kappa) exp(kappa mu.x). All is in float64. Shapes: K components, d
dimensions.
"""

import numpy as np
from scipy.special import ive

from grip_assets.method.screening import compiled

KAPPA_MIN = 1e-3
EXPANDED = 64  # dimensions from which log I is expanded, to 3e-8; below, the Bessel function itself never underflows
STEPS, EXACT = 50, 1e-13  # of Newton's method: most steps, and the relative step at which it has converged
AHEAD = 60  # least terms of the continued fraction


def kappa_max(d: int) -> float:
    """The largest concentration: one that equal documents reach. 10,000 up to 400 dimensions."""
    return max(1e4, 25.0 * d)


def log_norm(kappa_K: np.ndarray, d: int) -> np.ndarray:
    """log C_d(kappa) [E2], float64 (K,)."""
    nu = d / 2 - 1
    kappa_K = np.asarray(kappa_K, np.float64)
    return nu * np.log(kappa_K) - d / 2 * np.log(2 * np.pi) - log_bessel(nu, kappa_K)


def log_bessel(nu: float, kappa_K: np.ndarray) -> np.ndarray:
    """log I_nu(kappa), float64 (K,): by the uniform (Debye) expansion for nu of at least 31, else by scipy."""
    kappa_K = np.asarray(kappa_K, np.float64)
    if 2 * nu + 2 < EXPANDED:
        return np.log(ive(nu, kappa_K)) + kappa_K
    z_K = kappa_K / nu
    s_K = np.sqrt(1 + z_K * z_K)
    t_K = 1 / s_K
    t2_K = t_K * t_K
    u1_K = t_K * (3 - 5 * t2_K) / 24
    u2_K = t2_K * (81 + t2_K * (-462 + 385 * t2_K)) / 1152
    u3_K = t_K * t2_K * (30375 + t2_K * (-369603 + t2_K * (765765 - 425425 * t2_K))) / 414720
    series_K = np.log1p(u1_K / nu + u2_K / nu**2 + u3_K / nu**3)
    return nu * (s_K + np.log(z_K / (1 + s_K))) - 0.5 * np.log(2 * np.pi * nu * s_K) + series_K


def mean_length(kappa_K: np.ndarray, d: int) -> np.ndarray:
    """A_d(kappa) = I_{d/2}(kappa) / I_{d/2 - 1}(kappa) [E11]: the length of the mean vector, float64 (K,)."""
    return _mean_length(np.atleast_1d(np.asarray(kappa_K, np.float64)), d)


def banerjee(length_K: np.ndarray, d: int) -> np.ndarray:
    """The concentration whose mean vector has about this length [E12], float64 (K,)."""
    return length_K * (d - length_K**2) / np.maximum(1 - length_K**2, 1e-15)


def concentration(length_K: np.ndarray, d: int) -> np.ndarray:
    """The concentration whose mean vector has this length, float64 (K,), between KAPPA_MIN and ``kappa_max``.

    It is the only maximiser of kappa length + log C_d(kappa). Newton's method [E13] starts from E12.
    """
    length_K = np.atleast_1d(np.asarray(length_K, np.float64))
    highest = kappa_max(d)
    kappa_K = np.clip(banerjee(length_K, d), KAPPA_MIN, highest)
    for _ in range(STEPS):
        a_K = mean_length(kappa_K, d)
        slope_K = 1 - a_K * a_K - (d - 1) * a_K / kappa_K
        slope_K = np.maximum(slope_K, 1e-12)  # positive, but for rounding
        new_K = np.clip(kappa_K - (a_K - length_K) / slope_K, KAPPA_MIN, highest)
        moved = np.abs(new_K - kappa_K).max() if len(new_K) else 0.0
        kappa_K, before_K = new_K, kappa_K
        if moved <= EXACT * before_K.max(initial=1.0):
            break
    return kappa_K


@compiled
def _mean_length(kappa_K, d):
    """The continued fraction of the ratio of two Bessel functions, from its far end."""
    found_K = np.empty(kappa_K.shape[0])
    for k in range(kappa_K.shape[0]):
        kappa = kappa_K[k]
        ratio = 0.0
        for ahead in range(int(max(AHEAD, kappa)), -1, -1):
            ratio = 1 / ((d + 2 * ahead) / kappa + ratio)
        found_K[k] = ratio
    return found_K

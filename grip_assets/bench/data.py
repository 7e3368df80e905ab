"""Data with a known shape, for benches and tests."""

import numpy as np


def mixture(n: int, d: int, components: int, seed: int) -> np.ndarray:
    """Unit rows, float32 (n, d), that resemble embeddings of a pool: components of heavy-tailed (Pareto) sizes around
    64 topics, each with its own spread; variances fall as 1/j along a random basis, as those of real embeddings do."""
    rng = np.random.default_rng(seed)
    spread_D = np.arange(1, d + 1) ** -0.5
    spread_D /= np.linalg.norm(spread_D)
    basis_DD = np.linalg.qr(rng.standard_normal((d, d)))[0]
    topics_TD = _unit(rng.standard_normal((64, d)) * spread_D)
    own_KD = 0.8 * rng.standard_normal((components, d)) * spread_D
    centres_KD = _unit(topics_TD[rng.integers(0, 64, components)] + own_KD)
    share_K = rng.pareto(1.1, components) + 0.05
    noise_K = rng.lognormal(-0.3, 0.3, components)
    component_N = rng.choice(components, n, p=share_K / share_K.sum())
    x_ND = np.empty((n, d), np.float32)
    for start in range(0, n, 16_384):
        some = component_N[start : start + 16_384]
        noise_BD = noise_K[some, None] * rng.standard_normal((len(some), d)) * spread_D
        x_ND[start : start + 16_384] = _unit(centres_KD[some] + noise_BD) @ basis_DD.T
    return _unit(x_ND)


def _unit(x_ND: np.ndarray) -> np.ndarray:
    return x_ND / np.linalg.norm(x_ND, axis=1, keepdims=True)

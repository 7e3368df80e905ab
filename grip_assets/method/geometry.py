"""Geometry on the unit sphere. Shapes: N documents, d dimensions."""

import numpy as np

from grip_assets.errors import GripError


def unit_rows(x_ND: np.ndarray, name: str = "embeddings") -> np.ndarray:
    """Rows scaled to norm 1, float32 (N, d).

    Vectors are stored in float16, whose rounding changes norms by up to 1e-3. GripError for rows that are zero or not
    finite.
    """
    x_ND = np.asarray(x_ND, np.float32)
    norms_N = np.sqrt(np.einsum("nd,nd->n", x_ND, x_ND, dtype=np.float64))
    bad = ~np.isfinite(norms_N) | (norms_N < 1e-6)
    if bad.any():
        raise GripError(
            f"{int(bad.sum())} of {len(x_ND)} {name} are zero or not finite (the first is row {int(np.argmax(bad))})."
            " Check the encoder and its number format (settings/embedding.dtype)."
        )
    unit_ND = np.empty(x_ND.shape, np.float32)
    for start in range(0, len(x_ND), 512):  # in blocks, so that no float64 copy of all rows is made
        some = slice(start, start + 512)
        unit_ND[some] = x_ND[some].astype(np.float64) / norms_N[some, None]
    return unit_ND


class RaoEntropy:
    """Rao's quadratic entropy [G0] under squared Euclidean distance, of a distribution π over vectors. The vectors may
    come in parts.

    sum_xy π(x) π(y) ||e_x - e_y||² = 2 (1 - ||sum_x π(x) e_x||²) for unit rows, in O(N d). Only the weighted sum is
    kept.
    """

    def __init__(self) -> None:
        self.sum_D, self.weight = np.zeros(1), 0.0

    def add(self, x_ND: np.ndarray, weights_N: np.ndarray) -> None:
        """Add a part. Weights need not sum to 1."""
        self.sum_D = self.sum_D + np.einsum("n,nd->d", weights_N, x_ND, dtype=np.float64)
        self.weight += float(weights_N.sum())

    def join(self, other: "RaoEntropy") -> None:
        """Add all parts of another."""
        self.sum_D, self.weight = self.sum_D + other.sum_D, self.weight + other.weight

    def value(self) -> float | None:
        """The entropy, from 0 to 2; None if all weights are 0."""
        mean_D = self.sum_D / max(self.weight, 1e-300)
        return float(2 * (1 - mean_D @ mean_D)) if self.weight else None


def rao_entropy(x_ND: np.ndarray, weights_N: np.ndarray) -> float | None:
    """Rao's quadratic entropy [G0] of all rows; see ``RaoEntropy``."""
    entropy = RaoEntropy()
    entropy.add(x_ND, weights_N)
    return entropy.value()

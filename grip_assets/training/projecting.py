"""Projections of gradients that come in parts, one for each weight of a model. Each part is hashed once.

The sketches themselves are in method/attribution/sketching.py, for matrices of features. Here they are applied to the
parts of one document's gradient, on the device where it is. Sketches are linear, so those of the parts are added.
Gradients are computed in gradients.py. Shapes: P numbers of a part, k = ``dim`` numbers of a sketch.
"""

import math
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import torch

from grip_assets.method.attribution.sketching import SJLT, CountSketch, Rademacher, TargetBasis

WIDER = 8  # the basis of the targets is found among this many times as many numbers
ROWS = 32  # gradients that dense signs are multiplied with at a time: always as many, so that all are rounded alike


class Projection(Protocol):
    """``at_once``: how many documents ``add`` wants at a time."""

    dim: int
    at_once: int

    def add(self, name: str, values_NP: torch.Tensor) -> np.ndarray:
        """The projection of N vectors that are zero outside of one part, float64 (N, k)."""
        ...


@dataclass
class Hashed:
    """CountSketch and SJLT. A part's bins are made when it first comes: bin b + k is bin b with the sign -1.

    On a GPU, sums have no fixed order, so two runs differ by rounding.
    """

    dim: int
    seed: int
    hashes: int = 1
    at_once: int = field(default=1, init=False)
    _bins: dict[tuple[str, int], list[torch.Tensor]] = field(default_factory=dict, init=False)

    def add(self, name: str, values_NP: torch.Tensor) -> np.ndarray:
        (values_P,) = values_NP
        bins = self._bins.get((name, len(values_P)))
        if bins is None:
            bins = [_bins(sketch).to(values_P.device) for sketch in self._sketches(name, len(values_P))]
            self._bins[name, len(values_P)] = bins
        each = self.dim // len(bins)
        found_K = np.zeros(self.dim)
        for i, bins_P in enumerate(bins):
            sums = torch.zeros(2 * each, device=values_P.device).index_add_(0, bins_P, values_P)
            found_K[i * each : (i + 1) * each] = (sums[:each] - sums[each:]).cpu().numpy()
        return found_K[None] / math.sqrt(len(bins))

    def _sketches(self, name: str, width: int) -> tuple[CountSketch, ...]:
        if self.hashes == 1:
            return (CountSketch(width, self.dim, self.seed, name),)
        return SJLT(width, self.dim, self.seed, name, self.hashes).parts


def _bins(sketch: CountSketch) -> torch.Tensor:
    return torch.from_numpy(np.where(sketch.sign_P > 0, sketch.bucket_P, sketch.bucket_P + sketch.dim))


@dataclass
class Signs:
    """Dense random signs. They are hashed again for each call, so documents come many at a time."""

    dim: int
    seed: int
    at_once: int = field(default=ROWS, init=False)

    def add(self, name: str, values_NP: torch.Tensor) -> np.ndarray:
        n, width = values_NP.shape
        padded_NP = np.zeros((self.at_once, width), np.float32)
        padded_NP[:n] = values_NP.cpu().numpy()
        return Rademacher(width, self.dim, self.seed, name).apply(padded_NP)[:n].astype(np.float64)


@dataclass(frozen=True)
class Factors:
    """The random factors of K4: signs over sqrt(side), for inputs and for outputs of each layer."""

    side: int
    seed: int
    _made: dict[tuple[str, int], torch.Tensor] = field(default_factory=dict, init=False, compare=False)

    def factor(self, name: str, width: int, device: torch.device) -> torch.Tensor:
        """float32 (width, side); the expectation of the matrix times its transpose is 1."""
        if (name, width) not in self._made:
            signs = Rademacher(width, self.side, self.seed, name).signs(0, width) / np.float32(math.sqrt(self.side))
            self._made[name, width] = torch.from_numpy(signs).to(device)
        return self._made[name, width]


def projection_of(kind: str, width: int, dim: int, seed: int) -> Projection | None:
    """The projection of the setting attribution.sketch; None where a feature of ``width`` fits as it is.

    For svd it is wider than ``dim``: ``onto`` then takes it to the directions of the targets.
    """
    if kind == "svd":
        dim = WIDER * dim
    if width <= dim:
        return None
    if kind == "rademacher":
        return Signs(dim, seed)
    return Hashed(dim, seed, hashes=4 if kind == "sjlt" else 1)


def onto(basis: TargetBasis | None, sketch_K: np.ndarray) -> np.ndarray:
    """A wide sketch along the directions of the targets, float32 (dim,); as it is, if there is no basis."""
    return sketch_K if basis is None else basis.apply(sketch_K[None])[0]

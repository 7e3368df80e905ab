"""Linear sketches: P coordinates of a feature become F. Inner products are kept, exactly or on average [K1 to K4].

A sketch is linear, so the mean of sketches is the sketch of the mean, and the error of ||v_S||² does not grow with the
subset [K3]. Signs and buckets are a hash of (seed, name, coordinate): the same on any machine and in any order. A
feature of several layers has one sketch a layer, each with the layer's name, and the sketches of the layers are added.
Make a sketch once and apply it to all documents, because hashing costs as much as projecting.

Features are computed in training/gradients.py. Shapes: N documents, P coordinates, F = ``dim`` numbers of a sketch,
T targets, L tokens, A inputs and B outputs of a linear layer. Products and results are float32, as the features are;
cast them to float16 afterwards, never before. They
run on one thread, because more threads would sum in another order.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np
from threadpoolctl import threadpool_limits

from grip_assets.errors import GripError
from grip_assets.method.sampling import keyed_words

CELLS = 4_000_000  # most random signs in memory at a time
HASHES = 4  # coordinates of an SJLT to which each coordinate of the feature is added
RANK = 1e-12  # singular values below this share of the largest are rounding


class Sketch(Protocol):
    """A linear map from ``width`` coordinates to ``dim``."""

    @property
    def width(self) -> int: ...
    @property
    def dim(self) -> int: ...

    def apply(self, x_NP: np.ndarray) -> np.ndarray:
        """float32 (N, F) of features (N, P). GripError if they have another width."""
        ...


@dataclass(frozen=True)
class Identity:
    """The feature itself, with zeros up to ``dim``: exact. GripError if the feature is wider than ``dim``."""

    width: int
    dim: int

    def __post_init__(self) -> None:
        if self.width > self.dim:
            raise GripError(f"Features of width {self.width:,} do not fit into {self.dim:,} numbers unsketched.")

    def apply(self, x_NP: np.ndarray) -> np.ndarray:
        return np.pad(_features(x_NP, self.width), ((0, 0), (0, self.dim - self.width)))


@dataclass(frozen=True)
class CountSketch:
    """Each coordinate is added to one of ``dim`` buckets with a random sign [Charikar et al. 2002; K2].

    E<Cx, Cy> = <x, y>, with the variance (||x||² ||y||² + <x, y>² - 2 Σ x_j² y_j²) / F. O(P) a document. ``bucket_P``
    and ``sign_P`` are for those who add on a device: out[bucket] += sign * x.
    """

    width: int
    dim: int
    seed: int = 0
    name: str = ""

    def __post_init__(self) -> None:
        _positive(self.width, self.dim)

    @cached_property
    def _word_P(self) -> np.ndarray:
        return keyed_words(self.seed, f"countsketch:{self.name}", 0, self.width)

    @cached_property
    def bucket_P(self) -> np.ndarray:
        """The bucket of each coordinate, int32 (P,): the upper 63 bits of its hash modulo ``dim``."""
        return ((self._word_P >> np.uint64(1)) % np.uint64(self.dim)).astype(np.int32)

    @cached_property
    def sign_P(self) -> np.ndarray:
        """1 or -1 for each coordinate, float32 (P,): the lowest bit of its hash."""
        return (1 - 2 * (self._word_P & np.uint64(1)).astype(np.float32)).astype(np.float32)

    @cached_property
    def matrix(self) -> Any:
        """The map as a sparse matrix (P, F) of SciPy, float32. One row has one entry."""
        from scipy.sparse import csr_matrix  # slow to import

        return csr_matrix((self.sign_P, self.bucket_P, np.arange(self.width + 1)), (self.width, self.dim))

    def apply(self, x_NP: np.ndarray) -> np.ndarray:
        return _projected(_features(x_NP, self.width), self.matrix)

    def apply_sparse(self, x_NP: Any) -> np.ndarray:
        """The sketch of features in a sparse matrix of SciPy, float32 (N, F), at a cost of only its entries."""
        return np.asarray((x_NP.astype(np.float32) @ self.matrix).todense(), np.float32)


@dataclass(frozen=True)
class SJLT:
    """``hashes`` CountSketches of dim / hashes buckets, one beside the other, over sqrt(hashes) [Kane and Nelson 2014].

    Unbiased, with less variance than one CountSketch where few coordinates hold most of the feature. The last
    dim mod hashes numbers are 0.
    """

    width: int
    dim: int
    seed: int = 0
    name: str = ""
    hashes: int = HASHES

    def __post_init__(self) -> None:
        _positive(self.width, self.dim)

    @cached_property
    def parts(self) -> tuple[CountSketch, ...]:
        n = min(self.hashes, self.dim)
        return tuple(CountSketch(self.width, self.dim // n, self.seed, f"{self.name}:{i}") for i in range(n))

    @cached_property
    def matrix(self) -> Any:
        """The map as a sparse matrix (P, F) of SciPy, float32."""
        from scipy.sparse import csr_matrix  # slow to import

        n, each = len(self.parts), self.dim // len(self.parts)
        columns_Pn = np.stack([part.bucket_P + i * each for i, part in enumerate(self.parts)], axis=1)
        signs_Pn = np.stack([part.sign_P for part in self.parts], axis=1) / np.float32(math.sqrt(n))
        starts = np.arange(self.width + 1) * n
        return csr_matrix((signs_Pn.ravel(), columns_Pn.ravel(), starts), (self.width, self.dim))

    def apply(self, x_NP: np.ndarray) -> np.ndarray:
        return _projected(_features(x_NP, self.width), self.matrix)


@dataclass(frozen=True)
class Rademacher:
    """A dense matrix of random signs over sqrt(dim) [Achlioptas 2003; K1]: the least variance, at O(P F) a document.

    Unbiased, with the variance (||x||² ||y||² + <x, y>² - 2 Σ x_j² y_j²) / F. The matrix is never held whole: signs are
    hashed again for each call of ``apply``, so give it many documents at a time.
    """

    width: int
    dim: int
    seed: int = 0
    name: str = ""

    def __post_init__(self) -> None:
        _positive(self.width, self.dim)

    def signs(self, start: int, stop: int) -> np.ndarray:
        """1 or -1 for the coordinates from ``start`` to ``stop`` - 1, float32 (stop - start, F)."""
        words = -(-self.dim // 64)
        found = keyed_words(self.seed, f"rademacher:{self.name}", start * words, stop * words).astype("<u8")
        bits = np.unpackbits(found.view(np.uint8), bitorder="little").reshape(stop - start, words * 64)
        return 1 - 2 * bits[:, : self.dim].astype(np.float32)

    @threadpool_limits.wrap(limits=1)
    def apply(self, x_NP: np.ndarray) -> np.ndarray:
        x_NP = _features(x_NP, self.width)
        found_NF = np.zeros((len(x_NP), self.dim), np.float32)
        step = max(CELLS // (64 * -(-self.dim // 64)), 1)
        for start in range(0, self.width, step):
            stop = min(start + step, self.width)
            found_NF += x_NP[:, start:stop] @ self.signs(start, stop)
        return found_NF / np.float32(math.sqrt(self.dim))


@dataclass(frozen=True)
class TargetBasis:
    """Coordinates along the singular vectors of the targets' features [GIST]. It is made by ``target_basis``.

    <G, g> is exact for every target in the basis, whatever the document. ||v||² is only that of the part of v which
    some target can see, so redundancy that no target sees is not penalised. ``held``: share of the targets' squared
    norm that the basis holds; 1 means exact.
    """

    basis_FP: np.ndarray
    dim: int
    held: float

    @property
    def width(self) -> int:
        return self.basis_FP.shape[1]

    @threadpool_limits.wrap(limits=1)
    def apply(self, x_NP: np.ndarray) -> np.ndarray:
        found_NR = _features(x_NP, self.width) @ self.basis_FP.T
        return np.pad(found_NR, ((0, 0), (0, self.dim - found_NR.shape[1])))


@threadpool_limits.wrap(limits=1)
def target_basis(target_TP: np.ndarray, dim: int) -> TargetBasis:
    """The first ``dim`` singular vectors of the targets' features, or of those of their items: fewer, if their rank is
    lower. GripError if all targets are 0 or one is not finite.

    They come from the Gram matrix (T, T) in float64, so T may be hundreds and P millions.
    """
    target_TP = np.asarray(target_TP, np.float32)
    gram_TT = np.zeros((len(target_TP), len(target_TP)))
    for start in range(0, target_TP.shape[1], max(CELLS // max(len(target_TP), 1), 1)):
        part = target_TP[:, start : start + max(CELLS // len(target_TP), 1)].astype(np.float64)
        gram_TT += part @ part.T
    if not np.isfinite(gram_TT).all():
        raise GripError("The features of a target are not finite, so they have no basis. Check the reference model.")
    values_T, vectors_TT = np.linalg.eigh(gram_TT)
    values_T, vectors_TT = values_T[::-1], vectors_TT[:, ::-1]
    rank = min(dim, int((values_T > max(values_T[0], 0) * RANK).sum()))
    if not rank or not values_T[0] > 0:
        raise GripError("The features of all targets are 0, so they have no basis. Check the targets.")
    basis_FP = (vectors_TT[:, :rank] / np.sqrt(values_T[:rank])).T.astype(np.float32) @ target_TP
    return TargetBasis(basis_FP, dim, float(values_T[:rank].sum() / values_T.sum()))


def fold(sketch_NF: np.ndarray, dim: int) -> np.ndarray:
    """CountSketches of ``dim`` numbers out of larger ones, with no feature computed again, float32 (N, dim).

    The bucket is a hash modulo the dimension, so the result is the CountSketch of that dimension with the same seed.
    GripError if the larger dimension is no multiple of ``dim``.
    """
    n, wide = sketch_NF.shape
    if dim < 1 or wide % dim:
        raise GripError(f"A sketch of {wide:,} numbers cannot be folded to {dim:,}: {wide:,} is no multiple of it.")
    return np.asarray(sketch_NF, np.float32).reshape(n, wide // dim, dim).sum(axis=1)


def enough(documents: int, error: float, failure: float = 0.05) -> int:
    """The dimension that keeps all inner products of ``documents`` features to ``error`` times their norms, with a
    probability of 1 - ``failure``: 8 ln(4 n² / failure) / error² [Johnson and Lindenstrauss 1984; K3].

    It is a bound for the worst case. Fidelity needs far fewer numbers.
    """
    return math.ceil(8 / error**2 * math.log(4 * documents**2 / failure))


SKETCHES: dict[str, Callable[..., Sketch]] = {"countsketch": CountSketch, "sjlt": SJLT, "rademacher": Rademacher}
"""The sketches that need no targets, by their names in settings/attribution.sketch: (width, dim, seed, name). The
others are ``Identity``, for features that are no wider than the sketch, and ``target_basis``."""


def sketch_of(kind: str, width: int, dim: int, seed: int = 0, name: str = "") -> Sketch:
    """The sketch ``kind`` of features of a width; the features themselves, if they are no wider than ``dim``."""
    return Identity(width, dim) if width <= dim else SKETCHES[kind](width, dim, seed, name)


def _features(x_NP: np.ndarray, width: int) -> np.ndarray:
    x_NP = np.atleast_2d(np.asarray(x_NP, np.float32))
    if x_NP.shape[1] != width:
        raise GripError(f"Features of width {x_NP.shape[1]:,} were given to a sketch for width {width:,}.")
    return x_NP


def _projected(x_NP: np.ndarray, matrix: Any) -> np.ndarray:
    """x (N, P) times a sparse matrix (P, F), float32 (N, F)."""
    return np.ascontiguousarray((matrix.T @ x_NP.T).T, np.float32)


def _positive(width: int, dim: int) -> None:
    if width < 1 or dim < 1:
        raise GripError(f"A sketch needs at least one coordinate and one number, and was asked for {width} and {dim}.")

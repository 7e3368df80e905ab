"""Exact answers from cheap products: screen in eight bits, decide in floating point.

Rows are rounded to int8 with one scale per row, x = s q + e, and ||e|| is kept. For rows x, x'
    |x.x' - s s' q.q'| <= ||e|| ||s'q'|| + ||x|| ||e'||            (Cauchy-Schwarz)
So a candidate whose score is lower than the best by more than twice that bound cannot be the best. The few candidates
that are left are compared exactly: in float32 and, if they are within its rounding bound, in float64. The answer does
not depend on the format that screens. The fastest format of a machine is measured, and changes only the time. Where
this process has a GPU, products are computed there (on_device.py), and the candidates are still compared here.

An int8 product runs 4 times as fast as a float32 one with AVX512-VNNI, more with AMX. Shapes: B rows, N or K columns,
d dimensions. Loops over products are compiled: in numpy each pass would cost as much as the product.
"""

import functools
import sys
import threading
import time
from dataclasses import dataclass
from typing import Any, Literal

import numba
import numpy as np

from grip_assets.runtime import device, variables

Format = Literal["int8", "float32", "cuda/float16", "cuda/bfloat16", "cpu/float16", "cpu/bfloat16", "cpu/float32"]
"""Of products. One with a slash is a device of torch and a format there; those of the device cpu are for tests."""
AT_ONCE = 8192  # rows whose differences to a mean are there at a time
LANES = 64  # columns j, j + 64, ... share a maximum, so that a pass is vectorised without a reduction

# Vectors are finite: unit_rows has checked it.
compiled: Any = numba.njit(nogil=True, fastmath=True, cache=True)


@dataclass(frozen=True)
class Codes:
    """Rows in a format. ``codes_ND``: int8 or float32. ``slack_N``: ||x - scale codes||. ``norm_N``: ||x||.

    In a format of a device all of them are tensors there (``on_device.OnDevice``).
    """

    codes_ND: Any
    scale_N: Any
    slack_N: Any
    norm_N: Any

    def __getitem__(self, rows: Any) -> "Codes":
        return Codes(self.codes_ND[rows], self.scale_N[rows], self.slack_N[rows], self.norm_N[rows])

    def __len__(self) -> int:
        return len(self.codes_ND)

    @property
    def on_device(self) -> bool:
        """Whether these are tensors on a device."""
        return not isinstance(self.codes_ND, np.ndarray)

    @property
    def format(self) -> Format:
        return "int8" if self.codes_ND.dtype == np.int8 else "float32"


def encode_around(mean_D: np.ndarray, x_ND: np.ndarray, format: Format) -> Codes:
    """The codes of float32 rows less ``mean_D``, float32. In int8 the differences of a few rows at a time are there."""
    if format != "int8":
        return encode(x_ND - mean_D, format)
    codes = empty_codes(x_ND, format)
    for start in range(0, len(x_ND), AT_ONCE):
        part = codes[start : start + AT_ONCE]
        encode_into(x_ND[start : start + AT_ONCE] - mean_D, part, 0, len(part))
    return codes


def encode(x_ND: np.ndarray, format: Format) -> Codes:
    """The codes of float32 rows, which must be finite."""
    if "/" in format:
        from grip_assets.method import on_device  # torch

        return on_device.encode(x_ND, format)
    codes = empty_codes(x_ND, format)
    encode_into(x_ND, codes, 0, len(x_ND))
    return codes


def empty_codes(x_ND: np.ndarray, format: Format) -> Codes:
    """Uninitialised codes for ``x_ND``. Float32 codes are the rows themselves."""
    codes_ND = np.empty(x_ND.shape, np.int8) if format == "int8" else x_ND
    return Codes(codes_ND, *(np.empty(len(x_ND), np.float32) for _ in range(3)))


def encode_into(x_ND: np.ndarray, codes: Codes, start: int, stop: int) -> None:
    part = codes[start:stop]
    _encode(x_ND[start:stop], part.codes_ND, part.scale_N, part.slack_N, part.norm_N, codes.format == "int8")


def products(a: Codes, b: Codes) -> np.ndarray:
    """Products of codes, (len(a), len(b)), int32 or float32. Multiplied by both scales they are cosines.

    The result is valid until the next call in this thread: allocating memory for each block costs a third of the
    product.
    """
    if not len(b):
        return np.empty((len(a), 0), np.float32)
    rows = a.codes_ND
    if a.format == "float32" and "torch" not in sys.modules:  # loading it takes longer than a small product
        return np.matmul(rows, b.codes_ND.T, out=_room(len(rows), len(b), np.float32))
    if rows.shape[1] == 1 and a.format == "int8":  # torch 2.13 multiplies a single int8 column wrongly
        return np.multiply(rows, b.codes_ND.T, dtype=np.int32)
    import torch

    if a.format == "float32":
        out = torch.from_numpy(_room(len(rows), len(b), np.float32))
        return torch.mm(torch.from_numpy(rows), torch.from_numpy(b.codes_ND).T, out=out).numpy()
    if len(rows) < 32:  # the kernel wants more than 16 rows
        rows = np.concatenate([rows, np.zeros((32 - len(rows), rows.shape[1]), np.int8)])
    out = torch.from_numpy(_room(len(rows), len(b), np.int32))
    return torch._int_mm(torch.from_numpy(rows), torch.from_numpy(b.codes_ND).T, out=out).numpy()[: len(a)]


_scratch = threading.local()


def _room(rows: int, columns: int, dtype: type) -> np.ndarray:
    held = getattr(_scratch, "held", np.empty(0, np.int32))
    if len(held) < rows * columns:
        held = _scratch.held = np.empty(rows * columns, np.int32)
    return held[: rows * columns].view(dtype).reshape(rows, columns)


def bound(a: Codes, b: Codes) -> np.ndarray:
    """For each row of a, float32: the largest possible error of its scores, over all rows of b."""
    worst, longest = b.slack_N.max(initial=0.0), b.norm_N.max(initial=0.0)
    error = a.slack_N * (longest + worst) + a.norm_N * (worst + longest * rounding(a.codes_ND.shape[1]))
    return error * np.float32(1.001)  # the rounding of slacks and norms themselves


def fastest() -> tuple[Format, dict[str, float]]:
    """The format that screens fastest in this process, and the measured speeds in GFLOP/s: none on a GPU."""
    return ("cuda/float16", {}) if device.best() == device.CUDA else fastest_of_the_processor()


def here(format: Format) -> Format:
    """``format``, if this process has the device that it names; else the fastest one of this process.

    A job may run on another machine than the one that has chosen its format. No format changes a result.
    """
    return fastest()[0] if format.startswith(device.CUDA) else format


@functools.cache
def fastest_of_the_processor() -> tuple[Format, dict[str, float]]:
    """The format that screens fastest on the processor, and the measured speeds in GFLOP/s on one thread.

    It is int8 if that is at least 1.5 times as fast, otherwise float32. ``GRIP_SCREEN`` overrides the measurement.
    """
    import torch

    if chosen := variables.value("GRIP_SCREEN"):
        return chosen, {}
    torch.set_num_threads(1)
    x_ND = np.random.default_rng(0).standard_normal((1024, 384)).astype(np.float32)
    x_ND /= np.linalg.norm(x_ND, axis=1, keepdims=True)
    speed: dict[str, float] = {}
    formats: tuple[Format, ...] = ("float32", "int8")
    for format in formats:
        codes = encode(x_ND, format)
        try:
            seconds = min(_seconds(codes) for _ in range(20))  # the first ones start the library
        except (AttributeError, RuntimeError):  # a torch without this product on this processor
            continue
        speed[format] = 2 * 1024 * 1024 * 384 / seconds / 1e9
    return ("int8" if speed.get("int8", 0) > 1.5 * speed["float32"] else "float32"), speed


def _seconds(codes: Codes) -> float:
    started = time.perf_counter()
    products(codes, codes)
    return time.perf_counter() - started


@compiled
def _encode(x_ND, codes_ND, scale_N, slack_N, norm_N, rounded):
    n, d = x_ND.shape
    for i in range(n):
        top = square = left = np.float32(0)
        for j in range(d):
            top = max(top, abs(x_ND[i, j]))
            square += x_ND[i, j] * x_ND[i, j]
        scale = np.float32(1)
        if rounded and top > 0:
            scale = top / np.float32(127)
            inverse = np.float32(1) / scale
            for j in range(d):
                code = np.rint(x_ND[i, j] * inverse)
                codes_ND[i, j] = np.int8(code)
                e = x_ND[i, j] - code * scale
                left += e * e
        elif rounded:
            codes_ND[i, :] = 0
        scale_N[i], slack_N[i], norm_N[i] = scale, np.sqrt(left), np.sqrt(square)


@compiled
def dot32(x_D, y_D):
    total = np.float32(0)
    for j in range(x_D.shape[0]):
        total += x_D[j] * y_D[j]
    return total


@compiled
def dot64(x_D, y_D):
    total = 0.0
    for j in range(x_D.shape[0]):
        total += np.float64(x_D[j]) * np.float64(y_D[j])
    return total


@compiled
def score_row(product_K, scale_K, offset_K, weight, n, score_K, top_L):
    """Write the scores of one row's ``n`` products, product scale - weight offset, and the largest of each lane.

    ``score_K`` has a multiple of LANES entries. Its tail is filled with a very low score.
    """
    low = np.float32(-1e30)
    for j in range(LANES):
        top_L[j] = low
    whole = n // LANES
    for g in range(whole):
        at = g * LANES
        for j in range(LANES):
            value = np.float32(product_K[at + j]) * scale_K[at + j] - weight * offset_K[at + j]
            score_K[at + j] = value
            top_L[j] = max(top_L[j], value)
    for j in range(whole * LANES, n):
        value = np.float32(product_K[j]) * scale_K[j] - weight * offset_K[j]
        score_K[j] = value
        top_L[j - whole * LANES] = max(top_L[j - whole * LANES], value)
    for j in range(n, score_K.shape[0]):
        score_K[j] = low


@compiled
def scores_from(score_K, top_L, n, cut, lane_L, found_K):
    """Write the columns whose score is at least ``cut`` to ``found_K`` (n + 1 entries); returns their number.

    The loops have no branches, since these would be mispredicted.
    """
    lanes = m = 0
    for lane in range(LANES):
        lane_L[lanes] = lane
        lanes += top_L[lane] >= cut
    for position in range(lanes):
        for j in range(lane_L[position], n, LANES):
            found_K[m] = j
            m += score_K[j] >= cut
    return m


@compiled
def rounding(d):
    """Bound on the error of a float32 inner product of two unit rows of d dimensions, in any order of summation."""
    return np.float32(d * 2.0**-23)

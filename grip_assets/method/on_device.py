"""Products of vectors on a device of torch, and what they leave over for an exact comparison on the processor.

This is the proof of screening.py in half precision on tensor cores. Rows are scaled and rounded to 16 bits,
x = s q + e, and ||e|| is kept. By Cauchy-Schwarz a score is wrong by at most a known bound. A function here finds, for
each row, all columns that can still be the answer. They are few: the bound is about 0.0005 for unit rows in float16.
The processor compares them exactly, by the same arithmetic as without a GPU (nearest.py, lloyd.py, posterior.py,
neighbours.py). So results are the same to the last bit, whatever the device rounds.

All functions take the device from their tensors. Tests run them with tensors of the processor. One thread at a time
uses a GPU, so its memory is bounded by CELLS. Shapes: N rows, B rows of a block, K or J columns, d dimensions. M
counts the (row, column) pairs that are left.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple, cast

import numpy as np
import torch

from grip_assets.method.screening import Codes, Format
from grip_assets.runtime import device
from grip_assets.runtime.memory import in_blocks

CELLS = 1 << 27  # most products in memory at a time: 512 MB in float32, and a few copies of it
AT_ONCE = 1 << 26  # most numbers of rows that are encoded at a time
MOST_PAIRS = 1 << 24  # most pairs that are copied to the processor at a time
SUMS = 4  # a tensor core may cut off what a processor would round: so many times its bound for a sum
LOW = -1e30


@dataclass(frozen=True)
class OnDevice(Codes):
    """Codes whose fields are tensors on one device: ``codes_ND`` in a format, the others in float32."""

    def __getitem__(self, rows: Any) -> "OnDevice":
        if isinstance(rows, np.ndarray):
            rows = torch.from_numpy(rows).to(self.codes_ND.device)
        return OnDevice(self.codes_ND[rows], self.scale_N[rows], self.slack_N[rows], self.norm_N[rows])

    @property
    def format(self) -> Format:
        return cast("Format", f"{self.device}/{str(self.codes_ND.dtype).removeprefix('torch.')}")

    @property
    def device(self) -> str:
        return str(self.codes_ND.device.type)


class Pairs(NamedTuple):
    """The pairs that are left of some rows. ``end_B``: for each row the pair after its last. ``column_M``: int32,
    ascending in a row."""

    end_B: np.ndarray
    column_M: np.ndarray


def encode(x_ND: np.ndarray, format: Format) -> OnDevice:
    """Codes of float32 rows, which must be finite, on the device of the format."""
    where, _, dtype = format.partition("/")
    device.note(where)
    n, d = x_ND.shape
    codes_ND = torch.empty((n, d), dtype=getattr(torch, dtype), device=where)
    facts = [torch.empty(n, dtype=torch.float32, device=where) for _ in range(3)]

    def part(start: int, stop: int) -> None:
        x_BD = torch.from_numpy(np.ascontiguousarray(x_ND[start:stop])).to(where)
        codes_ND[start:stop], *found = _encoded(x_BD, codes_ND.dtype)
        for whole, of_part in zip(facts, found, strict=True):
            whole[start:stop] = of_part

    with device.turn(where):
        in_blocks(n, max(AT_ONCE // max(d, 1), 1), part, "rows on the device")
    return OnDevice(codes_ND, *facts)


def _encoded(x_BD: torch.Tensor, dtype: torch.dtype) -> tuple[torch.Tensor, ...]:
    """Codes, scale, slack and norm. The largest number of a scaled row is 1, so 16 bits hold it without overflow."""
    top_B = x_BD.abs().amax(1)
    scale_B = torch.where(top_B > 0, top_B, 1.0)
    codes_BD = (x_BD / scale_B[:, None]).to(dtype)
    norm_B = torch.linalg.vector_norm(x_BD, dim=1)
    left_B = torch.linalg.vector_norm(x_BD - codes_BD.float() * scale_B[:, None], dim=1)
    return codes_BD, scale_B, left_B + norm_B * 2.0**-22, norm_B  # the last term: rounding of the difference itself


def products(a: OnDevice, b: OnDevice) -> torch.Tensor:
    """Scores of all rows of ``a`` with all rows of ``b``, float32 (len(a), len(b)). Sums are in float32."""
    codes, others = a.codes_ND, b.codes_ND
    if codes.is_cuda and codes.dtype != torch.float32:
        found = torch.mm(codes, others.T, out_dtype=torch.float32)
    else:
        found = torch.mm(codes.float(), others.float().T)
    return found.mul_(a.scale_N[:, None]).mul_(b.scale_N)


def rounding(d: int) -> float:
    """Bound on the error of ``products`` beside that of the codes, for unit rows of d dimensions: sums and scales."""
    return (SUMS * d + 4) * 2.0**-23


def bound(a: OnDevice, b: OnDevice) -> torch.Tensor:
    """As ``screening.bound``: for each row of a the largest possible error of its scores, over all rows of b."""
    worst, longest = b.slack_N.amax(), b.norm_N.amax()
    error_B = a.slack_N * (longest + worst) + a.norm_N * (worst + longest * rounding(a.codes_ND.shape[1]))
    return error_B * 1.001


def _pairs(mask_BK: torch.Tensor) -> Iterator[tuple[slice, Pairs]]:
    """The places of a mask, as many rows at a time as have MOST_PAIRS of them."""
    end_B = mask_BK.sum(1).cumsum(0).cpu().numpy()
    first = 0
    while first < len(end_B):
        before = int(end_B[first - 1]) if first else 0
        last = max(int(np.searchsorted(end_B, before + MOST_PAIRS, side="right")), first + 1)
        column_M = mask_BK[first:last].nonzero()[:, 1].int().cpu().numpy()
        yield slice(first, last), Pairs(end_B[first:last] - before, column_M)
        first = last


Use = Callable[[slice, Pairs], None]
"""Called with some rows and their pairs, in the order of the rows."""


def _each_block(rows: OnDevice, k: int, mask: Callable[[OnDevice, int], torch.Tensor], use: Use) -> None:
    """Give ``use`` the places of ``mask(some rows, the first of them)``. The device is free while ``use`` runs."""

    def part(start: int, stop: int) -> None:
        with device.turn(rows.device):
            places = _pairs(mask(rows[start:stop], start))
            some = next(places, None)
        while some is not None:
            where, pairs = some
            use(slice(start + where.start, start + where.stop), pairs)
            with device.turn(rows.device):
                some = next(places, None)

    in_blocks(len(rows), max(CELLS // max(k, 1), 1), part, "products on the device")


def two_nearest(rows: OnDevice, columns: OnDevice, use: Use) -> None:
    """For each row the columns that can be one of the two with the highest cosine; all, if there are only two."""
    k = len(columns)

    def mask(some: OnDevice, start: int) -> torch.Tensor:
        score_BK = products(some, columns)
        if k <= 2:
            return torch.ones_like(score_BK, dtype=torch.bool)
        # two columns score this much, so the second nearest cannot score less than the cut
        second_B = score_BK.topk(2, dim=1).values[:, 1]
        return score_BK >= (second_B - 2 * bound(some, columns))[:, None]

    _each_block(rows, k, mask, use)


def nearest(rows: OnDevice, columns: OnDevice, use: Use) -> None:
    """For each row the columns that can have the highest cosine. If it is one, it has."""

    def mask(some: OnDevice, start: int) -> torch.Tensor:
        score_BK = products(some, columns)
        return score_BK >= (score_BK.amax(1) - 2 * bound(some, columns))[:, None]

    _each_block(rows, len(columns), mask, use)


def likely(rows: OnDevice, columns: OnDevice, bias_K: np.ndarray, cut: float, use: Use) -> None:
    """For each row the columns whose logit, score + ``bias_K``, can be at most ``cut`` below the highest.

    ``bias_K``: relative to the highest of them. As in posterior.py a score is wrong by slack (far) + norm (near).
    """
    bias = torch.from_numpy(bias_K.astype(np.float32)).to(columns.codes_ND.device)
    far_K = (columns.norm_N + columns.slack_N) * 1.001
    near_K = (columns.slack_N + columns.norm_N * rounding(columns.codes_ND.shape[1])) * 1.001

    def mask(some: OnDevice, start: int) -> torch.Tensor:
        score_BK = products(some, columns).add_(bias)
        reach_BK = torch.outer(some.slack_N, far_K).addr_(some.norm_N, near_K)
        least_B = (score_BK - reach_BK).amax(1)
        # rounding of scores below a thousand or so, and of the sums above
        least_B = least_B - cut - 1e-3 - least_B.abs() * 1e-5
        return score_BK.add_(reach_BK) >= least_B[:, None]

    _each_block(rows, len(columns), mask, use)


def neighbours(rows: OnDevice, columns: OnDevice, first: int, k: int, use: Use) -> None:
    """For each row the columns that can be one of its ``k`` nearest, the row itself excepted.

    Rows are relative to the mean, as in neighbours.py: the larger r.s - ||s||^2 / 2, the nearer. ``first``: the column
    that is the first row. ``k``: at least 1, at most the number of columns less one.
    """
    half_J = columns.norm_N**2 / 2

    def mask(some: OnDevice, start: int) -> torch.Tensor:
        score_BJ = products(some, columns).sub_(half_J)
        places_B = torch.arange(len(some), device=score_BJ.device)
        score_BJ[places_B, places_B + first + start] = LOW
        least_B = score_BJ.topk(k, dim=1).values[:, -1]
        squares_B = some.norm_N**2 + columns.norm_N.amax() ** 2
        slack_B = bound(some, columns) + rounding(some.codes_ND.shape[1]) * squares_B
        return score_BJ >= (least_B - 2 * slack_B)[:, None]

    _each_block(rows, len(columns), mask, use)


def whole_products(code_BD: torch.Tensor, code_SD: torch.Tensor) -> np.ndarray:
    """Products of codes in eight bits, int32 (B, S). Exact in float32 for at most 1,024 dimensions, in any order."""
    where = str(code_SD.device.type)
    with device.turn(where):
        return torch.mm(code_BD, code_SD.T).to(torch.int32).cpu().numpy()

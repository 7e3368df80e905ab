"""The bench greedy: a selection by the utility of the whole subset, out of many sketches, in bounded memory.

Theirs is what one would write in numpy: all sketches in one float32 matrix, and in each of as many rounds one product
with the residual target, a sort, and the documents with the largest gains. Ours reads float16 blocks from a file. Other
work on the machine slows both sides, but not alike, so the note has processor seconds.
"""

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from grip_assets.bench import Result, interleaved
from grip_assets.bench.data import mixture
from grip_assets.method.attribution import greedy as ours_module
from grip_assets.method.attribution.objective import Aim
from grip_assets.method.attribution.surrogate import pool_of, scale

ROUNDS, SHARE, GAMMA = 32, 0.1, 1.0
ROWS = 32_768  # of a block in the file


def greedy(quick: bool) -> Iterator[Result]:
    """A tenth of the tokens. Quality: our utility over theirs."""
    n, f = (50_000, 128) if quick else (1_000_000, 512)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "sketches"
        _write(file, n, f)
        yield _compared(file, n, f, 1 if quick else 2)


def _write(file: Path, n: int, f: int) -> None:
    with file.open("wb") as out:
        for start in range(0, n, ROWS):
            rows = mixture(min(ROWS, n - start), f, 1024, 0, rows_seed=start)
            out.write(rows.astype(np.float16).tobytes())


def _blocks(file: Path, f: int) -> Iterator[np.ndarray]:
    with file.open("rb") as source:
        while len(read := np.fromfile(source, np.float16, ROWS * f)):
            yield read.reshape(-1, f)


def _compared(file: Path, n: int, f: int, times: int) -> Result:
    tokens_N = np.random.default_rng(1).lognormal(6, 1, n).astype(np.int64) + 1
    target_F = mixture(64, f, 1024, 0, rows_seed=-1 % n).mean(axis=0).astype(np.float64)
    budget = int(SHARE * tokens_N.sum())
    starts = range(0, n, ROWS)
    pool = pool_of(zip(_blocks(file, f), (tokens_N[s : s + ROWS] for s in starts), strict=True))
    scale_T = scale(target_F, pool)
    aim = Aim(target_F, scale_T, GAMMA)
    found: dict[str, np.ndarray] = {}
    cpu: dict[str, list[float]] = {"ours": [], "theirs": []}

    def ours() -> None:
        started = time.process_time()
        chosen = ours_module.select(ours_module.Pool(lambda: _blocks(file, f), tokens_N), budget, aim, ROUNDS)
        found["ours"] = chosen.row_M
        cpu["ours"].append(time.process_time() - started)

    def theirs() -> None:
        started = time.process_time()
        phi_NF = np.fromfile(file, np.float16).reshape(n, f).astype(np.float32)
        found["theirs"] = _in_one_matrix(phi_NF, tokens_N, target_F, GAMMA * float(scale_T[0]), budget)
        cpu["theirs"].append(time.process_time() - started)

    taken = interleaved(ours, theirs, times)
    one, other = (_utility(file, f, tokens_N, rows, target_F, GAMMA * float(scale_T[0])) for rows in found.values())
    note = f"{n:,} x {f}, a tenth of the tokens, {ROUNDS} rounds: our utility over theirs. Processor seconds:"
    note += f" {min(cpu['ours']):.1f} against {min(cpu['theirs']):.1f}"
    return taken.result("greedy", "numpy, one float32 matrix", one / other, note)


def _in_one_matrix(
    phi_NF: np.ndarray, tokens_N: np.ndarray, target_F: np.ndarray, curve: float, budget: int
) -> np.ndarray:
    """The rows that a selection in rounds takes, with gains that are computed once a round."""
    own_N = curve / 2 * (tokens_N / budget) * np.einsum("nf,nf->n", phi_NF, phi_NF)
    v_F, taken, rows, open_N = np.zeros(phi_NF.shape[1]), 0, [], np.ones(len(phi_NF), bool)
    for number in range(ROUNDS):
        gain_N = phi_NF @ (target_F - curve * v_F).astype(np.float32) - own_N
        gain_N[~open_N] = -np.inf
        order = np.argsort(-gain_N)
        some = order[: int(np.searchsorted(np.cumsum(tokens_N[order]), budget * (number + 1) // ROUNDS - taken))]
        v_F += tokens_N[some] / budget @ phi_NF[some]
        taken += int(tokens_N[some].sum())
        open_N[some] = False
        rows.append(some)
    return np.concatenate(rows)


def _utility(file: Path, f: int, tokens_N: np.ndarray, rows: np.ndarray, target_F: np.ndarray, curve: float) -> float:
    weight_N = np.zeros(len(tokens_N))
    weight_N[rows] = tokens_N[rows] / tokens_N[rows].sum()
    v_F = sum(
        weight_N[start : start + ROWS] @ block
        for start, block in zip(range(0, len(weight_N), ROWS), _blocks(file, f), strict=True)
    )
    return float(target_F @ v_F - curve / 2 * (v_F @ v_F))

"""Greedy selection by the utility of the whole subset: the document that adds most, given those taken before [R4].

A reconstruction: GRASP's algorithm is not public. A subset that fills a budget of B tokens has v = Σ w_i phi_i / B, and
the utility U = <G, v> - (lam / 2) ||v||², lam = gamma s. Document i, a share a_i = w_i / B of the budget, adds

    a_i (<phi_i, G> - lam <phi_i, v> - (lam / 2) a_i ||phi_i||²)

that is its alignment, less what the documents before it have covered of that, less its own square. Documents are ranked
by this gain per token. A document that does not fit into what is left is skipped.

Which form is optimised: v is divided by the budget and not by the tokens taken so far. When the budget is full this is
the token-weighted mean v_S of surrogate.py, so the utility of the result is R5. Before that, the tokens that are not
taken count as documents without features. The mean of a few documents would be large or small by luck, and a document
could then add less than nothing only because it changes the divisor. ``Greedy.utility`` is R5 of the result.

How it is made fast. A round reads all sketches once, in blocks, and keeps the documents with the largest gains, twice
as many as the round takes. Among these it takes step by step, with gains that are computed again after each step. With
few documents a step is one document, and the result is the plain greedy selection. A float32 product screens the
blocks, with a bound of its rounding. All that may be among the best is computed again in float64, in an order that
depends on nothing else. So the result is the same on any number of threads.

For ``maxmin`` the gain is that of a smooth minimum: the goals' gains by weights, the largest for the goal that is worst
at the time.

``bound`` certifies a result: no selection within the same budgets has a larger utility than the bound.
Shapes: N documents, F numbers of a sketch, J goals, T targets, K groups with budgets of their own, C candidates, M
documents taken.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np
from threadpoolctl import threadpool_limits

from grip_assets.errors import GripError
from grip_assets.method.attribution import simplex
from grip_assets.method.attribution.surrogate import combined, finite_squares
from grip_assets.runtime import threads

Blocks = Callable[[], Iterable[np.ndarray]]
"""Yields the features of all documents in their order, as float16 or float32 blocks (n, F), each time it is called."""

ROWS = 8192  # documents that are screened at a time
TIMES = 2  # tokens of candidates over those that a round takes
FEW = 1024  # candidates of a round at least
BYTES = 256 << 20  # of candidates at most
WORK = 3e7  # multiplications of a round among its candidates, which decide the number of its steps
STEPS = 16  # of a round at least
EPSILON = 2.0**-24  # of float32
SMOOTH = 0.2  # of the largest utility: a goal that is so much better than the worst has a weight smaller by e
# Of 0.02, 0.05, 0.1, 0.2 and 0.5 on six planted pools, 0.2 left the worst goal best off in four.


@dataclass(frozen=True)
class Aim:
    """What is maximised: Σ ω_t U_t (``sum``), or the least U_t / ω_t (``maxmin``).

    ``target_TF``, ``scale_T``, ``gamma``: as in surrogate.py. ``weight_T``: ω, None for 1; a target of weight 0 is left
    out. Targets should have norm 1 (surrogate.unit) if none is to lead only by the size of its features; for ``maxmin``
    that is needed to compare them.
    """

    target_TF: np.ndarray
    scale_T: np.ndarray
    gamma: float
    weight_T: np.ndarray | None = None
    combine: str = "sum"

    @property
    def goals(self) -> tuple[np.ndarray, np.ndarray]:
        """(G_j, lam_j): float64 (J, F) and (J,), of one goal for a sum. GripError for targets without a weight, and for
        features that are not finite."""
        target_TF = np.atleast_2d(np.asarray(self.target_TF, np.float64))
        scale_T = np.asarray(self.scale_T, np.float64)
        weight_T = np.ones(len(target_TF)) if self.weight_T is None else np.asarray(self.weight_T, np.float64)
        if not (np.isfinite(target_TF).all() and np.isfinite(scale_T).all()):
            raise GripError("The features of a target are not finite. Check the reference model and the target.")
        goal_F, scale = combined(target_TF, scale_T, weight_T)
        if self.combine == "sum":
            return goal_F[None], np.array([self.gamma * scale])
        some = weight_T > 0
        return target_TF[some] / weight_T[some, None], self.gamma * scale_T[some] / weight_T[some]


@dataclass(frozen=True)
class Pool:
    """The documents to choose from.

    ``tokens_N``: their sizes, in the unit of the budgets. ``group_N``: the number of each document's group, None for
    one group. ``may_N``: whether a document may be taken, None for all. ``order_N``: among equal gains, smaller numbers
    first; None for the order of the rows. ``unit``: features are scaled to norm 1.
    """

    blocks: Blocks
    tokens_N: np.ndarray
    group_N: np.ndarray | None = None
    may_N: np.ndarray | None = None
    order_N: np.ndarray | None = None
    unit: bool = False


@dataclass(frozen=True)
class Greedy:
    """The documents taken, in the order in which they were taken; shapes (M,).

    ``row_M``: their rows. ``gain_M``: what each added to the utility. ``alignment_M``: <phi, G>. ``covered_M``: lam
    <phi, v>, the part of the alignment that those before had covered; below 0 if they pull the other way. For
    ``maxmin`` these are means over the goals by their weights at that time, and ``goal_M`` is the goal that was worst.
    ``utility_J``: R5 of the result for each goal, ``tokens`` its size, and ``budget`` what it was divided by. ``v_F``:
    Σ w phi / budget.
    """

    row_M: np.ndarray
    gain_M: np.ndarray
    alignment_M: np.ndarray
    covered_M: np.ndarray
    goal_M: np.ndarray
    utility_J: np.ndarray
    tokens: int
    budget: int
    v_F: np.ndarray = field(repr=False)

    @property
    def utility(self) -> float:
        """What was maximised: the utility of the sum, or the least of the goals."""
        return float(self.utility_J.min())


def select(
    pool: Pool,
    room_K: np.ndarray | int,
    aim: Aim,
    rounds: int = 32,
    at_most: bool = False,
    log: Callable[[str], None] | None = None,
) -> Greedy:
    """Take documents until the budgets are met. No document is taken twice.

    ``room_K``: tokens of each group, or of the pool. ``rounds``: passes over the sketches; a few more may be needed to
    fill the end of a budget. ``at_most``: stop when nothing adds any more; otherwise budgets are filled even with
    documents that lower the utility. GripError if features are not finite, with the row.
    """
    goal_JF, curve_J = aim.goals
    taking = _Taking(pool, np.atleast_1d(np.asarray(room_K, np.int64)), goal_JF, curve_J)
    taking.measure()
    number = 0
    while (quota := taking.quota(number, rounds)) and taking.round(quota, at_most):
        number += 1
        if log is not None:
            log(f"round {number}: {len(taking.rows):,} documents, {taking.tokens:,} of {taking.budget:,} tokens")
    return taking.result()


class _Taking:
    """The state of a selection. ``v_F``: Σ w phi / budget. ``room_K``: what is left of each group's budget."""

    def __init__(self, pool: Pool, room_K: np.ndarray, goal_JF: np.ndarray, curve_J: np.ndarray):
        self.pool, self.goal_JF, self.curve_J = pool, goal_JF, curve_J
        n = len(pool.tokens_N)
        self.tokens_N = np.asarray(pool.tokens_N, np.int64)
        self.group_N = np.zeros(n, np.int64) if pool.group_N is None else np.asarray(pool.group_N, np.int64)
        self.order_N = np.arange(n) if pool.order_N is None else np.asarray(pool.order_N, np.int64)
        self.open_N = self.tokens_N > 0 if pool.may_N is None else (self.tokens_N > 0) & pool.may_N
        here_K = np.bincount(self.group_N[self.open_N], self.tokens_N[self.open_N], len(room_K)).astype(np.int64)
        self.room_K = np.minimum(room_K, here_K)
        self.budget = int(self.room_K.sum())
        self.v_F = np.zeros(goal_JF.shape[1])
        self.value_J = np.zeros(len(goal_JF))
        self.rows: list[int] = []
        self.steps: list[tuple[float, float, float, int]] = []
        self.square_N = np.zeros(n)

    @property
    def tokens(self) -> int:
        return self.budget - int(self.room_K.sum())

    def quota(self, number: int, rounds: int) -> int:
        """Tokens that round ``number`` takes: all that is left from the last round on; 0 if no document fits."""
        fits_N = self.open_N & (self.tokens_N <= self.room_K[self.group_N])
        if not fits_N.any():
            return 0
        return max(self.budget * min(number + 1, rounds) // rounds - self.tokens, 1)

    def measure(self) -> None:
        """||phi||² of each document, in one pass. GripError if one is not finite, or if there is another number of them
        than documents."""
        row = 0
        for start, square_R in threads.each(self._squares, _numbered(self.pool.blocks())):
            row = start + len(square_R)
            self.square_N[start:row] = square_R[: max(len(self.square_N) - start, 0)]
        if row != len(self.square_N):
            raise GripError(f"There are {row:,} sketches of {len(self.square_N):,} documents. Compute them again.")
        self.norm_N = np.sqrt(self.square_N)

    def _squares(self, job: tuple[int, np.ndarray]) -> tuple[int, np.ndarray]:
        start, part_RF = job
        if part_RF.shape[1] != len(self.v_F):
            raise GripError(f"Sketches have {part_RF.shape[1]:,} numbers, and targets {len(self.v_F):,}.")
        return start, finite_squares(part_RF.astype(np.float64), start)

    def divisor(self, rows: np.ndarray) -> np.ndarray:
        """By what features are divided: their norms, or 1."""
        norm = self.norm_N[rows]
        return np.where(norm > 0, norm, 1.0) if self.pool.unit else np.ones(len(norm))

    def square(self, rows: np.ndarray) -> np.ndarray:
        """||phi||² of the features as they are used."""
        return np.where(self.square_N[rows] > 0, 1.0, 0.0) if self.pool.unit else self.square_N[rows]

    @property
    def weight_J(self) -> np.ndarray:
        """The weight of each goal now, float64 (J,), their sum is 1: the slope of a smooth minimum
        -τ log Σ exp(-U_j / τ). The worst goal has the largest weight; goals that are even have the same."""
        if len(self.value_J) == 1:
            return np.ones(1)
        height = SMOOTH * float(np.abs(self.value_J).max())
        weight_J = np.exp((self.value_J.min() - self.value_J) / height) if height > 0 else np.ones(len(self.value_J))
        return weight_J / weight_J.sum()

    @property
    def residual_F(self) -> np.ndarray:
        """G - lam v, the part of the goal that is not covered; for several goals the mean by their weights."""
        weight_J = self.weight_J
        return weight_J @ self.goal_JF - float(weight_J @ self.curve_J) * self.v_F

    def score(self, dot_C: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """What documents are ranked by, float64 (C,), from <phi, residual>: the gain per token."""
        own_C = (self.tokens_N[rows] / self.budget) * self.square(rows)
        return dot_C - own_C * (float(self.weight_J @ self.curve_J) / 2)

    def round(self, quota: int, at_most: bool) -> bool:
        """Take documents of ``quota`` tokens. False if none was taken."""
        rows, x_CF = self.candidates(quota)
        before = len(self.rows)
        steps = int(np.clip(WORK / max(x_CF.size, 1), STEPS, max(len(rows), STEPS)))
        goal, left_C = self.tokens + quota, np.ones(len(rows), bool)
        divisor_C = self.divisor(rows)
        while self.tokens < goal:
            fits_C = left_C & (self.tokens_N[rows] <= self.room_K[self.group_N[rows]])
            some = np.flatnonzero(fits_C)
            if not len(some):
                break
            score_C = self.score(_dots(x_CF, some, self.residual_F) / divisor_C[some], rows[some])
            order = some[np.lexsort((self.order_N[rows[some]], -score_C))]
            taken = self.step(rows, x_CF, order, divisor_C, min(quota / steps, goal - self.tokens), at_most)
            left_C[taken] = False
            if not taken:
                break
        self.open_N[self.rows[before:]] = False
        return len(self.rows) > before

    def step(
        self,
        rows: np.ndarray,
        x_CF: np.ndarray,
        order: np.ndarray,
        divisor_C: np.ndarray,
        quota: float,
        at_most: bool,
    ) -> list[int]:
        """Take candidates in their order until ``quota`` tokens are taken; those that no longer fit are skipped."""
        taken: list[int] = []
        end = self.tokens + quota
        for c in order:
            if self.tokens >= end:
                break
            row = int(rows[c])
            if self.tokens_N[row] > self.room_K[self.group_N[row]]:
                continue
            if not self.take(row, x_CF[c].astype(np.float64) / divisor_C[c], at_most):
                break
            taken.append(int(c))
        return taken

    def take(self, row: int, phi_F: np.ndarray, at_most: bool) -> bool:
        """Take one document, and note what it added. False if it adds nothing and that is a reason to stop."""
        share, weight_J = self.tokens_N[row] / self.budget, self.weight_J
        alignment_J, covered_J = self.goal_JF @ phi_F, self.curve_J * float(phi_F @ self.v_F)
        gain_J = share * (alignment_J - covered_J - self.curve_J / 2 * share * float(phi_F @ phi_F))
        gain = float(weight_J @ gain_J)
        if at_most and gain <= 0:
            return False
        worst = int(self.value_J.argmin())
        self.steps.append((gain, float(weight_J @ alignment_J), float(weight_J @ covered_J), worst))
        self.rows.append(row)
        self.v_F = self.v_F + share * phi_F
        self.value_J = self.value_J + gain_J
        self.room_K[self.group_N[row]] -= self.tokens_N[row]
        return True

    def candidates(self, quota: int) -> tuple[np.ndarray, np.ndarray]:
        """(rows, features (C, F)) of the best documents that fit, of a few times ``quota`` tokens."""
        fits_N = self.open_N & (self.tokens_N <= self.room_K[self.group_N])
        n = int(fits_N.sum())
        few = FEW * int(self.tokens_N[fits_N].sum()) // max(n, 1)
        kept = _Kept(self, max(TIMES * quota, few), few, max(BYTES // (4 * len(self.v_F)), FEW))
        residual_F = self.residual_F.astype(np.float32)

        def screened(job: tuple[int, np.ndarray]) -> tuple[int, np.ndarray, np.ndarray]:
            start, part_RF = job
            return start, part_RF, part_RF.astype(np.float32) @ residual_F

        with threadpool_limits(1):
            for start, part_RF, dot_R in threads.each(screened, _numbered(self.pool.blocks())):
                here = np.flatnonzero(fits_N[start : start + len(part_RF)])
                if len(here):
                    kept.offer(start + here, part_RF, here, dot_R[here].astype(np.float64))
        return kept.result()

    def result(self) -> Greedy:
        gain, alignment, covered, goal = zip(*self.steps, strict=True) if self.steps else ((), (), (), ())
        full_F = self.v_F * (self.budget / self.tokens if self.tokens else 0.0)
        utility_J = self.goal_JF @ full_F - self.curve_J / 2 * float(full_F @ full_F)
        return Greedy(
            np.array(self.rows, np.int64),
            np.array(gain, np.float64),
            np.array(alignment, np.float64),
            np.array(covered, np.float64),
            np.array(goal, np.int64),
            utility_J,
            self.tokens,
            self.budget,
            self.v_F,
        )


class _Kept:
    """The best documents that were seen of a pass: as many as hold ``want`` tokens, and of each group a few times what
    its budget has left. What is kept depends on the scores alone, and not on the order in which they come.

    ``few``: tokens of ``FEW`` documents, which are kept at least. ``most``: documents that are kept at most.
    """

    def __init__(self, taking: _Taking, want: int, few: int, most: int):
        self.taking, self.want, self.few, self.most = taking, want, few, most
        self.residual_F = taking.residual_F
        self.least = -np.inf  # a document with a lower score is not kept
        self.rows, self.scores, self.features = np.zeros(0, np.int64), np.zeros(0), np.zeros((0, len(taking.v_F)))
        self.features = self.features.astype(np.float32)
        self.new: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
        self.n_new = 0
        self.reach = float(np.linalg.norm(self.residual_F))

    def offer(self, rows: np.ndarray, part_RF: np.ndarray, here: np.ndarray, dot_C: np.ndarray) -> None:
        """Documents ``rows``, which are the rows ``here`` of a part, with products in float32."""
        taking, divisor_C = self.taking, self.taking.divisor(rows)
        score_C = taking.score(dot_C / divisor_C, rows)
        # The rounding of a product of F terms in any order [Higham 2002, 3.5], doubled; in the units of the score.
        wrong_C = 2 * (part_RF.shape[1] + 2) * EPSILON * self.reach * taking.norm_N[rows] / divisor_C
        maybe = np.flatnonzero(score_C + wrong_C >= self.least)
        if not len(maybe):
            return
        x_CF = part_RF[here[maybe]].astype(np.float32)
        dot_C = _dots(x_CF, np.arange(len(maybe)), self.residual_F) / divisor_C[maybe]
        self.new.append((rows[maybe], taking.score(dot_C, rows[maybe]), x_CF))
        self.n_new += len(maybe)
        if self.n_new > max(len(self.rows) // 2, FEW):
            self._cut()

    def result(self) -> tuple[np.ndarray, np.ndarray]:
        self._cut()
        return self.rows, self.features

    def _cut(self) -> None:
        rows, scores = (np.concatenate([old, *news]) for old, news in self._old_and_new())
        order = np.lexsort((self.taking.order_N[rows], -scores))
        kept_C, end = self._best(rows[order])
        self.least = float(scores[order[end]]) if end < len(order) else -np.inf
        order = order[kept_C]
        self.features = np.concatenate([self.features, *(x_CF for _, _, x_CF in self.new)])[order]
        self.rows, self.scores = rows[order], scores[order]
        self.new, self.n_new = [], 0

    def _old_and_new(self) -> list[tuple[np.ndarray, list[np.ndarray]]]:
        return [(self.rows, [rows for rows, _, _ in self.new]), (self.scores, [scores for _, scores, _ in self.new])]

    def _best(self, rows: np.ndarray) -> tuple[np.ndarray, int]:
        """Which of the rows, best first, are kept, bool (C,); and the first that is too much for any group, or C."""
        tokens_C, group_C = self.taking.tokens_N[rows], self.taking.group_N[rows]
        cap_C = np.maximum(TIMES * self.taking.room_K, self.few // len(self.taking.room_K) + 1)[group_C]
        within_C = _before_in_group(tokens_C, group_C)
        counted_C = np.clip(cap_C - within_C, 0, tokens_C)
        before_C = np.cumsum(counted_C) - counted_C
        kept_C = within_C < cap_C
        end = min(
            int(np.searchsorted(before_C, self.want)), int(np.searchsorted(np.cumsum(kept_C), self.most, "right"))
        )
        kept_C[end:] = False
        return kept_C, end


def _before_in_group(tokens_C: np.ndarray, group_C: np.ndarray) -> np.ndarray:
    """Tokens of the earlier rows of the same group, int64 (C,)."""
    order = np.argsort(group_C, kind="stable")
    sums = np.cumsum(tokens_C[order]) - tokens_C[order]
    first = np.concatenate([[True], np.diff(group_C[order]) != 0])
    start = np.maximum.accumulate(np.where(first, np.arange(len(order)), 0))
    found_C = np.empty(len(tokens_C), np.int64)
    found_C[order] = sums - sums[start]
    return found_C


def _numbered(blocks: Iterable[np.ndarray]) -> Iterator[tuple[int, np.ndarray]]:
    """(number of the first row, part) of all parts of the blocks."""
    row = 0
    for block_nF in blocks:
        for part_RF in _parts(block_nF):
            yield row, part_RF
            row += len(part_RF)


def _parts(block_nF: np.ndarray) -> Iterator[np.ndarray]:
    for start in range(0, len(block_nF), ROWS):
        yield block_nF[start : start + ROWS]


def _dots(x_CF: np.ndarray, rows: np.ndarray, direction_F: np.ndarray) -> np.ndarray:
    """<x, direction> of some rows in float64 (C,), each summed in an order that depends on nothing but F."""
    found_C = np.empty(len(rows))
    for start in range(0, len(rows), ROWS):
        part_RF = x_CF[rows[start : start + ROWS]].astype(np.float64)
        found_C[start : start + ROWS] = np.einsum("rf,f->r", part_RF, direction_F)
    return found_C


@dataclass(frozen=True)
class Certificate:
    """``utility``: of a selection, with documents without features in the rest of its budget. ``bound``: no selection
    within the same budgets is above it."""

    utility: float
    bound: float

    @property
    def share(self) -> float:
        """Of the bound; NaN if that is not above 0."""
        return self.utility / self.bound if self.bound > 0 else np.nan

    @property
    def words(self) -> str:
        if not self.bound > 0:
            words = f"no selection has a utility above {self.bound:.4g}, and this one has {self.utility:.4g}"
            return words.replace("-", "−")
        return f"within {max(1 - self.share, 0.0):.1%} of the relaxed optimum"


def bound(pool: Pool, room_K: np.ndarray | int, aim: Aim, found: Greedy, iterations: int = 8) -> Certificate:
    """An upper bound of the utility of any selection within the budgets, by the method of Frank and Wolfe (1956).

    The relaxed problem takes any share from 0 to 1 of each document that fits into its group's budget, at least as many
    tokens of each group as ``found`` and at most its budget. The utility U is concave, so at any v the best corner s of
    the relaxed problem bounds it: U(v) + <slope, s - v>. Each iteration finds a corner in two passes over the sketches,
    and moves v to the best mixture of all corners so far. ``iterations`` = 1 bounds at the selection itself.

    For several goals, the least of them is bounded by any mean of them: by the equal one, and by the worst goal alone.
    """
    goal_JF, curve_J = aim.goals
    taking = _Taking(pool, np.atleast_1d(np.asarray(room_K, np.int64)), goal_JF, curve_J)
    taking.measure()
    if not taking.budget:
        return Certificate(0.0, 0.0)
    relaxed = _Relaxed(taking, found)
    value_J = goal_JF @ found.v_F - curve_J / 2 * float(found.v_F @ found.v_F)
    n = len(goal_JF)
    shares = {(1 / n,) * n, tuple(np.eye(n)[value_J.argmin()])}
    tops = [relaxed.bound(np.array(s) @ goal_JF, float(np.array(s) @ curve_J), iterations) for s in sorted(shares)]
    return Certificate(float(value_J.min()), min(tops))


class _Relaxed:
    """The relaxed problem of ``bound``: shares of N documents, of each group at least ``least_K`` tokens and at most
    ``most_K``."""

    def __init__(self, taking: _Taking, found: Greedy):
        self.taking, self.found = taking, found
        n = len(taking.room_K)
        taken_N = np.bincount(found.row_M, minlength=len(taking.tokens_N)) > 0
        self.least_K = np.bincount(taking.group_N[taken_N], taking.tokens_N[taken_N], n)
        self.most_K = np.maximum(taking.room_K, self.least_K)
        self.may = np.flatnonzero(taken_N | (taking.open_N & (taking.tokens_N <= taking.room_K[taking.group_N])))
        self.by_group = self.may[np.argsort(taking.group_N[self.may], kind="stable")]

    def bound(self, goal_F: np.ndarray, curve: float, iterations: int) -> float:
        v_F = self.found.v_F
        corners = [v_F]
        best = np.inf
        for iteration in range(max(iterations, 1)):
            slope_F = goal_F - curve * v_F
            value = float(goal_F @ v_F) - curve / 2 * float(v_F @ v_F)
            share_N, top = self.corner(slope_F)
            gap = top - float(slope_F @ v_F)
            best = min(best, value + gap)
            if gap <= 1e-6 * abs(best) or iteration + 1 == iterations:
                break
            corners.append(self.mean(share_N))
            corner_CF = np.array(corners)
            v_F = simplex.mixture(corner_CF, goal_F, curve) @ corner_CF
        return best

    def corner(self, slope_F: np.ndarray) -> tuple[np.ndarray, float]:
        """The shares of the budget (N,) that go farthest along the slope, and how far: rounded up, for a bound."""
        taking = self.taking
        reach = float(np.linalg.norm(slope_F))
        score_N = self.products(slope_F) / taking.divisor(np.arange(len(taking.tokens_N)))
        wrong_N = 2 * (len(slope_F) + 2) * EPSILON * reach * np.sqrt(taking.square(np.arange(len(taking.tokens_N))))
        score_N = score_N + wrong_N
        rows = self.by_group[np.lexsort((-score_N[self.by_group], taking.group_N[self.by_group]))]
        group, tokens = taking.group_N[rows], taking.tokens_N[rows]
        before = _before_in_group(tokens, group)
        room = np.where(score_N[rows] > 0, self.most_K[group], self.least_K[group])
        taken_N = np.zeros(len(score_N))
        taken_N[rows] = np.clip(room - before, 0, tokens) / taking.budget
        return taken_N, float(taken_N @ score_N)

    def products(self, slope_F: np.ndarray) -> np.ndarray:
        slope32_F = slope_F.astype(np.float32)
        with threadpool_limits(1):
            parts = threads.each(
                lambda job: job[1].astype(np.float32) @ slope32_F, _numbered(self.taking.pool.blocks())
            )
            return np.concatenate(list(parts)).astype(np.float64)

    def mean(self, share_N: np.ndarray) -> np.ndarray:
        """Σ share phi of all documents, float64 (F,)."""
        weight_N = share_N / self.taking.divisor(np.arange(len(share_N)))
        total_F = np.zeros(len(self.taking.v_F))
        for start, part_RF in _numbered(self.taking.pool.blocks()):
            some = np.flatnonzero(weight_N[start : start + len(part_RF)])
            if len(some):
                total_F += np.einsum("r,rf->f", weight_N[start + some], part_RF[some].astype(np.float64))
        return total_F

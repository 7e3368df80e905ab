"""Greedy selection by the utility of the whole subset: the document that adds most, given those taken before [R4].

A reconstruction: GRASP's algorithm is not public. Utilities are in objective.py: R5, or the cross-entropy. A subset
that fills a budget of B tokens has v = Σ w_i phi_i / B. For R5, document i, a share a_i = w_i / B of the budget, adds

    a_i (<phi_i, G> - lam <phi_i, v> - (lam / 2) a_i ||phi_i||²)

that is its alignment, less what the documents before it have covered of that, less its own square. Documents are ranked
by this gain per token. A document that does not fit into what is left is skipped.

Which form is optimised: v is divided by the budget and not by the tokens taken so far. When the budget is full this is
the token-weighted mean v_S of surrogate.py, so the utility of the result is R5. Before that, the tokens that are not
taken count as documents without features. The mean of a few documents would be large or small by luck, and a document
could then add less than nothing only because it changes the divisor. ``Greedy.utility`` is R5 of the result.

How it is made fast. A round keeps the documents with the largest gains, twice as many as it takes. Among these it takes
step by step, with gains that are computed again after each step. With few documents a step is one document, and the
result is the plain greedy selection. Sketches stay in memory if they fit (``held``), in float32, so that they are
converted once. A float32 product screens documents, with a bound of its rounding. For R5, products of earlier rounds
bound the gains of today (``_Products``). So a document that cannot be among the best is not looked at, and only some
rounds multiply all documents. All that may be among the best is computed again in float64, in an order that depends on
nothing else. The documents of a step are taken together: their order is known, so the sums before each of them are too.
So the result is that of computing all gains again in every step, bit for bit, on any number of threads.

For ``maxmin`` the gain is that of a smooth minimum: the goals' gains by weights, the largest for the goal that is worst
at the time.

``bound`` certifies a result: no selection within the same budgets has a larger utility than the bound.
Shapes: N documents, F numbers of a sketch, J goals, K groups with budgets of their own, C candidates, R documents of a
part, M documents taken.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace

import numpy as np
from threadpoolctl import threadpool_limits

from grip_assets.errors import GripError
from grip_assets.method.attribution.objective import Aim, Objective, View, dots
from grip_assets.method.attribution.surrogate import finite_squares
from grip_assets.runtime import threads
from grip_assets.runtime.memory import limit_bytes

Blocks = Callable[[], Iterable[np.ndarray]]
"""Yields the features of all documents in their order, as float16 or float32 blocks (n, F), each time it is called."""

ROWS = 8192  # documents that are screened at a time
TIMES = 2  # tokens of candidates over those that a round takes
FEW = 1024  # candidates of a round at least
BYTES = 256 << 20  # of candidates at most
WORK = 3e7  # multiplications of a round among its candidates, which decide the number of its steps
STEPS = 16  # of a round at least
EPSILON = 2.0**-24  # of float32
LOWEST = -float(np.finfo(np.float64).max)
BATCH = 64  # candidates that are computed again in a step at least
MANY = 4  # of so many documents one is looked at: then all are multiplied
EARLIER = 16  # products of all documents that are kept at most


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


class Held:
    """Features of all documents in memory: ``Blocks`` that are read once. ``x_NF``: float32, or float16 if that does
    not fit."""

    def __init__(self, x_NF: np.ndarray):
        self.x_NF = x_NF

    def __call__(self) -> Iterable[np.ndarray]:
        return _parts(self.x_NF)


def held(pool: Pool, width: int) -> Pool:
    """The pool with its features in memory, if they fit into half of the memory limit; otherwise the pool itself.

    ``width``: F. GripError if there is another number of sketches than of documents, or of another width.
    """
    shape, room = (len(pool.tokens_N), width), limit_bytes() // 2
    kinds = [kind for kind in (np.float32, np.float16) if np.dtype(kind).itemsize * shape[0] * shape[1] <= room]
    if isinstance(pool.blocks, Held) or not kinds:
        return pool
    x_NF, row = np.empty(shape, kinds[0]), 0
    for start, part_RF in _numbered(pool.blocks()):
        _must_be_as_wide(part_RF, width)
        if part_RF.dtype.itemsize > x_NF.itemsize:  # float32 features that fit only as float16
            return pool
        row = start + len(part_RF)
        x_NF[start:row] = part_RF[: max(shape[0] - start, 0)]
    _must_be_as_many(row, shape[0])
    return replace(pool, blocks=Held(x_NF))


def _must_be_as_wide(part_RF: np.ndarray, width: int) -> None:
    if part_RF.shape[1] != width:
        raise GripError(f"Sketches have {part_RF.shape[1]:,} numbers, and targets {width:,}.")


def _must_be_as_many(sketches: int, documents: int) -> None:
    if sketches != documents:
        raise GripError(f"There are {sketches:,} sketches of {documents:,} documents. Compute them again.")


@dataclass(frozen=True)
class Greedy:
    """The documents taken, in the order in which they were taken; shapes (M,).

    ``row_M``: their rows. ``gain_M``: what each added to the utility. ``alignment_M``, ``covered_M``, ``worth_M``: for
    each token, its alignment, the part of that which those before had covered (below 0 if they pull the other way), and
    what it added: see ``Objective.shown``. For ``maxmin`` these are means over the goals by their weights at that time,
    and ``goal_M`` is the goal that was worst. ``utility_J``: of the result for each goal, ``tokens`` its size, and
    ``budget`` what it was divided by. ``v_F``: Σ w phi / budget. ``filled``: the share of the budget that was taken.
    """

    row_M: np.ndarray
    gain_M: np.ndarray
    alignment_M: np.ndarray
    covered_M: np.ndarray
    worth_M: np.ndarray
    goal_M: np.ndarray
    utility_J: np.ndarray
    tokens: int
    budget: int
    v_F: np.ndarray = field(repr=False)

    @property
    def utility(self) -> float:
        """What was maximised: the utility of the sum, or the least of the goals."""
        return float(self.utility_J.min())

    @property
    def filled(self) -> float:
        return self.tokens / self.budget if self.budget else 0.0


@threadpool_limits.wrap(limits=1)
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
    taking = _Taking(pool, np.atleast_1d(np.asarray(room_K, np.int64)), aim)
    taking.measure()
    number = 0
    while (quota := taking.quota(number, rounds)) and taking.round(quota, at_most):
        number += 1
        if log is not None:
            log(f"round {number}: {len(taking.rows):,} documents, {taking.tokens:,} of {taking.budget:,} tokens")
    return taking.result()


class _Taking:
    """The state of a selection. ``v_F``: Σ w phi / budget. ``room_K``: what is left of each group's budget.
    ``value_J``: what was gained for each goal. ``steps``: the columns of ``Greedy``, step by step.
    """

    def __init__(self, pool: Pool, room_K: np.ndarray, aim: Aim):
        n = len(pool.tokens_N)
        self.tokens_N = np.asarray(pool.tokens_N, np.int64)
        self.group_N = np.zeros(n, np.int64) if pool.group_N is None else np.asarray(pool.group_N, np.int64)
        self.order_N = np.arange(n) if pool.order_N is None else np.asarray(pool.order_N, np.int64)
        self.open_N = self.tokens_N > 0 if pool.may_N is None else (self.tokens_N > 0) & pool.may_N
        here_K = np.bincount(self.group_N[self.open_N], self.tokens_N[self.open_N], len(room_K)).astype(np.int64)
        self.room_K = np.minimum(room_K, here_K)
        self.budget = int(self.room_K.sum())
        self.aim, self.objective = aim, aim.objective(self.budget / max(int(self.tokens_N.sum()), 1))
        self.pool = held(pool, self.objective.width)
        self.earlier = _Products(len(self.tokens_N))
        self.v_F = np.zeros(self.objective.width)
        self.value_J = np.zeros(self.objective.goals)
        self.rows: list[int] = []
        self.steps: list[tuple[np.ndarray, ...]] = []
        self.square_N = np.zeros(n)

    @property
    def tokens(self) -> int:
        return self.budget - int(self.room_K.sum())

    @property
    def fits_N(self) -> np.ndarray:
        return self.open_N & (self.tokens_N <= self.room_K[self.group_N])

    def quota(self, number: int, rounds: int) -> int:
        """Tokens that round ``number`` takes: all that is left from the last round on; 0 if no document fits."""
        if not self.fits_N.any():
            return 0
        return max(self.budget * min(number + 1, rounds) // rounds - self.tokens, 1)

    def measure(self) -> None:
        """||phi||² of each document, in one pass. GripError if one is not finite, or if there is another number of them
        than documents."""
        row = 0
        for start, square_R in threads.each(self._squares, _numbered(self.pool.blocks())):
            row = start + len(square_R)
            self.square_N[start:row] = square_R[: max(len(self.square_N) - start, 0)]
        _must_be_as_many(row, len(self.square_N))
        self.norm_N = np.sqrt(self.square_N)
        self.reach_N = np.where(self.square_N > 0, 1.0, 0.0) if self.pool.unit else self.norm_N  # ||phi|| as it is used

    def _squares(self, job: tuple[int, np.ndarray]) -> tuple[int, np.ndarray]:
        start, part_RF = job
        _must_be_as_wide(part_RF, len(self.v_F))
        return start, finite_squares(part_RF.astype(np.float64), start)

    def divisor(self, rows: np.ndarray) -> np.ndarray:
        """By what features are divided: their norms, or 1."""
        norm = self.norm_N[rows]
        return np.where(norm > 0, norm, 1.0) if self.pool.unit else np.ones(len(norm))

    def square(self, rows: np.ndarray) -> np.ndarray:
        """||phi||² of the features as they are used."""
        return np.where(self.square_N[rows] > 0, 1.0, 0.0) if self.pool.unit else self.square_N[rows]

    def weight_J(self, value_J: np.ndarray, v_F: np.ndarray, filled: float) -> np.ndarray:
        """The weight of each goal at ``value_J``, float64 (J,), their sum is 1: the slope of a smooth minimum
        -τ log Σ exp(-U_j / τ). The worst goal has the largest weight; goals that are even have the same."""
        if len(value_J) == 1:
            return np.ones(1)
        value_J = self.objective.standing(value_J, v_F, filled)
        height = self.aim.temperature * float(np.abs(value_J).max())
        weight_J = np.exp((value_J.min() - value_J) / height) if height > 0 else np.ones(len(value_J))
        return weight_J / weight_J.sum()

    @property
    def view(self) -> View:
        """The objective as it is now."""
        filled = self.tokens / max(self.budget, 1)
        return self.objective.view(self.v_F, self.weight_J(self.value_J, self.v_F, filled))

    def exact(self, view: View, rows: np.ndarray, x_CF: np.ndarray) -> np.ndarray:
        """What documents are ranked by, float64 (C,): the gain per token."""
        found_C = np.empty(len(rows))
        for start in range(0, len(rows), ROWS):
            some = rows[start : start + ROWS]
            part_RF, share_R = x_CF[start : start + ROWS].astype(np.float64), self.tokens_N[some] / self.budget
            found_C[start : start + ROWS] = view.scores(part_RF, self.divisor(some), share_R, self.square(some))
        return found_C

    def screened(self, view: View, rows: np.ndarray, dot_C: np.ndarray) -> np.ndarray:
        """Upper bounds of the scores, float64 (C,), from products in float32."""
        linear_C = dot_C / self.divisor(rows)
        return linear_C - self.own(view, rows) + self.rounding(view.direction_F, linear_C, rows)

    def own(self, view: View, rows: np.ndarray) -> np.ndarray:
        """What each document takes off its own score by its square, float64 (C,)."""
        return (self.tokens_N[rows] / self.budget) * self.square(rows) * view.own

    def rounding(self, direction_F: np.ndarray, linear_C: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """How far a product in float32 may be below the true one, float64 (C,): the rounding of a sum of F terms in any
        order [Higham 2002, 3.5], doubled."""
        wrong = 2 * (len(direction_F) + 2) * EPSILON
        if self.objective.positive:  # no terms cancel
            return wrong * linear_C
        return wrong * float(np.linalg.norm(direction_F)) * self.reach_N[rows]

    def foreseen(self, view: View, rows: np.ndarray) -> np.ndarray | None:
        """Upper bounds of the scores, float64 (C,), by products of earlier rounds; None if these do not say enough."""
        if self.objective.positive or not self.earlier.there:  # the slope of the cross-entropy changes too fast
            return None
        dot_N, slack = self.earlier.bound(view.direction_F)
        linear_C = dot_N[rows].astype(np.float64) / self.divisor(rows)
        return linear_C - self.own(view, rows) + slack * self.reach_N[rows]

    def round(self, quota: int, at_most: bool) -> bool:
        """Take documents of ``quota`` tokens. False if none was taken."""
        rows, x_CF = self.candidates(quota)
        before = len(self.rows)
        steps = int(np.clip(WORK / max(x_CF.size, 1), STEPS, max(len(rows), STEPS)))
        goal, left_C = self.tokens + quota, np.ones(len(rows), bool)
        while self.tokens < goal:
            some = np.flatnonzero(left_C & (self.tokens_N[rows] <= self.room_K[self.group_N[rows]]))
            if not len(some):
                break
            wanted = min(quota / steps, goal - self.tokens)
            taken = self.step(rows, x_CF, self.best_first(rows, x_CF, some, wanted), wanted, at_most)
            left_C[taken] = False
            if not taken:
                break
        self.open_N[self.rows[before:]] = False
        return len(self.rows) > before

    def best_first(self, rows: np.ndarray, x_CF: np.ndarray, some: np.ndarray, wanted: float) -> Iterator[int]:
        """The candidates ``some`` by their scores, the largest first; of equal ones the smaller ``order_N``.

        Products in float32 bound the scores. At first only those are computed that may be among the best with
        ``wanted`` tokens, and all others if the caller goes on.
        """
        view = self.view
        dot_C = x_CF @ view.direction_F.astype(np.float32)
        upper_C = self.screened(view, rows[some], dot_C[some].astype(np.float64))
        by_upper = np.argsort(-upper_C, kind="stable")
        some, upper_C = some[by_upper], upper_C[by_upper]
        few = max(int(np.searchsorted(np.cumsum(self.tokens_N[rows[some]]), wanted)) + 1, BATCH)
        score_C = self.exact(view, rows[some[:few]], x_CF[some[:few]])
        enough = int(np.searchsorted(np.cumsum(self.tokens_N[rows[some[:few][np.argsort(-score_C)]]]), wanted))
        least = np.sort(score_C)[::-1][enough] if enough < len(score_C) else -np.inf
        stop = max(int(np.searchsorted(-upper_C, -least, "right")), len(score_C))
        score_C = np.append(score_C, self.exact(view, rows[some[few:stop]], x_CF[some[few:stop]]))
        first = score_C >= least
        yield from self._ordered(rows, some[:stop][first], score_C[first])
        rest_C = np.append(score_C[~first], self.exact(view, rows[some[stop:]], x_CF[some[stop:]]))
        yield from self._ordered(rows, np.append(some[:stop][~first], some[stop:]), rest_C)

    def _ordered(self, rows: np.ndarray, some: np.ndarray, score_C: np.ndarray) -> Iterator[int]:
        return iter(some[np.lexsort((self.order_N[rows[some]], -score_C))].tolist())

    def step(self, rows: np.ndarray, x_CF: np.ndarray, best: Iterator[int], quota: float, at_most: bool) -> list[int]:
        """Take candidates, the best first, until ``quota`` tokens are taken; those that no longer fit are skipped."""
        picked, room_K, tokens = list[int](), self.room_K.copy(), self.tokens
        end = tokens + quota
        while tokens < end and (c := next(best, None)) is not None:
            row = rows[c]
            size, group = self.tokens_N[row], self.group_N[row]
            if size <= room_K[group]:
                picked.append(c)
                room_K[group] -= size
                tokens += int(size)
        if not picked:
            return picked
        phi_CF = x_CF[picked].astype(np.float64) / self.divisor(rows[picked])[:, None]
        return picked[: self.take(rows[picked], phi_CF, at_most)]

    def take(self, rows: np.ndarray, phi_CF: np.ndarray, at_most: bool) -> int:
        """Take documents in this order, and note what each added in its turn. How many were taken: not all if one adds
        nothing and that is a reason to stop."""
        tokens_C = self.tokens_N[rows]
        share_C, filled_C = tokens_C / self.budget, (self.tokens + np.cumsum(tokens_C) - tokens_C) / self.budget
        v_CF = np.cumsum(np.concatenate([self.v_F[None], share_C[:, None] * phi_CF]), axis=0)
        gain_CJ = self.objective.gains(phi_CF, share_C, v_CF[:-1])
        value_CJ = np.cumsum(np.concatenate([self.value_J[None], gain_CJ]), axis=0)
        weight_CJ = np.array([self.weight_J(*then) for then in zip(value_CJ[:-1], v_CF[:-1], filled_C, strict=True)])
        gain_C = dots(weight_CJ, gain_CJ)
        n = int(np.argmax(np.append(gain_C <= 0, True))) if at_most else len(rows)
        shown = self.objective.in_turn(phi_CF[:n], share_C[:n], v_CF[:n], filled_C[:n], weight_CJ[:n])
        worst_C = value_CJ[:n].argmin(axis=1)
        self.steps.append((gain_C[:n], shown.alignment_R, shown.covered_R, shown.gain_R, worst_C))
        self.rows += rows[:n].tolist()
        self.v_F, self.value_J = v_CF[n], value_CJ[n]
        np.subtract.at(self.room_K, self.group_N[rows[:n]], tokens_C[:n])
        return n

    def candidates(self, quota: int) -> tuple[np.ndarray, np.ndarray]:
        """(rows, features (C, F)) of the best documents that fit, of a few times ``quota`` tokens."""
        fits = np.flatnonzero(self.fits_N)
        few = FEW * int(self.tokens_N[fits].sum()) // max(len(fits), 1)
        kept = _Kept(self, max(TIMES * quota, few), few, max(BYTES // (4 * len(self.v_F)), FEW))
        if isinstance(self.pool.blocks, Held):
            self._look(kept, fits, self.pool.blocks.x_NF)
        else:
            self._look_once(kept, fits)
        return kept.result()

    def _look(self, kept: "_Kept", fits: np.ndarray, x_NF: np.ndarray) -> None:
        """Offer documents in memory. Those with the largest bounds come first, and set a threshold for the others."""
        upper_C, loose = self.foreseen(kept.view, fits), True
        if upper_C is None:
            upper_C, loose = self.screened(kept.view, fits, self._multiplied(kept.view)[fits]), False
        first = kept.first(fits, upper_C)
        kept.offer(fits[first], x_NF, fits[first], upper_C[first])
        kept.cut()
        upper_C[first] = -np.inf
        some = np.flatnonzero(upper_C >= max(kept.least, LOWEST))
        rows, upper_C = fits[some], upper_C[some]
        if loose:
            upper_C = self.screened(kept.view, rows, self._products(kept.view, rows, x_NF))
        for start in range(0, len(rows), ROWS):
            here = slice(start, start + ROWS)
            kept.offer(rows[here], x_NF, rows[here], upper_C[here])

    def _products(self, view: View, rows: np.ndarray, x_NF: np.ndarray) -> np.ndarray:
        """Products of documents with the direction, float64 (C,): of these alone if they are few, otherwise of all."""
        if MANY * len(rows) > len(self.tokens_N):
            return self._multiplied(view)[rows]
        direction_F = view.direction_F.astype(np.float32)
        parts = (rows[start : start + ROWS] for start in range(0, len(rows), ROWS))
        found = [x_NF[part].astype(np.float32, copy=False) @ direction_F for part in parts]
        return np.concatenate([np.zeros(0), *found])

    def _multiplied(self, view: View) -> np.ndarray:
        """Products of all documents with the direction, float64 (N,). They are kept for later rounds."""
        direction_F = view.direction_F.astype(np.float32)
        parts = threads.each(lambda part_RF: part_RF.astype(np.float32, copy=False) @ direction_F, self.pool.blocks())
        dot_N = np.concatenate(list(parts))
        self.earlier.keep(view.direction_F, dot_N)
        return dot_N.astype(np.float64)

    def _look_once(self, kept: "_Kept", fits: np.ndarray) -> None:
        """Offer all documents that fit, part by part, from blocks that are read again."""
        fits_N = np.zeros(len(self.tokens_N), bool)
        fits_N[fits] = True
        direction_F = kept.view.direction_F.astype(np.float32)

        def products(job: tuple[int, np.ndarray]) -> tuple[int, np.ndarray, np.ndarray]:
            return *job, job[1].astype(np.float32, copy=False) @ direction_F

        for start, part_RF, dot_R in threads.each(products, _numbered(self.pool.blocks())):
            here = np.flatnonzero(fits_N[start : start + len(part_RF)])
            rows = start + here
            kept.offer(rows, part_RF, here, self.screened(kept.view, rows, dot_R[here].astype(np.float64)))

    def result(self) -> Greedy:
        columns = zip(*self.steps, strict=True) if self.steps else ([np.zeros(0)],) * 5
        gain, alignment, covered, worth, goal = (np.concatenate(column) for column in columns)
        utility_J = self.objective.values(self.v_F, self.tokens / self.budget if self.budget else 0.0)
        return Greedy(
            np.array(self.rows, np.int64), gain, alignment, covered, worth, goal.astype(np.int64),
            utility_J, self.tokens, self.budget, self.v_F,
        )  # fmt: skip


class _Products:
    """Products of all N documents with directions of earlier rounds. They bound those with another direction d, for any
    weights c:

        <phi, d> <= Σ_r c_r <phi, d_r> + ||phi|| ||d - Σ_r c_r d_r||

    Least squares makes the last norm small.
    """

    def __init__(self, documents: int):
        self.documents = documents
        self.directions: list[np.ndarray] = []
        self.products: list[np.ndarray] = []

    @property
    def there(self) -> bool:
        return bool(self.directions)

    def keep(self, direction_F: np.ndarray, dot_N: np.ndarray) -> None:
        """``dot_N``: float32, with an error of at most the rounding of a sum of F terms."""
        self.directions, self.products = self.directions[-EARLIER + 1 :], self.products[-EARLIER + 1 :]
        self.directions.append(direction_F)
        self.products.append(dot_N)

    def bound(self, direction_F: np.ndarray) -> tuple[np.ndarray, float]:
        """(dot float32 (N,), slack): a product is at most its dot + slack ||phi||. Rounding is in the slack."""
        known_DF = np.array(self.directions)
        weight_D = np.linalg.lstsq(known_DF.T, direction_F, rcond=1e-3)[0].astype(np.float32)
        dot_N = np.zeros(self.documents, np.float32)
        for weight, product_N in zip(weight_D, self.products, strict=True):
            dot_N += weight * product_N
        sizes = np.abs(weight_D) @ np.linalg.norm(known_DF, axis=1) + np.linalg.norm(direction_F)
        wrong = 2 * (len(direction_F) + 2 * len(known_DF) + 2) * EPSILON
        return dot_N, float(np.linalg.norm(direction_F - weight_D @ known_DF) + wrong * sizes)


class _Kept:
    """The best documents that were seen in a round: as many as hold ``want`` tokens, and of each group a few times what
    its budget has left. What is kept depends on the scores alone, and not on the order in which they come.

    ``few``: tokens of ``FEW`` documents, which are kept at least. ``most``: documents that are kept at most. ``least``:
    a document with a lower score is not kept.
    """

    def __init__(self, taking: _Taking, want: int, few: int, most: int):
        self.taking, self.want, self.few, self.most = taking, want, few, most
        self.view, self.least = taking.view, -np.inf
        self.rows, self.scores = np.zeros(0, np.int64), np.zeros(0)
        self.features = np.zeros((0, len(taking.v_F)), np.float32)
        self.new: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
        self.n_new = 0

    def first(self, rows: np.ndarray, upper_C: np.ndarray) -> np.ndarray:
        """The places in ``rows`` of those that would be kept if their bounds were their scores."""
        n = 4 * FEW
        while n < len(rows):
            some = np.argpartition(-upper_C, n)[:n]
            order = some[np.argsort(-upper_C[some], kind="stable")]
            kept_C, end = self._best(rows[order])
            if end < len(order):
                return np.sort(order[kept_C])
            n *= 4
        return np.arange(len(rows))

    def offer(self, rows: np.ndarray, part_RF: np.ndarray, here: np.ndarray, upper_C: np.ndarray) -> None:
        """Documents ``rows``, which are the rows ``here`` of a part, and upper bounds of their scores."""
        maybe = np.flatnonzero(upper_C >= self.least)
        if not len(maybe):
            return
        x_CF = part_RF[here[maybe]].astype(np.float32, copy=False)
        score_C = self.taking.exact(self.view, rows[maybe], x_CF)
        good = np.flatnonzero(score_C >= self.least)
        self.new.append((rows[maybe[good]], score_C[good], x_CF[good]))
        self.n_new += len(good)
        if self.n_new > max(len(self.rows) // 2, FEW):
            self.cut()

    def result(self) -> tuple[np.ndarray, np.ndarray]:
        self.cut()
        return self.rows, self.features

    def cut(self) -> None:
        rows = np.concatenate([self.rows, *(new[0] for new in self.new)])
        scores = np.concatenate([self.scores, *(new[1] for new in self.new)])
        order = np.lexsort((self.taking.order_N[rows], -scores))
        kept_C, end = self._best(rows[order])
        self.least = float(scores[order[end]]) if end < len(order) else -np.inf
        order = order[kept_C]
        self.features = np.concatenate([self.features, *(x_CF for _, _, x_CF in self.new)])[order]
        self.rows, self.scores = rows[order], scores[order]
        self.new, self.n_new = [], 0

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


@threadpool_limits.wrap(limits=1)
def bound(pool: Pool, room_K: np.ndarray | int, aim: Aim, found: Greedy, iterations: int = 8) -> Certificate:
    """An upper bound of the utility of any selection within the budgets, by the method of Frank and Wolfe (1956).

    The relaxed problem takes any share from 0 to 1 of each document that fits into its group's budget, at least as many
    tokens of each group as ``found`` and at most its budget. The utility U is concave, so at any v the best corner s of
    the relaxed problem bounds it: U(v) + <slope, s - v>. Each iteration finds a corner in two passes over the sketches,
    and moves v to the best mixture of all corners so far. ``iterations`` = 1 bounds at the selection itself.

    For several goals, the least of them is bounded by any mean of them: by the equal one, and by the worst goal alone.
    """
    taking = _Taking(pool, np.atleast_1d(np.asarray(room_K, np.int64)), aim)
    taking.measure()
    if not taking.budget:
        return Certificate(0.0, 0.0)
    relaxed = _Relaxed(taking, found)
    value_J = taking.objective.values(found.v_F)
    n = len(value_J)
    shares = {(1 / n,) * n, tuple(np.eye(n)[value_J.argmin()])}
    tops = [relaxed.bound(taking.objective.weighed(np.array(s)), iterations) for s in sorted(shares)]
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

    def bound(self, goal: Objective, iterations: int) -> float:
        """``goal``: an objective with one goal."""
        v_F, one = self.found.v_F, np.ones(1)
        corners = [v_F]
        best = np.inf
        for iteration in range(max(iterations, 1)):
            slope_F = goal.view(v_F, one).direction_F
            share_N, top = self.corner(slope_F)
            gap = top - float(slope_F @ v_F)
            best = min(best, float(goal.values(v_F)[0]) + gap)
            if gap <= 1e-6 * abs(best) or iteration + 1 == iterations:
                break
            corners.append(self.mean(share_N))
            corner_CF = np.array(corners)
            v_F = goal.mixture(corner_CF, None, None) @ corner_CF
        return best

    def corner(self, slope_F: np.ndarray) -> tuple[np.ndarray, float]:
        """The shares of the budget (N,) that go farthest along the slope, and how far: rounded up, for a bound."""
        taking = self.taking
        score_N = self.products(slope_F) / taking.divisor(np.arange(len(taking.tokens_N)))
        score_N = score_N + taking.rounding(slope_F, score_N, np.arange(len(score_N)))
        rows = self.by_group[np.lexsort((-score_N[self.by_group], taking.group_N[self.by_group]))]
        group, tokens = taking.group_N[rows], taking.tokens_N[rows]
        before = _before_in_group(tokens, group)
        room = np.where(score_N[rows] > 0, self.most_K[group], self.least_K[group])
        taken_N = np.zeros(len(score_N))
        taken_N[rows] = np.clip(room - before, 0, tokens) / taking.budget
        return taken_N, float(taken_N @ score_N)

    def products(self, slope_F: np.ndarray) -> np.ndarray:
        slope32_F = slope_F.astype(np.float32)
        parts = threads.each(lambda job: job[1].astype(np.float32) @ slope32_F, _numbered(self.taking.pool.blocks()))
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

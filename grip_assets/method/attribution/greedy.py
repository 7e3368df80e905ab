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

``bound`` certifies a result: no selection within the same budgets has a larger utility than the bound.
Shapes: N documents, F numbers of a sketch, J goals, T targets, K groups with budgets of their own, C candidates, M
documents taken.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import numpy as np

from grip_assets.errors import GripError
from grip_assets.method.attribution.surrogate import combined

Blocks = Callable[[], Iterable[np.ndarray]]
"""Yields the features of all documents in their order, as float16 or float32 blocks (n, F), each time it is called."""

ROWS = 8192  # documents that are screened at a time
TIMES = 2  # tokens of candidates over those that a round takes
FEW = 1024  # candidates of a round at least
BYTES = 256 << 20  # of candidates at most
WORK = 3e8  # multiplications of a round among its candidates, which decide the number of its steps
STEPS = 16  # of a round at least
EPSILON = 2.0**-24  # of float32


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
    <phi, v>, the part of the alignment that those before had covered; below 0 if they pull the other way. ``goal_M``:
    the goal that these are of: 0 for a sum, for ``maxmin`` the one that was worst. ``utility_J``: R5 of the result for
    each goal, ``tokens`` its size, and ``budget`` what it was divided by. ``v_F``: Σ w phi / budget.
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
    raise NotImplementedError


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
            return f"no selection has a utility above {self.bound:.4g}, and this one has {self.utility:.4g}"
        return f"within {max(1 - self.share, 0.0):.1%} of the relaxed optimum"


def bound(pool: Pool, room_K: np.ndarray | int, aim: Aim, found: Greedy, iterations: int = 8) -> Certificate:
    """An upper bound of the utility of any selection within the budgets, by the method of Frank and Wolfe (1956)."""
    raise NotImplementedError

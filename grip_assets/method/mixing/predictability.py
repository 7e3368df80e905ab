"""How well a regression ranks mixtures that it has not seen. Shapes: n mixtures, D domains, T targets."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from grip_assets.method.agreement import rank_correlation
from grip_assets.method.mixing.law import objective
from grip_assets.method.mixing.regress import REGRESSORS

CHOSEN = 5  # mixtures whose mean loss is compared with the best


@dataclass(frozen=True)
class Split:
    """One split of the mixtures. ``spearman``: rank correlation of predicted and measured losses of the mixtures held
    out. ``spearman_best``: among the quarter of them with the lowest losses, where the choice is made; a swarm whose
    mixtures are far apart flatters every regression over all of them. ``regret``: mean loss of the 5 that are predicted
    best minus the least loss, in standard deviations. ``spread``: that standard deviation. NaN: too few mixtures."""

    split: int
    regressor: str
    spearman: float
    spearman_best: float
    regret: float
    n_train: int
    spread: float


def splits(
    weights_nD: np.ndarray,
    loss: np.ndarray,
    regressor: str,
    n_splits: int = 10,
    share: float = 0.8,
    seed: int = 0,
    importance_T: np.ndarray | None = None,
) -> list[Split]:
    """The regression ``regressor`` fitted on ``share`` of the mixtures and tested on the others, ``n_splits`` times.

    ``loss``: float64 (n,) or (n, T), as in regress.py.
    """
    n_train = round(share * len(loss))
    found = []
    for split in range(n_splits):
        order_n = np.random.default_rng([seed, split]).permutation(len(loss))
        train_n, test_n = order_n[:n_train], order_n[n_train:]
        model = REGRESSORS[regressor](weights_nD[train_n], loss[train_n], seed, importance_T)
        measured = measures(model.predict(weights_nD[test_n]), objective(loss[test_n], importance_T))
        found.append(Split(split, regressor, *measured[:3], n_train, measured[3]))
    return found


def measures(predicted_n: np.ndarray, loss_n: np.ndarray) -> tuple[float, float, float, float]:
    """``spearman``, ``spearman_best``, ``regret`` and ``spread`` of ``Split``."""
    spread = float(np.std(loss_n))
    best_n = np.argsort(loss_n, kind="stable")[: len(loss_n) // 4]
    chosen_n = np.argsort(predicted_n, kind="stable")[:CHOSEN]
    regret = float((loss_n[chosen_n].mean() - loss_n.min()) / spread) if spread > 0 else float("nan")
    within = rank_correlation(predicted_n[best_n], loss_n[best_n])
    return rank_correlation(predicted_n, loss_n), within, regret, spread


def resamples(n: int, count: int, seed: int = 0) -> Iterator[np.ndarray]:
    """``count`` times the numbers (n,) of mixtures drawn with replacement: a regression refitted on each gives the
    bootstrap interval of what it proposes."""
    for number in range(count):
        yield np.random.default_rng([seed, number]).integers(0, n, n)

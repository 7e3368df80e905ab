"""How well a regression ranks mixtures that it has not seen. Shapes: n mixtures, D domains, T targets."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from grip_assets.method.agreement import rank_correlation
from grip_assets.method.mixing.law import objective
from grip_assets.method.mixing.regress import REGRESSORS, Fit
from grip_assets.method.statistics import known

CHOSEN = 5  # mixtures whose mean loss is compared with the best


def splits(
    weights_nD: np.ndarray,
    loss: np.ndarray,
    regressor: str,
    n_splits: int = 10,
    share: float = 0.8,
    seed: int = 0,
    importance_T: np.ndarray | None = None,
    fit: Fit | None = None,
) -> list[dict[str, Any]]:
    """The regression ``regressor`` fitted on ``share`` of the mixtures and tested on the others, ``n_splits`` times.

    ``loss``: float64 (n,) or (n, T), as in regress.py. ``fit``: the regression, if it is not in ``REGRESSORS``. Rows:
    split, regressor, n_train, and what ``measures`` says of the mixtures held out.
    """
    n_train = round(share * len(loss))
    found = []
    for split in range(n_splits):
        order_n = np.random.default_rng([seed, split]).permutation(len(loss))
        train_n, test_n = order_n[:n_train], order_n[n_train:]
        model = (fit or REGRESSORS[regressor])(weights_nD[train_n], loss[train_n], seed, importance_T)
        measured = measures(model.predict(weights_nD[test_n]), objective(loss[test_n], importance_T))
        found.append({"split": split, "regressor": regressor, "n_train": n_train, **measured})
    return found


def measures(predicted_n: np.ndarray, loss_n: np.ndarray) -> dict[str, float | None]:
    """How well predicted losses order measured ones. A value is None if there are too few mixtures for it.

    ``spearman``: rank correlation. ``spearman_best``: the same among the quarter with the lowest losses, where the
    choice is made. ``regret``: mean loss of the 5 that are predicted best minus the least loss, in standard deviations.
    ``spread``: that standard deviation. A swarm of mixtures far apart flatters every regression, except among the best.
    """
    spread = float(np.std(loss_n))
    best_n = np.argsort(loss_n, kind="stable")[: len(loss_n) // 4]
    chosen_n = np.argsort(predicted_n, kind="stable")[:CHOSEN]
    regret = float((loss_n[chosen_n].mean() - loss_n.min()) / spread) if spread > 0 else float("nan")
    found = {
        "spearman": rank_correlation(predicted_n, loss_n),
        "spearman_best": rank_correlation(predicted_n[best_n], loss_n[best_n]),
        "regret": regret,
        "spread": spread,
    }
    return {name: known(value) for name, value in found.items()}


def resamples(n: int, count: int, seed: int = 0) -> Iterator[np.ndarray]:
    """``count`` times the numbers (n,) of mixtures drawn with replacement: a regression refitted on each gives the
    bootstrap interval of what it proposes."""
    for number in range(count):
        yield np.random.default_rng([seed, number]).integers(0, n, n)

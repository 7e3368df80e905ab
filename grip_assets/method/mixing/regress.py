"""Regressions of the loss on the mixture: n mixtures of D domains, losses of T targets.

``REGRESSORS[name](weights_nD, loss, seed, importance_T)`` returns a model with ``predict``. ``loss`` is float64 (n,) or
(n, T), with the importance of each target in the objective (None: equal). Give the losses of all targets, not their
mean: the log-linear law fits each on its own, because a mean of such laws is none. The law itself is in law.py.

``by_embedding`` makes one more, which sees of a mixture only the mean embedding of what it reads.

How well a model ranks mixtures is measured in predictability.py. The best mixture is sought in search.py.
"""

import importlib
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from threadpoolctl import threadpool_limits

from grip_assets.errors import GripError
from grip_assets.method.agreement import mean_ranks
from grip_assets.method.mixing.law import fitted_law, objective

TREES, RATE, PATIENCE = 1000, 0.01, 50  # LightGBM, as in RegMix, but its early stop of 3 rounds ends on noise
HELD_OUT = 0.2  # of the mixtures, for the early stop; never those that a test predicts
FEW = 100  # below so many mixtures, there are none to hold out


class Model(Protocol):
    def predict(self, weights_nD: np.ndarray) -> np.ndarray:
        """The predicted objective of mixtures (n, D), float64 (n,); less is better."""


Fit = Callable[..., Model]


def loglinear(weights_nD: np.ndarray, loss: np.ndarray, seed: int = 0, importance_T: np.ndarray | None = None) -> Model:
    """The log-linear law of each target. Nothing in it is random, so ``seed`` is not used."""
    return fitted_law(weights_nD, loss, importance_T)


@dataclass(frozen=True)
class Fitted:
    """A model of scikit-learn or LightGBM on the square roots of the weights, which spread small weights apart."""

    model: Any

    def predict(self, weights_nD: np.ndarray) -> np.ndarray:
        """float64 (n,)."""
        with threadpool_limits(1):
            return np.asarray(self.model.predict(np.sqrt(weights_nD)), np.float64)


def lightgbm(weights_nD: np.ndarray, loss: np.ndarray, seed: int = 0, importance_T: np.ndarray | None = None) -> Fitted:
    """Gradient-boosted trees [RegMix, arXiv 2407.01492]. GripError if LightGBM cannot be loaded."""
    x_nD, y_n = np.sqrt(weights_nD), objective(loss, importance_T)
    trees = _package()
    parameters = {
        "objective": "regression",
        "learning_rate": RATE,
        "min_data_in_leaf": int(np.clip(len(y_n) // 25, 2, 20)),
        "num_leaves": int(np.clip(len(y_n) // 8, 4, 31)),
        "seed": seed,
        "deterministic": True,
        "force_row_wise": True,
        "num_threads": 1,
        "verbosity": -1,
    }
    held_n = np.random.default_rng(seed).permutation(len(y_n)) < (HELD_OUT * len(y_n) if len(y_n) >= FEW else 0)
    data = trees.Dataset(x_nD[~held_n], y_n[~held_n], params={"verbosity": -1})
    if not held_n.any():
        return Fitted(trees.train(parameters, data, TREES))
    check = trees.Dataset(x_nD[held_n], y_n[held_n], reference=data)
    stop = trees.early_stopping(PATIENCE, verbose=False)
    return Fitted(trees.train(parameters, data, TREES, valid_sets=[check], callbacks=[stop]))


def _package() -> Any:
    try:
        return importlib.import_module("lightgbm")  # its library needs the system's OpenMP, which may not be there
    except (ImportError, OSError) as error:
        raise GripError(
            f"LightGBM cannot be loaded ({error}). It needs the system library libgomp1 (Debian: apt install libgomp1)."
            " Install it, or set settings/mixing.regressor to 'loglinear'."
        ) from None


def gaussian_process(
    weights_nD: np.ndarray, loss: np.ndarray, seed: int = 0, importance_T: np.ndarray | None = None
) -> Fitted:
    """A Gaussian process with a linear and a smooth part and noise; its parameters maximise the likelihood."""
    from sklearn.exceptions import ConvergenceWarning  # slow to import
    from sklearn.gaussian_process import GaussianProcessRegressor
    from sklearn.gaussian_process.kernels import RBF, ConstantKernel, DotProduct, WhiteKernel

    kernel = ConstantKernel(1.0) * RBF(1.0, (0.05, 50)) + DotProduct(1.0) + WhiteKernel(1e-2, (1e-6, 1.0))
    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # a parameter at its bound: little noise, or nothing linear
        model = GaussianProcessRegressor(kernel, normalize_y=True, random_state=seed)
        return Fitted(model.fit(np.sqrt(weights_nD), objective(loss, importance_T)))


@dataclass(frozen=True)
class OnEmbeddings:
    """A Gaussian process on the mean embeddings of mixtures, whose mean in the fit is ``middle_V``. ``mean_DV``: mean
    embeddings of the domains that are asked."""

    model: Any
    mean_DV: np.ndarray
    middle_V: np.ndarray

    def predict(self, weights_nD: np.ndarray) -> np.ndarray:
        """float64 (n,)."""
        with threadpool_limits(1):
            return np.asarray(self.model.predict(weights_nD @ self.mean_DV - self.middle_V), np.float64)


def by_embedding(mean_DV: np.ndarray, known_mV: np.ndarray | None = None, known_m: np.ndarray | None = None) -> Fit:
    """A regression that sees of a mixture only its mean embedding, weights @ ``mean_DV``, float64 (D, V) [C23].

    ``known_mV``, ``known_m``: mean embeddings and objectives of further mixtures, of whatever domains. They are in
    every fit.
    """
    from sklearn.exceptions import ConvergenceWarning  # slow to import
    from sklearn.gaussian_process import GaussianProcessRegressor
    from sklearn.gaussian_process.kernels import RBF, ConstantKernel, DotProduct, WhiteKernel

    before_mV = np.empty((0, mean_DV.shape[1])) if known_mV is None else known_mV
    before_m = np.empty(0) if known_m is None else known_m

    def fit(weights_nD: np.ndarray, loss: np.ndarray, seed: int = 0, importance_T: np.ndarray | None = None) -> Model:
        x_nV = np.concatenate([weights_nD @ mean_DV, before_mV])
        y_n = np.concatenate([objective(loss, importance_T), before_m])
        smooth, linear = RBF(1.0, (0.05, 50)), DotProduct(0.0, "fixed")
        kernel = ConstantKernel() * smooth + ConstantKernel() * linear + WhiteKernel(1e-2, (1e-6, 1.0))
        with threadpool_limits(1), warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # a parameter at its bound, as above
            model = GaussianProcessRegressor(kernel, normalize_y=True, random_state=seed)
            return OnEmbeddings(model.fit(x_nV - x_nV.mean(axis=0), y_n), mean_DV, x_nV.mean(axis=0))

    return fit


@dataclass(frozen=True)
class RankMean:
    """The mean rank by several models. It orders the mixtures that are asked together, and is no loss."""

    models: tuple[Model, ...]

    def predict(self, weights_nD: np.ndarray) -> np.ndarray:
        """float64 (n,): ranks from 1."""
        return np.mean([mean_ranks(model.predict(weights_nD)) for model in self.models], axis=0)


def rank_mean(
    weights_nD: np.ndarray, loss: np.ndarray, seed: int = 0, importance_T: np.ndarray | None = None
) -> RankMean:
    """The log-linear law, LightGBM and the Gaussian process together."""
    return RankMean(tuple(fit(weights_nD, loss, seed, importance_T) for fit in (loglinear, lightgbm, gaussian_process)))


REGRESSORS: dict[str, Fit] = {
    "loglinear": loglinear,
    "lightgbm": lightgbm,
    "gp": gaussian_process,
    "rank_mean": rank_mean,
}

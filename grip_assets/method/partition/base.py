"""The interface of a partition: components that are fitted on a sample, and a rule that assigns each document to one.

To add a method, write a module beside this one with two functions, ``fit`` and ``read``, and an entry in registry.py.
Small clusters, ids and final centroids are the same for all methods, and are in finish.py.

Shapes: N documents, B rows of a block, K components, d dimensions.
"""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np
import polars as pl

from grip_assets.errors import GripError

LABELLED_BY = ("embedding", "column", "student")
"""What can decide a label. ``Assigned.by_B`` has places in this list."""

Log = Callable[[str], None]
NO_LABEL = -1
MOST = 1_024  # most components by default, for k-means and for a column: each costs a probe


class FitSettings(Protocol):
    """The fields of settings/clustering that a fit reads."""

    @property
    def k(self) -> int | None: ...
    @property
    def iterations(self) -> int: ...
    @property
    def seeds(self) -> int: ...
    @property
    def seed(self) -> int: ...
    @property
    def min_cluster_docs(self) -> int: ...
    @property
    def balance(self) -> float: ...
    @property
    def balance_scale(self) -> Literal["relative", "per_sample", "sum"]: ...
    @property
    def target_mass(self) -> list[float]: ...
    @property
    def estep(self) -> Literal["dual", "mirror", "l2"]: ...
    @property
    def inner_steps(self) -> int: ...
    @property
    def kappa(self) -> Literal["shrunk", "tied", "free"]: ...
    @property
    def kappa_prior(self) -> float | None: ...
    @property
    def temperature(self) -> float | None: ...
    @property
    def center(self) -> bool: ...
    @property
    def pca(self) -> int | None: ...
    @property
    def fit_iterations(self) -> int: ...
    @property
    def tolerance(self) -> float: ...
    @property
    def continuation(self) -> int: ...


class Assigned(NamedTuple):
    """``label_B``: the component of each row, int32. ``confidence_B``: float32 from 0 to 1, defined by the method.
    ``by_B``: what decided the label, int8, a place in LABELLED_BY. ``generative_B``: for a mixture, the component that
    the row would have without the offset; NO_LABEL for other methods, int32."""

    label_B: np.ndarray
    confidence_B: np.ndarray
    by_B: np.ndarray
    generative_B: np.ndarray


class PoolFacts(NamedTuple):
    """What a fit knows of the pool, beside the vectors of the sample.

    ``n_documents``: number of documents in the whole pool. The others only for a partition by a column. ``column``: its
    name. ``value_N``: its value for each row of the sample, or null. ``values``: its most common values in the whole
    pool (value, n_docs), the most common first.
    """

    n_documents: int
    column: str | None = None
    value_N: pl.Series | None = None
    values: pl.DataFrame | None = None


class Fitted(Protocol):
    """A fitted partition. It can be pickled. The label of a row depends on that row alone, so neither blocks nor
    workers change a label."""

    @property
    def centroids_KD(self) -> np.ndarray:
        """Directions of the components, float32 (K, d)."""
        ...

    @property
    def rest(self) -> int | None:
        """The component that takes the documents of dissolved ones, and is dissolved last; None if there is none."""
        ...

    def assign(self, x_BD: np.ndarray, value_B: pl.Series | None = None) -> Assigned:
        """The component of each row.

        ``x_BD``: vectors of any length. ``value_B``: values of the column, for a partition by a column. GripError for a
        zero vector.
        """
        ...

    def log_density(self, x_BD: np.ndarray, label_B: np.ndarray) -> np.ndarray:
        """The log density of each row under the component ``label_B``, up to a constant in each component.

        float64 (B,). ``x_BD``: vectors of any length. For a method without densities it is the cosine to the
        component's centroid, by which its members rank in the same order under any von Mises-Fisher density.
        """
        ...

    def only(self, components: np.ndarray) -> "Fitted":
        """The same fit with only these ``components`` (ascending). Its labels are places in ``components``."""
        ...

    def tables(self) -> dict[str, pl.DataFrame]:
        """The tables ``components`` (one row per component), ``fit_trace`` (FIT_TRACE) and, if vectors are projected,
        ``projection`` (axes.py).

        ``read`` restores the fit from ``components`` and ``projection``.
        """
        ...


class Partition(Protocol):
    """The functions that the module of a method has."""

    def fit(self, sample_ND: np.ndarray, settings: FitSettings, log: Log, pool: PoolFacts | None = None) -> Fitted: ...

    def read(self, components: pl.DataFrame) -> Fitted: ...


FIT_TRACE = pl.Schema({"seed": pl.Int64(), "iteration": pl.Int64(), "objective": pl.Float64(), "balance": pl.Float64()})
OF_MIXTURE = ("kappa", "log_norm", "offset", "soft_mass", "temperature")
"""Columns of ``components`` that only a mixture fills."""


def components_table(method: str, centroids_KD: np.ndarray, **more: list | np.ndarray | pl.Series) -> pl.DataFrame:
    """The table ``components``. ``more``: columns of one method, which replace the defaults."""
    k, d = centroids_KD.shape
    types: dict[str, Any] = {"column": pl.String, "value": pl.String} | dict.fromkeys(OF_MIXTURE, pl.Float64)
    own = {name: pl.Series([None] * k, dtype=type) for name, type in types.items()}
    own |= {name: pl.Series(values, dtype=own[name].dtype if name in own else None) for name, values in more.items()}
    centroid = pl.Series("centroid", np.ascontiguousarray(centroids_KD, np.float32), dtype=pl.Array(pl.Float32, d))
    ids = pl.DataFrame({"cluster_id": pl.int_range(k, dtype=pl.Int32, eager=True)})
    return ids.with_columns(method=pl.lit(method), **own).with_columns(centroid)


def centroids_of(components: pl.DataFrame) -> np.ndarray:
    """Column ``centroid`` as float32 (K, d)."""
    return np.array(components["centroid"].to_numpy(), np.float32, order="C").reshape(len(components), -1)


def choose_k(n_documents: int, k: int | None) -> int:
    """Number of clusters [A18]: ``k``, or sqrt(N) between 16 and 1,024, but at most N. GripError if k is above N."""
    if k is None:
        return min(int(np.clip(round(np.sqrt(n_documents)), 16, MOST)), n_documents)
    if k > n_documents:
        raise GripError(
            f"settings/clustering.k is {k}, and the corpus has only {n_documents} documents."
            " Lower k, or set it to null to have it chosen."
        )
    return k


def enough_rows(n: int, k: int) -> None:
    """GripError if a sample of ``n`` rows is too small to fit ``k`` clusters on."""
    if k > n:
        raise GripError(
            f"settings/clustering.fit_sample leaves {n} documents, too few to fit {k} clusters."
            f" Raise fit_sample to {k} or more, or lower k."
        )


def no_labels(n: int) -> np.ndarray:
    """``generative_B`` for ``n`` rows of a method that is no mixture."""
    return np.full(n, NO_LABEL, np.int32)


def by_centroid(n: int) -> np.ndarray:
    """``by_B`` for ``n`` rows whose labels were decided by their vectors."""
    return np.zeros(n, np.int8)

"""What a partition is: components that are fitted on a sample, and a rule that gives each document to one of them.

A method is one module beside this one with two functions, ``fit`` and ``read``, and one entry in registry.py. What is
common to all methods does not belong here: small clusters, ids and centroids are in finish.py.

Shapes: N documents, B rows of a block, K components, d dimensions.
"""

from collections.abc import Callable
from typing import NamedTuple, Protocol

import numpy as np
import polars as pl

from grip_assets.errors import GripError

LABELLED_BY = ("embedding", "column")
"""What can decide a label. ``Assigned.by_B`` holds places in this list."""

Log = Callable[[str], None]
MOST = 1_024  # components that k-means makes of itself, and values of a column that are components: each costs a probe


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


class Assigned(NamedTuple):
    """``label_B``: int32, the component of each row. ``confidence_B``: float32 from 0 to 1; each method says what it
    means. ``by_B``: int8, what decided (LABELLED_BY)."""

    label_B: np.ndarray
    confidence_B: np.ndarray
    by_B: np.ndarray


class PoolFacts(NamedTuple):
    """What a fit is told of the pool beside the sample's vectors.

    ``n_documents``: documents of the whole pool. ``column``: the name in settings/clustering.column; ``value_N``: the
    text in it for each row of the sample, null where there is none; ``values``: its most common values in the whole
    pool (value, n_docs), the most common first.
    """

    n_documents: int
    column: str | None = None
    value_N: pl.Series | None = None
    values: pl.DataFrame | None = None


class Fitted(Protocol):
    """A fitted partition. It survives ``pickle``, and labels each row by itself, so that neither blocks nor workers
    change a label."""

    @property
    def centroids_KD(self) -> np.ndarray:
        """Directions of the components, float32 (K, d)."""
        ...

    @property
    def rest(self) -> int | None:
        """The component that takes what the dissolved ones leave. It is dissolved last. None: there is no such one."""
        ...

    def assign(self, x_BD: np.ndarray, value_B: pl.Series | None = None) -> Assigned:
        """The component that claims each row most. ``x_BD``: vectors of any length; ``value_B``: texts of the column
        that the partition was fitted on, where it was. GripError for a vector without direction."""
        ...

    def only(self, components: np.ndarray) -> "Fitted":
        """The same fit with these components alone; its labels are places in ``components``, which ascend."""
        ...

    def tables(self) -> dict[str, pl.DataFrame]:
        """``components`` (COMPONENTS and what the method has besides, one row per component) and ``fit_trace``
        (FIT_TRACE). ``read`` makes the fit again from ``components``."""
        ...


class Partition(Protocol):
    """A method, as its module offers it."""

    def fit(self, sample_ND: np.ndarray, settings: FitSettings, log: Log, pool: PoolFacts | None = None) -> Fitted: ...

    def read(self, components: pl.DataFrame) -> Fitted: ...


FIT_TRACE = pl.Schema({"seed": pl.Int64(), "iteration": pl.Int64(), "objective": pl.Float64()})


def components_table(method: str, centroids_KD: np.ndarray, **more: list | pl.Series) -> pl.DataFrame:
    """The columns that all methods share, and those of one method."""
    k, d = centroids_KD.shape
    own = {"column": pl.Series([None] * k, dtype=pl.String), "value": pl.Series([None] * k, dtype=pl.String)}
    own |= {name: pl.Series(values, dtype=own[name].dtype if name in own else None) for name, values in more.items()}
    centroid = pl.Series("centroid", np.ascontiguousarray(centroids_KD, np.float32), dtype=pl.Array(pl.Float32, d))
    ids = pl.DataFrame({"cluster_id": pl.int_range(k, dtype=pl.Int32, eager=True)})
    return ids.with_columns(method=pl.lit(method), **own).with_columns(centroid)


def centroids_of(components: pl.DataFrame) -> np.ndarray:
    """Column ``centroid`` as float32 (K, d)."""
    return np.array(components["centroid"].to_numpy(), np.float32, order="C").reshape(len(components), -1)


def choose_k(n_documents: int, k: int | None) -> int:
    """A18: k, or sqrt(N) between 16 and 1,024 (never more than N)."""
    if k is None:
        return min(int(np.clip(round(np.sqrt(n_documents)), 16, MOST)), n_documents)
    if k > n_documents:
        raise GripError(
            f"settings/clustering.k is {k}, and the corpus has only {n_documents} documents."
            " Lower k, or set it to null to have it chosen."
        )
    return k


def by_centroid(n: int) -> np.ndarray:
    """``by_B`` of rows whose vectors decided."""
    return np.zeros(n, np.int8)

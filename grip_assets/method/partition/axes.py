"""Centred vectors, and their principal axes: in fewer dimensions a mixture is softer.

A row is projected by itself, in float64, so its result depends on that row alone. Shapes: N rows, B rows of a block,
P axes, d dimensions.
"""

from dataclasses import dataclass

import numpy as np
import polars as pl
from threadpoolctl import threadpool_limits

from grip_assets.errors import GripError
from grip_assets.method.screening import compiled
from grip_assets.runtime import threads

ROWS = 65_536  # most rows from which the axes are computed
CHUNK = 4096
NOTHING = 1e-6  # a row shorter than this is at the mean


@dataclass(frozen=True)
class Axes:
    """``mean_D``: of unit rows. ``axes_PD``: orthonormal rows; None: rows are only centred. Both float32."""

    mean_D: np.ndarray
    axes_PD: np.ndarray | None

    def apply(self, x_BD: np.ndarray) -> np.ndarray:
        """Unit rows, float32 (B, P) or (B, d). A row at the mean becomes zeros."""
        axes_PD = self.axes_PD
        y_BP = np.empty((len(x_BD), x_BD.shape[1] if axes_PD is None else len(axes_PD)), np.float32)
        mean_D, none = self.mean_D.astype(np.float64), np.empty((0, len(self.mean_D)))
        _project(x_BD, mean_D, none if axes_PD is None else axes_PD.astype(np.float64), y_BP)
        return y_BP

    def table(self) -> pl.DataFrame:
        """The table ``projection``: row 0 is the mean, the others are the axes."""
        rows = self.mean_D[None] if self.axes_PD is None else np.vstack([self.mean_D[None], self.axes_PD])
        vector = pl.Series("vector", rows, dtype=pl.Array(pl.Float32, rows.shape[1]))
        return pl.DataFrame({"axis": pl.int_range(len(rows), dtype=pl.Int32, eager=True)}).with_columns(vector)


def read(projection: pl.DataFrame) -> Axes:
    rows = np.array(projection["vector"].to_numpy(), np.float32, order="C").reshape(len(projection), -1)
    return Axes(rows[0], rows[1:] if len(rows) > 1 else None)


def project(axes: Axes, x_ND: np.ndarray) -> np.ndarray:
    """``Axes.apply`` on threads. GripError if all rows are at the mean."""
    chunks = (x_ND[start : start + CHUNK] for start in range(0, len(x_ND), CHUNK))
    y_NP = np.concatenate(list(threads.each(axes.apply, chunks)))
    if not y_NP.any():
        raise GripError(
            "All documents that the partition is fitted on have the same vector, so nothing is left of them after"
            " centring. Set settings/clustering.center to false and settings/clustering.pca to null."
        )
    return y_NP


def centred(x_ND: np.ndarray, dimensions: int | None) -> Axes:
    """The mean of unit rows, and the ``dimensions`` principal axes around it. None: only the mean.

    GripError for more axes than the rows span.
    """
    some_ND = x_ND[:ROWS]
    most = min(len(some_ND) - 1, x_ND.shape[1])
    if dimensions is not None and dimensions > most:
        raise GripError(
            f"settings/clustering.pca is {dimensions}, and {len(some_ND):,} vectors of {x_ND.shape[1]} dimensions have"
            f" at most {most} principal axes. Lower it, or set it to null."
        )
    mean_D = some_ND.mean(0, dtype=np.float64)
    if dimensions is None:
        return Axes(mean_D.astype(np.float32), None)
    covariance_DD = np.zeros((len(mean_D), len(mean_D)))
    with threadpool_limits(1):  # more threads could sum in another order
        for start in range(0, len(some_ND), CHUNK):
            y_BD = some_ND[start : start + CHUNK] - mean_D
            covariance_DD += y_BD.T @ y_BD
        _, vectors_DD = np.linalg.eigh(covariance_DD)
    axes_PD = vectors_DD[:, ::-1].T[:dimensions]
    largest_P = np.abs(axes_PD).argmax(1)
    axes_PD = axes_PD * np.sign(axes_PD[np.arange(dimensions), largest_P])[:, None]
    return Axes(mean_D.astype(np.float32), np.ascontiguousarray(axes_PD, np.float32))


@compiled
def _project(x_BD, mean_D, axes_PD, y_BP):
    row_P = np.empty(y_BP.shape[1])
    for b in range(x_BD.shape[0]):
        square = 0.0
        for p in range(y_BP.shape[1]):
            value = 0.0
            if axes_PD.shape[0]:
                for j in range(x_BD.shape[1]):
                    value += (x_BD[b, j] - mean_D[j]) * axes_PD[p, j]
            else:
                value = x_BD[b, p] - mean_D[p]
            row_P[p] = value
            square += value * value
        length = np.sqrt(square)
        for p in range(y_BP.shape[1]):
            y_BP[b, p] = row_P[p] / length if length > NOTHING else 0.0

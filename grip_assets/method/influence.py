"""The influence of a document in its cluster: GEM's score GIS, by which representatives are chosen [GEM E14].

    GIS_k(i) = log gamma_ik + log f_ik + b log rho_k(i)

gamma is the confidence of the label, f the density of the document under its component, and rho the mean cosine to its
nearest members. Influences of different clusters are not comparable, since log f has another constant in each.
Shapes: M members of one cluster, d dimensions, n chosen members. Rows are unit vectors.
"""

from typing import Literal, NamedTuple

import numpy as np

from grip_assets.method import neighbours as search
from grip_assets.method.screening import Format

FLOOR = 1e-8  # least gamma and least rho
EVEN = 1e-12  # a term whose spread is below this share of its size is the same for all members

Standardize = Literal["zscore", "none"]


class Terms(NamedTuple):
    """The three terms of E14 for the members of one cluster, float64 (M,) each."""

    log_gamma_M: np.ndarray
    log_density_M: np.ndarray
    log_rho_M: np.ndarray


def terms(
    x_MD: np.ndarray, log_gamma_M: np.ndarray, log_density_M: np.ndarray, neighbours: int, format: Format = "float32"
) -> Terms:
    """The terms of all members of a cluster.

    ``x_MD``: unit rows, float32. ``log_gamma_M``: ``log_floored`` of the confidence. ``log_density_M``: as
    ``Fitted.log_density`` returns it. rho is the mean cosine to the ``neighbours`` nearest other members, or to all of
    a smaller cluster. The search is exact, at M^2 d operations in ``format``, which changes no bit.
    """
    rho_M = log_rho(x_MD, neighbours, format)
    return Terms(np.asarray(log_gamma_M, np.float64), np.asarray(log_density_M, np.float64), rho_M)


def log_floored(share_M: np.ndarray) -> np.ndarray:
    """The logarithm in float64, of at least FLOOR."""
    return np.log(np.maximum(np.asarray(share_M, np.float64), FLOOR))


def log_rho(x_MD: np.ndarray, neighbours: int, format: Format = "float32") -> np.ndarray:
    """log rho of each row, float64 (M,). A cluster of one has no neighbours, so its rho is FLOOR."""
    k = min(neighbours, len(x_MD) - 1)
    if k < 1:
        return log_floored(np.zeros(len(x_MD)))
    distance_Mk = search.nearest(search.Cluster.of(x_MD, format), 0, len(x_MD), k)
    return log_floored((1 - distance_Mk**2 / 2).mean(1))


def influence(terms: Terms, exponent: float, standardize: Standardize = "zscore") -> np.ndarray:
    """E14, float64 (M,). ``exponent``: b.

    ``none`` is the paper's sum. There log f has by far the largest spread, so documents rank by their cosine to the
    centre. ``zscore`` first shifts and scales each term to mean 0 and standard deviation 1 in the cluster.
    """
    gamma_M, density_M, rho_M = terms if standardize == "none" else map(zscored, terms)
    return gamma_M + density_M + exponent * rho_M


def zscored(value_M: np.ndarray) -> np.ndarray:
    """Values with mean 0 and standard deviation 1, float64; zeros if all are the same up to rounding."""
    value_M = np.asarray(value_M, np.float64)
    spread = value_M.std() if len(value_M) else 0.0
    if spread <= EVEN * max(np.abs(value_M).max(initial=0.0), 1.0):
        return np.zeros(len(value_M))
    return (value_M - value_M.mean()) / spread


def descending(influence_M: np.ndarray, doc_id_M: np.ndarray) -> np.ndarray:
    """The rows by falling influence, int64 (M,). Of equal influence, the smaller ``doc_id_M`` comes first."""
    return np.lexsort((doc_id_M, -influence_M))


def top(order_M: np.ndarray, x_MD: np.ndarray, n: int, near_copy: float) -> np.ndarray:
    """The first ``n`` rows of ``order_M`` that are no near copies of each other, int64 (at most n,).

    A row is skipped if its cosine to a row that was taken before is above ``near_copy``.
    """
    taken: list[int] = []
    x_nD = np.empty((min(n, len(order_M)), x_MD.shape[1]))
    for row in order_M:
        if len(taken) == len(x_nD):
            break
        x_D = x_MD[row].astype(np.float64)
        if not (x_nD[: len(taken)] @ x_D > near_copy).any():
            x_nD[len(taken)] = x_D
            taken.append(int(row))
    return np.array(taken, np.int64)

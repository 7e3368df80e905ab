"""How evenly a partition spreads its documents, and what that costs [spec 2.5, 2.6]: figures, and the fits to compare.

The figures of masses ask whether a partition collapses: a few heavy clusters, many empty ones. Those of labels ask what
an even partition costs: cohesion, agreement with groups that are known (language, project), and whether small groups
keep clusters of their own. All fits are on the same rows, with the same number of clusters and the same seeds.
Shapes: N rows, K clusters, d dimensions.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import polars as pl

from grip_assets.method.agreement import mutual_information
from grip_assets.method.partition import estep, gem, kmeans, mixture, posterior
from grip_assets.method.partition.base import FitSettings, Fitted, Log
from grip_assets.method.partition.lloyd import Rows, cosines, prepare
from grip_assets.method.partition.mixture import Mixture, Options
from grip_assets.method.partition.posterior import Linear, Moments, kept
from grip_assets.method.partition.seeding import kmeanspp
from grip_assets.runtime import threads

FITS = ("kmeans", "spherical_kmeans", "vmf_learned", "vmf_uniform", "gem")
LAMBDAS = (0.0, 0.05, 0.125, 0.5, 1.25, 5.6)
"""The sweep of spec 2.6, in units of the mean kappa of the start."""
LIGHT = 0.1  # a light cluster has less than this share of an even mass
LEAST = 5  # rows of a group at least: smaller ones say nothing about a cluster
CHUNK = 4096


class Evenness(NamedTuple):
    """How even K masses are.

    ``entropy``: H / log K, 1 if all are equal. ``effective``: exp(H), the number of equal masses with this entropy.
    ``largest``: the largest share. ``smallest``: the smallest share times K. ``gini``: 0 if all are equal, almost 1 if
    one has all. ``light``: share of the clusters whose mass is below 0.1 / K.
    """

    entropy: float
    effective: float
    largest: float
    smallest: float
    gini: float
    light: float


def evenness(mass_K: np.ndarray) -> Evenness:
    """Figures of masses that need not sum to 1. A mass may be 0, but not all of them."""
    share_K = np.sort(np.asarray(mass_K, np.float64) / np.sum(mass_K))
    k, some = len(share_K), share_K[share_K > 0]
    entropy = min(max(float(-(some * np.log(some)).sum()), 0.0), float(np.log(k)))
    gini = 2 * float(np.arange(1, k + 1) @ share_K) / k - (k + 1) / k
    return Evenness(
        entropy / np.log(k) if k > 1 else 1.0,
        min(float(np.exp(entropy)), float(k)),
        float(share_K[-1]),
        min(float(share_K[0]) * k, 1.0),
        max(gini, 0.0),
        float((share_K < LIGHT / k).mean()),
    )


def groups(values: pl.Series) -> np.ndarray | None:
    """A number for each value's group, int64 (N,); -1 for null and for groups of fewer than LEAST rows.

    None if there are fewer than two groups: then nothing can be compared.
    """
    counts = values.drop_nulls().value_counts(name="n").filter(pl.col("n") >= LEAST)
    names = counts[values.name].sort()
    if len(names) < 2:
        return None
    codes = values.replace_strict(names, pl.int_range(len(names), eager=True), default=-1, return_dtype=pl.Int64)
    return codes.fill_null(-1).to_numpy()


def small_recall(label_N: np.ndarray, group_N: np.ndarray, k: int) -> float | None:
    """Share of the rows of small groups that are in a cluster in which no other group has more rows than theirs.

    A group is small if it has less than 1 / k of all rows: less than its share if all clusters were equal. None if
    there is no small group. ``group_N``: see ``groups``; rows with -1 count only as rows.
    """
    known_N = group_N >= 0
    sizes_G = np.bincount(group_N[known_N])
    small_G = (sizes_G > 0) & (sizes_G < len(group_N) / k)
    if not small_G.any():
        return None
    # pairs (cluster, group) that occur; a table of all pairs could be large
    cell_N = label_N[known_N].astype(np.int64) * len(sizes_G) + group_N[known_N]
    pairs, counts_P = np.unique(cell_N, return_counts=True)
    label_P, group_P = pairs // len(sizes_G), pairs % len(sizes_G)
    most_K = np.zeros(int(label_P.max()) + 1, np.int64)
    np.maximum.at(most_K, label_P, counts_P)
    found_P = small_G[group_P] & (counts_P == most_K[label_P])
    return float(counts_P[found_P].sum() / sizes_G[small_G].sum())


@dataclass(frozen=True)
class Fit:
    """A fitted partition of the rows. ``balance``: lambda as settings/clustering.balance has it; None for k-means.
    ``label_N``: the cluster of each row. ``hard_K``: the number of rows of each cluster. ``soft_K``: the mean
    membership; None for k-means. ``mean_cosine``: of the rows to the directions of their clusters."""

    name: str
    balance: float | None
    label_N: np.ndarray
    hard_K: np.ndarray
    soft_K: np.ndarray | None
    mean_cosine: float

    def masses(self) -> dict[str, np.ndarray]:
        """Masses by kind: hard, and soft where there are any."""
        return {"hard": self.hard_K} | ({} if self.soft_K is None else {"soft": self.soft_K})

    def rows(self, columns: Mapping[str, np.ndarray | None]) -> list[dict]:
        """Rows of the table ``balance``. ``columns``: groups (see ``groups``) by the name of their column.

        What follows from labels alone is in the row of the hard masses.
        """
        found: list[dict] = []
        for kind, mass_K in self.masses().items():
            row = {"fit": self.name, "masses": kind, "balance": self.balance, **evenness(mass_K)._asdict()}
            found.append(row | (self._of_labels(columns) if kind == "hard" else {}))
        return found

    def _of_labels(self, columns: Mapping[str, np.ndarray | None]) -> dict[str, float | None]:
        found: dict[str, float | None] = {"mean_cosine": self.mean_cosine}
        for name, group_N in columns.items():
            if group_N is not None:
                known_N = group_N >= 0
                found[f"nmi_{name}"] = mutual_information(self.label_N[known_N], group_N[known_N])
                found[f"small_recall_{name}"] = small_recall(self.label_N, group_N, len(self.hard_K))
        return found


def compared(
    x_ND: np.ndarray, k: int, settings: FitSettings, in_force: Fit | None, log: Log = lambda line: None
) -> Iterator[Fit]:
    """The fits of FITS in turn. ``x_ND``: unit rows, float32. ``in_force``: the last one, if it is there already."""
    rows, options = prepare(x_ND), gem.options(settings)
    yield _euclidean(rows, k, settings, log)
    yield _spherical(rows, k, settings, log)
    plain = replace(options, balance=0.0, target_K=None)
    log("fitting a von Mises-Fisher mixture with a learned prior")
    learned = mixture.fit(rows, k, replace(plain, prior="learned"), log)
    yield of_mixture("vmf_learned", x_ND, learned, 0.0)
    log("fitting a von Mises-Fisher mixture with a uniform prior")
    yield of_mixture("vmf_uniform", x_ND, mixture.fit(rows, k, plain, log), 0.0)
    yield in_force or of_mixture("gem", x_ND, mixture.fit(rows, k, options, log), options.balance)


def swept(
    x_ND: np.ndarray, k: int, options: Options, lambdas: list[float], log: Log = lambda line: None
) -> Iterator[Fit]:
    """GEM with each of ``lambdas``, in units of the mean kappa of the start."""
    rows = prepare(x_ND)
    for value in lambdas:
        found = mixture.fit(rows, k, replace(options, balance=value, balance_scale="relative"), log)
        yield of_mixture("gem", x_ND, found, value)


def of_mixture(name: str, x_ND: np.ndarray, found: Mixture, balance: float) -> Fit:
    label_N = labels(gem.of(found), x_ND)
    return _fit(name, balance, x_ND, found.mu_KD, label_N, found.soft_mass_K)


def of_partition(x_ND: np.ndarray, fitted: gem.Gem, balance: float) -> Fit:
    """The partition in force. ``x_ND``: unit rows in its own space, that is, after its projection."""
    here = replace(fitted, projection=None)
    return _fit("gem", balance, x_ND, fitted.centroids_KD, labels(here, x_ND), fitted.soft_mass_K)


def labels(fitted: Fitted, x_ND: np.ndarray) -> np.ndarray:
    """The component of each row, int32 (N,)."""
    chunks = (x_ND[start : start + CHUNK] for start in range(0, len(x_ND), CHUNK))
    return np.concatenate(list(threads.each(lambda x_BD: fitted.assign(x_BD).label_B, chunks)))


def _fit(
    name: str, balance: float | None, x_ND: np.ndarray, c_KD: np.ndarray, label_N: np.ndarray, soft_K: np.ndarray | None
) -> Fit:
    cosine_N = np.empty(len(x_ND))
    cosines(x_ND, mixture.unit(c_KD), label_N, cosine_N)
    hard_K = np.bincount(label_N, minlength=len(c_KD))
    return Fit(name, balance, label_N, hard_K, soft_K, float(cosine_N.mean()))


def _spherical(rows: Rows, k: int, settings: FitSettings, log: Log) -> Fit:
    """Our k-means (kmeans.py), without dissolving small clusters. Equal centroids are one: the others are empty."""
    log("fitting spherical k-means")
    fitted = kmeans.fit_rows(rows, k, settings, 0, log)
    empty_KD = np.ones((k - len(fitted.centroids_KD), rows.x_ND.shape[1]), np.float32)
    c_KD = np.concatenate([fitted.centroids_KD, empty_KD])
    return _fit("spherical_kmeans", None, rows.x_ND, c_KD, labels(fitted, rows.x_ND), None)


def _euclidean(rows: Rows, k: int, settings: FitSettings, log: Log) -> Fit:
    """Plain k-means: centroids are means, of any length, and rows go to the nearest by Euclidean distance.

    Of ``seeds`` starts, the one with the lowest mean distance is kept.
    """
    log("fitting k-means")
    x_ND, best_KD, highest = rows.x_ND, np.empty(0), -np.inf
    for seed in range(settings.seed, settings.seed + settings.seeds):
        c_KD = x_ND[np.sort(kmeanspp(x_ND, k, seed))].astype(np.float64)
        moments = _nearest(rows, c_KD)
        for _ in range(settings.iterations):
            c_KD = _means(moments, c_KD)
            moments = _nearest(rows, c_KD)
        if moments.log_sum > highest:  # the sum of x.c - ||c||^2 / 2, which is (1 - ||x - c||^2) / 2
            best_KD, highest = c_KD, moments.log_sum
    return _fit("kmeans", None, x_ND, best_KD, _nearest_labels(rows, best_KD), None)


def _nearest(rows: Rows, c_KD: np.ndarray) -> Moments:
    """Sums of the rows by nearest centroid, exact as those of lloyd.py."""
    linear, none_K = _by_distance(c_KD, rows), np.zeros(len(c_KD))

    def of(some: slice) -> Moments:
        return posterior.summed(kept(rows.x_ND[some], rows.codes[some], linear, 0.0), none_K, rows.x_ND[some])

    return estep.total(rows, of)


def _nearest_labels(rows: Rows, c_KD: np.ndarray) -> np.ndarray:
    linear, none_K = _by_distance(c_KD, rows), np.zeros(len(c_KD))

    def of(start: int) -> np.ndarray:
        some = slice(start, start + CHUNK)
        return posterior.labels(kept(rows.x_ND[some], rows.codes[some], linear, 0.0), none_K).label_B

    return np.concatenate(list(threads.each(of, range(0, len(rows.x_ND), CHUNK))))


def _by_distance(c_KD: np.ndarray, rows: Rows) -> Linear:
    """x.c - ||c||^2 / 2: largest for the centroid with the lowest Euclidean distance."""
    return Linear.of(c_KD, -np.einsum("kd,kd->k", c_KD, c_KD) / 2, rows.codes.format)


def _means(moments: Moments, c_KD: np.ndarray) -> np.ndarray:
    """The mean of each cluster; the centroid itself if the cluster is empty."""
    assert moments.sum_KD is not None
    some_K = moments.mass_K > 0
    new_KD = c_KD.copy()
    new_KD[some_K] = moments.sum_KD[some_K] / moments.mass_K[some_K, None]
    return new_KD

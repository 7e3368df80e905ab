"""GEM: a mixture of von Mises-Fisher distributions whose masses are kept balanced, as a partition [E1 to E13].

Here is the interface (base.py): the number of components, the projection, labels and tables. The fit is in mixture.py,
its E-steps in estep.py, the distribution in vmf.py, the posterior of a row in posterior.py.

A document's component is that with the largest l_ik + v_k. Its confidence is gamma of that component, at the
temperature in force. ``generative_B`` is the component with the largest l_ik: what the label would be without the
offset v. Shapes: N rows of the sample, B rows of a block, K components, d dimensions.
"""

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import polars as pl

from grip_assets.errors import GripError
from grip_assets.method.geometry import unit_rows
from grip_assets.method.partition import axes, lloyd, mixture, posterior
from grip_assets.method.partition.axes import Axes
from grip_assets.method.partition.base import (
    FIT_TRACE,
    Assigned,
    FitSettings,
    Log,
    PoolFacts,
    by_centroid,
    centroids_of,
    choose_k,
    components_table,
    enough_rows,
)
from grip_assets.method.partition.mixture import Mixture, Options, Trace
from grip_assets.method.partition.posterior import CUT, Label, Linear
from grip_assets.method.screening import encode, fastest

OF_COMPONENTS = ("kappa", "log_norm", "offset", "soft_mass")  # columns of the table ``components``
ROOM = 40  # documents for each component; with fewer, the balance term cannot do its work


@dataclass(frozen=True)
class Gem:
    """A fitted mixture. ``centroids_KD``: the directions mu, float32, in the space of ``projection`` if there is one.
    The others: see ``Mixture``."""

    centroids_KD: np.ndarray
    kappa_K: np.ndarray
    log_norm_K: np.ndarray
    offset_K: np.ndarray
    soft_mass_K: np.ndarray
    temperature: float
    projection: Axes | None = None
    trace: Trace = field(default_factory=list)
    rest: None = None

    @cached_property
    def _logits(self) -> Linear:
        bias_K = self.log_norm_K + self.offset_K
        return mixture.logits(self.centroids_KD, self.kappa_K, bias_K, self.temperature, fastest()[0])

    def assign(self, x_BD: np.ndarray, value_B: pl.Series | None = None) -> Assigned:
        """The component with the largest l + v; ties go to the lowest id."""
        found = self._label(self._rows(x_BD))
        return Assigned(
            found.label_B, found.weight_B.astype(np.float32), by_centroid(len(x_BD)), found.without_offset_B
        )

    def posterior(self, x_BD: np.ndarray) -> np.ndarray:
        """gamma, float64 (B, K), of a block of rows. A weight below e^-38 counts as 0."""
        x_BD = self._rows(x_BD)
        pairs = posterior.kept(x_BD, encode(x_BD, self._logits.codes.format), self._logits)
        return posterior.dense(pairs, len(self.kappa_K))

    def log_gamma(self, x_BD: np.ndarray) -> np.ndarray:
        """log gamma of each row's label, float64 (B,)."""
        return self._label(self._rows(x_BD)).log_weight_B

    def log_density(self, x_BD: np.ndarray, label_B: np.ndarray) -> np.ndarray:
        """log f of each row under the component ``label_B`` [E1], float64 (B,)."""
        cosine_B = np.empty(len(label_B))
        lloyd.cosines(self._rows(x_BD), self._directions_KD, label_B, cosine_B)
        return self.log_norm_K[label_B] + self.kappa_K[label_B] * cosine_B

    @cached_property
    def _directions_KD(self) -> np.ndarray:
        return mixture.unit(self.centroids_KD)

    def _rows(self, x_BD: np.ndarray) -> np.ndarray:
        x_BD = unit_rows(x_BD)
        return x_BD if self.projection is None else self.projection.apply(x_BD)

    def _label(self, x_BD: np.ndarray) -> Label:
        shift_K = self.offset_K / self.temperature
        # wide enough for the component that would be best without the offset
        cut = CUT + float(np.ptp(shift_K))
        found = []
        for start in range(0, max(len(x_BD), 1), posterior.BLOCK):  # so that memory is bounded, however many are left
            some_BD = x_BD[start : start + posterior.BLOCK]
            coded = encode(some_BD, self._logits.codes.format)
            found.append(posterior.labels(posterior.kept(some_BD, coded, self._logits, cut), shift_K))
        return Label(*(np.concatenate(column) for column in zip(*found, strict=True)))

    def only(self, components: np.ndarray) -> "Gem":
        some: dict[str, Any] = {f"{name}_K": getattr(self, f"{name}_K")[components] for name in OF_COMPONENTS}
        return replace(self, centroids_KD=np.ascontiguousarray(self.centroids_KD[components]), **some)

    def tables(self) -> dict[str, pl.DataFrame]:
        own = {name: getattr(self, f"{name}_K") for name in OF_COMPONENTS}
        temperature = np.full(len(self.kappa_K), self.temperature)
        components = components_table("gem", self.centroids_KD, **own, temperature=temperature)
        found = {"components": components, "fit_trace": pl.DataFrame(self.trace, FIT_TRACE, orient="row")}
        return found if self.projection is None else found | {"projection": self.projection.table()}


def read(components: pl.DataFrame, projection: pl.DataFrame | None = None) -> Gem:
    of_components: dict[str, Any] = {f"{name}_K": components[name].to_numpy().copy() for name in OF_COMPONENTS}
    return Gem(
        centroids_KD=centroids_of(components),
        temperature=components["temperature"][0],
        projection=None if projection is None or not len(projection) else axes.read(projection),
        **of_components,
    )


def fit(
    sample_ND: np.ndarray, settings: FitSettings, log: Log = lambda line: None, pool: PoolFacts | None = None
) -> Gem:
    """Component 0 is the heaviest. Without ``pool``, the sample counts as the whole pool.

    GripError if the sample has fewer rows than components, or for target masses of another number of components.
    """
    k = _components(len(sample_ND), settings, log, pool)
    x_ND, projection = unit_rows(sample_ND), None
    if settings.center or settings.pca is not None:
        projection = axes.centred(x_ND, settings.pca)
        x_ND = axes.project(projection, x_ND)
    found = mixture.fit(lloyd.prepare(x_ND), k, options(settings), log)
    return of(found, projection)


def of(found: Mixture, projection: Axes | None = None) -> Gem:
    """The partition of a fitted mixture."""
    return Gem(
        found.mu_KD,
        found.kappa_K,
        found.log_norm_K,
        found.offset_K,
        found.soft_mass_K,
        found.temperature,
        projection,
        found.trace,
    )


def options(settings: FitSettings) -> Options:
    """What settings/clustering says of the fit."""
    return Options(
        balance=settings.balance,
        balance_scale=settings.balance_scale,
        estep=settings.estep,
        inner_steps=settings.inner_steps,
        kappa=settings.kappa,
        kappa_prior=settings.kappa_prior,
        temperature=settings.temperature,
        iterations=settings.fit_iterations,
        tolerance=settings.tolerance,
        continuation=settings.continuation,
        target_K=np.array(settings.target_mass) if settings.target_mass else None,
        seeds=settings.seeds,
        seed=settings.seed,
    )


def _components(n: int, settings: FitSettings, log: Log, pool: PoolFacts | None) -> int:
    wanted = settings.k
    if settings.target_mass:
        if wanted not in (None, len(settings.target_mass)):
            raise GripError(
                f"settings/clustering.target_mass has {len(settings.target_mass)} masses, and settings/clustering.k is"
                f" {wanted}. Give one mass for each component, or set k to null."
            )
        wanted = len(settings.target_mass)
    k = choose_k(pool.n_documents if pool else n, wanted)
    enough_rows(n, k)
    if n < ROOM * k:
        log(
            f"{k} components for {n:,} documents: with fewer than {ROOM} for each, the balance term can do little."
            f" Consider settings/clustering.k={max(n // ROOM, 2)}."
        )
    return k

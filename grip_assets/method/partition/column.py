"""A column of the pool as the partition: language, source, pool, or a column that settings/corpus.keep names.

Each of the most common values (at most ``MOST``) is a component. Documents without a value are the component
"(missing)". All other values together are the component "(other)". A value with fewer documents than
settings/clustering.min_cluster_docs is dissolved into "(other)", so a rare language is not taken for another one. If
"(other)" itself is small, its documents go to the value whose centroid is nearest, and their ``labelled_by`` is
"embedding". The centroid of a value is the normalised sum of its documents in the sample.

A document without a vector (settings/embedding.sample) has no nearest centroid. It goes to the most common value
instead, with confidence 0.

Confidence is 1 if the value decides, and the silhouette (as in kmeans.py) if the nearest centroid decides. Nothing is
iterated: ``fit_trace`` has one row, the mean cosine of the sample's documents to the centroids of their values.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import polars as pl

from grip_assets.errors import GripError
from grip_assets.method.geometry import unit_rows
from grip_assets.method.partition.base import (
    FIT_TRACE,
    LABELLED_BY,
    MOST,
    Assigned,
    FitSettings,
    Log,
    PoolFacts,
    by_centroid,
    centroids_of,
    components_table,
    no_labels,
)
from grip_assets.method.partition.finish import cosines, directions, sums
from grip_assets.method.partition.nearest import silhouette, two_nearest
from grip_assets.method.screening import Codes, encode, fastest

MISSING, OTHER = "(missing)", "(other)"
BY_COLUMN = LABELLED_BY.index("column")


@dataclass(frozen=True)
class ByColumn:
    """A fitted partition by a column. ``values``: the value of each component. MISSING and OTHER are among them unless
    dissolved."""

    column: str
    values: tuple[str, ...]
    centroids_KD: np.ndarray
    objective: float = 0.0

    @property
    def rest(self) -> int | None:
        return self.values.index(OTHER) if OTHER in self.values else None

    @cached_property
    def _codes(self) -> Codes:
        return encode(self.centroids_KD, fastest()[0])

    def assign(self, x_BD: np.ndarray, value_B: pl.Series | None = None) -> Assigned:
        """The component of each row's value; else OTHER; else the nearest centroid. GripError without ``value_B``."""
        if value_B is None:
            raise GripError(
                f"This partition is by the column '{self.column}', and the documents have no such column. Name it in"
                " settings/corpus.keep, or choose another settings/clustering.column."
            )
        x_BD = unit_rows(x_BD)
        label_B = self._by_value(value_B)
        confidence_B, by_B = np.ones(len(label_B), np.float32), np.full(len(label_B), BY_COLUMN, np.int8)
        unknown = np.flatnonzero(label_B < 0)
        if len(unknown):
            two = two_nearest(x_BD[unknown], self.centroids_KD, self._codes)
            label_B[unknown], by_B[unknown] = two.label_B, by_centroid(len(unknown))
            confidence_B[unknown] = silhouette(two.first_B, two.second_B)
        return Assigned(label_B, confidence_B, by_B, no_labels(len(label_B)))

    def _by_value(self, value_B: pl.Series) -> np.ndarray:
        """The component of each row, int32 (B,); -1 if neither its value nor OTHER is a component."""
        known = pl.Series(self.values, dtype=pl.String)
        codes = pl.int_range(len(known), dtype=pl.Int32, eager=True)
        texts = value_B.cast(pl.String).fill_null(MISSING)
        rest = -1 if self.rest is None else self.rest
        return texts.replace_strict(known, codes, default=rest, return_dtype=pl.Int32).to_numpy().copy()

    def log_density(self, x_BD: np.ndarray, label_B: np.ndarray) -> np.ndarray:
        """The cosine of each row to the centroid of its value."""
        return cosines(x_BD, label_B, self.centroids_KD)

    def by_value(self, value_B: pl.Series) -> Assigned:
        """The component of each row's value, for documents without a vector.

        A row that could only go to the nearest centroid goes to the first component, with confidence 0.
        """
        label_B = self._by_value(value_B)
        unknown_B = label_B < 0
        label_B[unknown_B] = 0
        by_B = np.full(len(label_B), BY_COLUMN, np.int8)
        return Assigned(label_B, 1 - unknown_B.astype(np.float32), by_B, no_labels(len(label_B)))

    def only(self, components: np.ndarray) -> "ByColumn":
        values = tuple(self.values[i] for i in components)
        return ByColumn(self.column, values, np.ascontiguousarray(self.centroids_KD[components]), self.objective)

    def tables(self) -> dict[str, pl.DataFrame]:
        k = len(self.values)
        components = components_table("column", self.centroids_KD, column=[self.column] * k, value=list(self.values))
        trace = pl.DataFrame([(0, 0, self.objective, None)], FIT_TRACE, orient="row")
        return {"components": components, "fit_trace": trace}


def read(components: pl.DataFrame) -> ByColumn:
    return ByColumn(components["column"][0], tuple(components["value"]), centroids_of(components))


def fit(
    sample_ND: np.ndarray,
    settings: FitSettings,
    log: Log = lambda line: None,
    pool: PoolFacts | None = None,
) -> ByColumn:
    """Components in the order of their documents, most first, then "(missing)" and "(other)".

    GripError if ``pool`` has no column.
    """
    if pool is None or pool.column is None or pool.value_N is None or pool.values is None:
        raise GripError("A partition by a column needs the column. Name it in settings/clustering.column.")
    common = pool.values.drop_nulls("value").head(MOST - 2)["value"].to_list()
    values = tuple(dict.fromkeys([*common, MISSING, OTHER]))
    log(f"{len(common):,} values of the column '{pool.column}'")
    d = sample_ND.shape[1]
    bare = ByColumn(pool.column, values, np.zeros((len(values), d), np.float32))
    label_N = bare._by_value(pool.value_N)
    centroids_KD = directions(sums(sample_ND, label_N, len(values)))
    objective = float(cosines(sample_ND, label_N, centroids_KD).mean()) if len(label_N) else 0.0
    return ByColumn(pool.column, values, centroids_KD.astype(np.float32), objective)

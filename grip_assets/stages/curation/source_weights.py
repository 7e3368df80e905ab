"""Weights of sources (settings/corpus.sources): how much more of a source is taken than without its weight.

A weight acts twice. The base budget of a cluster is multiplied by the mean weight of its tokens, and inside a cluster
the weight in the draw is multiplied by that of the document's source. So a cluster that is one source has its share
times the weight, and a cluster of several sources gives more of those with large weights.
"""

from typing import Any

import numpy as np
import polars as pl

from grip_assets.engine.stage import Settings
from grip_assets.settings import Budget, Corpus

COLUMN = "source_weight"
FOLLOWED_BY = ("draw", "random")
"""Rules of settings/selection whose keys follow the weights. Those of others have an order of their own."""


def weights_of(settings: Settings) -> dict[str, float]:
    """Source to weight; empty if all weights are 1."""
    sources = Corpus.of(settings).sources if "corpus" in settings else []
    found = {source.name: source.weight for source in sources if source.role == "select"}
    return found if set(found.values()) - {1.0} else {}


def facts(settings: Settings) -> dict[str, Any]:
    """The weights, for a recipe. Nothing if all are 1."""
    weights = weights_of(settings)
    return {"source_weights": weights} if weights else {}


def weighted(documents: pl.DataFrame, settings: Settings) -> pl.DataFrame:
    """``documents``, rows of the table ``clusters``, with the column ``source_weight``; as they are if all are 1."""
    weights = weights_of(settings)
    return documents.with_columns(_weight(weights).alias(COLUMN)) if weights else documents


def in_rows(documents: pl.DataFrame) -> np.ndarray | None:
    """The weight of each document, float64 (N,); None if all are 1. A view of the catalog has nulls then."""
    if COLUMN not in documents.columns or documents[COLUMN].null_count() == len(documents):
        return None
    return documents[COLUMN].to_numpy()


def of_clusters(clusters: str, settings: Settings) -> dict[str, pl.DataFrame]:
    """The table ``source_weights`` for budgets: cluster_id and the mean weight of what can be selected there, in the
    unit of the budget. No table if all weights are 1. ``clusters``: glob of the table."""
    weights = weights_of(settings)
    if not weights:
        return {}
    size = pl.col("n_tokens") if Budget.of(settings).unit == "tokens" else pl.lit(1)
    free = pl.read_parquet(clusters, columns=["cluster_id", "n_tokens", "pool", "role"]).filter(
        pl.col("role") != "keep"
    )
    mean = (_weight(weights) * size).sum() / size.sum()
    return {"source_weights": free.group_by("cluster_id").agg(weight=mean)}


def _weight(weights: dict[str, float]) -> pl.Expr:
    return pl.col("pool").replace_strict(weights, default=1.0, return_dtype=pl.Float64)

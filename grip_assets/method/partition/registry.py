"""The methods of partition. To add one, write a module beside this one (see base.py) and an entry here."""

import polars as pl

from grip_assets.method.partition import column, gem, kmeans
from grip_assets.method.partition.base import Fitted, Partition

PARTITIONS: dict[str, Partition] = {"kmeans": kmeans, "gem": gem, "column": column}
"""By the names of settings/clustering.method."""


def read(components: pl.DataFrame, projection: pl.DataFrame | None = None) -> Fitted:
    """The fit that is stored in the tables ``components`` and ``projection``. None or no rows: nothing is projected."""
    method = components["method"][0]
    return gem.read(components, projection) if method == "gem" else PARTITIONS[method].read(components)

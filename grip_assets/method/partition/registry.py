"""The partitions there are. A new one is one file beside this one, and one entry here."""

import polars as pl

from grip_assets.method.partition import column, kmeans
from grip_assets.method.partition.base import Fitted, Partition

PARTITIONS: dict[str, Partition] = {"kmeans": kmeans, "column": column}
"""By the names of settings/clustering.method."""


def read(components: pl.DataFrame) -> Fitted:
    """The fit whose table ``components`` this is."""
    return PARTITIONS[components["method"][0]].read(components)

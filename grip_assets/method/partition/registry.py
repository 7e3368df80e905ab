"""The methods of partition. To add one, write a module beside this one (see base.py) and an entry here."""

import polars as pl

from grip_assets.method.partition import column, kmeans
from grip_assets.method.partition.base import Fitted, Partition

PARTITIONS: dict[str, Partition] = {"kmeans": kmeans, "column": column}
"""By the names of settings/clustering.method."""


def read(components: pl.DataFrame) -> Fitted:
    """The fit that is stored in this table ``components``."""
    return PARTITIONS[components["method"][0]].read(components)

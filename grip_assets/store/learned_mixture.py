"""The learned weights of domains for people: the table ``mixture_weights``, with the labels of the domains.

Whatever shows the weights asks here. The words about them are in report/mixing.py. The weights are learned in
stages/mixing/.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import duckdb
import polars as pl

from grip_assets.store import cluster_names
from grip_assets.store.artifacts import ArtifactStore
from grip_assets.store.cluster_names import ClusterNames

METHODS = {"regmix": "RegMix", "doremi": "DoReMi", "perf": "Perf"}


@dataclass(frozen=True)
class Mixture:
    """What mixing learned.

    ``weights``: the table ``mixture_weights``. ``labels``: of its domains. ``settings``: settings/mixing with which it
    was learned. ``version``: of the asset ``mixture``. ``words``: what the stage says about the weights.
    """

    weights: pl.DataFrame
    labels: Mapping[int, str]
    settings: Mapping[str, Any] = field(default_factory=dict)
    version: str = ""
    words: str = ""

    @property
    def method(self) -> str:
        return METHODS.get(self.settings.get("method", ""), "mixing")

    def label(self, domain: int) -> str:
        return self.labels.get(domain, f"domain {domain}")

    def moved(self) -> pl.DataFrame:
        """The weights with the column change, weight minus natural share; the largest change first."""
        changed = self.weights.with_columns(change=pl.col("weight") - pl.col("natural_share"))
        return changed.sort(pl.col("change").abs(), "domain", descending=[True, False])


def in_force(connection: duckdb.DuckDBPyConnection, store: ArtifactStore, names: ClusterNames) -> Mixture | None:
    """The mixture in force. None if there is none, or if the settings in force do not need it.

    ``connection``: the catalog. ``names``: of the clusters in force.
    """
    found = connection.execute("SELECT version FROM artifacts WHERE in_force AND asset = 'mixture'").fetchall()
    return of_version(store, found[0][0], names) if found else None


def of_version(store: ArtifactStore, version: str, names: ClusterNames) -> Mixture | None:
    """A version of the asset ``mixture``; None if its folder was removed, or if it was not used."""
    if not store.has("mixture", version) or "unused" in (manifest := store.manifest("mixture", version)):
        return None
    weights = pl.read_parquet(store.parquet("mixture", version, "mixture_weights")).sort("domain")
    settings = {"domains": "clusters"} | manifest["settings"].get("mixing", {})
    for made_from in ("mixture_domains", "mixture_runs"):
        settings |= store.ancestors("mixture", version).get(made_from, {}).get("settings", {}).get("mixing", {})
    labels = cluster_names.of_domains(weights.to_dicts(), settings["domains"], names)
    return Mixture(weights, labels, settings, version, _words(store, manifest))


def _words(store: ArtifactStore, manifest: Mapping[str, Any]) -> str:
    if "mixture_summary" not in manifest["tables"]:
        return ""
    rows = pl.read_parquet(store.parquet("mixture", manifest["version"], "mixture_summary"))
    return str(rows["words"][0] or "") if len(rows) else ""

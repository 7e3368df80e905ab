"""The lineage of a subset: every artifact that it was made from, up to the pool, and their settings."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb

from grip_assets.errors import GripError
from grip_assets.store import attributed, cluster_names, learned_mixture
from grip_assets.store.artifacts import ArtifactStore
from grip_assets.store.attributed import Attributed
from grip_assets.store.cluster_names import NONE, ClusterNames
from grip_assets.store.learned_mixture import Mixture


@dataclass(frozen=True)
class Lineage:
    """``manifests``: by asset, the pool first and the subset last. ``corpus``: a glob of the pool's Parquet files.
    ``names``: of the clusters. ``mixture``: the learned weights, if the budgets follow them. ``attributed``: the score
    of subsets, if budgets or selection follow it."""

    manifests: Mapping[str, Mapping[str, Any]]
    corpus: str
    names: ClusterNames = NONE
    mixture: Mixture | None = None
    attributed: Attributed | None = None

    @property
    def version(self) -> str:
        return self.manifests["subset"]["version"]

    @property
    def tokenizer(self) -> str:
        """The tokenizer that counted ``n_tokens``."""
        return self.manifests["corpus"]["settings"]["corpus"]["tokenizer"]

    def settings(self) -> Iterator[tuple[str, str, Any]]:
        """Group, name and value of every setting that the artifacts were made with."""
        seen = {}
        for manifest in self.manifests.values():
            for group, values in manifest["settings"].items():
                seen.update({(group, name): value for name, value in values.items()})
        return ((group, name, value) for (group, name), value in sorted(seen.items()))


def lineage(connection: duckdb.DuckDBPyConnection, root: Path) -> Lineage:
    """The lineage of the subset in force.

    GripError if there is no subset, or if an artifact that it was made from is no longer in force.
    """
    in_force = dict(connection.execute("SELECT asset, version FROM artifacts WHERE in_force").fetchall())
    if "subset" not in in_force:
        raise GripError("There is no subset to export yet. Run `grip curate`.")
    store = ArtifactStore(root)
    found = store.ancestors("subset", in_force["subset"])
    for asset, manifest in found.items():
        if in_force.get(asset) != manifest["version"]:
            raise GripError(
                f"The subset was made from {asset} {manifest['version']}, which is no longer in force."
                " Run `grip curate`."
            )
    names = cluster_names.in_force(connection, root)
    learned = learned_mixture.of_version(store, found["mixture"]["version"], names) if "mixture" in found else None
    scored = attributed.of_version(store, found["attribution"]["version"]) if "attribution" in found else None
    return Lineage(found, store.parquet("corpus", found["corpus"]["version"], "corpus"), names, learned, scored)

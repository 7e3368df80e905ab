"""The names of clusters for people: from the table ``taxonomy``, or else from the column that the pool is divided by.

Whatever shows a cluster asks here, so that one cluster has one label everywhere: its number and its name. All works
without the table, as in a data folder of an earlier version: the label is then the number. Names of one clustering
are never shown with another, since cluster 3 of one is not cluster 3 of the other. The names are made in
stages/curation/cluster_names.py.
"""

import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import polars as pl

from grip_assets.store.artifacts import ArtifactStore
from grip_assets.store.query import query, sql_text

LONGEST = 48  # characters of a name
LONGEST_DESCRIPTION = 300
MOST_WORDS = 12


@dataclass(frozen=True)
class Name:
    """A row of the table ``taxonomy``. All texts are on one line, short, and without invisible characters."""

    name: str
    description: str = ""
    words: tuple[str, ...] = ()
    family: int | None = None
    family_name: str = ""


@dataclass(frozen=True)
class ClusterNames:
    """The names of one clustering. ``influence``: files of the table of that name, or None. Empty: no names."""

    names: Mapping[int, Name]
    influence: str | None = None

    def __bool__(self) -> bool:
        return bool(self.names)

    def label(self, cluster: int, most: int = LONGEST) -> str:
        """The number and the name, as in ``3 pandas tests``; the number alone if there is no name."""
        name = self.names.get(cluster)
        return f"{cluster} {cut(name.name, most)}" if name else str(cluster)

    def axis(self, cluster: int) -> str:
        """The label at an axis of a figure, where a number alone would be a position: ``c3`` if there is no name."""
        return self.label(cluster) if cluster in self.names else f"c{cluster}"

    def about(self, cluster: int) -> Name:
        return self.names.get(cluster, Name(""))

    def said(self, cluster: int) -> dict[str, Any]:
        """The name and the family as data, null if there are none."""
        name = self.about(cluster)
        return {"name": name.name or None, "family": name.family, "family_name": name.family_name or None}

    def representatives(
        self, connection: duckdb.DuckDBPyConnection, most: int, shown: Iterable[int] | None = None
    ) -> pl.DataFrame:
        """Columns cluster_id and doc_id: the documents of most influence in each cluster, the first one first.

        Without influence they are those nearest to the centre. ``connection``: the catalog. ``shown``: only these
        clusters.
        """
        asked: dict[str, Any] = {"most": most, "shown": None if shown is None else list(shown)}
        if self.influence:
            return query("questions/representatives", {"influence": self.influence}, **asked)
        return connection.sql(sql_text("report/representatives"), params=asked).pl()

    def influence_of(self, doc_id: str) -> dict[str, Any] | None:
        """The influence of a document in its cluster with its rank and its terms; None if it is not known."""
        if self.influence is None:
            return None
        rows = query("questions/influence", {"influence": self.influence}, doc=doc_id)
        return rows.row(0, named=True) if len(rows) else None

    def described(self, connection: duckdb.DuckDBPyConnection) -> dict[int, dict[str, Any]]:
        """For each cluster its most common ``language`` and the source of its most ``typical`` document."""
        rows = connection.sql(sql_text("questions/cluster_names")).pl().to_dicts()
        found = {row["cluster_id"]: row for row in rows}
        if self.influence:
            first = self.representatives(connection, 1)
            asked = {"ids": first["doc_id"].to_list(), "chars": 0}
            heads = connection.sql(sql_text("report/heads"), params=asked).pl()
            sources = dict(heads.select("doc_id", "source").iter_rows())
            for cluster, doc in first.iter_rows():
                found[cluster]["typical"] = sources[doc]
        return found


NONE = ClusterNames({})


def in_force(connection: duckdb.DuckDBPyConnection, root: Path) -> ClusterNames:
    """The names of the clusters in force. ``connection``: the catalog of the data folder ``root``."""
    rows = connection.execute("SELECT asset, version FROM artifacts WHERE in_force").fetchall()
    versions = dict(rows)
    return of_clusters(ArtifactStore(root), versions.get("clusters"), versions.get("taxonomy"))


def of_clusters(store: ArtifactStore, version: str | None, taxonomy: str | None = None) -> ClusterNames:
    """The names of a version of the stage ``clusters``.

    They come from the version ``taxonomy`` if that was made from these clusters, or else from the latest that was.
    """
    if version is None:
        return NONE
    made = [m for m in _taxonomies(store) if m["inputs"].get("clusters") == version]
    best = max(made, key=lambda m: (m["version"] == taxonomy, m["computed_at"], m["version"]), default=None)
    if best is None:
        return ClusterNames(_values(store, version))
    rows = pl.read_parquet(store.parquet("taxonomy", best["version"], "taxonomy"))
    there = "influence" in best["tables"]
    files = store.parquet("taxonomy", best["version"], "influence") if there else None
    return ClusterNames(named(rows.to_dicts()), files)


def of_artifact(store: ArtifactStore, stage: str, version: str) -> ClusterNames:
    """The names of the clusters that an artifact was made from."""
    manifest = store.ancestors(stage, version).get("clusters")
    return of_clusters(store, manifest["version"] if manifest else None)


def of_inputs(store: ArtifactStore, inputs: Mapping[str, str]) -> ClusterNames:
    """The names of the clusters among the inputs of an artifact (stage to version), or among what they are made of."""
    found = (store.ancestors(name, version).get("clusters") for name, version in inputs.items())
    manifest = next(filter(None, found), None)
    return of_clusters(store, manifest["version"] if manifest else None)


def versions(store: ArtifactStore) -> list[str]:
    """All versions that names may come from, for the digest of a page that shows them."""
    return sorted(m["version"] for m in _taxonomies(store))


def _taxonomies(store: ArtifactStore) -> list[dict[str, Any]]:
    return [m for m in store.manifests("taxonomy") if "unused" not in m]


def _values(store: ArtifactStore, version: str) -> dict[int, Name]:
    """The values of the pool's column, if the clusters were made by one. An earlier version kept no values."""
    if not store.has("clusters", version) or "centroids" not in store.manifest("clusters", version)["tables"]:
        return {}
    rows = pl.read_parquet(store.parquet("clusters", version, "centroids"))
    if "value" not in rows.columns:
        return {}
    return named({"cluster_id": c, "name": v} for c, v in rows.select("cluster_id", "value").iter_rows())


def named(rows: Iterable[Mapping[str, Any]]) -> dict[int, Name]:
    """Names by cluster, from rows of ``taxonomy``. A row whose name is empty is left out."""
    found = {row["cluster_id"]: _name(row) for row in rows}
    return {cluster: name for cluster, name in sorted(found.items()) if name.name}


def _name(row: Mapping[str, Any]) -> Name:
    words = [cut(word) for word in (row.get("words") or [])[:MOST_WORDS]]
    return Name(
        cut(row.get("name")),
        cut(row.get("description"), LONGEST_DESCRIPTION),
        tuple(word for word in words if word),
        row.get("family"),
        cut(row.get("family_name")),
    )


def of_domains(rows: Iterable[Mapping[str, Any]], kind: str, names: ClusterNames = NONE) -> dict[int, str]:
    """The label of each domain of a mixture. No two are equal, and none is empty.

    ``rows``: have the domain's number (domain) and its name as in the table ``mixture_domains``. ``kind``:
    settings/mixing.domains, which says what that name is: the number of a cluster or of a family, or a value of a
    column. ``names``: of the clusters in force.
    """
    rows = list(rows)
    families = {about.family: about.family_name for about in names.names.values() if about.family is not None}
    if len(families) != len(rows):
        families = {}  # the taxonomy has other families
    found = {row["domain"]: _of_domain(str(row["name"]), kind, names, families) for row in rows}
    found = {domain: label or f"domain {domain}" for domain, label in sorted(found.items())}
    times = Counter(found.values())
    return {domain: label if times[label] == 1 else f"{label} ({domain})" for domain, label in found.items()}


def _of_domain(name: str, kind: str, names: ClusterNames, families: Mapping[int, str]) -> str:
    if kind == "column" or not name.isdecimal():
        return cut(name)
    if kind == "clusters":
        return names.label(int(name)) if int(name) in names.names else f"cluster {name}"
    return f"family {name} {families.get(int(name), '')}".strip()


def cut(text: str | None, most: int = LONGEST) -> str:
    """The text on one line, without invisible characters, with at most ``most`` characters."""
    seen = "".join(" " if c.isspace() or unicodedata.category(c)[0] == "C" else c for c in text or "")
    seen = " ".join(seen.split())
    return seen if len(seen) <= most else seen[: most - 1].rstrip() + "…"

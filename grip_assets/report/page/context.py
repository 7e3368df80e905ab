"""What a section may read: the catalog, read-only and in bounded memory; the store; texts of a few documents."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import polars as pl

from grip_assets.engine.stage import owners
from grip_assets.report.page.inert import wrapped
from grip_assets.report.page.parts import ClusterColumn, Prose, say
from grip_assets.runtime.memory import limit_bytes
from grip_assets.stages import STAGES
from grip_assets.store import cluster_names
from grip_assets.store.artifacts import ArtifactStore
from grip_assets.store.catalog import connect
from grip_assets.store.query import sql_text

OWNERS = owners(STAGES)
AXIS = 26  # characters of a line at an axis; a phone has room for no more


class Context:
    def __init__(self, root: Path):
        self.store = ArtifactStore(root)
        self.connection = connect(root)
        self.connection.execute(f"SET memory_limit = '{limit_bytes()}B'")
        self.connection.execute("SET threads = 1")  # sums in a fixed order, so that the same tables give the same page
        self.views = set(self.ask("report/views")["view_name"])
        self.names = cluster_names.in_force(self.connection, root)

    def __enter__(self) -> "Context":
        return self

    def __exit__(self, *_: object) -> None:
        self.connection.close()

    def ask(self, name: str, /, **parameters: Any) -> pl.DataFrame:
        """Rows of ``sql/<name>.sql`` on the catalog."""
        return self.connection.sql(sql_text(name), params=parameters or None).pl()

    def table(self, name: str, order: str) -> pl.DataFrame:
        return self.connection.table(name).order(order).pl()

    def lacks(self, *tables: str) -> list[Prose]:
        """One sentence for each asset that must be materialized first. Empty if all tables exist."""
        assets = dict.fromkeys(OWNERS.get(t, t) for t in tables if t not in self.views)
        return [missing(asset) for asset in assets]

    def unused(self, *tables: str) -> list[Prose]:
        """One sentence for each asset that the settings do not need. Its tables exist and are empty."""
        in_force = dict(self.ask("report/run").select("asset", "version").iter_rows())
        assets = dict.fromkeys(OWNERS.get(table, table) for table in tables)
        manifests = {a: self.store.manifest(a, in_force[a]) for a in assets if a in in_force}
        return [
            say("<code>{asset}</code> is not used: {why}.", asset=asset, why=manifest["unused"])
            for asset, manifest in manifests.items()
            if "unused" in manifest
        ]

    def setting(self, group: str, name: str) -> Any:
        rows = self.ask("report/setting", group=group, name=name)["value"]
        return json.loads(rows[0]) if len(rows) else None

    def cluster_column(self) -> ClusterColumn:
        return ClusterColumn(names=self.names)

    def cluster(self, cluster_id: int, width: int = 80) -> str:
        """``cluster 3 pandas tests``, for the hover texts and legends of plotly. ``width``: of a line."""
        return wrapped(f"cluster {self.names.label(cluster_id)}", width)

    def axis(self, cluster_ids: Iterable[int], width: int = AXIS) -> list[str]:
        """Labels of clusters on two lines, for the axes of plotly. ``width``: of a line."""
        return [wrapped(self.names.axis(c), width) for c in cluster_ids]

    def rows(self, n: int) -> int:
        """The height of ``n`` clusters at a vertical axis, in pixels."""
        return n * (29 if self.names else 19)

    def heads(self, ids: Iterable[str], chars: int = 200) -> dict[str, dict[str, Any]]:
        """Source, language, tokens and the first characters of some documents, in one pass over the corpus."""
        rows = self.ask("report/heads", ids=sorted(set(ids)), chars=chars)
        return {row["doc_id"]: row for row in rows.iter_rows(named=True)}


def missing(asset: str) -> Prose:
    said = say(
        "Nothing to show yet: materialize the asset <code>{asset}</code> (<code>grip curate</code>, or in the UI),"
        " then <code>report</code>.",
        asset=asset,
    )
    return Prose(said.text, "missing")

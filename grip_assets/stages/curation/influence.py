"""The influence of each document in its cluster (method/influence.py), over files. The stage is taxonomy.py.

A cluster with more than settings/taxonomy.members documents is measured on so many of them, chosen by a hash of their
ids. So the search for neighbours costs at most K members^2 d operations, whatever the size of the pool. The other
documents have no row.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
import pyarrow as pa

from grip_assets.engine.stage import Work
from grip_assets.method.geometry import unit_rows
from grip_assets.method.sampling import keyed_sample
from grip_assets.runtime.progress import Progress, worked
from grip_assets.settings import Taxonomy
from grip_assets.stages.curation.clusters import fitted_of
from grip_assets.store.tables import matrix, rows_between, width

if TYPE_CHECKING:
    from grip_assets.method.influence import Standardize

BLOCK = 16_384  # rows that are read at a time
TOGETHER = 4096  # clusters are read together until they have so many members
SCHEMA = pa.schema(
    [
        ("doc_id", pa.large_string()),
        ("cluster_id", pa.int32()),
        ("influence", pa.float64()),
        ("log_gamma", pa.float64()),
        ("log_density", pa.float64()),
        ("log_rho", pa.float64()),
        ("rank", pa.int32()),
    ]
)


@dataclass(frozen=True)
class Members:
    """The documents of a cluster whose influence is measured.

    ``component``: its cluster_id in the table components. ``rows``: their rows in ``cluster_embeddings``, rising.
    ``doc_ids`` and ``gamma``: their names, and the confidences of their labels.
    """

    cluster: int
    component: int
    rows: np.ndarray
    doc_ids: tuple[str, ...]
    gamma: np.ndarray


@dataclass(frozen=True)
class Measure:
    """A job: the influence of the members of some clusters. ``run`` returns a table of SCHEMA, one row for each.

    ``embeddings``, ``components``, ``projection``: globs of these tables. The others are fields of settings/taxonomy.
    """

    embeddings: str
    components: str
    projection: str
    neighbours: int
    exponent: float
    standardize: "Standardize"
    top: int
    near_copy: float

    def run(self, shard: tuple[Members, ...]) -> pa.Table:
        x_ND = unit_rows(_vectors(self.embeddings, np.concatenate([members.rows for members in shard])))
        ends = np.cumsum([len(members.rows) for members in shard])[:-1]
        pairs = zip(shard, np.split(x_ND, ends), strict=True)
        return pa.concat_tables([self._measured(members, x_MD) for members, x_MD in pairs])

    def _measured(self, members: Members, x_MD: np.ndarray) -> pa.Table:
        from grip_assets.method import influence as gis  # compiled

        component_M = np.full(len(x_MD), members.component, np.int32)
        fitted = fitted_of(self.components, self.projection, None)
        density_M = fitted.log_density(x_MD, component_M)
        terms = gis.terms(x_MD, gis.log_floored(members.gamma), density_M, self.neighbours)
        influence_M = gis.influence(terms, self.exponent, self.standardize)
        rank_M = self._ranks(x_MD, influence_M, members.doc_ids)
        worked(len(x_MD))
        ids = pa.array(members.doc_ids, pa.large_string())
        cluster = pa.array(np.full(len(x_MD), members.cluster, np.int32))
        return pa.Table.from_arrays([ids, cluster, *map(pa.array, (influence_M, *terms, rank_M))], schema=SCHEMA)

    def _ranks(self, x_MD: np.ndarray, influence_M: np.ndarray, doc_ids: tuple[str, ...]) -> np.ndarray:
        """Representatives first, then all others by influence, int32 (M,)."""
        from grip_assets.method import influence as gis  # compiled

        order_M = gis.descending(influence_M, np.array(doc_ids))
        first = gis.top(order_M, x_MD, self.top, self.near_copy)
        rest_M = order_M[~np.isin(order_M, first)]
        rank_M = np.empty(len(order_M), np.int32)
        rank_M[np.concatenate([first, rest_M])] = np.arange(1, len(order_M) + 1)
        return rank_M


def _vectors(files: str, rows: np.ndarray) -> np.ndarray:
    """Vectors of these rows, which rise, float16 (M, d). Memory holds them and one block."""
    start, stop = int(rows[0]), int(rows[-1]) + 1
    found = []
    for block in rows_between(files, ["embedding"], start, stop, BLOCK):
        here = rows[(rows >= start) & (rows < start + len(block))] - start
        if len(here):
            found.append(matrix(block["embedding"])[here])
        start += len(block)
    return np.concatenate(found)


def measured(work: Work) -> Iterator[pa.Table]:
    """The influences of all clusters, in the order of their ids: tables of SCHEMA."""
    settings, files = Taxonomy.of(work.settings), work.files("cluster_embeddings")
    documents = _documents(work)
    job = Measure(
        files,
        work.files("components"),
        work.files("projection"),
        settings.neighbours,
        settings.exponent,
        settings.standardize,
        settings.top,
        settings.near_copy,
    )
    n = documents.group_by("cluster_id").len()["len"].clip(upper_bound=settings.members)
    bytes_each = (TOGETHER + settings.members) * width(files) * 20
    progress = Progress("influence of documents", int(n.sum()), "documents", work.log)
    shards = _together(_members(documents, _component_of(work), settings))
    yield from work.executor.map(job, shards, bytes_each, work.log, progress.advance)
    progress.finish()


def _documents(work: Work) -> pl.DataFrame:
    """Documents with a vector, in the order of their vectors: doc_id, cluster_id, confidence, row."""
    ids = pl.read_parquet(work.files("cluster_embeddings"), columns=["doc_id"]).with_row_index("row")
    clusters = pl.read_parquet(work.files("clusters"), columns=["doc_id", "cluster_id", "confidence"])
    return ids.join(clusters, on="doc_id", how="left", maintain_order="left")


def _component_of(work: Work) -> dict[int, int]:
    return dict(pl.read_parquet(work.files("centroids"), columns=["cluster_id", "component"]).iter_rows())


def _together(all_members: Iterable[Members]) -> Iterator[tuple[Members, ...]]:
    held: list[Members] = []
    for members in all_members:
        held.append(members)
        if sum(len(some.rows) for some in held) >= TOGETHER:
            yield tuple(held)
            held = []
    if held:
        yield tuple(held)


def _members(documents: pl.DataFrame, component_of: dict[int, int], settings: Taxonomy) -> Iterator[Members]:
    for (cluster,), rows in documents.group_by("cluster_id", maintain_order=True):
        if len(rows) > settings.members:
            chosen_N = keyed_sample(settings.seed, "influence", rows["doc_id"], settings.members)
            rows = rows.filter(pl.Series(chosen_N))
        yield Members(
            cluster,  # type: ignore[arg-type]
            component_of[cluster],  # type: ignore[index]
            rows["row"].to_numpy().astype(np.int64),
            tuple(rows["doc_id"]),
            rows["confidence"].to_numpy(),
        )

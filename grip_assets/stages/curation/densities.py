"""densities: how crowded the surroundings of each document are in its cluster [G8, A12 to A14].

Only documents with a vector have a row. With settings/embedding.sample the neighbours are those of the sample, and a
document without a vector is drawn with the median density of its cluster (``with_densities``).

The search for neighbours is the costliest part of a selection. It is a stage of its own, so that a new beta, budget or
seed reads this table and searches nothing. The weights and the draw are in subset.py.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import pyarrow as pa

from grip_assets.engine.declarations import Check, Column, Table
from grip_assets.engine.stage import Settings, Stage, Work
from grip_assets.method.geometry import unit_rows
from grip_assets.method.selection import draw as selection
from grip_assets.runtime import device, opened
from grip_assets.runtime.progress import Progress
from grip_assets.settings import Selection
from grip_assets.store.tables import matrix, rows_between, runs, vector_rows, width

if TYPE_CHECKING:
    from grip_assets.method.neighbours import Cluster
    from grip_assets.method.screening import Format

NEAR_COPY = 0.97  # two documents are near copies from this cosine of their embeddings
LARGE = 8192  # a cluster with more rows is searched in several parts, each of this many rows
TOGETHER = 4096  # small clusters are searched together, up to this many rows
SPLIT_SEED = 0  # seed for splitting a cluster above selection.split; not a setting, so no seed repeats the search
VECTORS = ("cluster_embeddings.embedding",)
TABLES = (
    Table(
        "densities",
        (
            Column("doc_id", pl.String, "Document.", ("clusters.doc_id",)),
            Column("cluster_id", pl.Int32, "Cluster.", ("clusters.cluster_id",)),
            Column("density", pl.Float64, "Density ρ(x), from the distances to its nearest neighbours.", VECTORS),
            Column("bandwidth", pl.Float64, "Bandwidth h of its cluster.", VECTORS),
            Column("nearest", pl.Float64, "Distance to its nearest neighbour. Null in a cluster of one.", VECTORS),
            Column("mean_distance", pl.Float64, "Mean distance to its k nearest neighbours.", VECTORS),
            Column("farthest", pl.Float64, "Distance to the farthest of these neighbours.", VECTORS),
        ),
    ),
)
CHECKS = (
    Check("every_document", True, "Every document with a vector has one density."),
    Check("in_range", True, "Densities are from 0 to k, distances from 0 to 2, and nearest <= mean <= farthest."),
)


@dataclass(frozen=True)
class Part:
    """The documents for which one job searches neighbours: some whole clusters, or a range of a large one.

    ``bounds``: the rows of ``cluster_embeddings`` at which its clusters begin, and the row after the last.
    ``first`` and ``last``: a range of documents of one large cluster, counted through the pieces into which the cluster
    is split; None for whole clusters.
    """

    bounds: tuple[int, ...]
    first: int | None = None
    last: int | None = None


@dataclass(frozen=True)
class Search:
    """A job: distances of documents to their nearest neighbours in their cluster.

    ``files``: glob of ``cluster_embeddings``. ``run`` returns a table of ``row`` (int64) and ``distance`` (k float64,
    ascending; infinity if the cluster has fewer neighbours). The search is exact: neither parts nor format change a
    bit.
    """

    files: str
    neighbours: int
    split: int
    format: "Format"

    def run(self, part: Part) -> pa.Table:
        from grip_assets.method.screening import here  # compiled

        return replace(self, format=here(self.format))._searched(part)

    def _searched(self, part: Part) -> pa.Table:
        if part.first is None or part.last is None:
            rows_N = np.arange(part.bounds[0], part.bounds[-1])
            return self._table(rows_N, np.concatenate(list(self._small(part.bounds))))
        pieces = _opened(self.files, (part.bounds[0], part.bounds[-1]), self.split, self.format)
        found, before = [], 0
        for rows_N, cluster in pieces:
            here = slice(max(part.first - before, 0), min(part.last - before, len(rows_N)))
            if here.start < here.stop:
                found.append((rows_N[here] + part.bounds[0], self._nearest(cluster, here.start, here.stop)))
            before += len(rows_N)
        rows, distances = zip(*found, strict=True)
        return self._table(np.concatenate(rows), np.concatenate(distances))

    def _small(self, bounds: tuple[int, ...]) -> Iterator[np.ndarray]:
        """Distances of all documents, cluster by cluster."""
        from grip_assets.method import neighbours  # compiled

        x_ND = vector_rows(self.files, bounds[0], bounds[-1])
        for start, stop in pairwise(bounds):
            cluster = neighbours.Cluster.of(unit_rows(x_ND[start - bounds[0] : stop - bounds[0]]), self.format)
            yield self._nearest(cluster, 0, stop - start)

    def _nearest(self, cluster: "Cluster", first: int, last: int) -> np.ndarray:
        from grip_assets.method import neighbours  # compiled

        k = min(self.neighbours, len(cluster.x_ND) - 1)
        distance_NK = np.full((last - first, self.neighbours), np.inf)
        distance_NK[:, :k] = neighbours.nearest(cluster, first, last, k)
        return distance_NK

    def _table(self, rows_N: np.ndarray, distance_NK: np.ndarray) -> pa.Table:
        flat = pa.array(np.ascontiguousarray(distance_NK).reshape(-1))
        return pa.table(
            {"row": rows_N, "distance": pa.FixedSizeListArray.from_arrays(flat, distance_NK.shape[1])},
            schema=pa.schema([("row", pa.int64()), ("distance", pa.list_(pa.float64(), distance_NK.shape[1]))]),
        )


Pieces = list[tuple[np.ndarray, "Cluster"]]
"""The pieces of a large cluster. Each has the numbers of its rows in the cluster, and their vectors, coded."""


def _opened(files: str, bounds: tuple[int, int], split: int, format: "Format") -> Pieces:
    """The pieces of a large cluster. The last cluster stays in memory, since its jobs follow each other."""
    return opened.recent("pieces", (files, bounds, split, format), lambda: _pieces(files, bounds, split, format), 1)


def _pieces(files: str, bounds: tuple[int, int], split: int, format: "Format") -> Pieces:
    from grip_assets.method import neighbours  # compiled

    x_ND, at = np.empty((bounds[1] - bounds[0], width(files)), np.float32), 0
    for block in rows_between(files, ["embedding"], *bounds, LARGE):  # no second copy of the whole cluster is made
        rows_BD = unit_rows(matrix(block["embedding"]))
        x_ND[at : at + len(rows_BD)] = rows_BD
        at += len(rows_BD)
    rows = neighbours.split(x_ND, split, SPLIT_SEED)
    return [(part, neighbours.Cluster.of(x_ND[part] if len(rows) > 1 else x_ND, format)) for part in rows]


def parts(sizes_K: list[int], whole: bool = False) -> Iterator[Part]:
    """Parts of the work: small clusters together, large ones cut into ranges of rows.

    ``sizes_K``: number of documents of each cluster. With ``whole``, no cluster is cut.
    """
    bounds = [0]
    for size in sizes_K:
        start, stop = bounds[-1], bounds[-1] + size
        if len(bounds) > 1 and (size > LARGE or stop - bounds[0] > TOGETHER):
            yield Part(tuple(bounds))
            bounds = [start]
        if size > LARGE and not whole:
            yield from (Part((start, stop), first, min(first + LARGE, size)) for first in range(0, size, LARGE))
            bounds = [stop]
        else:
            bounds.append(stop)
    if len(bounds) > 1:
        yield Part(tuple(bounds))


def unused(settings: Settings) -> str:
    """Why a selection with these settings needs no densities; "" if it needs them."""
    selection = Selection.of(settings)
    if selection.rule != "draw":
        return f"settings/selection.rule is {selection.rule}"
    return "" if selection.weight == "density" else f"settings/selection.weight is {selection.weight}"


def densities_under(work: Work, settings: Settings, clusters: str | None = None) -> tuple[pl.DataFrame, str]:
    """Documents in the order of ``clusters`` with their densities under ``settings``, and the version of ``densities``.

    The densities are made now if no run made them before. Only for stages that compare settings. ``clusters``: the
    version, if it is another than the input of ``work``.
    """
    clusters = clusters or work.inputs["clusters"]
    dense = Selection.of(settings).model_copy(update={"rule": "draw", "weight": "density"})
    made = work.make(stage, {**settings, "selection": dense}, {"clusters": clusters})
    density = pl.read_parquet(work.store.parquet(stage.name, made.version, "densities"), columns=["density"])
    documents = pl.read_parquet(work.store.parquet("clusters", clusters, "clusters"))
    return with_densities(documents, density["density"]), made.version


def embedded_of(work: Work) -> pl.DataFrame:
    """The rows of ``clusters`` whose documents have a vector, in the order of ``cluster_embeddings``."""
    return work.frame("clusters").filter(pl.col("cosine").is_not_null())


def with_densities(clusters: pl.DataFrame, density: pl.Series) -> pl.DataFrame:
    """``clusters`` with the column ``density``. ``density``: of its documents with a vector, in their order.

    A document without a vector gets the median of its cluster.
    """
    embedded_N = clusters["cosine"].is_not_null().to_numpy()
    if embedded_N.all():
        return clusters.with_columns(density=density)
    density_N = np.full(len(clusters), np.nan)
    density_N[embedded_N] = density.to_numpy()
    found = pl.Series("density", density_N).fill_nan(None)
    median = pl.col("density").median().over("cluster_id")
    return clusters.with_columns(found).with_columns(pl.col("density").fill_null(median))


def compute(work: Work) -> dict[str, Any]:
    settings, clusters = Selection.of(work.settings), work.files("clusters")
    embedded = pl.scan_parquet(clusters).filter(pl.col("cosine").is_not_null()).select("cluster_id").collect()
    counts = embedded["cluster_id"].rle().struct.unnest()  # the table is sorted by cluster
    sizes, n = counts["len"].to_list(), len(embedded)
    format, speed = _format(sizes)
    files = work.files("cluster_embeddings")
    search = Search(files, settings.neighbours, settings.split, format)
    # vectors in float16, in float32 as they are and without their mean, and in int8; jobs of one large cluster follow
    # each other and share its vectors
    bytes_each = min(max(sizes), LARGE) * width(files) * 11
    progress = Progress("searching neighbours", n, "documents", work.log)
    found = work.executor.map(search, parts(sizes), bytes_each)
    names, copies = runs(files, ["doc_id"], sizes), 0
    with work.draft.writer(
        "densities", stage.tables[0].empty().to_arrow(compat_level=pl.CompatLevel.oldest()).schema
    ) as writer:
        for cluster_id, distance_NK in zip(counts["value"], _clusters(found, sizes, settings.neighbours), strict=True):
            cluster = next(names).with_columns(cluster_id=pl.lit(cluster_id, pl.Int32))
            here = cluster.with_columns(**described(distance_NK, settings))
            copies += int((here["nearest"] < math.sqrt(2 * (1 - NEAR_COPY))).sum())
            writer.write(here.to_arrow(compat_level=pl.CompatLevel.oldest()))
            progress.advance(len(here))
    progress.finish()
    return {
        "documents_with_a_near_copy": copies,
        "screened_in": format,
        **{f"gigaflops_{name}": value for name, value in speed.items()},
    }


def _clusters(found: Iterator[pa.Table], sizes_K: list[int], k: int) -> Iterator[np.ndarray]:
    """Distances (N_k, at most k) cluster by cluster, from the tables that the jobs returned."""
    held: list[tuple[np.ndarray, np.ndarray]] = []
    start = 0
    for size in sizes_K:
        while sum(len(rows) for rows, _ in held) < size:
            table = next(found)
            flat = table["distance"].combine_chunks().flatten().to_numpy()
            held.append((table["row"].to_numpy(), flat.reshape(-1, k)))
        rows_N = np.concatenate([rows for rows, _ in held])
        distance_NK = np.concatenate([distances for _, distances in held])
        cluster_NK = np.empty((size, min(k, max(size - 1, 0))))
        cluster_NK[rows_N[:size] - start] = distance_NK[:size, : cluster_NK.shape[1]]
        held = [(rows_N[size:], distance_NK[size:])] if len(rows_N) > size else []
        start += size
        yield cluster_NK


def described(distance_NK: np.ndarray, settings: Selection) -> dict[str, pl.Series]:
    """Columns of the table ``densities`` for the documents of one cluster.

    ``distance_NK``: as ``Search`` returns it. The columns of distances are null for a document without neighbours.
    """
    h = selection.bandwidth(distance_NK, settings.bandwidth, settings.bandwidth_scale)
    known_NK = np.isfinite(distance_NK)
    some_N = known_NK.any(1) if distance_NK.size else np.zeros(len(distance_NK), bool)
    finite_NK = np.where(known_NK, distance_NK, 0)
    columns = {
        "nearest": distance_NK.min(1, initial=np.inf),
        "mean_distance": finite_NK.sum(1) / np.maximum(known_NK.sum(1), 1),
        "farthest": finite_NK.max(1, initial=0),
    }
    return {
        "density": pl.Series(selection.density(distance_NK, h)),
        "bandwidth": pl.Series(np.full(len(distance_NK), h)),
        **{name: pl.Series(np.where(some_N, values, np.nan)).fill_nan(None) for name, values in columns.items()},
    }


def _format(sizes: list[int]) -> tuple["Format", dict[str, float]]:
    """The machine's fastest number format, and the speeds that were measured.

    Small clusters take float32 without measuring: loading torch would take longer than the search.
    """
    if sum(n * n for n in sizes) < 3e8:
        device.note(device.CPU)
        return "float32", {}
    from grip_assets.method.screening import fastest  # compiled

    return fastest()


stage = Stage(
    name="densities",
    code_version="1",
    compute=compute,
    description="How crowded the surroundings of each document are: ρ(x) = Σ exp(−‖e(x) − e(z)‖² / 2h²) over its k"
    " nearest neighbours z in the cluster, with the cluster's bandwidth h [paper eq. 9]. The table also has the"
    " distances to the nearest and the farthest of these neighbours, and their mean. Documents without a vector are not"
    " in it.",
    tables=TABLES,
    checks=CHECKS,
    inputs=("clusters",),
    reads={"selection": ("neighbours", "bandwidth", "bandwidth_scale", "split")},
    unused=unused,
    disk=lambda tables: 24 * tables["cluster_embeddings"]["rows"],
)

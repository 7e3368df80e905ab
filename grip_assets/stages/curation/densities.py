"""densities: how crowded the surroundings of each document are in its cluster [G8, A12 to A14].

The search of neighbours is the costliest part of a selection, so it is a stage of its own: a change of beta, of a
budget or of a seed reads this table and searches nothing. The weights and the draw are in subset.py.
"""

import math
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import pyarrow as pa

from grip_assets.engine.declarations import Check, Column, Table
from grip_assets.engine.stage import Settings, Stage, Work
from grip_assets.method.geometry import unit_rows
from grip_assets.method.selection import draw as selection
from grip_assets.runtime.progress import Progress
from grip_assets.settings import Selection
from grip_assets.store.tables import vector_rows, width

if TYPE_CHECKING:
    from grip_assets.method.neighbours import Cluster
    from grip_assets.method.screening import Format

NEAR_COPY = 0.97  # cosine of embeddings from which two documents are near copies
LARGE = 8192  # rows of a cluster above which it is searched in several parts, each of this many rows
TOGETHER = 4096  # rows of small clusters that are one part
SPLIT_SEED = 0  # of the parts of a cluster above selection.split; no setting, so that no seed searches again
VECTORS = ("cluster_embeddings.embedding",)
TABLES = (
    Table(
        "densities",
        (
            Column("doc_id", pl.String, "Document.", ("clusters.doc_id",)),
            Column("cluster_id", pl.Int32, "Cluster.", ("clusters.cluster_id",)),
            Column("density", pl.Float64, "ρ(x), from the distances to its neighbours in the cluster.", VECTORS),
            Column("bandwidth", pl.Float64, "h of its cluster.", VECTORS),
            Column("nearest", pl.Float64, "Distance to its nearest neighbour; null in a cluster of one.", VECTORS),
            Column("mean_distance", pl.Float64, "Mean distance to its k nearest neighbours.", VECTORS),
            Column("farthest", pl.Float64, "Distance to the farthest of them.", VECTORS),
        ),
    ),
)
CHECKS = (
    Check("every_document", True, "Every document has one density."),
    Check("in_range", True, "Densities are from 0 to k, distances from 0 to 2, and in order."),
)


@dataclass(frozen=True)
class Part:
    """What one job searches. ``bounds``: the rows of ``cluster_embeddings`` at which its clusters begin, and the row
    after the last. ``first`` and ``last``: of one large cluster only these rows are searched for, in the order of the
    pieces that it is split into; None for whole clusters."""

    bounds: tuple[int, ...]
    first: int | None = None
    last: int | None = None


@dataclass(frozen=True)
class Search:
    """A job: distances of documents to their nearest neighbours in their cluster.

    ``files``: glob of ``cluster_embeddings``. A table of ``row`` (int64) and ``distance`` (k float64, ascending;
    infinity where the cluster has fewer neighbours). Exact, so neither parts nor the format change a bit.
    """

    files: str
    neighbours: int
    split: int
    format: "Format"

    def run(self, part: Part) -> pa.Table:
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
        """Distances of all documents of one cluster after the other."""
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
"""Of a large cluster: numbers of the rows in the cluster, and their vectors, coded."""
_opening = threading.Lock()


def _opened(files: str, bounds: tuple[int, int], split: int, format: "Format") -> Pieces:
    """The pieces of a large cluster. Its jobs follow each other, so the last one opened is kept; while one thread opens
    it, the others wait for it."""
    with _opening:
        return _pieces(files, bounds, split, format)


@lru_cache(maxsize=1)
def _pieces(files: str, bounds: tuple[int, int], split: int, format: "Format") -> Pieces:
    from grip_assets.method import neighbours  # compiled

    x_ND = unit_rows(vector_rows(files, *bounds))
    rows = neighbours.split(x_ND, split, SPLIT_SEED)
    return [(part, neighbours.Cluster.of(x_ND[part] if len(rows) > 1 else x_ND, format)) for part in rows]


def parts(sizes_K: list[int], whole: bool = False) -> Iterator[Part]:
    """Small clusters together, large ones in ranges of rows; or alone, if all are to be ``whole``. ``sizes_K``:
    documents of the clusters, in their order."""
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
    """Why a selection by these settings reads no densities; "" where it does."""
    selection = Selection.of(settings)
    if selection.rule != "draw":
        return f"settings/selection.rule is {selection.rule}"
    return "" if selection.weight == "density" else f"settings/selection.weight is {selection.weight}"


def densities_under(work: Work, settings: Settings) -> tuple[pl.DataFrame, str]:
    """Documents in the order of ``clusters`` with the densities that these settings ask for, and the version of the
    table: stored, or made now where no run had them. For what compares settings, and for that alone."""
    dense = Selection.of(settings).model_copy(update={"rule": "draw", "weight": "density"})
    made = work.make(stage, {**settings, "selection": dense}, {"clusters": work.inputs["clusters"]})
    density = pl.read_parquet(work.store.parquet(stage.name, made.version, "densities"), columns=["density"])
    return work.frame("clusters").hstack(density), made.version


def compute(work: Work) -> dict[str, Any]:
    settings, documents = Selection.of(work.settings), work.frame("clusters").select("doc_id", "cluster_id")
    sizes = documents.group_by("cluster_id", maintain_order=True).len()["len"].to_list()
    format, speed = _format(sizes)
    files = work.files("cluster_embeddings")
    search = Search(files, settings.neighbours, settings.split, format)
    # vectors in float16, in float32 as they are and without their mean, and in int8
    bytes_each = min(max(sizes), LARGE) * width(files) * 11
    progress = Progress("searching neighbours", len(documents), "documents", work.log)
    found = work.executor.map(search, parts(sizes), bytes_each)
    start, copies = 0, 0
    with work.draft.writer(
        "densities", stage.tables[0].empty().to_arrow(compat_level=pl.CompatLevel.oldest()).schema
    ) as writer:
        for distance_NK in _clusters(found, sizes, settings.neighbours):
            here = documents.slice(start, len(distance_NK)).with_columns(**described(distance_NK, settings))
            copies += int((here["nearest"] < math.sqrt(2 * (1 - NEAR_COPY))).sum())
            writer.write(here.to_arrow(compat_level=pl.CompatLevel.oldest()))
            start += len(here)
            progress.advance(len(here))
    _pieces.cache_clear()
    progress.finish()
    return {
        "documents_with_a_near_copy": copies,
        "screened_in": format,
        **{f"gigaflops_{name}": value for name, value in speed.items()},
    }


def _clusters(found: Iterator[pa.Table], sizes_K: list[int], k: int) -> Iterator[np.ndarray]:
    """Distances (N_k, at most k) of one cluster after the other, from what the jobs found."""
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
    """Density of the documents of one cluster, its bandwidth, and the distances to their neighbours in short; these are
    null where a document has none."""
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
    """The machine's fastest format; small clusters are done before torch, which can tell, is loaded."""
    if sum(n * n for n in sizes) < 3e8:
        return "float32", {}
    from grip_assets.method.screening import fastest  # compiled

    return fastest()


stage = Stage(
    name="densities",
    code_version="1",
    compute=compute,
    description="How crowded the surroundings of each document are: ρ(x) = Σ exp(−‖e(x) − e(z)‖² / 2h²) over its k"
    " nearest neighbours z in the cluster [paper eq. 9], with the cluster's bandwidth h and the distances in short.",
    tables=TABLES,
    checks=CHECKS,
    inputs=("clusters",),
    reads={"selection": ("neighbours", "bandwidth", "bandwidth_scale", "split")},
    unused=unused,
)

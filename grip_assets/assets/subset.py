"""subset: the documents to train on [G8, G9]. The tables say why each document of the pool is in or out."""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from grip_assets.method import selection
from grip_assets.method.geometry import rao_entropy, unit_rows
from grip_assets.method.sampling import keyed_uniform
from grip_assets.parallel import map_shards
from grip_assets.progress import Progress
from grip_assets.recompute import Stage, Work
from grip_assets.settings import Selection
from grip_assets.store.tables import blocks, matrix, width

if TYPE_CHECKING:
    from grip_assets.method.screening import Format

COLUMNS = [
    "doc_id",
    "cluster_id",
    "n_tokens",
    "density",
    "length_weight",
    "selection_weight",
    "key",
    "repeats",
]


LARGE = 8192  # rows of a cluster that are one shard


@dataclass(frozen=True)
class Cluster:
    """Documents of one cluster and their vectors, in the order of the table ``clusters``."""

    documents: pl.DataFrame
    x_ND: np.ndarray


def weigh(documents: pl.DataFrame, distance_NK: np.ndarray | None, settings: Selection) -> pl.DataFrame:
    """Density, weights and keys of the documents of one cluster; uniform weights without distances."""
    lengths_N = documents["n_tokens"].to_numpy()
    if distance_NK is None:
        density_N = length_N = weight_N = np.ones(len(lengths_N))
    else:
        k = max(distance_NK.shape[1], 1)
        h = selection.bandwidth(distance_NK, settings.bandwidth, settings.bandwidth_scale)
        density_N = selection.density(distance_NK, h)
        length_N = selection.length_weight(lengths_N, settings.beta)
        weight_N = selection.selection_weight(density_N, length_N, k, settings.rho_floor, settings.clip_quantile)
    u_N = keyed_uniform(settings.seed, "subset", documents["doc_id"])
    columns = {"density": density_N, "length_weight": length_N, "selection_weight": weight_N}
    columns["key"] = selection.keys(u_N, weight_N)
    return documents.with_columns(**{name: pl.Series(values) for name, values in columns.items()})


def with_distances(
    clusters: Iterable[Cluster], settings: Selection, format: "Format", bytes_each: int = 0
) -> Iterator[tuple[Cluster, np.ndarray | None]]:
    """Each cluster with the distances of its documents to their neighbours; a large one is the work of all threads."""
    if settings.weight == "uniform":
        yield from ((cluster, None) for cluster in clusters)
        return
    from grip_assets.method import neighbours  # compiled

    def shards() -> Iterator[tuple[Cluster, Any, np.ndarray, int]]:
        for cluster in clusters:
            n = len(cluster.x_ND)
            if n <= LARGE:  # coded by the thread that searches it
                yield cluster, None, np.arange(n), 0
                continue
            x_ND = unit_rows(cluster.x_ND)
            for part in neighbours.split(x_ND, settings.split, settings.seed):
                coded = neighbours.Cluster.of(x_ND[part] if len(part) < n else x_ND, format)
                for start in range(0, len(part), LARGE):
                    yield cluster, coded, part, start

    def search(shard: tuple[Cluster, Any, np.ndarray, int]) -> tuple[Cluster, np.ndarray, np.ndarray]:
        cluster, coded, part, start = shard
        coded = coded or neighbours.Cluster.of(unit_rows(cluster.x_ND), format)
        stop = min(start + LARGE, len(part))
        k = max(min(settings.neighbours, len(part) - 1), 0)
        return cluster, part[start:stop], neighbours.nearest(coded, start, stop, k)

    left, distance_NK = 0, np.zeros((0, 0))
    for cluster, rows, found in map_shards(search, shards(), bytes_each=bytes_each):
        n = len(cluster.x_ND)
        if not left:
            left, distance_NK = n, np.full((n, max(min(settings.neighbours, n - 1), 0)), np.inf)
        distance_NK[rows, : found.shape[1]] = found
        left -= len(rows)
        if not left:
            yield cluster, distance_NK


def compute(work: Work) -> dict[str, Any]:
    settings = work.settings["selection"]
    assert isinstance(settings, Selection)
    budgets = {row["cluster_id"]: row for row in work.frame("budgets").iter_rows(named=True)}
    progress = Progress("weighing", sum(row["n_docs"] for row in budgets.values()), "documents", work.log)
    weighed, thresholds, deficit = [], [], 0
    entropy = {"corpus": 0.0, "subset": 0.0}
    sizes = [row["n_docs"] for row in budgets.values()]
    format, speed = _format(sizes)
    # a cluster's vectors in float16, in float32 as they are and without their mean, and in int8
    bytes_each = min(max(sizes), LARGE) * width(work.files("cluster_embeddings")) * 11
    for cluster, distance_NK in with_distances(_clusters(work), settings, format, bytes_each):
        documents = weigh(cluster.documents, distance_NK, settings)
        row = budgets[documents["cluster_id"][0]]
        cost_N = documents["n_tokens"].to_numpy() if row["unit"] == "tokens" else np.ones(len(documents), np.int64)
        copies = math.ceil(row["capacity"] / int(cost_N.sum()))
        drawn = selection.draw(documents["key"].to_numpy(), cost_N, row["allocated"] + deficit, copies)
        deficit = drawn.deficit
        thresholds.append({"cluster_id": row["cluster_id"], "threshold": drawn.threshold, "deficit": deficit})
        weighed.append(documents.with_columns(repeats=pl.Series(drawn.repeats_N)).select(COLUMNS))
        entropy["corpus"] += rao_entropy(cluster.x_ND) * len(documents)
        if drawn.repeats_N.any():
            entropy["subset"] += rao_entropy(cluster.x_ND, drawn.repeats_N) * len(documents)
        progress.advance(len(documents))
    progress.finish()
    everything = pl.concat(weighed)
    chosen = everything.filter(pl.col("repeats") > 0)
    work.draft.write("selection_weights", everything)
    work.draft.write("subset", chosen)
    work.draft.write("selection_thresholds", pl.DataFrame(thresholds, schema_overrides={"threshold": pl.Float64}))
    return {
        "documents_selected": len(chosen),
        "tokens_selected": int((chosen["n_tokens"] * chosen["repeats"]).sum()),
        "share_of_documents": len(chosen) / len(everything),
        "diversity_of_the_corpus": entropy["corpus"] / len(everything),
        "diversity_of_the_subset": entropy["subset"] / len(everything),
        "screened_in": format,
        **{f"gigaflops_{name}": value for name, value in speed.items()},
    }


def _format(sizes: list[int]) -> tuple["Format", dict[str, float]]:
    """The machine's fastest format; small clusters are done before torch, which can tell, is loaded."""
    if sum(n * n for n in sizes) < 3e8:
        return "float32", {}
    from grip_assets.method.screening import fastest

    return fastest()


def _clusters(work: Work) -> Iterator[Cluster]:
    """Clusters one after the other, without more of the vectors in memory than one cluster and one block."""
    documents = work.frame("clusters").drop("cosine")
    sizes = documents.group_by("cluster_id", maintain_order=True).len()["len"].to_list()
    rows, held, start = _vectors(work), np.zeros((0, 0), np.float16), 0
    for size in sizes:
        parts = [held] if len(held) else []
        while sum(map(len, parts)) < size:
            parts.append(next(rows))
        together = np.concatenate(parts)
        yield Cluster(documents.slice(start, size), together[:size])
        held, start = together[size:], start + size


def _vectors(work: Work) -> Iterator[np.ndarray]:
    return (matrix(block["embedding"]) for block in blocks(work.files("cluster_embeddings"), ["embedding"]))


stage = Stage(
    name="subset",
    code_version="2",
    compute=compute,
    description="P(x) ∝ ρ(x)⁻¹ (ℓ(x)/ℓ_avg)^β, drawn without replacement to the cluster's budget [paper eq. 9, 10]."
    " `selection_weights` has density, weights and key of every document, chosen or not.",
    tables=("subset", "selection_weights", "selection_thresholds"),
    inputs=("corpus", "clusters", "budgets"),
    reads={"selection": None},
)

"""subset: the documents to train on [G8, G9]. The tables say why each document of the pool is in or out."""

import math
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from grip_assets.assets.budgets import budgets_under
from grip_assets.errors import GripError
from grip_assets.method import selection
from grip_assets.method.geometry import RaoEntropy, rao_entropy, unit_rows
from grip_assets.method.sampling import keyed_uniform
from grip_assets.parallel import map_shards
from grip_assets.progress import Progress
from grip_assets.recompute import Settings, Stage, Work
from grip_assets.settings import Adaptation, Budget, Selection
from grip_assets.store.tables import vector_blocks, width

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
WORDS = {"corpus": "the_corpus", "subset": "the_subset", "random": "a_random_subset"}
COMPARED = list(WORDS)
LARGE = 8192  # rows of a cluster that are one shard


@dataclass(frozen=True)
class Cluster:
    """Documents of one cluster and their vectors, in the order of the table ``clusters``."""

    documents: pl.DataFrame
    x_ND: np.ndarray


def weigh(documents: pl.DataFrame, distance_NK: np.ndarray | None, settings: Selection) -> pl.DataFrame:
    """Density, weights and keys of the documents of one cluster; uniform weights without distances."""
    density_N = np.ones(len(documents))
    if distance_NK is not None:
        h = selection.bandwidth(distance_NK, settings.bandwidth, settings.bandwidth_scale)
        density_N = selection.density(distance_NK, h)
    return with_keys(documents.with_columns(density=pl.Series(density_N)), settings)


def with_keys(documents: pl.DataFrame, settings: Selection) -> pl.DataFrame:
    """Weights and keys of the documents of one cluster, whose density is known."""
    if settings.weight == "uniform":
        length_N = weight_N = np.ones(len(documents))
    else:
        k = max(min(settings.neighbours, len(documents) - 1), 1)
        length_N = selection.length_weight(documents["n_tokens"].to_numpy(), settings.beta)
        density_N = documents["density"].to_numpy() if settings.weight == "density" else np.ones(len(documents))
        weight_N = selection.selection_weight(density_N, length_N, k, settings.rho_floor, settings.clip_quantile)
    u_N = keyed_uniform(settings.seed, "subset", documents["doc_id"])
    columns = {"length_weight": length_N, "selection_weight": weight_N, "key": selection.keys(u_N, weight_N)}
    return documents.with_columns(**{name: pl.Series(values) for name, values in columns.items()})


def draw(key_N: np.ndarray, lengths_N: np.ndarray, budget: Mapping[str, Any], deficit: int) -> selection.Drawn:
    """The draw of one cluster: ``budget`` is its row of the table, ``deficit`` what the clusters before left over."""
    cost_N = costs(lengths_N, budget["unit"])
    copies = math.ceil(budget["capacity"] / int(cost_N.sum()))
    return selection.draw(key_N, cost_N, budget["allocated"] + deficit, copies)


@dataclass(frozen=True)
class Chosen:
    """A subset: budgets of the clusters, and copies of each document in the order of ``selection_weights``."""

    budgets: pl.DataFrame
    repeats_N: np.ndarray


def chosen_under(settings: Settings, documents: pl.DataFrame, measured: dict[str, pl.DataFrame]) -> Chosen:
    """What the stages ``budgets`` and ``subset`` make under ``settings``, from what was measured and the densities."""
    budgets = budgets_under(measured, Budget.of(settings), Adaptation.of(settings).delta)
    return Chosen(budgets, drawn_under(budgets, documents, Selection.of(settings)))


def drawn_under(budgets: pl.DataFrame, documents: pl.DataFrame, settings: Selection) -> np.ndarray:
    """Copies of each document as this stage draws them, int64 (N,). ``documents``: with their densities, in the order
    of ``selection_weights``."""
    repeats, start, deficit = [], 0, 0
    for row in budgets.iter_rows(named=True):  # clusters in the order of their ids, as their documents are
        cluster = with_keys(documents.slice(start, row["n_docs"]), settings)
        drawn = draw(cluster["key"].to_numpy(), cluster["n_tokens"].to_numpy(), row, deficit)
        repeats.append(drawn.repeats_N)
        start, deficit = start + row["n_docs"], drawn.deficit
    return np.concatenate(repeats)


def costs(lengths_N: np.ndarray, unit: str) -> np.ndarray:
    return lengths_N if unit == "tokens" else np.ones(len(lengths_N), np.int64)


def with_distances(
    clusters: Iterable[Cluster], settings: Selection, format: "Format", bytes_each: int = 0
) -> Iterator[tuple[Cluster, np.ndarray | None]]:
    """Each cluster with the distances of its documents to their neighbours; a large one is the work of all threads."""
    if settings.weight != "density":
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


class Diversity:
    """The table ``diversity``: Rao's entropy [G0] of all documents of a cluster, of the chosen ones, and of a uniform
    draw to the same budget; the same for the whole (``cluster_id`` NULL), whose uniform draw knows no clusters."""

    def __init__(self, documents: pl.DataFrame, budgets: Collection[Mapping[str, Any]], seed: int):
        self.key_N = selection.keys(keyed_uniform(seed, "diversity", documents["doc_id"]), np.ones(1))
        self.lengths_N = documents["n_tokens"].to_numpy()
        whole = {name: sum(row[name] for row in budgets) for name in ("capacity", "allocated")}
        unit = next(iter(budgets))["unit"]
        self.anywhere_N = draw(self.key_N, self.lengths_N, {**whole, "unit": unit}, 0).repeats_N
        self.whole = [RaoEntropy() for _ in COMPARED]
        self.rows: list[tuple] = []
        self.start = 0

    def add(self, x_ND: np.ndarray, repeats_N: np.ndarray, budget: Mapping[str, Any], deficit: int) -> None:
        """The next cluster, drawn to ``budget`` and ``deficit``."""
        here = slice(self.start, self.start + len(x_ND))
        all_N = np.ones(len(x_ND))
        random_N = draw(self.key_N[here], self.lengths_N[here], budget, deficit).repeats_N
        found = [rao_entropy(x_ND, weights_N) for weights_N in (all_N, repeats_N, random_N)]
        self.rows.append((budget["cluster_id"], len(x_ND), int((repeats_N > 0).sum()), *found))
        self.start += len(x_ND)
        for entropy, weights_N in zip(self.whole, (all_N, repeats_N, self.anywhere_N[here]), strict=True):
            entropy.add(x_ND, weights_N)

    def table(self) -> pl.DataFrame:
        n_docs, n_selected = (sum(row[i] for row in self.rows) for i in (1, 2))
        whole = (None, n_docs, n_selected, *(entropy.value() for entropy in self.whole))
        schema = {"cluster_id": pl.Int32, "n_docs": pl.Int64, "n_selected": pl.Int64}
        return pl.DataFrame([whole, *self.rows], schema | dict.fromkeys(COMPARED, pl.Float64), orient="row")

    def inside_clusters(self) -> dict[str, float]:
        """Mean over clusters by their documents: what paper eq. 1 compares."""
        rows = self.table().filter(pl.col("cluster_id").is_not_null()).fill_null(0)
        means = rows.select((pl.col(COMPARED) * pl.col("n_docs")).sum() / pl.col("n_docs").sum())
        return {f"diversity_of_{WORDS[name]}": value for name, value in means.row(0, named=True).items()}


def compute(work: Work) -> dict[str, Any]:
    settings = Selection.of(work.settings)
    budgets = {row["cluster_id"]: row for row in work.frame("budgets").iter_rows(named=True)}
    documents = work.frame("clusters").drop("cosine")
    diversity = Diversity(documents, budgets.values(), settings.seed)
    progress = Progress("weighing", len(documents), "documents", work.log)
    weighed, thresholds, deficit = [], [], 0
    sizes = [row["n_docs"] for row in budgets.values()]
    format, speed = _format(sizes)
    # a cluster's vectors in float16, in float32 as they are and without their mean, and in int8
    bytes_each = min(max(sizes), LARGE) * width(work.files("cluster_embeddings")) * 11
    for cluster, distance_NK in with_distances(clusters_of(work, documents), settings, format, bytes_each):
        found = weigh(cluster.documents, distance_NK, settings)
        budget = budgets[found["cluster_id"][0]]
        drawn = draw(found["key"].to_numpy(), found["n_tokens"].to_numpy(), budget, deficit)
        diversity.add(cluster.x_ND, drawn.repeats_N, budget, deficit)
        deficit = drawn.deficit
        thresholds.append({"cluster_id": budget["cluster_id"], "threshold": drawn.threshold, "deficit": deficit})
        weighed.append(found.with_columns(repeats=pl.Series(drawn.repeats_N)).select(COLUMNS))
        progress.advance(len(found))
    progress.finish()
    everything = pl.concat(weighed)
    chosen = everything.filter(pl.col("repeats") > 0)
    if not len(chosen):
        row = next(iter(budgets.values()))
        raise GripError(
            f"No document fits the budget of {row['total']:,} {row['unit']}; the shortest has"
            f" {everything['n_tokens'].to_numpy().min():,} tokens. Raise settings/budget.total."
        )
    work.draft.write("selection_weights", everything)
    work.draft.write("subset", chosen)
    work.draft.write("selection_thresholds", pl.DataFrame(thresholds, schema_overrides={"threshold": pl.Float64}))
    work.draft.write("diversity", diversity.table())
    return {
        "documents_selected": len(chosen),
        "tokens_selected": int((chosen["n_tokens"] * chosen["repeats"]).sum()),
        "share_of_documents": len(chosen) / len(everything),
        **diversity.inside_clusters(),
        "screened_in": format,
        **{f"gigaflops_{name}": value for name, value in speed.items()},
    }


def _format(sizes: list[int]) -> tuple["Format", dict[str, float]]:
    """The machine's fastest format; small clusters are done before torch, which can tell, is loaded."""
    if sum(n * n for n in sizes) < 3e8:
        return "float32", {}
    from grip_assets.method.screening import fastest

    return fastest()


def clusters_of(work: Work, documents: pl.DataFrame) -> Iterator[Cluster]:
    """Clusters one after the other, without more of the vectors in memory than one cluster and one block."""
    sizes = documents.group_by("cluster_id", maintain_order=True).len()["len"].to_list()
    rows, held, start = vector_blocks(work.files("cluster_embeddings")), np.zeros((0, 0), np.float16), 0
    for size in sizes:
        parts = [held] if len(held) else []
        while sum(map(len, parts)) < size:
            parts.append(next(rows))
        together = np.concatenate(parts)
        yield Cluster(documents.slice(start, size), together[:size])
        held, start = together[size:], start + size


stage = Stage(
    name="subset",
    code_version="3",
    compute=compute,
    description="The documents to train on. Each cluster's are drawn without replacement to its budget, unusual ones"
    " rather than common ones and longer rather than shorter: P(x) ∝ ρ(x)⁻¹ (ℓ(x)/ℓ_avg)^β [paper eq. 9, 10]."
    " `selection_weights` has density, weights and key of every document, chosen or not; `diversity` Rao's entropy of"
    " pool, subset and a random draw, by cluster and (`cluster_id` NULL) as a whole [paper eq. 1].",
    tables=("subset", "selection_weights", "selection_thresholds", "diversity"),
    inputs=("corpus", "clusters", "budgets"),
    reads={"selection": None},
)

"""subset: the documents to train on [G8, G9]. The tables say why each document of the pool is in or out."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from grip_assets.engine.declarations import Check, Column, Table
from grip_assets.engine.stage import Settings, Stage, Work
from grip_assets.errors import GripError
from grip_assets.method.geometry import RaoEntropy
from grip_assets.method.sampling import keyed_uniform
from grip_assets.method.selection import draw as selection
from grip_assets.runtime import threads
from grip_assets.settings import Adaptation, Budget, Selection
from grip_assets.stages.curation.budgets import budgets_under
from grip_assets.store.tables import vector_blocks, width

if TYPE_CHECKING:
    pass

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
# Of settings/selection; what is not here matters to the densities alone.
READS = ("weight", "beta", "neighbours", "rho_floor", "clip_quantile", "max_tokens", "seed")


@dataclass(frozen=True)
class Cluster:
    """Documents of one cluster and their vectors, in the order of the table ``clusters``."""

    documents: pl.DataFrame
    x_ND: np.ndarray


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


def draw(key_N: np.ndarray, lengths_N: np.ndarray, budgets: pl.DataFrame, max_tokens: int | None) -> selection.Drawn:
    """The draw of a whole subset to the table ``budgets``, whose clusters stand in the order of their documents.

    Documents longer than ``max_tokens`` are left out before it, as if the clusters did not have them.
    """
    sizes_K, unit = budgets["n_docs"].to_numpy(), budgets["unit"][0]
    whole_K = budgets["n_tokens" if unit == "tokens" else "n_docs"].to_numpy()
    copies = int((budgets["capacity"].to_numpy() // np.maximum(whole_K, 1)).max())
    may = np.arange(len(lengths_N)) if max_tokens is None else np.flatnonzero(lengths_N <= max_tokens)
    if len(may) < len(lengths_N):
        cluster_N = np.repeat(np.arange(len(sizes_K)), sizes_K)
        sizes_K = np.bincount(cluster_N[may], minlength=len(sizes_K))
    allocated_K, utility_K = budgets["allocated"].to_numpy(), budgets["utility"].to_numpy()
    drawn = selection.draw(key_N[may], costs(lengths_N[may], unit), sizes_K, allocated_K, utility_K, copies)
    repeats_N = np.zeros(len(lengths_N), np.int64)
    repeats_N[may] = drawn.repeats_N
    return replace(drawn, repeats_N=repeats_N)


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
    keys, start = [], 0
    for n in budgets["n_docs"]:  # clusters in the order of their ids, as their documents are
        keys.append(with_keys(documents.slice(start, n), settings)["key"].to_numpy())
        start += n
    return draw(np.concatenate(keys), documents["n_tokens"].to_numpy(), budgets, settings.max_tokens).repeats_N


def costs(lengths_N: np.ndarray, unit: str) -> np.ndarray:
    return lengths_N if unit == "tokens" else np.ones(len(lengths_N), np.int64)


def diversity(work: Work, everything: pl.DataFrame, budgets: pl.DataFrame, settings: Selection) -> pl.DataFrame:
    """The table ``diversity``: Rao's entropy [G0] of all documents of a cluster, of the chosen ones, and of a uniform
    draw to the same budget; the same for the whole (``cluster_id`` NULL), whose uniform draw knows no clusters."""
    lengths_N = everything["n_tokens"].to_numpy()
    key_N = selection.keys(keyed_uniform(settings.seed, "diversity", everything["doc_id"]), np.ones(1))
    whole = budgets.select(pl.col("n_docs", "n_tokens", "capacity", "allocated", "utility").sum(), pl.first("unit"))
    random_N, anywhere_N = (draw(key_N, lengths_N, b, settings.max_tokens).repeats_N for b in (budgets, whole))
    weights_N = (np.ones(len(everything)), everything["repeats"].to_numpy(), random_N, anywhere_N)

    def described(part: tuple[Cluster, int]) -> list[RaoEntropy]:
        cluster, start = part
        found = [RaoEntropy() for _ in weights_N]
        for entropy, weight_N in zip(found, weights_N, strict=True):
            entropy.add(cluster.x_ND, weight_N[start : start + len(cluster.x_ND)])
        return found

    def parts() -> Iterator[tuple[Cluster, int]]:
        start = 0
        for cluster in clusters_of(work, everything):
            yield cluster, start
            start += len(cluster.documents)

    together, rows = [RaoEntropy() for _ in weights_N], []
    bytes_each = int(budgets["n_docs"].to_numpy().max()) * width(work.files("cluster_embeddings")) * 2
    for found in threads.each(described, parts(), bytes_each=bytes_each):
        rows.append([entropy.value() for entropy in found[:3]])
        for entropy, part in zip(together, found, strict=True):
            entropy.join(part)
    by_cluster = everything.group_by("cluster_id", maintain_order=True).agg(
        n_docs=pl.len().cast(pl.Int64), n_selected=(pl.col("repeats") > 0).sum().cast(pl.Int64)
    )
    chosen = int((everything["repeats"] > 0).sum())
    counts = [(None, len(everything), chosen), *by_cluster.iter_rows()]
    values = [[together[i].value() for i in (0, 1, 3)], *rows]
    schema = {"cluster_id": pl.Int32, "n_docs": pl.Int64, "n_selected": pl.Int64} | dict.fromkeys(COMPARED, pl.Float64)
    return pl.DataFrame([(*c, *v) for c, v in zip(counts, values, strict=True)], schema, orient="row")


def inside_clusters(diversity: pl.DataFrame) -> dict[str, float]:
    """Mean over clusters by their documents: what paper eq. 1 compares."""
    rows = diversity.filter(pl.col("cluster_id").is_not_null()).fill_null(0)
    means = rows.select((pl.col(COMPARED) * pl.col("n_docs")).sum() / pl.col("n_docs").sum())
    return {f"diversity_of_{WORDS[name]}": value for name, value in means.row(0, named=True).items()}


def compute(work: Work) -> dict[str, Any]:
    settings, budgets = Selection.of(work.settings), work.frame("budgets")
    weighed = _weighed(densities(work), settings)
    drawn = draw(weighed["key"].to_numpy(), weighed["n_tokens"].to_numpy(), budgets, settings.max_tokens)
    everything = weighed.with_columns(repeats=pl.Series(drawn.repeats_N)).select(COLUMNS)
    chosen = everything.filter(pl.col("repeats") > 0)
    if not len(chosen):
        longest = "" if settings.max_tokens is None else f" or selection.max_tokens ({settings.max_tokens:,} now)"
        raise GripError(
            f"No document fits the budget of {budgets['total'][0]:,} {budgets['unit'][0]}; the shortest has"
            f" {everything['n_tokens'].to_numpy().min():,} tokens. Raise settings/budget.total{longest}."
        )
    thresholds = thresholds_of(drawn, budgets, everything, settings.max_tokens)
    compared = diversity(work, everything, budgets, settings)
    work.draft.write("selection_weights", everything)
    work.draft.write("subset", chosen)
    work.draft.write("selection_thresholds", thresholds)
    work.draft.write("diversity", compared)
    if short := _short(thresholds, budgets):
        work.log(short)
    return {
        "documents_selected": len(chosen),
        "tokens_selected": int((chosen["n_tokens"] * chosen["repeats"]).sum()),
        "share_of_documents": len(chosen) / len(everything),
        f"{budgets['unit'][0]}_short": int(budgets["allocated"].sum()) - int(thresholds["drawn"].sum()),
        "documents_passed_over": int(thresholds["passed_over"].sum()),
        "documents_left_out": int(thresholds["left_out"].sum()),
        **inside_clusters(compared),
    }


def densities(work: Work) -> pl.DataFrame:
    """Documents in the order of ``clusters`` with their densities; 1 where the weights in force know none."""
    documents = work.frame("clusters").drop("cosine")
    density = work.frame("densities")["density"]
    return documents.with_columns(density=density if len(density) else pl.lit(1.0))


def _weighed(documents: pl.DataFrame, settings: Selection) -> pl.DataFrame:
    """Weights and keys of all documents, cluster by cluster."""
    parts = documents.partition_by("cluster_id", maintain_order=True)
    return pl.concat([with_keys(part, settings) for part in parts])


def thresholds_of(
    drawn: selection.Drawn, budgets: pl.DataFrame, documents: pl.DataFrame, max_tokens: int | None
) -> pl.DataFrame:
    """The table ``selection_thresholds``: what was drawn in each cluster, and what was not and why."""
    longer = pl.lit(False) if max_tokens is None else pl.col("n_tokens") > max_tokens
    left_out = documents.group_by("cluster_id", maintain_order=True).agg(
        left_out=longer.sum().cast(pl.Int64), left_out_tokens=pl.col("n_tokens").filter(longer).sum()
    )
    return budgets.select("cluster_id", "allocated").with_columns(
        granted=pl.Series(drawn.granted_K),
        drawn=pl.Series(drawn.drawn_K),
        passed_over=pl.Series(drawn.passed_over_K),
        passed_over_tokens=pl.Series(drawn.passed_over_cost_K),
        left_out=left_out["left_out"],
        left_out_tokens=left_out["left_out_tokens"],
        max_tokens=pl.lit(max_tokens, pl.Int64),
        exhausted=pl.Series(drawn.exhausted_K),
        threshold=pl.Series(drawn.threshold_K).fill_nan(None),
    )


def _short(thresholds: pl.DataFrame, budgets: pl.DataFrame) -> str | None:
    """A sentence for the log where no document fits into what is left of the budget."""
    total = thresholds.select(pl.exclude("cluster_id", "exhausted", "threshold").sum()).row(0, named=True)
    if total["granted"] == total["allocated"]:
        return None
    reasons = [
        f"{total[name]:,} documents of {total[f'{name}_tokens']:,} tokens together are longer than {what}"
        for name, what in (("passed_over", "the budgets of their clusters"), ("left_out", "selection.max_tokens"))
        if total[name]
    ]
    also = "raise selection.max_tokens" if total["left_out"] else "split the longest documents"
    return (
        f"WARNING: the subset has {total['drawn']:,} {budgets['unit'][0]} of a budget of {total['allocated']:,}:"
        f" {' and '.join(reasons)}, and all others are taken. To use the budget, raise budget.total, have fewer"
        f" clusters (clustering.k), or {also}."
    )


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


DRAWN = (
    Column("doc_id", pl.String, "Document.", ("clusters.doc_id",)),
    Column("cluster_id", pl.Int32, "Cluster.", ("clusters.cluster_id",)),
    Column("n_tokens", pl.Int64, "Tokens ℓ(x).", ("clusters.n_tokens",)),
    Column(
        "density",
        pl.Float64,
        "ρ(x), from the distances to its neighbours in the cluster; 1 where the weights need none.",
        ("densities.density",),
    ),
    Column("length_weight", pl.Float64, "(ℓ(x)/ℓ_avg)^β.", ("clusters.n_tokens",)),
    Column(
        "selection_weight",
        pl.Float64,
        "ρ(x)⁻¹ (ℓ(x)/ℓ_avg)^β, floored and clipped.",
        ("densities.density", "clusters.n_tokens"),
    ),
    Column(
        "key",
        pl.Float64,
        "Key of the draw; documents are taken from the largest key down.",
        ("densities.density", "clusters.n_tokens", "clusters.doc_id"),
    ),
    Column(
        "repeats",
        pl.Int64,
        "Copies of the document to train on; 0 where it is not selected.",
        ("budgets.allocated", "densities.density", "clusters.n_tokens"),
    ),
)
TABLES = (
    Table("subset", DRAWN),
    Table("selection_weights", DRAWN),
    Table(
        "selection_thresholds",
        (
            Column("cluster_id", pl.Int32, "Cluster.", ("budgets.cluster_id",)),
            Column("allocated", pl.Int64, "The cluster's budget, in its unit.", ("budgets.allocated",)),
            Column(
                "granted",
                pl.Int64,
                "What of the budgets the cluster can use, after what others left was spread.",
                ("budgets.allocated", "budgets.utility", "clusters.n_tokens"),
            ),
            Column(
                "drawn",
                pl.Int64,
                "What was drawn, in the unit of the budget, repeats counted.",
                ("budgets.allocated", "clusters.n_tokens", "densities.density"),
            ),
            Column(
                "passed_over",
                pl.Int64,
                "Documents that are longer than the cluster's whole budget; none of them can be drawn.",
                ("budgets.allocated", "clusters.n_tokens"),
            ),
            Column("passed_over_tokens", pl.Int64, "Their tokens.", ("budgets.allocated", "clusters.n_tokens")),
            Column(
                "left_out", pl.Int64, "Documents that are longer than selection.max_tokens.", ("clusters.n_tokens",)
            ),
            Column("left_out_tokens", pl.Int64, "Their tokens.", ("clusters.n_tokens",)),
            Column("max_tokens", pl.Int64, "selection.max_tokens; null where no length is too long."),
            Column(
                "exhausted",
                pl.Boolean,
                "Whether every document that fits is taken, as often as it may be.",
                ("budgets.allocated", "clusters.n_tokens"),
            ),
            Column(
                "threshold",
                pl.Float64,
                "Key of the last document taken; of those that fit, all with a larger one are in.",
                ("budgets.allocated", "densities.density"),
            ),
        ),
    ),
    Table(
        "diversity",
        (
            Column("cluster_id", pl.Int32, "Cluster; null for the whole.", ("clusters.cluster_id",)),
            Column("n_docs", pl.Int64, "Documents.", ("clusters.doc_id",)),
            Column("n_selected", pl.Int64, "Documents of the subset.", ("budgets.allocated",)),
            Column(
                "corpus", pl.Float64, "Rao's quadratic entropy of all documents.", ("cluster_embeddings.embedding",)
            ),
            Column(
                "subset",
                pl.Float64,
                "The same of the subset, repeats counted.",
                ("cluster_embeddings.embedding", "budgets.allocated"),
            ),
            Column(
                "random",
                pl.Float64,
                "The same of a uniform draw to the same budget.",
                ("cluster_embeddings.embedding", "budgets.allocated"),
            ),
        ),
    ),
)
CHECKS = (
    Check("within_budgets", True, "Every cluster is drawn to its budget, within a document that fits."),
    Check("budget_met", False, "At least 99% of the budget could be used."),
    Check("nothing_lost", True, "Documents read = selected + not selected + held out + rejected."),
    Check("diversity_in_range", True, "Entropies are from 0 to 2, and of as many documents as there are."),
)

stage = Stage(
    name="subset",
    code_version="4",
    compute=compute,
    description="The documents to train on. Each cluster's are drawn without replacement to its budget, unusual ones"
    " rather than common ones and longer rather than shorter: P(x) ∝ ρ(x)⁻¹ (ℓ(x)/ℓ_avg)^β [paper eq. 9, 10]."
    " `selection_thresholds`: budget, what was drawn and what was passed over as too long, by cluster."
    " `selection_weights` has density, weights and key of every document, chosen or not; `diversity` Rao's entropy of"
    " pool, subset and a random draw, by cluster and (`cluster_id` NULL) as a whole [paper eq. 1].",
    tables=TABLES,
    checks=CHECKS,
    picture=True,
    inputs=("corpus", "clusters", "budgets", "densities"),
    reads={"selection": READS},
)

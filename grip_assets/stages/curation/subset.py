"""subset: the documents to train on [G8, G9]. The tables say why each document of the pool is in or out.

The selections themselves are in method/selection/, their features in features.py.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa

from grip_assets.engine.declarations import Check, Column, Table
from grip_assets.engine.stage import Settings, Stage, Work
from grip_assets.errors import GripError
from grip_assets.method.geometry import RaoEntropy
from grip_assets.method.sampling import keyed_uniform
from grip_assets.method.selection.background import Without, with_background
from grip_assets.method.selection.base import (
    CLUSTERS,
    POOL,
    Budgets,
    Documents,
    Features,
    Selected,
    Steps,
    take_in_clusters,
)
from grip_assets.method.selection.draw import keys
from grip_assets.method.selection.registry import SELECTIONS
from grip_assets.runtime import threads
from grip_assets.settings import Adaptation, Budget, Selection
from grip_assets.stages.curation import source_weights
from grip_assets.stages.curation.budgets import budgets_under
from grip_assets.stages.curation.densities import with_densities
from grip_assets.stages.curation.features import PoolFeatures, feature_facts, must_be_ready
from grip_assets.stages.curation.needed import no_greedy
from grip_assets.store.tables import GROUP_ROWS, arrow, vector_blocks, width

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
OF_CLUSTERS = ("doc_id", "cluster_id", "cosine", "n_tokens", "role", "pool")  # the columns of clusters that are read
KEEP = "keep"  # of the column role
STEPS = ["rank", "gain", "covered", "alignment"]
WORDS = {"corpus": "the_corpus", "subset": "the_subset", "random": "a_random_subset"}
COMPARED = list(WORDS)
LIMIT = "selection.max_tokens or selection.max_share"
# Fields of settings/selection that this stage reads. The others matter only to the stage densities.
READS = (
    *("rule", "weight", "beta", "neighbours", "rho_floor", "clip_quantile", "max_tokens", "max_share", "seed"),
    *("scope", "rounds"),
)


@dataclass(frozen=True)
class Subset:
    """``budgets``: the table. ``repeats_N``: copies of each document, in the order of ``selection_weights``."""

    budgets: pl.DataFrame
    repeats_N: np.ndarray


def subset_under(
    settings: Settings, documents: pl.DataFrame, measured: dict[str, pl.DataFrame], features: Features | None = None
) -> Subset:
    """The budgets and the subset under ``settings``, from the tables ``measured`` and the densities in ``documents``.

    This is what the stages ``budgets`` and ``subset`` compute, without writing artifacts.
    """
    budgets = budgets_under(measured, Budget.of(settings), Adaptation.of(settings).delta)
    return Subset(budgets, drawn_under(budgets, documents, Selection.of(settings), features))


def drawn_under(
    budgets: pl.DataFrame, documents: pl.DataFrame, settings: Selection, features: Features | None = None
) -> np.ndarray:
    """Copies of each document in the subset, int64 (N,).

    ``documents``: with their densities, in the order of ``selection_weights``. ``features``: only a rule other than
    ``draw`` needs them.
    """
    return selected(budgets, documents, settings, features or Densities(documents)).repeats_N


def selected(budgets: pl.DataFrame, documents: pl.DataFrame, settings: Selection, features: Features) -> Selected:
    """Select by ``settings.rule``. ``documents``: doc_id and n_tokens, in the order of the table ``clusters``.

    Documents whose source has the role keep are taken once each, beside the budgets.
    """
    select = SELECTIONS[settings.rule].select
    kept_N = background(documents)
    if not kept_N.any():
        return select(as_documents(documents, budgets, settings), as_budgets(budgets), features, settings)
    free = as_documents(documents.filter(pl.Series(~kept_N)), budgets, settings)
    return with_background(select(free, as_budgets(budgets), Without(features, kept_N), settings), kept_N)


def background(documents: pl.DataFrame) -> np.ndarray:
    """The documents that are always in the subset, as a mask (N,)."""
    if "role" not in documents.columns:
        return np.zeros(len(documents), bool)
    return (documents["role"] == KEEP).fill_null(False).to_numpy()


def background_of(documents: pl.DataFrame) -> pl.Expr:
    """The same as an expression over the rows of ``documents``."""
    return (pl.col("role") == KEEP).fill_null(False) if "role" in documents.columns else pl.lit(False)


def as_documents(documents: pl.DataFrame, budgets: pl.DataFrame, settings: Selection) -> Documents:
    """``documents``: doc_id and n_tokens, in the order of the table ``clusters``. ``budgets``: the table."""
    lengths_N, sizes_K = documents["n_tokens"].to_numpy(), budgets["n_docs"].to_numpy()
    weight_N = source_weights.in_rows(documents)
    return Documents(documents["doc_id"], lengths_N, sizes_K, budgets["unit"][0], limit_of(settings, budgets), weight_N)


def limit_of(settings: Selection, budgets: pl.DataFrame) -> int | None:
    """``longest`` under the table ``budgets``."""
    return longest(settings, int(budgets["allocated"].sum()) if budgets["unit"][0] == "tokens" else None)


def longest(settings: Selection, total: int | None) -> int | None:
    """Tokens of the longest document that may be selected; None if there is no limit.

    ``total``: tokens of the whole budget. None if it counts documents: then ``max_share`` limits nothing.
    """
    limits = [] if settings.max_tokens is None else [settings.max_tokens]
    if settings.max_share is not None and total is not None:
        limits.append(int(settings.max_share * total))
    return min(limits, default=None)


def as_budgets(budgets: pl.DataFrame) -> Budgets:
    """The table ``budgets`` as selections read it."""
    whole_K = budgets["n_tokens" if budgets["unit"][0] == "tokens" else "n_docs"].to_numpy()
    copies = int((budgets["capacity"].to_numpy() // np.maximum(whole_K, 1)).max())
    return Budgets(budgets["allocated"].to_numpy(), budgets["utility"].to_numpy(), copies)


class Densities:
    """Features that have only the densities. That is enough for the rule ``draw``."""

    def __init__(self, documents: pl.DataFrame):
        self.documents = documents

    def density(self) -> np.ndarray:
        return self.documents["density"].to_numpy()

    def __getattr__(self, name: str) -> Any:
        raise GripError(f"The feature {name} is not available here, only densities are.")


def diversity(
    work: Work, everything: pl.DataFrame, embedded: pl.Series, budgets: pl.DataFrame, settings: Selection
) -> pl.DataFrame:
    """The table ``diversity``: Rao's entropy [G0] of all documents of a cluster, of the selected ones, and of a uniform
    draw to the same budget. Of each, only documents with a vector count (the mask ``embedded``).

    The first row (``cluster_id`` NULL) has the same for the whole pool; its uniform draw ignores clusters.
    """
    uniform = _uniform_draws(everything, budgets, settings)
    draws_N, cluster_N = (everything["repeats"].to_numpy(), *uniform), everything["cluster_id"]
    if not embedded.all():
        draws_N, cluster_N = tuple(draw_N[embedded.to_numpy()] for draw_N in draws_N), cluster_N.filter(embedded)

    def described(part: tuple[int, np.ndarray]) -> list[RaoEntropy]:
        start, x_ND = part
        found = [RaoEntropy() for _ in range(4)]
        weights_N = (np.ones(len(x_ND)), *(draw_N[start : start + len(x_ND)] for draw_N in draws_N))
        for entropy, weight_N in zip(found, weights_N, strict=True):
            entropy.add(x_ND, weight_N)
        return found

    together, rows = [RaoEntropy() for _ in range(4)], []
    with_vector = cluster_N.rle().struct.field("len").to_list()
    bytes_each = max(with_vector) * width(work.files("cluster_embeddings")) * 2
    for found in threads.each(described, vectors_of(work, with_vector), bytes_each=bytes_each):
        rows.append([entropy.value() for entropy in found[:3]])
        for entropy, part in zip(together, found, strict=True):
            entropy.join(part)
    size_K, chosen_N = sizes_of(everything), everything["repeats"].to_numpy() > 0
    by_cluster = zip(budgets["cluster_id"], size_K.tolist(), in_clusters(chosen_N, size_K).tolist(), strict=True)
    counts = [(None, len(everything), int(chosen_N.sum())), *by_cluster]
    values = [[together[i].value() for i in (0, 1, 3)], *rows]
    schema = {"cluster_id": pl.Int32, "n_docs": pl.Int64, "n_selected": pl.Int64} | dict.fromkeys(COMPARED, pl.Float64)
    return pl.DataFrame([(*c, *v) for c, v in zip(counts, values, strict=True)], schema, orient="row")


def _uniform_draws(
    everything: pl.DataFrame, budgets: pl.DataFrame, settings: Selection
) -> tuple[np.ndarray, np.ndarray]:
    """Copies of each document in two uniform draws: one to the budget of each cluster, one that ignores clusters."""
    whole = budgets.select(pl.col("n_docs", "n_tokens", "capacity", "allocated", "utility").sum(), pl.first("unit"))
    kept_N = background(everything)
    free = everything.filter(pl.Series(~kept_N)) if kept_N.any() else everything
    key_N = keys(keyed_uniform(settings.seed, "diversity", free["doc_id"]), np.ones(1))

    def drawn(table: pl.DataFrame) -> np.ndarray:
        taken = take_in_clusters(as_documents(free, table, settings), as_budgets(table), key_N)
        return with_background(taken, kept_N).repeats_N.astype(np.int32)

    return drawn(budgets), drawn(whole)


def sizes_of(documents: pl.DataFrame) -> np.ndarray:
    """Number of documents of each cluster, int64 (K,), all above 0.

    The background counts, which the budgets leave out. ``documents``: in the order of the table ``clusters``.
    """
    return documents["cluster_id"].rle().struct.field("len").to_numpy().astype(np.int64)


def in_clusters(values_N: np.ndarray, size_K: np.ndarray) -> np.ndarray:
    """Sums over the documents of each cluster, int64 (K,). ``size_K``: see ``sizes_of``."""
    return np.add.reduceat(values_N, np.cumsum(size_K) - size_K, dtype=np.int64)


def inside_clusters(diversity: pl.DataFrame) -> dict[str, float]:
    """The means over clusters, weighted by their documents, which paper eq. 1 compares."""
    rows = diversity.filter(pl.col("cluster_id").is_not_null()).fill_null(0)
    means = rows.select((pl.col(COMPARED) * pl.col("n_docs")).sum() / pl.col("n_docs").sum())
    return {f"diversity_of_{WORDS[name]}": value for name, value in means.row(0, named=True).items()}


def compute(work: Work) -> dict[str, Any]:
    settings, budgets = Selection.of(work.settings), work.frame("budgets")
    documents = source_weights.weighted(documents_of(work), work.settings)
    embedded, documents = documents["cosine"].is_not_null(), documents.drop("cosine", "pool", strict=False)
    must_be_ready(SELECTIONS[settings.rule].features, work.settings)
    found = selected(budgets, documents, settings, PoolFeatures(work, documents))
    everything = documents.with_columns(
        length_weight=column(found.length_weight_N),
        selection_weight=column(found.selection_weight_N),
        key=column(found.key_N),
        repeats=column(found.repeats_N),
        **_steps(found.steps),
    )
    of_sources = [name for name in ("role", source_weights.COLUMN) if name in documents.columns]
    everything = everything.select(COLUMNS + (STEPS if found.steps else []) + of_sources)
    chosen, kept_N = np.flatnonzero(found.repeats_N), background(everything)
    if len(chosen) == kept_N.sum():
        raise _nothing_fits(budgets, everything, settings)
    thresholds = thresholds_of(found, budgets, everything, limit_of(settings, budgets))
    followed = _followed(found, budgets, everything)
    compared = diversity(work, everything, embedded, followed, settings)
    work.draft.write_blocks("selection_weights", map(arrow, everything.iter_slices(GROUP_ROWS)))
    work.draft.write_blocks("subset", (arrow(everything[rows]) for rows in _blocks(chosen)))
    work.draft.write("selection_thresholds", thresholds)
    work.draft.write("diversity", compared)
    if short := _short(thresholds, budgets):
        work.log(short)
    if source_weights.in_rows(documents) is not None and settings.rule not in source_weights.FOLLOWED_BY:
        work.log(f"selection.rule={settings.rule} takes documents in its own order, and follows no weights of sources")
    if found.steps and as_budgets(budgets).max_repeats > 1:
        work.log("the greedy selection takes each document once, so budget.overflow=repeat repeats none")
    return {
        "documents_selected": len(chosen),
        "tokens_selected": int(everything["n_tokens"].to_numpy() @ found.repeats_N),
        "share_of_documents": len(chosen) / len(everything),
        **({"documents_of_background": int(kept_N.sum())} if kept_N.any() else {}),
        f"{budgets['unit'][0]}_short": int(thresholds["allocated"].sum()) - int(thresholds["drawn"].sum()),
        "documents_passed_over": int(thresholds["passed_over"].sum()),
        "documents_left_out": int(thresholds["left_out"].sum()),
        **inside_clusters(compared),
        **found.said,
    }


def _blocks(rows: np.ndarray) -> Iterator[np.ndarray]:
    return (rows[start : start + GROUP_ROWS] for start in range(0, len(rows), GROUP_ROWS))


def column(values_N: np.ndarray) -> pl.Series:
    """An array of numbers as a column. It is not copied."""
    found = pl.from_arrow(pa.array(values_N))
    assert isinstance(found, pl.Series)
    return found


def _steps(steps: Steps | None) -> dict[str, pl.Series]:
    """The columns that say why a greedy selection took a document; none for other selections."""
    if steps is None:
        return {}
    rank = column(steps.rank_N)
    numbers = {"gain": steps.gain_N, "covered": steps.covered_N, "alignment": steps.alignment_N}
    return {"rank": rank.replace(0, None), **{name: column(values) for name, values in numbers.items()}}


def documents_of(work: Work) -> pl.DataFrame:
    """Documents in the order of ``clusters`` with their densities; all 1 if the selection in force needs none.

    Each column of numbers is one piece, so that it is read as an array without a copy.
    """
    clusters = pl.scan_parquet(work.files("clusters"))
    of = [name for name in OF_CLUSTERS if name in clusters.collect_schema().names()]
    documents = clusters.select(of).collect()
    density = pl.read_parquet(work.files("densities"), columns=["density"])["density"]
    found = with_densities(documents, density) if len(density) else documents.with_columns(density=pl.lit(1.0))
    return found.with_columns(found[name].rechunk() for name in ("cluster_id", "n_tokens", "density"))


def _nothing_fits(budgets: pl.DataFrame, documents: pl.DataFrame, settings: Selection) -> GripError:
    most = limit_of(settings, budgets)
    limit = "" if most is None else f" or {LIMIT} ({most:,} tokens now)"
    return GripError(
        f"No document fits the budget of {budgets['total'][0]:,} {budgets['unit'][0]}; the shortest has"
        f" {documents['n_tokens'].to_numpy().min():,} tokens. Raise settings/budget.total{limit}."
    )


def _followed(found: Selected, budgets: pl.DataFrame, everything: pl.DataFrame) -> pl.DataFrame:
    """The table ``budgets`` with the budgets that the selection followed as ``allocated``.

    If a rule has no budgets of clusters, ``allocated`` is what it took from each cluster.
    """
    if found.budgets == CLUSTERS:
        return budgets.with_columns(allocated=pl.Series(found.allocated_S))
    cost = pl.col("n_tokens") if budgets["unit"][0] == "tokens" else pl.lit(1)
    own = cost * pl.col("repeats") * (~background_of(everything)).cast(pl.Int64)
    own_N = everything.select(own.alias("own"))["own"].to_numpy()
    return budgets.with_columns(allocated=pl.Series(in_clusters(own_N, sizes_of(everything))))


def thresholds_of(
    found: Selected, budgets: pl.DataFrame, documents: pl.DataFrame, max_tokens: int | None
) -> pl.DataFrame:
    """The table ``selection_thresholds``: how much of each budget was used, and which documents could not be taken.

    One row per cluster. If a rule has no budgets of clusters, there is one row without a cluster.
    """
    drawn = found.drawn
    rows = pl.DataFrame(
        {
            "allocated": found.allocated_S,
            "granted": drawn.granted_K,
            "drawn": drawn.drawn_K,
            "passed_over": drawn.passed_over_K,
            "passed_over_tokens": drawn.passed_over_cost_K,
        }
    )
    tokens_N = documents["n_tokens"].to_numpy()
    longer_N = np.zeros(len(documents), bool) if max_tokens is None else tokens_N > max_tokens
    longer_N &= ~background(documents)
    size_K = sizes_of(documents)
    left_out = {"left_out": in_clusters(longer_N, size_K), "left_out_tokens": in_clusters(tokens_N * longer_N, size_K)}
    ends = {"exhausted": pl.Series(drawn.exhausted_K), "threshold": pl.Series(drawn.threshold_K).fill_nan(None)}
    if found.budgets == CLUSTERS:
        rows = rows.with_columns(budgets["cluster_id"], **{name: pl.Series(n_K) for name, n_K in left_out.items()})
    else:
        of = {name: pl.lit(int(n_K.sum())) for name, n_K in left_out.items()}
        rows = rows.sum().with_columns(pl.lit(None, pl.Int32).alias("cluster_id"), **of)
        if found.budgets != POOL:  # several budgets have no common threshold
            ends = dict.fromkeys(ends, pl.Series([None]))
    return rows.with_columns(max_tokens=pl.lit(max_tokens, pl.Int64), **ends).select(
        pl.col(column.name).cast(column.dtype) for column in stage.table("selection_thresholds").columns
    )


def _short(thresholds: pl.DataFrame, budgets: pl.DataFrame) -> str | None:
    """A warning for the log if part of the budget could not be used because documents are too long; else None."""
    total = thresholds.select(pl.exclude("cluster_id", "exhausted", "threshold").sum()).row(0, named=True)
    if total["granted"] == total["allocated"]:
        return None
    reasons = [
        f"{total[name]:,} documents of {total[f'{name}_tokens']:,} tokens together are longer than {what}"
        for name, what in (("passed_over", "the budgets of their clusters"), ("left_out", LIMIT))
        if total[name]
    ]
    also = f"raise {LIMIT}" if total["left_out"] else "split the longest documents"
    return (
        f"WARNING: the subset has {total['drawn']:,} {budgets['unit'][0]} of a budget of {total['allocated']:,}:"
        f" {' and '.join(reasons)}, and all others are taken. To use the budget, raise budget.total, have fewer"
        f" clusters (clustering.k), or {also}."
    )


def vectors_of(work: Work, sizes: list[int]) -> Iterator[tuple[int, np.ndarray]]:
    """The first row of each cluster and its vectors (N, D), one cluster after the other. Memory holds the vectors of
    one cluster and of one block. ``sizes``: documents with a vector."""
    rows, held, start = vector_blocks(work.files("cluster_embeddings")), np.zeros((0, 0), np.float16), 0
    for size in sizes:
        parts = [held] if len(held) else []
        while sum(map(len, parts)) < size:
            parts.append(next(rows))
        together = parts[0] if len(parts) == 1 else np.concatenate(parts)  # most clusters lie within a block
        yield start, together[:size]
        held, start = together[size:], start + size


def facts(settings: Settings, root: Path) -> dict[str, Any]:
    """What the features of the rule depend on outside of the input tables, and the weights of sources."""
    return feature_facts(SELECTIONS[Selection.of(settings).rule].features, settings) | source_weights.facts(settings)


GREEDY = ("sketches.sketch", "attribution_aims.sketch", "clusters.n_tokens")
DRAWN = (
    Column("doc_id", pl.String, "Document.", ("clusters.doc_id",)),
    Column("cluster_id", pl.Int32, "Cluster.", ("clusters.cluster_id",)),
    Column("n_tokens", pl.Int64, "Tokens ℓ(x).", ("clusters.n_tokens",)),
    Column(
        "density",
        pl.Float64,
        "Density ρ(x), from the distances to its neighbours in the cluster. 1 if the weights do not use it.",
        ("densities.density",),
    ),
    Column("length_weight", pl.Float64, "Length term of the weight, (ℓ(x)/ℓ_avg)^β.", ("clusters.n_tokens",)),
    Column(
        "selection_weight",
        pl.Float64,
        "Weight in the draw, ρ(x)⁻¹ (ℓ(x)/ℓ_avg)^β, with selection.rho_floor and selection.clip_quantile.",
        ("densities.density", "clusters.n_tokens"),
    ),
    Column(
        "key",
        pl.Float64,
        "Key of the draw. The documents with the largest keys are taken.",
        ("densities.density", "clusters.n_tokens", "clusters.doc_id"),
    ),
    Column(
        "repeats",
        pl.Int64,
        "Copies of the document in the subset. 0 if it is not selected.",
        ("budgets.allocated", "densities.density", "clusters.n_tokens"),
    ),
    Column(
        "rank",
        pl.Int64,
        "Place in the order in which the greedy selection took documents, from 1. Null if it was not taken, and for"
        " other selections.",
        GREEDY,
        added=True,
    ),
    Column(
        "gain",
        pl.Float64,
        "What a token of it adds to the score of the subset when its turn comes, or at the end if it was not taken."
        " Null unless the selection is greedy.",
        GREEDY,
        added=True,
    ),
    Column(
        "covered",
        pl.Float64,
        "How much of its alignment the documents that were taken before had covered by then. Null unless the selection"
        " is greedy.",
        GREEDY,
        added=True,
    ),
    Column(
        "alignment",
        pl.Float64,
        "What a token of it would add to an empty subset. Null unless the selection is greedy.",
        GREEDY,
        added=True,
    ),
    Column(
        "role",
        pl.String,
        "Role of its source: select, or keep (taken once, beside the budgets). Null for a pool at one path.",
        ("clusters.role",),
        added=True,
    ),
    Column(
        "source_weight",
        pl.Float64,
        "Weight of its source, which is a factor of selection_weight. Null if no source has a weight.",
        ("clusters.pool",),
        added=True,
    ),
)
TABLES = (
    Table("subset", DRAWN),
    Table("selection_weights", DRAWN),
    Table(
        "selection_thresholds",
        (
            Column(
                "cluster_id",
                pl.Int32,
                "Cluster. Null if the selection has no budgets of clusters.",
                ("budgets.cluster_id",),
            ),
            Column("allocated", pl.Int64, "The cluster's budget, in tokens or documents.", ("budgets.allocated",)),
            Column(
                "granted",
                pl.Int64,
                "Budget that the cluster can use, with its part of what other clusters cannot use.",
                ("budgets.allocated", "budgets.utility", "clusters.n_tokens"),
            ),
            Column(
                "drawn",
                pl.Int64,
                "Size of the documents drawn, in the unit of the budget. Copies count.",
                ("budgets.allocated", "clusters.n_tokens", "densities.density"),
            ),
            Column(
                "passed_over",
                pl.Int64,
                "Documents that cannot be drawn because they are longer than the cluster's whole budget.",
                ("budgets.allocated", "clusters.n_tokens"),
            ),
            Column(
                "passed_over_tokens",
                pl.Int64,
                "Tokens of the documents in passed_over.",
                ("budgets.allocated", "clusters.n_tokens"),
            ),
            Column("left_out", pl.Int64, "Documents that are longer than max_tokens.", ("clusters.n_tokens",)),
            Column("left_out_tokens", pl.Int64, "Tokens of the documents in left_out.", ("clusters.n_tokens",)),
            Column(
                "max_tokens",
                pl.Int64,
                "Tokens of the longest document that may be selected: the lower of selection.max_tokens and"
                " selection.max_share of the budget. Null if there is no limit.",
                ("budgets.allocated",),
            ),
            Column(
                "exhausted",
                pl.Boolean,
                "Whether every document that fits is taken, as often as allowed.",
                ("budgets.allocated", "clusters.n_tokens"),
            ),
            Column(
                "threshold",
                pl.Float64,
                "Smallest key that was taken. All documents that fit and have a larger key are in the subset.",
                ("budgets.allocated", "densities.density"),
            ),
        ),
    ),
    Table(
        "diversity",
        (
            Column("cluster_id", pl.Int32, "Cluster. Null for the whole pool.", ("clusters.cluster_id",)),
            Column("n_docs", pl.Int64, "Number of documents.", ("clusters.doc_id",)),
            Column("n_selected", pl.Int64, "Number of documents in the subset.", ("budgets.allocated",)),
            Column(
                "corpus", pl.Float64, "Rao's quadratic entropy of all documents.", ("cluster_embeddings.embedding",)
            ),
            Column(
                "subset",
                pl.Float64,
                "Rao's quadratic entropy of the subset. Copies count.",
                ("cluster_embeddings.embedding", "budgets.allocated"),
            ),
            Column(
                "random",
                pl.Float64,
                "Rao's quadratic entropy of a uniform draw to the same budget.",
                ("cluster_embeddings.embedding", "budgets.allocated"),
            ),
        ),
    ),
)
CHECKS = (
    Check("within_budgets", True, "Every cluster meets its budget, up to the length of a document."),
    Check("budget_met", False, "At least 99% of the budget is used."),
    Check("background_whole", True, "Every document whose source has the role keep is in the subset, once."),
    Check("nothing_lost", True, "Documents read = selected + not selected + near copies + held out + rejected."),
    Check("diversity_in_range", True, "Entropies are from 0 to 2, and counts of documents agree with the subset."),
)

stage = Stage(
    name="subset",
    code_version="4",
    compute=compute,
    description="The documents to train on. Documents of each cluster are drawn without replacement until its budget is"
    " met. Unusual and long documents are preferred: P(x) ∝ ρ(x)⁻¹ (ℓ(x)/ℓ_avg)^β [paper eq. 9, 10]."
    " `selection_weights` has density, weights and key of every document, selected or not. `selection_thresholds` has"
    " for each cluster its budget, what was drawn, and what was too long. `diversity` compares Rao's entropy of the"
    " pool, of the subset and of a random draw, for each cluster and (`cluster_id` NULL) for the whole [paper eq. 1].",
    tables=TABLES,
    checks=CHECKS,
    picture=True,
    inputs=("corpus", "clusters", "budgets", "densities", "sketches", "attribution"),
    left_out=dict.fromkeys(("sketches", "attribution"), no_greedy),
    reads={"selection": READS},
    facts=facts,
    disk=lambda tables: 24 * tables["clusters"]["rows"],
    otherwise="code or the weight of a source changed, or a feature of the selection: its target, its package, or how"
    " it is computed",
)

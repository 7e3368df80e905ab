"""redundancy: what the quadratic term of GRASP changed in the subset. Used only if selection.rule is greedy.

Additive scoring takes the documents with the largest alignments until the same budgets are met. Here are the documents
that it would have taken and greedy did not, the taken documents that made them redundant, and those that came instead.
The selection itself is in method/selection/greedy.py; the report shows this in report/page/attribution.py.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import polars as pl

from grip_assets.engine.declarations import Check, Column, Table
from grip_assets.engine.stage import Stage, Work
from grip_assets.method.selection.background import with_background
from grip_assets.method.selection.base import take_from_pool, take_in_clusters
from grip_assets.settings import Selection
from grip_assets.stages.curation.needed import no_greedy
from grip_assets.stages.curation.subset import as_budgets, as_documents, background
from grip_assets.store.sketches import rows_of_source, sketch_blocks

MOST, NEAREST = 200, 3  # documents that were left out, and taken ones that are named for each
LEFT, INSTEAD = "left out", "taken instead"


def compute(work: Work) -> dict[str, Any]:
    documents, selection = _worth(work), Selection.of(work.settings)
    table = changes(documents, additive(documents, work.frame("budgets"), selection))
    source = work.frame("attribution_choice").filter("chosen")["source"][0]
    found = near(work.files("sketches"), source, table, documents)
    work.draft.write("redundancy", found)
    work.draft.write("greedy_changes", table)
    instead = table.filter(change=INSTEAD)
    tokens = int((documents["n_tokens"] * documents["repeats"]).sum())
    return {
        "documents_left_out": table.filter(change=LEFT).height,
        "documents_taken_instead": instead.height,
        "tokens_replaced": int(instead["n_tokens"].sum()) / max(tokens, 1),
        "median_similarity": found.filter(number=1)["similarity"].median(),
    }


def _worth(work: Work) -> pl.DataFrame:
    """The table ``selection_weights``. For maxmin, whose alignments are those of the worst target at the time, the
    alignment is the mean over targets by their weights."""
    documents, aims = work.frame("selection_weights"), work.frame("attribution_aims")
    if aims["combine"][0] == "sum":
        return documents
    weighed = work.frame("attribution").join(aims.select("target", "weight"), on="target")
    means = weighed.group_by("doc_id").agg(alignment=(pl.col("alignment") * pl.col("weight")).sum() / pl.sum("weight"))
    return documents.drop("alignment").join(means, on="doc_id", how="left", maintain_order="left")


def additive(documents: pl.DataFrame, budgets: pl.DataFrame, selection: Selection) -> np.ndarray:
    """Copies of each document if the largest alignments were taken within the same budgets, int64 (N,).

    ``documents``: the table ``selection_weights``. ``budgets``: the table.
    """
    take = take_from_pool if selection.scope == "pool" else take_in_clusters
    kept_N = background(documents)
    free = documents.filter(pl.Series(~kept_N)) if kept_N.any() else documents
    taken = take(as_documents(free, budgets, selection), as_budgets(budgets), free["alignment"].to_numpy())
    return with_background(taken, kept_N).repeats_N


def changes(documents: pl.DataFrame, additive_N: np.ndarray) -> pl.DataFrame:
    """The table ``greedy_changes``: documents that only one of the two selections has, those that were left out first.

    ``documents``: the table ``selection_weights``. ``additive_N``: copies of each under additive scoring.
    """
    place = pl.col("alignment").rank("ordinal", descending=True).cast(pl.Int64)
    rows = documents.with_columns(place=place, additive=pl.Series(additive_N))
    change = pl.when(pl.col("additive") > 0).then(pl.lit(LEFT)).otherwise(pl.lit(INSTEAD))
    differ = rows.filter((pl.col("additive") > 0) != (pl.col("repeats") > 0)).with_columns(change=change)
    columns = ("change", "doc_id", "cluster_id", "n_tokens", "place", "alignment", "rank", "gain", "covered")
    return differ.select(columns).sort("change", pl.coalesce("rank", "place"))


def near(sketches: str, source: str, changed: pl.DataFrame, documents: pl.DataFrame) -> pl.DataFrame:
    """The table ``redundancy``. ``changed``: the table ``greedy_changes``. ``documents``: ``selection_weights``."""
    left, taken = changed.filter(change=LEFT).head(MOST), documents.filter(pl.col("repeats") > 0)
    found = nearest(sketches, source, documents["doc_id"], left["doc_id"], taken["doc_id"])
    of_taken = taken.select("rank", "gain", nearest="doc_id")
    rows = left.select("doc_id", "place").join(found, on="doc_id").join(of_taken, on="nearest")
    return rows.sort("place", "number").select(stage.schema("redundancy").names())


def nearest(sketches: str, source: str, documents: pl.Series, left: pl.Series, taken: pl.Series) -> pl.DataFrame:
    """The ``NEAREST`` documents of ``taken`` to each of ``left``, by the cosine of their sketches.

    ``sketches``: glob of the table. ``source``: whose sketches, which are those of ``documents`` in their order.
    Columns doc_id, number (1 is the nearest), nearest, similarity. Memory holds the sketches of ``left`` and one block.
    """
    rows, here_N = rows_of_source(sketches, source, documents), documents.is_in(left.implode()).to_numpy()
    x_LF, ids = np.concatenate([x_BF for _, x_BF in _chosen(sketches, rows, here_N)]), documents.filter(here_N)
    best_LN, names_LN = np.full((len(ids), 0), -np.inf), np.empty((len(ids), 0), object)
    for at, x_BF in _chosen(sketches, rows, documents.is_in(taken.implode()).to_numpy()):
        if not (len(x_BF) and len(ids)):
            continue
        similarity_LB = _cosines(x_LF, x_BF)
        names_LB = np.broadcast_to(np.array(documents.gather(at).to_list(), object), similarity_LB.shape)
        both_LN, names = np.hstack([best_LN, similarity_LB]), np.hstack([names_LN, names_LB])
        top_LN = np.argsort(-both_LN, axis=1, kind="stable")[:, :NEAREST]
        best_LN, names_LN = np.take_along_axis(both_LN, top_LN, 1), np.take_along_axis(names, top_LN, 1)
    n = best_LN.shape[1]
    return pl.DataFrame(
        {
            "doc_id": ids.gather(np.repeat(np.arange(len(ids)), n)),
            "number": pl.Series(np.tile(np.arange(1, n + 1), len(ids)), dtype=pl.Int32),
            "nearest": pl.Series(names_LN.ravel().tolist(), dtype=pl.String),
            "similarity": pl.Series(best_LN.ravel(), dtype=pl.Float64),
        }
    )


def _cosines(x_LF: np.ndarray, y_BF: np.ndarray) -> np.ndarray:
    """Cosines of all pairs, float64 (L, B), in six digits; 0 with a sketch that is zero."""
    x_LF, y_BF = x_LF.astype(np.float64), y_BF.astype(np.float64)
    length_LB = np.linalg.norm(x_LF, axis=1)[:, None] * np.linalg.norm(y_BF, axis=1)
    return np.round(np.divide(x_LF @ y_BF.T, length_LB, out=np.zeros(length_LB.shape), where=length_LB > 0), 6)


def _chosen(sketches: str, rows: tuple[int, int], chosen_N: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """(numbers of the documents of a mask, their sketches), block by block."""
    start = 0
    for x_BF in sketch_blocks(sketches, rows):
        here = np.flatnonzero(chosen_N[start : start + len(x_BF)])
        yield start + here, x_BF[here]
        start += len(x_BF)


DECIDED = ("selection_weights.alignment", "selection_weights.repeats", "budgets.allocated")
TABLES = (
    Table(
        "redundancy",
        (
            Column("doc_id", pl.String, "Document that was left out.", ("greedy_changes.doc_id",)),
            Column("place", pl.Int64, "Its place by alignment alone.", ("greedy_changes.place",)),
            Column("number", pl.Int32, "1: the nearest of the documents that were taken.", ("sketches.sketch",)),
            Column("nearest", pl.String, "Document that was taken.", ("sketches.doc_id",)),
            Column("similarity", pl.Float64, "Cosine of the two sketches.", ("sketches.sketch",)),
            Column("rank", pl.Int64, "Place of the taken document in the selection.", ("selection_weights.rank",)),
            Column("gain", pl.Float64, "Gain of the taken document.", ("selection_weights.gain",)),
        ),
    ),
    Table(
        "greedy_changes",
        (
            Column(
                "change",
                pl.String,
                "left out: additive scoring would have taken the document, and greedy did not. taken instead: the other"
                " way round.",
                DECIDED,
            ),
            Column("doc_id", pl.String, "Document.", ("selection_weights.doc_id",)),
            Column("cluster_id", pl.Int32, "Cluster.", ("selection_weights.cluster_id",)),
            Column("n_tokens", pl.Int64, "Tokens.", ("selection_weights.n_tokens",)),
            Column(
                "place", pl.Int64, "Place by alignment alone. 1 is the best aligned.", ("selection_weights.alignment",)
            ),
            Column("alignment", pl.Float64, "Alignment with the targets.", ("selection_weights.alignment",)),
            Column("rank", pl.Int64, "Place in the greedy selection. Null if left out.", ("selection_weights.rank",)),
            Column(
                "gain",
                pl.Float64,
                "What a token of it adds when its turn comes, or at the end if it was left out.",
                ("selection_weights.gain",),
            ),
            Column(
                "covered",
                pl.Float64,
                "Part of the alignment that others had covered by then; below 0 if they pull the other way.",
                ("selection_weights.covered",),
            ),
        ),
    ),
)
CHECKS = (Check("in_range", True, "Cosines are from -1 to 1, and documents that were left out have no rank."),)

stage = Stage(
    name="redundancy",
    code_version="1",
    compute=compute,
    description="What the quadratic term of GRASP changed: documents that additive scoring would have taken and greedy"
    " did not, the taken documents that are nearest to each of the first 200, and those that were taken instead. Used"
    " only if settings/selection.rule is greedy.",
    tables=TABLES,
    checks=CHECKS,
    picture=True,
    inputs=("budgets", "sketches", "attribution", "subset"),
    reads={"selection": ("rule", "scope", "max_tokens", "max_share")},
    unused=no_greedy,
    group="reports",
)

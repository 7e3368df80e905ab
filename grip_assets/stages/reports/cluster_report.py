"""cluster_report: whether an independent judge tells clusters apart, and whether their names do [spec 2.7, C12].

The document-intruder test asks judges that had no part in the partition: offline, vectors of words
(method/lexical.py), which no encoder makes; and a language model, if one names the clusters. The accuracy of names asks
to which cluster a document belongs, from the names alone: name_accuracy.py, beside this file. Nothing here decides
about documents.
"""

from typing import Any

import numpy as np
import polars as pl

from grip_assets.engine.declarations import Check, Column, Table
from grip_assets.engine.stage import Result, Stage, Work
from grip_assets.judges.blind import intruder
from grip_assets.method import intruders
from grip_assets.method.intruders import Trials
from grip_assets.method.lexical import document_vectors
from grip_assets.method.statistics import proportion, weighted_proportion
from grip_assets.settings import Taxonomy, digest, field_names
from grip_assets.stages.reports.blind_questions import Asking
from grip_assets.stages.reports.name_accuracy import beginnings, name_accuracy

WORDS = "words"  # value of judged_by: the offline judge
NO_ANSWER = -1
COMPARED = 4_000  # characters of a document that become its vector


def compute(work: Work) -> Result:
    settings = Taxonomy.of(work.settings)
    members = work.frame("clusters").select("doc_id", "cluster_id")
    sizes = members.group_by("cluster_id").len("n_docs").sort("cluster_id")
    asking = Asking(work, settings)
    names = name_accuracy(work, settings, members, asking)
    shown = intruders.trials(members, settings.trials, settings.seed)
    said = _judged(work, settings, members, shown, asking)
    found = {
        "name_accuracy": pl.DataFrame(names, stage.schema("name_accuracy")),
        "intruders": pl.concat([_by_cluster(shown, place_T, judge, sizes) for judge, place_T in said.items()]),
    }
    found["intruders_overall"] = _overall(found["intruders"], sizes)
    for name, table in found.items():
        work.draft.write(name, table)
    return Result(_metrics(found), digest([table.rows() for table in found.values()]), asking.complete)


def _judged(
    work: Work, settings: Taxonomy, members: pl.DataFrame, shown: Trials, asking: Asking
) -> dict[str, np.ndarray]:
    """The place that each judge names in each trial, int64 (T,), by judge; NO_ANSWER where a model gave none."""
    if not len(shown):
        work.log("no intruder test: it needs two clusters, and five documents in one of them")
    used, rows_TS = np.unique(shown.rows_TS, return_inverse=True)
    rows_TS = rows_TS.reshape(shown.rows_TS.shape)
    documents = members["doc_id"].gather(used)
    text_of = beginnings(work, documents)
    texts = [text_of[doc] for doc in documents]
    said = {WORDS: intruders.odd_one_out(document_vectors([text[:COMPARED] for text in texts]), rows_TS)}
    if settings.names == "llm":
        ask = intruder(settings, intruders.SHOWN)
        answers = asking([ask(str(t), [texts[row] for row in rows]) for t, rows in enumerate(rows_TS)])
        said[settings.model] = np.array([answers.get(str(t), NO_ANSWER) for t in range(len(shown))], np.int64)
    return said


def _by_cluster(shown: Trials, place_T: np.ndarray, judge: str, sizes: pl.DataFrame) -> pl.DataFrame:
    """The rows of one judge in the table ``intruders``. Trials without an answer do not count."""
    answered = place_T != NO_ANSWER
    right = pl.Series("right", (place_T == shown.place_T)[answered])
    counted = (
        pl.DataFrame({"cluster_id": shown.cluster_T[answered].astype(np.int32), "right": right})
        .group_by("cluster_id")
        .agg(trials=pl.len().cast(pl.Int64), found=pl.col("right").sum().cast(pl.Int64))
        .join(sizes.with_columns(pl.col("n_docs").cast(pl.Int64)), on="cluster_id")
        .sort("cluster_id")
    )
    rows = [
        row | proportion(row["found"], row["trials"]).columns("accuracy") | {"judged_by": judge}
        for row in counted.to_dicts()
    ]
    return pl.DataFrame(rows, stage.schema("intruders"))


def _overall(by_cluster: pl.DataFrame, sizes: pl.DataFrame) -> pl.DataFrame:
    """One row for each judge with at least one answer: all clusters together, weighted by their documents."""
    rows = []
    for (judge,), tested in by_cluster.group_by("judged_by", maintain_order=True):
        found_K, trials_K, size_K = (tested[name].to_numpy() for name in ("found", "trials", "n_docs"))
        rows.append(
            {
                "judged_by": judge,
                "trials": int(trials_K.sum()),
                **weighted_proportion(found_K, trials_K, size_K).columns("accuracy"),
                "chance": intruders.CHANCE,
                "coverage": float(size_K.sum() / sizes["n_docs"].sum()),
                "above_chance": int((tested["low"] > intruders.CHANCE).sum()),
                "clusters": len(tested),
            }
        )
    return pl.DataFrame(rows, stage.schema("intruders_overall"))


def _metrics(found: dict[str, pl.DataFrame]) -> dict[str, Any]:
    """Numbers for the history. Those of a language model are named after it only by ``_llm``, so that they go on."""
    metrics: dict[str, Any] = {"intruder_trials": 0, "intruder_coverage": 0.0}
    for row in found["intruders_overall"].to_dicts():
        end = "" if row["judged_by"] == WORDS else "_llm"
        metrics |= {f"intruders_found{end}": row["accuracy"], f"intruders_found_low{end}": row["low"]}
        metrics |= {f"intruder_trials{end}": row["trials"], f"intruder_coverage{end}": row["coverage"]}
    for row in found["name_accuracy"].to_dicts():
        end = "" if row["asked"] == WORDS else "_llm"
        metrics[f"name_accuracy_{row['representatives']}{end}"] = row["accuracy"]
    return metrics


TEXTS = ("clusters.cluster_id", "corpus.text")
TABLES = (
    Table(
        "intruders",
        (
            Column("cluster_id", pl.Int32, "Cluster. One that was not tested has no row.", ("clusters.cluster_id",)),
            Column("trials", pl.Int64, "Trials with an answer.", ("clusters.doc_id",)),
            Column("found", pl.Int64, "Trials in which the intruder was found.", TEXTS),
            Column("accuracy", pl.Float64, "Share of the trials in which the intruder was found.", TEXTS),
            Column("low", pl.Float64, "Lower end of the 95% interval (Wilson).", TEXTS),
            Column("high", pl.Float64, "Upper end of the 95% interval.", TEXTS),
            Column(
                "judged_by", pl.String, "Who looked for the intruder: words (their vectors), or the language model."
            ),
            Column("n_docs", pl.Int64, "Documents of the cluster.", ("clusters.doc_id",)),
        ),
    ),
    Table(
        "intruders_overall",
        (
            Column("judged_by", pl.String, "Who looked for the intruder: words, or the language model."),
            Column("trials", pl.Int64, "Trials of all clusters.", ("clusters.doc_id",)),
            Column("accuracy", pl.Float64, "Share of intruders found, each cluster weighted by its documents.", TEXTS),
            Column("low", pl.Float64, "Lower end of the 95% interval.", TEXTS),
            Column("high", pl.Float64, "Upper end of the 95% interval.", TEXTS),
            Column("chance", pl.Float64, "Share that a guess finds: one in six."),
            Column("coverage", pl.Float64, "Share of the documents in clusters that were tested.", TEXTS),
            Column("above_chance", pl.Int64, "Clusters whose whole interval is above chance.", TEXTS),
            Column("clusters", pl.Int64, "Clusters that were tested.", TEXTS),
        ),
    ),
    Table(
        "name_accuracy",
        (
            Column(
                "representatives",
                pl.String,
                "Documents that the names were made from, taxonomy.top of each cluster: gis, centre, confidence or"
                " random. in_force: the names as they are.",
            ),
            Column("n", pl.Int64, "Held-out documents that were asked about.", ("clusters.doc_id",)),
            Column(
                "accuracy",
                pl.Float64,
                "Share of them whose cluster was found from the names: the mean over the clusters.",
                ("influence.rank", *TEXTS),
            ),
            Column("low", pl.Float64, "Lower end of the 95% interval (Wilson).", TEXTS),
            Column("high", pl.Float64, "Upper end of the 95% interval.", TEXTS),
            Column("asked", pl.String, "Who chose the cluster: words (the nearest by words), or llm."),
            Column("chance", pl.Float64, "Accuracy of a guess: 1 / number of clusters.", ("clusters.cluster_id",)),
            Column(
                "to_random",
                pl.Float64,
                "Accuracy minus that of names from random documents, on the same held-out documents.",
                TEXTS,
            ),
            Column("to_random_low", pl.Float64, "Lower end of its 95% interval (bootstrap over clusters).", TEXTS),
            Column("to_random_high", pl.Float64, "Upper end of its 95% interval.", TEXTS),
        ),
    ),
)
CHECKS = (
    Check("in_range", True, "Shares are from 0 to 1, and inside of their intervals."),
    Check("intruders_found", False, "Intruders are found more often than by chance, over all clusters."),
    Check("names_tell", False, "From their names, the clusters of documents are found more often than by chance."),
)

OF_NAMES = ("names", "top", "near_copy", "sample", "seed", "model", "contrast", "temperature", "max_tokens")
READS = (*field_names(Taxonomy, "report"), *OF_NAMES)

stage = Stage(
    name="cluster_report",
    code_version="3",
    compute=compute,
    description="Whether an independent judge tells the clusters apart. `intruders`: of five documents of a cluster and"
    " one of another, how often a judge that had no part in the partition finds the one that does not belong."
    " `name_accuracy`: how often the cluster of a held-out document is found from the names alone, with names made from"
    " four kinds of documents.",
    tables=TABLES,
    checks=CHECKS,
    picture=True,
    inputs=("corpus", "clusters", "taxonomy"),
    reads={"taxonomy": READS},
    group="reports",
    named_by_content=True,
    otherwise="not all could be asked the last time",
)

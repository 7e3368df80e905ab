"""How well names tell clusters apart: held-out documents are assigned to clusters from the names alone [spec 2.7].

Names are made from four kinds of representatives of each cluster, by the function that the stage taxonomy uses. The
same held-out documents are asked about for each kind. Clusters have the same weight, and equally many documents if they
have enough: whoever names one cluster always is right in one of K cases, whatever the sizes. A held-out document is no
representative of any kind.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import polars as pl

from grip_assets.engine.stage import Work
from grip_assets.judges.blind import by_name
from grip_assets.method.by_words import difference, nearest_by_words
from grip_assets.method.geometry import unit_rows
from grip_assets.method.sampling import keyed_order, keyed_uniform
from grip_assets.method.statistics import Estimate, weighted_proportion
from grip_assets.naming.distinctive import COUNTS, shares, summed
from grip_assets.settings import Taxonomy
from grip_assets.stages.curation.cluster_names import Words, by_words, to_read
from grip_assets.stages.curation.taxonomy import WORDS
from grip_assets.stages.reports.blind_questions import Asking
from grip_assets.store.query import query
from grip_assets.store.tables import rows_of

KINDS = {"gis": "influence", "centre": "log_density", "confidence": "log_gamma", "random": "u"}
"""Kinds of representatives, and the column of which they have the largest values. ``u``: random numbers."""
IN_FORCE = "in_force"
FEW = 0.5  # share of clusters with counted held-out documents, from which names in force are not tested
CANDIDATES = 4  # times the representatives: so many are looked at, since near copies are skipped
CHARS = 12_000  # of a document that are read
UNKNOWN = Estimate(np.nan, np.nan, np.nan, 0)
FOLDERS = {"cluster_id": pl.Int32, "folder": pl.String, "n": pl.UInt32}


def name_accuracy(work: Work, settings: Taxonomy, members: pl.DataFrame, asking: Asking) -> list[dict[str, Any]]:
    """Rows of the table ``name_accuracy``. ``members``: doc_id, cluster_id.

    The words of the names in force were counted in more documents than the representatives. So they are tested only on
    clusters that are large enough for held-out documents that were not counted, and only if most clusters are.
    """
    clusters = members["cluster_id"].unique().sort()
    if settings.held_out_docs < 1 or len(clusters) < 2:
        work.log("the names are not tested: settings/taxonomy.held_out_docs is 0, or there is only one cluster")
        return []
    chosen, counted = representatives(work, settings), to_read(members, work.frame("influence"), settings)
    used = pl.concat(chosen.values())["doc_id"].unique()
    asked = held_out(members, used, counted["doc_id"], settings.held_out_docs, settings.seed)
    if asked.is_empty():
        work.log("the names are not tested: every document is a representative. Lower settings/taxonomy.top")
        return []
    text_of = beginnings(work, pl.concat([used, asked["doc_id"]]))
    truth_N, chance = np.searchsorted(clusters, asked["cluster_id"]), 1 / len(clusters)
    right = _by_words(work, chosen, asked, text_of, truth_N)
    in_counted = asked.filter(pl.col("doc_id").is_in(counted["doc_id"].implode()))["cluster_id"].unique()
    if len(in_counted) >= FEW * asked["cluster_id"].n_unique():
        work.log(
            "the names in force are not tested as they are: their words were counted in the held-out documents too"
        )
        del right[IN_FORCE]
    else:
        right[IN_FORCE][asked["cluster_id"].is_in(in_counted.implode()).to_numpy()] = np.nan
    rows = compared(right, truth_N, "words", chance)
    if settings.names == "llm":
        rows += compared(_by_model(work, chosen, asked, text_of, truth_N, asking), truth_N, "llm", chance)
    return rows


def _by_words(
    work: Work, chosen: Mapping[str, pl.DataFrame], asked: pl.DataFrame, text_of: Mapping[str, str], truth_N: np.ndarray
) -> dict[str, np.ndarray]:
    """For each kind, and for the names in force, whether the nearest words are those of the document's cluster."""
    from grip_assets.naming.words import terms  # sklearn

    in_force = work.frame("taxonomy").sort("cluster_id")
    ids, counts_N = in_force["cluster_id"].to_list(), [terms(text_of[doc]) for doc in asked["doc_id"]]
    words = {kind: words_of(documents, text_of, ids) for kind, documents in chosen.items()}
    words[IN_FORCE] = in_force["words"].to_list()
    return {k: (nearest_by_words(counts_N, words_K) == truth_N).astype(np.float64) for k, words_K in words.items()}


def words_of(documents: pl.DataFrame, text_of: Mapping[str, str], ids: list[int]) -> list[list[str]]:
    """The words of each of the clusters ``ids``, counted in these ``documents`` (cluster_id, doc_id) alone."""
    from grip_assets.naming.words import terms  # sklearn

    rows = [
        (cluster, term, share, 1)
        for cluster, doc in documents.select("cluster_id", "doc_id").iter_rows()
        for term, share in shares(terms(text_of[doc])).items()
    ]
    counts = summed([pl.DataFrame(rows, COUNTS, orient="row")])
    read = documents.group_by("cluster_id").agg(n_read=pl.len().cast(pl.Int64)).sort("cluster_id")
    return [words[:WORDS] for words in by_words(Words(counts, read, pl.DataFrame(schema=FOLDERS)), ids).words]


def _by_model(
    work: Work,
    chosen: Mapping[str, pl.DataFrame],
    asked: pl.DataFrame,
    text_of: Mapping[str, str],
    truth_N: np.ndarray,
    asking: Asking,
) -> dict[str, np.ndarray]:
    """The same for names and descriptions of the language model, and by its own answers; NaN where it gave none."""
    questions = []
    names = _names_by_model(work, chosen, asking)
    for kind, said_K in names.items():
        ask = by_name(asking.settings, said_K)
        questions += [ask(f"{kind}:{doc}", [text_of[doc]]) for doc in asked["doc_id"]]
    found = asking(
        sorted(questions, key=lambda question: question.subject.partition(":")[2])
    )  # all kinds of a document
    return {
        kind: np.array([_right(found.get(f"{kind}:{doc}"), k) for doc, k in zip(asked["doc_id"], truth_N, strict=True)])
        for kind in names
    }


def _names_by_model(work: Work, chosen: Mapping[str, pl.DataFrame], asking: Asking) -> dict[str, list[str]]:
    """What the model is told of each cluster, for each kind. A kind whose names are not complete is left out.

    Clusters that are called by the values of a column have no other names: these are the names in force.
    """
    in_force = work.frame("taxonomy").sort("cluster_id")
    if (in_force["named_by"] == "value").any():
        return {IN_FORCE: [_line(row) for row in in_force.to_dicts()]}
    found = {kind: asking.names(documents) for kind, documents in chosen.items()}
    ids = in_force["cluster_id"].to_list()
    return {kind: [_line(names[k]) for k in ids] for kind, names in found.items() if len(names) == len(ids)}


def _line(named: Mapping[str, str]) -> str:
    return f"{named['name']}: {named['description']}"


def _right(answer: int | None, truth: int) -> float:
    return np.nan if answer is None else float(answer == truth)


def representatives(work: Work, settings: Taxonomy) -> dict[str, pl.DataFrame]:
    """The representatives of each kind: cluster_id, doc_id; at most settings/taxonomy.top of each cluster."""
    influence = work.frame("influence")
    orders = {kind: candidates(influence, kind, CANDIDATES * settings.top, settings.seed) for kind in KINDS}
    x_ND, row_of = vectors_of(work, pl.concat(orders.values())["doc_id"].unique())
    return {kind: _no_near_copies(order, x_ND, row_of, settings) for kind, order in orders.items()}


def candidates(influence: pl.DataFrame, kind: str, most: int, seed: int) -> pl.DataFrame:
    """The first ``most`` documents of each cluster in the order of a kind: cluster_id, doc_id, the first one first.

    ``influence``: the table of that name. Of equal values, the smaller id comes first.
    """
    u = pl.Series("u", keyed_uniform(seed, "representatives", influence["doc_id"]))
    order = influence.with_columns(u).sort("cluster_id", KINDS[kind], "doc_id", descending=[False, True, False])
    return order.group_by("cluster_id", maintain_order=True).head(most).select("cluster_id", "doc_id")


def vectors_of(work: Work, documents: pl.Series) -> tuple[np.ndarray, dict[str, int]]:
    """Unit vectors of these documents, float32, and the row of each id."""
    files = work.files("cluster_embeddings")
    ids = pl.read_parquet(files, columns=["doc_id"])["doc_id"]
    chosen = ids.is_in(documents.implode())
    return unit_rows(rows_of(files, chosen.to_numpy())), {doc: i for i, doc in enumerate(ids.filter(chosen))}


def _no_near_copies(
    order: pl.DataFrame, x_ND: np.ndarray, row_of: Mapping[str, int], settings: Taxonomy
) -> pl.DataFrame:
    from grip_assets.method.influence import top  # compiled

    kept = []
    for _, some in order.group_by("cluster_id", maintain_order=True):
        x_MD = x_ND[[row_of[doc] for doc in some["doc_id"]]]
        kept.append(some[top(np.arange(len(some)), x_MD, settings.top, settings.near_copy)])
    return pl.concat(kept)


def held_out(members: pl.DataFrame, used: pl.Series, counted: pl.Series, n: int, seed: int) -> pl.DataFrame:
    """About ``n`` documents of the ``members`` that are not in ``used``, by cluster and id; those in ``counted`` last.

    Each cluster has n // K of them, by a keyed hash of the ids, or all it has; with more clusters than ``n``, each of
    ``n`` clusters has one.
    """
    clusters = members["cluster_id"].unique().sort()
    asked = clusters.gather(np.sort(keyed_order(seed, "held_out", len(clusters))[:n]))
    free = members.filter(pl.col("cluster_id").is_in(asked.implode()), ~pl.col("doc_id").is_in(used.implode()))
    u = pl.Series("u", keyed_uniform(seed, "held_out", free["doc_id"]))
    order = free.with_columns(u).sort("cluster_id", pl.col("doc_id").is_in(counted.implode()), "u", "doc_id").drop("u")
    each = max(n // len(clusters), 1)
    return order.group_by("cluster_id", maintain_order=True).head(each).sort("cluster_id", "doc_id")


def beginnings(work: Work, documents: pl.Series) -> dict[str, str]:
    """How documents begin, by id, without the licence at their head."""
    from grip_assets.naming.words import without_licence  # sklearn

    wanted = pl.DataFrame({"doc_id": documents.unique().sort()})
    tables: dict[str, str | pl.DataFrame] = {"corpus": work.files("corpus"), "wanted": wanted}
    return {doc: without_licence(text) for doc, text in query("stages/beginnings", tables, chars=CHARS).rows()}


def compared(right: Mapping[str, np.ndarray], cluster_N: np.ndarray, asked: str, chance: float) -> list[dict[str, Any]]:
    """Rows of the table ``name_accuracy`` for one way of asking.

    ``right``: for each kind, 1 or 0 whether the cluster of each document was found, NaN where there is no answer.
    """
    rows = []
    for kind, right_N in right.items():
        to_random = UNKNOWN
        if kind != "random" and "random" in right:
            both_N = np.isfinite(right_N) & np.isfinite(right["random"])
            to_random = difference(right_N[both_N], right["random"][both_N], cluster_N[both_N])
        answered_N = np.isfinite(right_N)
        n_K = np.bincount(cluster_N[answered_N])
        found_K = np.bincount(cluster_N[answered_N], right_N[answered_N])
        found = weighted_proportion(found_K, n_K, np.ones(len(n_K)))
        row: dict[str, Any] = {
            "representatives": kind,
            "n": found.n,
            **found.columns("accuracy"),
            "asked": asked,
            "chance": chance,
        }
        rows.append(row | to_random.columns("to_random", "to_random_low", "to_random_high"))
    return rows

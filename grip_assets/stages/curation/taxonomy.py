"""taxonomy: a name for each cluster, its representatives, and the family that it belongs to [GEM 2.7].

Names are for people: no stage that chooses documents depends on this one. Influence is measured in influence.py, names
by words come from cluster_names.py, and names by a language model from cluster_asking.py.

The artifact is named by its content, since no recipe can foretell the answers of a language model, and a later run asks
again for those that are missing.
"""

import numpy as np
import polars as pl

from grip_assets.engine.declarations import Check, Column, Table
from grip_assets.engine.stage import Result, Stage, Work
from grip_assets.method.families import families, number_of_families
from grip_assets.settings import Taxonomy, digest, field_names, hashed_values
from grip_assets.stages.curation import cluster_asking, cluster_names, influence

WORDS = 10  # words of a cluster in the table
FIELDS = field_names(Taxonomy, "influence", "names")


def compute(work: Work) -> Result:
    settings = Taxonomy.of(work.settings)
    if settings.names == "llm":
        cluster_asking.must_be_ready(settings)
    with work.draft.writer("influence", influence.SCHEMA) as writer:
        for table in influence.measured(work):
            writer.write(table)
    measured = work.frame("influence").select("doc_id", "cluster_id", "rank").filter(pl.col("rank") <= settings.top)
    centroids = work.frame("centroids").sort("cluster_id")
    words = cluster_names.read_words(work, measured)
    named = cluster_names.by_words(words, centroids["cluster_id"].to_list())
    names, descriptions, named_by, asked = _names(work, measured, centroids, named)
    taxonomy = centroids.select("cluster_id", "n_docs", "n_tokens").with_columns(
        name=pl.Series(names, dtype=pl.String),
        description=pl.Series(descriptions, dtype=pl.String),
        words=pl.Series([terms[:WORDS] for terms in named.words], dtype=pl.List(pl.String)),
        named_by=pl.Series(named_by, dtype=pl.String),
    )
    taxonomy = _with_families(taxonomy, centroids, words, settings.families)
    work.draft.write("taxonomy", taxonomy.select(stage.table("taxonomy").schema.names()))
    counts = taxonomy["named_by"].value_counts().rows()
    metrics = {
        "families": taxonomy["family"].n_unique(),
        "representatives": len(measured),
        **{f"named_by_{how}": n for how, n in sorted(counts)},
        **asked.metrics,
    }
    return Result(metrics, _content(taxonomy, settings), complete=asked.whole)


def _names(
    work: Work, measured: pl.DataFrame, centroids: pl.DataFrame, named: cluster_names.Named
) -> tuple[list[str], list[str], list[str], cluster_asking.Asked]:
    """Name, description and ``named_by`` of each cluster, and what was asked."""
    ids, asked = centroids["cluster_id"].to_list(), cluster_asking.Asked()
    descriptions = list(cluster_names.described(named))
    if centroids["value"].is_not_null().any():
        return *_triple(cluster_names.of_values(centroids["value"], named), descriptions), asked
    if Taxonomy.of(work.settings).names == "words":
        return named.names, descriptions, ["words"] * len(ids), asked
    asked = cluster_asking.ask(work, measured, centroids)
    answers = cluster_asking.usable(asked, work.log)
    said = [answers[i]["description"] if i in answers else text for i, text in zip(ids, descriptions, strict=True)]
    return *_triple(cluster_asking.of_answers(answers, ids, named), said), asked


def _triple(found: tuple[list[str], list[str]], descriptions: list[str]) -> tuple[list[str], list[str], list[str]]:
    return found[0], descriptions, found[1]


def _with_families(
    taxonomy: pl.DataFrame, centroids: pl.DataFrame, words: cluster_names.Words, wanted: int | None
) -> pl.DataFrame:
    """Adds family and family_name. A family of one cluster has its name, the others are named by words."""
    centroids_KD = np.stack(list(centroids["centroid"]))
    n = number_of_families(len(centroids), wanted)
    family_K = families(centroids_KD, centroids["n_docs"].to_numpy(), n)
    taxonomy = taxonomy.with_columns(family=pl.Series(family_K, dtype=pl.Int32))
    alone = taxonomy.filter(pl.len().over("family") == 1)
    name_of = dict(alone.select("family", "name").iter_rows())
    others = sorted(set(family_K.tolist()) - name_of.keys())
    merged = cluster_names.of_families(words, dict(taxonomy.select("cluster_id", "family").iter_rows()))
    found = cluster_names.by_words_of_families(merged, others, name_of.values())
    name_of |= dict(zip(others, found.names, strict=True))
    return taxonomy.with_columns(family_name=pl.Series([name_of[f] for f in taxonomy["family"]], dtype=pl.String))


def _content(taxonomy: pl.DataFrame, settings: Taxonomy) -> str:
    """What names the artifact, beside its inputs: every name, and the settings, which decide the influences."""
    return digest([taxonomy.rows(), hashed_values(settings, FIELDS, applying=True)])


VECTORS = ("cluster_embeddings.embedding", "clusters.cluster_id")
TEXTS = ("corpus.text", "corpus.source", "influence.rank")
TABLES = (
    Table(
        "taxonomy",
        (
            Column("cluster_id", pl.Int32, "Cluster.", ("centroids.cluster_id",)),
            Column(
                "name",
                pl.String,
                "Name of the cluster: at most 40 letters, digits, spaces and a few marks. No other cluster has it.",
                (*TEXTS, "centroids.value"),
            ),
            Column("description", pl.String, "What its documents are about.", TEXTS),
            Column("words", pl.List(pl.String), "Words that set the cluster apart, the best first.", ("corpus.text",)),
            Column("named_by", pl.String, "Where the name comes from: words, llm, or value (of the column)."),
            Column("family", pl.Int32, "Family of similar clusters. The largest is 0.", ("centroids.centroid",)),
            Column("family_name", pl.String, "Name of the family, by words.", TEXTS),
            Column("n_docs", pl.Int64, "Documents in the cluster.", ("centroids.n_docs",)),
            Column("n_tokens", pl.Int64, "Tokens of its documents.", ("centroids.n_tokens",)),
        ),
    ),
    Table(
        "influence",
        (
            Column(
                "doc_id", pl.String, "Document. At most taxonomy.members of a cluster are here.", ("clusters.doc_id",)
            ),
            Column("cluster_id", pl.Int32, "Cluster.", ("clusters.cluster_id",)),
            Column(
                "influence",
                pl.Float64,
                "How well the document stands for its cluster, GIS: log γ + log f + b log ρ, each term scaled as"
                " taxonomy.standardize says. It compares only with documents of the same cluster.",
                VECTORS,
            ),
            Column("log_gamma", pl.Float64, "Logarithm of the confidence of its label, γ.", ("clusters.confidence",)),
            Column(
                "log_density",
                pl.Float64,
                "Logarithm of its density under its component, log f, up to a constant; for partitions without"
                " densities the cosine to the centroid.",
                ("cluster_embeddings.embedding", "components.centroid"),
            ),
            Column(
                "log_rho",
                pl.Float64,
                "Logarithm of the mean cosine to its nearest members, ρ.",
                ("cluster_embeddings.embedding",),
            ),
            Column(
                "rank",
                pl.Int32,
                "Place in the cluster. First the representatives, without near copies; then the others by influence.",
                VECTORS,
            ),
        ),
    ),
)
CHECKS = (
    Check("every_cluster_has_a_name", True, "Each cluster has one row, with a name and a family."),
    Check("names_differ", True, "No two clusters have the same name, and no two families."),
    Check("names_are_inert", True, "Names have at most 40 characters: letters, digits, spaces and a few marks."),
    Check("influence_in_range", True, "Influences are finite, and the ranks of a cluster count from 1 without gaps."),
    Check("named_as_asked", False, "With taxonomy.names=llm, the model has named every cluster."),
)

stage = Stage(
    name="taxonomy",
    code_version="3",
    compute=compute,
    description="What the clusters are: a name for each, by its distinctive words and folders or by a language model,"
    " and families of similar clusters. `influence` ranks the documents of each cluster by how well they stand for it"
    " (GIS). Nothing that chooses documents depends on this.",
    tables=TABLES,
    checks=CHECKS,
    inputs=("corpus", "partition", "clusters"),
    reads={"taxonomy": FIELDS},
    named_by_content=True,
    otherwise="clusters could not be named by the model the last time",
)

"""balance: what the balance term of GEM did, beside four fits without it [spec 2.5]. Used only if the method is gem.

All fits are on the documents that the partition was fitted on, in the same space, with the same K and seeds. The fits
and their figures are in method/partition/balance.py. The sweep over λ of `grip balance` begins from ``sample_of``, too.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import polars as pl

from grip_assets.engine.declarations import Check, Column, Table
from grip_assets.engine.stage import Settings, Stage, Work
from grip_assets.method.geometry import unit_rows
from grip_assets.method.partition.base import choose_k
from grip_assets.runtime.progress import Progress, duration
from grip_assets.settings import Clustering, Corpus
from grip_assets.sources.documents import project_of
from grip_assets.stages.curation import partition

if TYPE_CHECKING:
    from grip_assets.method.partition.balance import Fit

NAMES = {
    "kmeans": "k-means",
    "spherical_kmeans": "spherical k-means",
    "vmf_learned": "vMF, learned prior",
    "vmf_uniform": "vMF, uniform prior",
    "gem": "GEM",
}
"""The fits by their names in the table, in its order."""
COLUMNS = ("language", "project")
ITERATIONS, START, A_PRODUCT, A_ROW = 40, 1.0, 1e-10, 4e-6  # of a fit on two cores: iterations, and seconds for each
MASSES = 1_024  # most masses of a fit in the table, the largest first


class Sample(NamedTuple):
    """``x_SD``: unit vectors of the documents that a partition is fitted on, float32. ``groups``: for each of COLUMNS
    the number of each document's group, or None if there is nothing to compare."""

    x_SD: np.ndarray
    groups: dict[str, np.ndarray | None]


def compute(work: Work) -> dict[str, Any]:
    from grip_assets.method.partition import axes, balance, gem  # compiled

    work.must_be_in_force()
    settings = Clustering.of(work.settings)
    sample = sample_of(work.files("embeddings"), work.files("corpus"), settings, Corpus.of(work.settings))
    fitted = gem.read(work.frame("components"), work.frame("projection"))
    x_SD = sample.x_SD if fitted.projection is None else axes.project(fitted.projection, sample.x_SD)
    x_SD, groups = _with_direction(x_SD, sample.groups)
    in_force = balance.of_partition(x_SD, fitted, settings.balance)
    progress = Progress("comparing partitions", len(balance.FITS), "fits", work.log)
    fits = list(progress.each(balance.compared(x_SD, len(fitted.kappa_K), settings, in_force, work.log)))
    progress.finish()
    work.draft.write("balance", table(fits, groups))
    work.draft.write("balance_masses", pl.concat([_masses(fit) for fit in fits]))
    return {f"effective_{fit.name}": balance.evenness(fit.hard_K).effective for fit in fits}


class Sweep(NamedTuple):
    """``rows``: the table ``balance`` of GEM with each λ. ``k``: number of clusters."""

    rows: pl.DataFrame
    k: int


def sweep(embeddings: str, corpus: str, settings: Settings, lambdas: list[float], log: Callable[[str], None]) -> Sweep:
    """Fit GEM with each of ``lambdas``, in units of the mean κ, and the other settings in force. Nothing is stored.

    ``embeddings``, ``corpus``: globs of these tables. The method in force may be another one.
    """
    from grip_assets.method.partition import axes, balance, gem  # compiled

    clustering = Clustering.of(settings).model_copy(update={"method": "gem", "keep": None})
    sample = sample_of(embeddings, corpus, clustering, Corpus.of(settings))
    x_SD, n = sample.x_SD, pl.scan_parquet(embeddings).select(pl.len()).collect().item()
    k = min(len(clustering.target_mass) or choose_k(n, clustering.k), len(x_SD))
    if clustering.center or clustering.pca is not None:
        x_SD = axes.project(axes.centred(x_SD, clustering.pca), x_SD)
    log(cost(len(x_SD), k, x_SD.shape[1], clustering, len(lambdas)))
    x_SD, groups = _with_direction(x_SD, sample.groups)
    progress = Progress("sweep over λ", len(lambdas), "fits", log, 0.0)
    fits = list(progress.each(balance.swept(x_SD, k, gem.options(clustering), lambdas, log)))
    return Sweep(table(fits, groups), k)


def cost(n: int, k: int, d: int, settings: Clustering, fits: int) -> str:
    """What a sweep takes, as a sentence: a guess from the products of an iteration."""
    iterations = min(settings.fit_iterations, ITERATIONS)
    seconds = fits * settings.seeds * (START + iterations * n * (k * d * A_PRODUCT + A_ROW))
    return (
        f"{fits} fits of {settings.seeds} starts each, on {n:,} documents in {k} clusters: about {duration(seconds)}."
        " Nothing is put in force."
    )


def _with_direction(x_SD: np.ndarray, groups: dict[str, np.ndarray | None]) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """The vectors and groups of the documents that have a direction: one at the mean of a projection has none."""
    there_S = x_SD.any(axis=1)
    return x_SD[there_S], {name: found[there_S] for name, found in groups.items() if found is not None}


def unused(settings: Settings) -> str:
    method = Clustering.of(settings).method
    return "" if method == "gem" else f"settings/clustering.method is {method}"


def sample_of(embeddings: str, corpus: str, settings: Clustering, of_corpus: Corpus) -> Sample:
    """The documents that a partition of these tables (globs) is fitted on, with these settings."""
    documents = pl.read_parquet(embeddings, columns=["doc_id"])["doc_id"]
    place_S = partition.sample(documents, settings)
    x_SD = unit_rows(partition.sampled(embeddings, place_S, len(documents)))
    return Sample(x_SD, groups_of(corpus, documents.gather(place_S), of_corpus.project_depth))


def groups_of(corpus: str, documents: pl.Series, depth: int) -> dict[str, np.ndarray | None]:
    """Groups of these ``documents`` (ids) by language, and by the first ``depth`` folders of their sources."""
    from grip_assets.method.partition.balance import groups  # compiled

    wanted = documents.to_frame("doc_id")
    known = pl.scan_parquet(corpus).select("doc_id", "language", "source")
    rows = known.join(wanted.lazy(), on="doc_id", how="semi").collect()
    rows = wanted.join(rows, on="doc_id", how="left", maintain_order="left")
    projects = [None if source is None else project_of(source, depth) for source in rows["source"]]
    return {"language": groups(rows["language"]), "project": groups(pl.Series("project", projects, dtype=pl.String))}


def table(fits: "list[Fit]", groups: dict[str, np.ndarray]) -> pl.DataFrame:
    """The table ``balance`` of some fits."""
    rows = [row for fit in fits for row in fit.rows(groups)]
    return pl.DataFrame(rows, stage.schema("balance"))


def _masses(fit: "Fit") -> pl.DataFrame:
    found = [stage.table("balance_masses").empty()]
    for kind, mass_K in fit.masses().items():
        share_K = np.sort(mass_K / mass_K.sum())[::-1][:MASSES]
        rank = pl.int_range(1, len(share_K) + 1, dtype=pl.Int32, eager=True)
        found.append(pl.DataFrame({"fit": fit.name, "masses": kind, "rank": rank, "mass": share_K}))
    return pl.concat(found)


LABELS = ("components.centroid", "embeddings.embedding")
TABLES = (
    Table(
        "balance",
        (
            Column(
                "fit",
                pl.String,
                "kmeans (Euclidean), spherical_kmeans, vmf_learned (a von Mises-Fisher mixture whose prior is learned),"
                " vmf_uniform (its prior is uniform) or gem (the partition in force).",
            ),
            Column("masses", pl.String, "hard: documents of each cluster. soft: mean memberships."),
            Column("balance", pl.Float64, "λ, in the unit of clustering.balance_scale. Null for k-means."),
            Column("entropy", pl.Float64, "Entropy of the masses divided by log K. 1: all are equal.", LABELS),
            Column("effective", pl.Float64, "Effective clusters: e to the power of the entropy.", LABELS),
            Column("largest", pl.Float64, "Largest mass, as a share.", LABELS),
            Column("smallest", pl.Float64, "Smallest mass, as a share, times K.", LABELS),
            Column("gini", pl.Float64, "Gini coefficient of the masses. 0: all are equal.", LABELS),
            Column("light", pl.Float64, "Share of the clusters with a mass below 0.1 / K.", LABELS),
            Column(
                "mean_cosine",
                pl.Float64,
                "Mean cosine of the documents to the direction of their cluster. Null in rows of soft masses, as all"
                " columns that follow.",
                LABELS,
            ),
            *(
                column
                for name, source in (("language", "corpus.language"), ("project", "corpus.source"))
                for column in (
                    Column(
                        f"nmi_{name}",
                        pl.Float64,
                        f"Normalised mutual information of cluster and {name}, over the {name}s of at least 5"
                        " documents. Null if there are fewer than two.",
                        (*LABELS, source),
                    ),
                    Column(
                        f"small_recall_{name}",
                        pl.Float64,
                        f"For the {name}s with less than 1 / K of the documents, but at least 5: share of their"
                        f" documents that are in a cluster where no other {name} has more. Null if there are none.",
                        (*LABELS, source),
                    ),
                )
            ),
        ),
    ),
    Table(
        "balance_masses",
        (
            Column("fit", pl.String, "As in `balance`."),
            Column("masses", pl.String, "As in `balance`."),
            Column("rank", pl.Int32, "Place of the cluster, 1 is the heaviest."),
            Column("mass", pl.Float64, "Its mass, as a share.", LABELS),
        ),
    ),
)
CHECKS = (
    Check("in_range", True, "Shares, entropies, Gini coefficients and cosines are in their ranges."),
    Check("within_k", True, "No fit has more effective clusters than clusters."),
)

stage = Stage(
    name="balance",
    code_version="1",
    compute=compute,
    description="What the balance of GEM did: how even its clusters are, and how cohesive, beside k-means and von"
    " Mises-Fisher mixtures without balance on the same documents. `balance_masses` has the masses. Used only if"
    " settings/clustering.method is gem.",
    tables=TABLES,
    checks=CHECKS,
    picture=True,
    inputs=("corpus", "embeddings", "partition"),
    reads={**partition.stage.reads, "corpus": ("project_depth",)},
    unused=unused,
    group="reports",
)

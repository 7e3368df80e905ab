"""partition: fits components on a sample of the pool, by the method in settings/clustering [G1, E1 to E13].

This module draws the sample, reads the column, and copies a kept partition. The methods are in method/partition/.
clusters.py assigns every document to a cluster.
"""

import json
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa

from grip_assets.engine.declarations import VECTOR32, Check, Column, Table
from grip_assets.engine.stage import Result, Settings, Stage, Work
from grip_assets.errors import GripError
from grip_assets.method.partition.base import MOST, PoolFacts, choose_k
from grip_assets.method.sampling import keyed_uniform
from grip_assets.runtime.memory import need
from grip_assets.settings import Clustering, Corpus, Embedding, field_names
from grip_assets.settings.changes import profiles, read_profile
from grip_assets.store.artifacts import ArtifactStore, parquet_files
from grip_assets.store.query import query
from grip_assets.store.tables import TableWriter, blocks, n_rows, rows_between, rows_of, width

LEAST = 2  # documents; with fewer there is nothing to choose between
OF_THE_POOL = ("language", "source", "pool")  # columns of the table ``corpus`` that can be a partition
IN_FORCE = "in_force"  # for settings/clustering.keep: the partition in force at the moment the setting is changed
LISTED = 5  # earlier partitions that an error lists


def enough_documents(n: int, work: Work) -> int | None:
    """settings/clustering.k for a pool of ``n`` documents. A k that a profile sets is lowered to ``n``.

    Stages call this before they do anything costly. GripError for a pool of fewer than two documents, or if the user's
    own k is above ``n``.
    """
    settings = Clustering.of(work.settings)
    if n < LEAST:
        raise GripError(
            f"The pool has {n} document{'s' if n != 1 else ''}, exact copies counted once: there is nothing to choose"
            " between. Name a larger pool in settings/corpus.path."
        )
    k = settings.k
    if k is None or k <= n or settings.method == "column" or settings.keep:
        return k
    if k in _of_profiles():
        work.log(f"settings/clustering.k is {k:,} and the pool has only {n:,} documents: k is lowered to {n:,}")
        return n
    which = "the corpus has" if Embedding.of(work.settings).embeds_all else "settings/embedding.sample leaves"
    raise GripError(
        f"settings/clustering.k is {k}, and {which} only {n} documents. Lower k, or set it to null to have it chosen."
    )


def _of_profiles() -> set[int]:
    """Every k that a profile sets. These were not chosen for a particular pool."""
    return {k for name in profiles() if (k := read_profile(name).get("clustering", {}).get("k"))}


def compute(work: Work) -> Result | dict[str, Any]:
    settings = Clustering.of(work.settings)
    if settings.keep:
        return _kept(work, settings.keep)
    from grip_assets.method.partition.registry import PARTITIONS  # compiled

    n = n_rows(work.files("embeddings"))
    settings = settings.model_copy(update={"k": enough_documents(n, work)})
    place_S = _first(settings, _names(work.files("embeddings")))
    sample_ND = sampled(work.files("embeddings"), place_S, n)
    with tempfile.TemporaryDirectory(dir=work.draft.folder) as scratch:
        facts = _facts(work, settings, place_S, n, Path(scratch))
        fitted = PARTITIONS[settings.method].fit(sample_ND, settings, work.log, facts)
    tables = fitted.tables()
    for table in TABLES:
        work.draft.write(table.name, tables.get(table.name, table.empty()))
    components = len(tables["components"])
    return {
        "components": components,
        "components_at_first": _at_first(n, settings) or components,
        "sampled_documents": len(sample_ND),
        "objective": tables["fit_trace"]["objective"][-1],
    }


def _at_first(n: int, settings: Clustering) -> int | None:
    """The number of components that a fit of ``n`` documents begins with. None: the values of a column decide."""
    if settings.method == "column":
        return None
    return len(settings.target_mass) or choose_k(n, settings.k)


def sample(documents: pl.Series, settings: Clustering) -> np.ndarray:
    """Rows of the documents that the partition is fitted on, int64 (S,), in the order of a keyed hash of their ids.

    So the same documents give the same fit, in whatever order the pool has them.
    """
    return _first(settings, [documents])


def _first(settings: Clustering, names: Iterable[pl.Series]) -> np.ndarray:
    """``sample`` of documents whose ids come block by block."""
    u_N = np.concatenate([keyed_uniform(settings.seed, "clusters", ids_B) for ids_B in names])
    return np.argsort(u_N, kind="stable")[: settings.fit_sample]


def sampled(files: str, place_S: np.ndarray, n: int) -> np.ndarray:
    """Vectors of the documents at rows ``place_S`` of ``n``, in that order, float16 (S, D)."""
    # float16, float32, their unit rows and int8 codes, and the bounds of Lloyd's iterations or the pairs of a mixture
    need(
        len(place_S) * (13 * width(files) + 200),
        f"Fitting a partition on {len(place_S):,} documents",
        "Lower settings/clustering.fit_sample",
    )
    chosen_N = np.zeros(n, bool)
    chosen_N[place_S] = True
    rank_S = np.argsort(np.argsort(place_S))
    return rows_of(files, chosen_N)[rank_S]


def _facts(work: Work, settings: Clustering, place_S: np.ndarray, n: int, scratch: Path) -> PoolFacts:
    if settings.method != "column":
        return PoolFacts(n)
    files = write_values(work.files("corpus"), settings.column, scratch, Corpus.of(work.settings).keep)
    counts = query("stages/column_values", {"column_values": files}, most=MOST)
    if counts["value"].null_count() == len(counts):
        raise GripError(
            f"settings/clustering.column is '{settings.column}', and no document of the pool has a value there."
            f" {choose(work.files('corpus'), Corpus.of(work.settings).keep)}"
        )
    row_S = np.flatnonzero(with_vectors(work))[place_S]
    every = pl.scan_parquet(files).select(pl.col("value").gather(row_S)).collect()["value"]
    return PoolFacts(n, settings.column, every, counts)


def with_vectors(work: Work) -> np.ndarray:
    """Which documents of ``corpus`` are in ``embeddings``, as a mask (N,). Both tables have the same order, so they are
    read side by side, and memory holds a block of names. GripError if the orders differ."""
    corpus, embedded = work.files("corpus"), work.files("embeddings")
    n, n_embedded = (n_rows(files) for files in (corpus, embedded))
    found_N = np.zeros(n, bool)
    if n == n_embedded:
        return ~found_N
    rest, names, start, waiting = n_embedded, _names(embedded), 0, pl.Series("doc_id", [], pl.String)
    for ids_B in _names(corpus):
        while len(waiting) < min(len(ids_B), rest):
            waiting = pl.concat([waiting, next(names)])
        here_B = ids_B.is_in(waiting[: len(ids_B)].implode())
        found_N[start : start + len(ids_B)] = here_B.to_numpy()
        taken, start = int(here_B.sum()), start + len(ids_B)
        rest, waiting = rest - taken, waiting[taken:]
    if rest:
        raise GripError(f"{rest:,} documents of {embedded} are not in the order of {corpus}. Make embeddings again.")
    return found_N


def _names(files: str) -> Iterator[pl.Series]:
    for block in blocks(files, ["doc_id"]):
        names = pl.from_arrow(block)
        assert isinstance(names, pl.DataFrame)
        yield names["doc_id"]


def write_values(
    corpus: str, column: str, folder: Path, keep: list[str] | None = None, only_N: np.ndarray | None = None
) -> str:
    """Write the values of a column for the rows of a mask (None: all) into ``folder``. Returns the glob of the table,
    which has one column, ``value``. ``keep``: see ``column_values``."""
    start = 0
    with TableWriter(folder / "values.parquet", pa.schema([("value", pa.string())])) as writer:
        for value_B in column_values(corpus, column, keep):
            if only_N is not None:
                here_B, start = only_N[start : start + len(value_B)], start + len(value_B)
                value_B = value_B.filter(pl.Series(here_B))
            writer.write(pa.table({"value": value_B.to_arrow(compat_level=pl.CompatLevel.oldest())}))
    return parquet_files(folder)


def column_values(
    files: str,
    column: str,
    keep: list[str] | None = None,
    start: int = 0,
    stop: int | None = None,
    setting: str = "clustering.column",
) -> Iterator[pl.Series]:
    """Values of a column for rows ``start`` to ``stop`` of the table ``corpus``, block by block, as text.

    A document without a value has null. GripError for an unknown column, which ``setting`` names.
    """
    own = column in OF_THE_POOL and column in _columns(files)
    if not own and keep is not None and column not in keep and "*" not in keep:
        raise GripError(f"settings/{setting} is '{column}', which the pool does not have. {choose(files, keep)}")
    named = [column if own else "kept"]
    read = blocks(files, named) if stop is None else rows_between(files, named, start, stop)
    for block in read:
        rows = pl.DataFrame(block).to_series()
        if not own:
            rows = pl.Series([_kept_value(text, column) for text in rows], dtype=pl.String)
        yield rows.cast(pl.String).alias("value").replace("", None)


def _columns(files: str) -> set[str]:
    return set(pl.scan_parquet(files).collect_schema().names())


def _kept_value(row: str | None, column: str) -> str | None:
    value = json.loads(row).get(column) if row else None
    return value if value is None or isinstance(value, str) else json.dumps(value, sort_keys=True)


def choose(files: str, keep: list[str]) -> str:
    """A sentence with the columns that may be chosen."""
    there = [name for name in OF_THE_POOL if name in _columns(files)]
    return (
        f"Choose one of: {', '.join([*there, *(name for name in keep if name != '*')])}. To use another column of the"
        " pool, name it in settings/corpus.keep too."
    )


def _kept(work: Work, version: str) -> Result:
    """Copy the tables of an earlier partition. Nothing is fitted."""
    must_be_there(work.store, version)
    work.log(f"keeping partition {version}: nothing is fitted")
    for table in TABLES:
        work.draft.write(table.name, _copied(work.store, version, table))
    components = pl.scan_parquet(work.draft.parquet("components")).select(pl.len()).collect().item()
    at_first = work.store.manifest(stage.name, version)["metrics"]["components_at_first"]
    metrics = {"components": components, "components_at_first": at_first, "sampled_documents": 0, "kept": version}
    return Result(metrics, keeps=((stage.name, version),))


def _copied(store: ArtifactStore, version: str, table: Table) -> pl.DataFrame:
    """A table of an earlier partition. What an older program did not have is empty."""
    if table.name not in store.manifest(stage.name, version)["tables"]:
        return table.empty()
    found = pl.read_parquet(store.parquet(stage.name, version, table.name))
    missing = [pl.lit(None, dtype).alias(name) for name, dtype in table.schema.items() if name not in found.columns]
    return found.with_columns(missing).select(list(table.schema))


def must_be_there(store: ArtifactStore, version: str) -> None:
    """GripError if settings/clustering.keep names a version that is not in this data folder."""
    if store.has(stage.name, version):
        return
    made = sorted(store.manifests(stage.name), key=lambda manifest: manifest["computed_at"], reverse=True)
    there = ", ".join(manifest["version"] for manifest in made[:LISTED]) or "none yet; run `grip curate` first"
    raise GripError(
        f"settings/clustering.keep is '{version}', and there is no such partition in {store.root}. Partitions there,"
        f" the latest first: {there}. Name one of them, or in_force, or null to fit a new one."
    )


def resolved(keep: str | None, in_force: str | None, store: ArtifactStore) -> str | None:
    """The version that settings/clustering.keep means.

    ``in_force`` means the partition in force or, if that one is a copy, its original. GripError if there is none.
    """
    if keep != IN_FORCE:
        if keep is not None:
            must_be_there(store, keep)
        return keep
    if in_force is None or not store.knows(stage.name, in_force):
        raise GripError(
            "settings/clustering.keep is 'in_force', and no partition is in force yet. Run `grip curate` without it"
            " first."
        )
    kept = store.manifest(stage.name, in_force)["metrics"].get("kept")
    return kept if kept and store.has(stage.name, kept) else in_force


EMBEDDED = ("embeddings.embedding",)
OF_COLUMN = ("corpus.language", "corpus.source", "corpus.kept")
TABLES = (
    Table(
        "components",
        (
            Column("cluster_id", pl.Int32, "Number of the component, before small ones are dissolved.", EMBEDDED),
            Column("method", pl.String, "Method of the fit: kmeans, gem or column."),
            Column("column", pl.String, "Column of the pool whose values are the components. Null for other methods."),
            Column(
                "value",
                pl.String,
                "Value in the column. (missing): documents without a value. (other): all values that have no component"
                " of their own. Null for other methods.",
                OF_COLUMN,
            ),
            Column("kappa", pl.Float64, "Concentration κ around the centroid. Null unless method is gem.", EMBEDDED),
            Column("log_norm", pl.Float64, "log C_d(κ). Null unless method is gem.", EMBEDDED),
            Column(
                "offset",
                pl.Float64,
                "Offset v of the balance, in nats: how much easier or harder it is to become a member. Null unless"
                " method is gem.",
                EMBEDDED,
            ),
            Column("soft_mass", pl.Float64, "Mean membership π in the sample. Null unless method is gem.", EMBEDDED),
            Column("temperature", pl.Float64, "Temperature of the memberships. Null unless method is gem.", EMBEDDED),
            Column(
                "centroid",
                VECTOR32,
                "Centre of the component, of length 1. After a projection it has as many dimensions as this has axes.",
                EMBEDDED,
            ),
        ),
    ),
    Table(
        "projection",
        (
            Column("axis", pl.Int32, "0: the mean, which is taken away. From 1: a principal axis.", EMBEDDED),
            Column("vector", VECTOR32, "The mean of the sample, or the axis.", EMBEDDED),
        ),
    ),
    Table(
        "fit_trace",
        (
            Column("seed", pl.Int64, "Seed of the start."),
            Column("iteration", pl.Int64, "Iteration, from 0. The best start goes on until nothing changes."),
            Column(
                "objective",
                pl.Float64,
                "Mean cosine of the sample's documents to their centroids. For gem: F.",
                EMBEDDED,
            ),
            Column("balance", pl.Float64, "Strength λ of the balance term in F. Null unless method is gem.", EMBEDDED),
        ),
    ),
)
CHECKS = (
    Check("unit_centroids", True, "Every centroid has length 1, or 0 for a value that no sampled document has."),
    Check("improved", False, "The mean cosine of no start of k-means stays below its first value."),
    Check("never_falls", True, "F falls in no iteration in which λ stays the same (gem)."),
)


def earlier(settings: Settings, root: Path) -> str | None:
    """The partition that settings/clustering.keep names."""
    return Clustering.of(settings).keep


stage = Stage(
    name="partition",
    code_version="3",
    compute=compute,
    description="How the pool is parted into clusters: components, fitted on a sample of the vectors by spherical"
    " k-means or as a balanced mixture (GEM), or the values of a column. `components` has one row per component,"
    " `fit_trace` the course of the fit. With settings/clustering.keep this is a copy of an earlier partition.",
    tables=TABLES,
    checks=CHECKS,
    inputs=("corpus", "embeddings"),
    reads={"clustering": field_names(Clustering, but=["sigma_center"])},
    earlier=earlier,
)

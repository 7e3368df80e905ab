"""clusters: assigns every document to one cluster, with the components of the stage partition [G1, A18, A18b].

The mathematics is in method/partition/finish.py. Here it runs over files: labels, sums and cosines are jobs over row
groups. The vectors are rewritten sorted by cluster (by_cluster.py), so that a cluster is a range of rows.

With settings/embedding.sample only some documents have a vector. They decide which components are small: each cluster
has at least settings/clustering.min_cluster_docs documents with a vector. The others join the clusters that are left,
by the label of the student (student.py) or by their value in the column. They count in n_docs, n_tokens and the order
of the ids. They have no cosine, no row in ``cluster_embeddings`` and no part in a centroid.
"""

import tempfile
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import pyarrow as pa

from grip_assets.engine.declarations import VECTOR16, VECTOR32, Check, Column, Table
from grip_assets.engine.stage import Settings, Stage, Work
from grip_assets.errors import GripError
from grip_assets.method.partition.base import LABELLED_BY, NO_LABEL, Assigned, Fitted
from grip_assets.runtime import opened
from grip_assets.runtime.executors import Executor
from grip_assets.runtime.memory import need
from grip_assets.settings import Clustering, Corpus
from grip_assets.stages.curation import by_cluster
from grip_assets.stages.curation.partition import column_values, with_vectors, write_values
from grip_assets.store.artifacts import parquet_files
from grip_assets.store.tables import (
    TableWriter,
    arrow,
    blocks,
    matrix,
    row_groups,
    rows_between,
    rows_of,
    vectors,
    width,
)

if TYPE_CHECKING:
    from grip_assets.method.partition.finish import Block, Finished

ASSIGNED = ("label", "confidence", "by", "generative")  # columns of a job's table: the fields of ``Assigned``
BLOCK = 16_384  # rows that a job reads at a time
Rows = tuple[int, int]
"""A shard of work: its first row, and the row after its last."""


@dataclass(frozen=True)
class Assign:
    """A job: finds the component of each document.

    ``embeddings``, ``components``, ``projection``: globs of these tables. ``live``: the components that were not
    dissolved; None: all. ``values``: for a partition by a column, the glob of a table with the value of each row of
    ``embeddings``.
    """

    embeddings: str
    components: str
    live: tuple[int, ...] | None = None
    values: str | None = None
    projection: str = ""

    def run(self, rows: Rows) -> pa.Table:
        """A table with the fields of ``Assigned`` as columns: label, confidence, by, generative."""
        fitted = fitted_of(self.components, self.projection, self.live)
        found = [fitted.assign(x, self._values(*place)) for place, x in _vectors(self.embeddings, *rows)]
        columns = (pa.array(np.concatenate(column)) for column in zip(*found, strict=True))
        return pa.table(dict(zip(ASSIGNED, columns, strict=True)))

    def _values(self, start: int, stop: int) -> pl.Series | None:
        if self.values is None:
            return None
        return pl.scan_parquet(self.values).slice(start, stop - start).collect()["value"]


def fitted_of(components: str, projection: str, live: tuple[int, ...] | None) -> Fitted:
    """The fit, with only the ``live`` components. It is opened once in a process."""
    from grip_assets.method.partition.registry import read  # compiled

    def open() -> Fitted:
        fitted = read(pl.read_parquet(components), pl.read_parquet(projection) if projection else None)
        return fitted if live is None else fitted.only(np.array(live))

    return opened.get(("partition", components, live), open)


@dataclass(frozen=True)
class Sums:
    """A job: sums of the unit vectors of each cluster.

    ``vectors``: glob of a table sorted by cluster. ``ends``: for each cluster the row after its last.
    """

    vectors: str
    ends: tuple[int, ...]

    def run(self, rows: Rows) -> pa.Table:
        """A table of cluster_id and sum, for the clusters that have some of these ``rows``."""
        from grip_assets.method.partition.finish import sums  # compiled

        ids, start = _ids(self.ends, *rows), rows[0]
        first, k = int(ids[0]), int(ids[-1] - ids[0]) + 1
        found: np.ndarray | None = None
        for (at, until), x_BD in _vectors(self.vectors, *rows):
            part_KD = sums(x_BD, ids[at - start : until - start] - first, k)
            found = part_KD if found is None else found + part_KD
        assert found is not None
        column = pa.FixedSizeListArray.from_arrays(pa.array(found.reshape(-1)), found.shape[1])
        return pa.table({"cluster_id": pa.array(range(first, first + k), pa.int32()), "sum": column})


@dataclass(frozen=True)
class Cosines:
    """A job: the cosine of each document to the centroid of its cluster.

    ``centroids``: glob of a table with the column centroid, float64, in the order of the clusters. ``vectors`` and
    ``ends``: see ``Sums``.
    """

    vectors: str
    ends: tuple[int, ...]
    centroids: str

    def run(self, rows: Rows) -> pa.Table:
        """A table of cosine, one row per document."""
        from grip_assets.method.partition.finish import cosines  # compiled

        ids, start = _ids(self.ends, *rows), rows[0]
        (table,) = blocks(self.centroids, ["centroid"], rows=len(self.ends))
        centroids_KD = matrix(table["centroid"])
        found = [
            cosines(x_BD, ids[at - start : until - start], centroids_KD)
            for (at, until), x_BD in _vectors(self.vectors, *rows)
        ]
        return pa.table({"cosine": np.concatenate(found)})


def _ids(ends: tuple[int, ...], start: int, stop: int) -> np.ndarray:
    """The cluster of each of these rows, int32."""
    return np.searchsorted(np.array(ends), np.arange(start, stop), side="right").astype(np.int32)


def _vectors(files: str, start: int, stop: int) -> Iterator[tuple[Rows, np.ndarray]]:
    """Blocks of the column embedding. Each comes with its first row and the row after its last."""
    for block in rows_between(files, ["embedding"], start, stop, BLOCK):
        yield (start, start + len(block)), matrix(block["embedding"])
        start += len(block)


def _shards(files: str) -> list[Rows]:
    return [(group.start, group.stop) for group in row_groups(files)]


class OnDisk:
    """Implements ``finish.Documents`` for a table of embeddings, with jobs of an executor."""

    def __init__(self, job: Assign, executor: Executor, bytes_each: int):
        self.job, self.executor, self.bytes_each = job, executor, bytes_each

    def assign(self, fitted: Fitted, live: np.ndarray | None = None) -> Iterable[Assigned]:
        job = Assign(**vars(self.job) | {"live": None if live is None else tuple(map(int, live))})
        for table in self.executor.map(job, _shards(job.embeddings), self.bytes_each):
            yield Assigned(*(table[name].to_numpy() for name in ASSIGNED))

    def rows(self, chosen_N: np.ndarray) -> "Block":
        from grip_assets.method.partition.finish import Block

        job = self.job
        need(
            int(chosen_N.sum()) * width(job.embeddings) * 7,
            f"Dissolving small clusters of {int(chosen_N.sum()):,} documents",
            "Lower settings/clustering.min_cluster_docs or settings/clustering.k",
        )
        values = None
        if job.values is not None:
            values = pl.scan_parquet(job.values).filter(pl.Series(chosen_N)).collect()["value"]
        return Block(rows_of(job.embeddings, chosen_N), values)


def compute(work: Work) -> dict[str, Any]:
    from grip_assets.method.partition.finish import joined, numbered  # compiled
    from grip_assets.method.screening import fastest

    assigned, live = teacher(work)
    others, labelled = _without_vectors(work, live)
    found = numbered(Assigned(*joined([assigned, labelled])) if len(others) else assigned, live)
    with tempfile.TemporaryDirectory(dir=work.draft.folder) as scratch:
        sorted_ = _sorted(work, found, others, Path(scratch))
        centroids_KD, cosine_M = _centred(work, sorted_.embedded_K)
        _write_clusters(work, sorted_.files, cosine_M)
    _write_centroids(work, sorted_.counts, found, centroids_KD)
    fit_metrics = work.store.manifest("partition", work.inputs["partition"])["metrics"]
    return {
        "clusters": len(found.component_K),
        "clusters_before_merging": fit_metrics["components_at_first"],
        "mean_cosine": float(cosine_M.mean()),
        "mean_confidence": float(found.confidence_N.mean(dtype=np.float64)),
        "imbalance": found.imbalance,
        **_moved(found),
        "documents_without_a_vector": len(others),
        "screened_in": fastest()[0],
        **{f"gigaflops_{name}": value for name, value in fastest()[1].items()},
    }


def facts(settings: Settings, root: Path) -> dict[str, Any]:
    """That the table names sources, if the pool has any. For a pool at one path the recipe is what it was before."""
    return {"sources": "named"} if "corpus" in settings and Corpus.of(settings).sources else {}


@dataclass(frozen=True)
class Sorted:
    """Documents by (cluster_id, doc_id). ``files``: glob of their columns, without the cosine. ``counts``: n_docs and
    n_tokens of each cluster. ``embedded_K``: its documents with a vector."""

    files: str
    counts: pl.DataFrame
    embedded_K: np.ndarray


def _sorted(work: Work, found: "Finished", others: pl.DataFrame, scratch: Path) -> Sorted:
    """Write ``cluster_embeddings``, and into ``scratch`` the other columns, in the order of the table ``clusters``."""
    (dealing := scratch / "dealt").mkdir()
    d = width(work.files("embeddings"))
    dealt = by_cluster.Dealt(dealing, by_cluster.buckets_of(found.counts_K), d)
    for rows, x_BD in _labelled(work, found, others):
        dealt.add(rows, x_BD)
    schema = pa.schema([("doc_id", pa.string()), ("embedding", pa.list_(pa.float16(), d))])
    counts = []
    with work.draft.writer("cluster_embeddings", schema) as vectors_of, ExitStack() as stack:
        narrow: TableWriter | None = None
        for rows, x_BDs in dealt.sorted():
            placed, start = rows.filter(pl.col("embedded"))["doc_id"], 0
            for x_BD in x_BDs:
                ids = placed[start : start + len(x_BD)].to_arrow(compat_level=pl.CompatLevel.oldest())
                vectors_of.write(pa.table({"doc_id": ids, "embedding": vectors(x_BD)}))
                start += len(x_BD)
            of = (pl.len().cast(pl.Int64).alias("n_docs"), pl.sum("n_tokens"), pl.sum("embedded"))
            counts.append(rows.group_by("cluster_id", maintain_order=True).agg(*of))
            table = arrow(rows)
            narrow = narrow or stack.enter_context(TableWriter(scratch / "rows.parquet", table.schema))
            narrow.write(table)
    counted = pl.concat(counts).sort("cluster_id")
    return Sorted(parquet_files(scratch), counted.drop("embedded"), counted["embedded"].to_numpy().astype(np.int64))


def _labelled(work: Work, found: "Finished", others: pl.DataFrame) -> Iterator[tuple[pl.DataFrame, np.ndarray | None]]:
    """Blocks of all documents with their labels: those of ``embeddings`` with their vectors, then ``others``."""
    source, start = _sources(work), 0
    for rows, x_BD in by_cluster.embedded_rows(work.files("embeddings"), ["doc_id", "n_tokens"]):
        yield _with_labels(rows, found, start, True, source), x_BD
        start += len(rows)
    for rows in others.iter_slices(BLOCK):
        yield _with_labels(rows, found, start, False, source), None
        start += len(rows)


def _with_labels(
    rows: pl.DataFrame, found: "Finished", start: int, embedded: bool, source: pl.DataFrame | None
) -> pl.DataFrame:
    """The rows from ``start`` of ``found`` with their labels. ``source``: of all rows; None for a pool at one path."""
    here = slice(start, start + len(rows))
    return rows.select(
        "doc_id",
        cluster_id=pl.Series(found.cluster_N[here], dtype=pl.Int32),
        confidence=pl.Series(found.confidence_N[here]),
        by=pl.Series(found.by_N[here]),
        generative_id=pl.Series(found.generative_N[here], dtype=pl.Int32).replace(NO_LABEL, None),
        n_tokens="n_tokens",
        embedded=pl.lit(embedded),
        **({} if source is None else source[here].to_dict()),
    )


def _sources(work: Work) -> pl.DataFrame | None:
    """Role and name of each document's source: of those with a vector in their order, then of the others. None for a
    pool at one path."""
    corpus = pl.scan_parquet(work.files("corpus"))
    if "role" not in corpus.collect_schema().names():
        return None
    source, embedded = corpus.select(OF_SOURCE).collect(), pl.Series(with_vectors(work))
    return pl.concat([source.filter(embedded), source.filter(~embedded)])


def _write_clusters(work: Work, files: str, cosine_M: np.ndarray) -> None:
    """Write the table ``clusters``: the rows of ``files`` with their cosines. ``cosine_M``: of the documents with a
    vector, in their order."""

    def rows() -> Iterator[pa.Table]:
        start = 0
        for block in blocks(files, pl.scan_parquet(files).collect_schema().names(), BLOCK):
            part = pl.from_arrow(block)
            assert isinstance(part, pl.DataFrame)
            embedded_B = part["embedded"].to_numpy()
            cosine_B = np.full(len(part), np.nan)
            cosine_B[embedded_B] = cosine_M[start : start + embedded_B.sum()]
            start += int(embedded_B.sum())
            named = part.with_columns(
                cosine=pl.Series(cosine_B).fill_nan(None), labelled_by=pl.Series(LABELLED_BY)[part["by"].to_numpy()]
            )
            yield arrow(named.select(*COLUMNS, *(name for name in OF_SOURCE if name in part.columns)))

    work.draft.write_blocks("clusters", rows())


COLUMNS = ("doc_id", "cluster_id", "cosine", "confidence", "labelled_by", "generative_id", "n_tokens")
OF_SOURCE = ("role", "pool")  # of pools of several sources


def _moved(found: "Finished") -> dict[str, float]:
    """The share of the documents (with a vector) that the offset of a mixture moved to another cluster."""
    known_N = found.generative_N != NO_LABEL
    moved_M = found.generative_N[known_N] != found.cluster_N[known_N]
    return {"moved_by_offset": float(moved_M.mean())} if known_N.any() else {}


def teacher(work: Work) -> tuple[Assigned, np.ndarray]:
    """(labels of the rows of ``embeddings``, the components that are left). Labels are places in these components."""
    from grip_assets.method.partition.finish import settled  # compiled

    with tempfile.TemporaryDirectory(dir=work.draft.folder) as scratch:
        components, values = work.files("components"), None
        if (column := column_of(components)) is not None:
            values = write_values(work.files("corpus"), column, Path(scratch), None, with_vectors(work))
        job = Assign(work.files("embeddings"), components, None, values, work.files("projection"))
        fitted = fitted_of(components, job.projection, None)
        documents = OnDisk(job, work.executor, _block_bytes(len(fitted.centroids_KD), width(job.embeddings)))
        return settled(fitted, documents, Clustering.of(work.settings).min_cluster_docs)


def column_of(components: str) -> str | None:
    """The column that a partition follows; None if it follows vectors."""
    return pl.read_parquet(components, columns=["column"])["column"][0]


def _without_vectors(work: Work, live: np.ndarray) -> tuple[pl.DataFrame, Assigned]:
    """Documents that were not embedded, as (doc_id, n_tokens), and their labels as places in ``live``."""
    outside_N = ~with_vectors(work)
    others = pl.DataFrame(schema={"doc_id": pl.String, "n_tokens": pl.Int64})
    if outside_N.any():
        others = pl.read_parquet(work.files("corpus"), columns=["doc_id", "n_tokens"]).filter(pl.Series(outside_N))
    none_N = np.full(len(others), NO_LABEL, np.int32)
    if not len(others):
        return others, Assigned(none_N, np.zeros(0, np.float32), np.zeros(0, np.int8), none_N)
    components = work.files("components")
    if (column := column_of(components)) is not None:
        from grip_assets.method.partition.column import ByColumn  # compiled

        fitted = fitted_of(components, "", tuple(map(int, live)))
        assert isinstance(fitted, ByColumn)
        values = pl.concat(column_values(work.files("corpus"), column))
        return others, fitted.by_value(values.filter(pl.Series(outside_N)))
    labels = others.join(work.frame("student_labels"), on="doc_id", how="left", maintain_order="left")
    if labels["component"].null_count():
        raise GripError(
            f"{labels['component'].null_count():,} documents have neither a vector nor a label of the student."
            " Materialize student again."
        )
    place_N = np.searchsorted(live, labels["component"].to_numpy()).astype(np.int32)
    by_N = np.full(len(others), LABELLED_BY.index("student"), np.int8)
    return others, Assigned(place_N, labels["confidence"].to_numpy(), by_N, none_N)


def _block_bytes(k: int, d: int) -> int:
    """Memory of a job: a block of rows in float16, float32, as unit rows and in int8, and the sums of the clusters."""
    return BLOCK * d * 11 + k * d * 8


def _centred(work: Work, counts_K: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Centroids, float64 (K, d), and the cosine of each document to its centroid, float64 (N,).

    ``counts_K``: documents with a vector. Sums run over the sorted vectors, so the order of the pool changes no bit.
    """
    from grip_assets.method.partition.finish import directions

    files = work.draft.parquet("cluster_embeddings")
    shards, bytes_each = _shards(files), _block_bytes(1, width(files))
    ends = tuple(np.cumsum(counts_K).tolist())
    sums_KD = np.zeros((len(ends), width(files)))
    for table in work.executor.map(Sums(files, ends), shards, bytes_each):
        sums_KD[table["cluster_id"].to_numpy()] += matrix(table["sum"])
    centroids_KD = directions(sums_KD)
    with tempfile.TemporaryDirectory(dir=work.draft.folder) as scratch:
        column = pa.FixedSizeListArray.from_arrays(pa.array(centroids_KD.reshape(-1)), centroids_KD.shape[1])
        rows = pa.table({"centroid": column})
        with TableWriter(Path(scratch) / "centroids.parquet", rows.schema) as writer:
            writer.write(rows)
        job = Cosines(files, ends, parquet_files(Path(scratch)))
        cosines = [table["cosine"].to_numpy() for table in work.executor.map(job, shards, bytes_each)]
    return centroids_KD, np.concatenate(cosines)


def _write_centroids(work: Work, counts: pl.DataFrame, found: "Finished", centroids_KD: np.ndarray) -> None:
    values = pl.read_parquet(work.files("components"), columns=["value"])["value"]
    named = counts.with_columns(component=pl.Series(found.component_K, dtype=pl.Int32), value=values[found.component_K])
    flat = pa.array(centroids_KD.astype(np.float32).reshape(-1))
    centroid = pa.FixedSizeListArray.from_arrays(flat, centroids_KD.shape[1])
    rows = named.to_arrow(compat_level=pl.CompatLevel.oldest())
    work.draft.write("centroids", rows.append_column("centroid", centroid))


SOURCES = ("embeddings.embedding", "components.centroid")
TABLES = (
    Table(
        "clusters",
        (
            Column("doc_id", pl.String, "Document.", ("corpus.doc_id",)),
            Column("cluster_id", pl.Int32, "Cluster of the document.", (*SOURCES, "student_labels.component")),
            Column(
                "cosine",
                pl.Float64,
                "Cosine of the document to the centroid. Null for a document without a vector.",
                ("embeddings.embedding",),
            ),
            Column(
                "confidence",
                pl.Float32,
                "How clearly the document belongs to this cluster, from 0 to 1. If labelled_by is embedding: 1 - a / b,"
                " where a and b are the distances to the nearest and the second nearest component (simplified"
                " silhouette); 0 means half-way between two. For gem: the membership γ. If labelled_by is"
                " column: 1. If it is student: the probability.",
                (*SOURCES, "student_labels.confidence"),
            ),
            Column(
                "labelled_by",
                pl.String,
                "What decided the cluster: embedding, column, or student (for a document without a vector).",
                SOURCES,
            ),
            Column(
                "generative_id",
                pl.Int32,
                "Cluster that the document would have without the offset of the balance. Null unless method is gem, and"
                " for a document without a vector.",
                SOURCES,
            ),
            Column("n_tokens", pl.Int64, "Tokens ℓ(x).", ("corpus.n_tokens",)),
            Column(
                "role",
                pl.String,
                "Role of its source: select, or keep (always in the subset). Null for a pool at one path.",
                ("corpus.role",),
                added=True,
            ),
            Column(
                "pool",
                pl.String,
                "Name of its source in settings/corpus.sources. Null for a pool at one path.",
                ("corpus.pool",),
                added=True,
            ),
        ),
    ),
    Table(
        "centroids",
        (
            Column("cluster_id", pl.Int32, "Cluster. The largest is 0.", SOURCES),
            Column("n_docs", pl.Int64, "Documents in the cluster, N_k.", ("corpus.doc_id",)),
            Column("n_tokens", pl.Int64, "Tokens of its documents.", ("corpus.n_tokens",)),
            Column("component", pl.Int32, "Its cluster_id in the table components.", ("components.cluster_id",)),
            Column("value", pl.String, "Its value in the column. Null for k-means.", ("components.value",)),
            Column("centroid", VECTOR32, "Normalised sum of the vectors of its documents.", ("embeddings.embedding",)),
        ),
    ),
    Table(
        "cluster_embeddings",
        (
            Column("doc_id", pl.String, "Document with a vector, in the order of clusters.", ("embeddings.doc_id",)),
            Column("embedding", VECTOR16, "Its vector.", ("embeddings.embedding",)),
        ),
    ),
)
CHECKS = (
    Check("every_document_in_one_cluster", True, "Each document of the corpus is in exactly one cluster."),
    Check("no_empty_cluster", True, "Every cluster has documents, and centroids.n_docs counts them right."),
    Check("none_small", True, "Every cluster has at least clustering.min_cluster_docs documents, or all documents."),
    Check("confidence_in_range", True, "Confidences are from 0 to 1, and labelled_by is never null."),
    Check("balanced", False, "The largest cluster has at most 50 times the documents of the median one."),
)

stage = Stage(
    name="clusters",
    code_version="4",
    compute=compute,
    description="Groups of documents about similar things. Every document is in one cluster, a component of"
    " `partition`. Small clusters are dissolved, and their documents go to the nearest others. Cluster 0 is the"
    " largest. `centroids` has the centres, `cluster_embeddings` the vectors in the order of `clusters`. A document"
    " without a vector has the cluster that the student names.",
    tables=TABLES,
    checks=CHECKS,
    inputs=("corpus", "embeddings", "partition", "student"),
    reads={"clustering": ("min_cluster_docs",)},
    facts=facts,
    disk=lambda tables: tables["embeddings"]["bytes"] + 16 * tables["embeddings"]["rows"],  # dealt out, or sorted
)

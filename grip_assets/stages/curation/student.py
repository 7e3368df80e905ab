"""student: labels documents without a vector, by their texts [spec 2.8]. Used only with settings/embedding.sample.

The teacher is the partition. It labels the embedded documents as the stage clusters does, and some of these labels, the
pseudo-labels, train the student (method/student.py). Of each cluster these are the documents of highest influence
(method/influence.py), as many of a small cluster as of a large one. Documents that a keyed hash holds out are never
learned from. The student is compared with the teacher on them.

Labels are stored in shards that the student's content names. So in a pool that grows only new documents are labelled,
as long as the student stays the same. With settings/clustering.keep it does: the student of the kept partition is
copied, as the partition is.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa

from grip_assets.engine.declarations import VECTOR32, Check, Column, Table
from grip_assets.engine.stage import Result, Settings, Stage, Work
from grip_assets.method.geometry import unit_rows
from grip_assets.method.partition.base import Assigned
from grip_assets.method.sampling import keyed_uniform
from grip_assets.method.statistics import known, proportion
from grip_assets.runtime import opened, threads
from grip_assets.runtime.executors import ToDo
from grip_assets.runtime.progress import worked
from grip_assets.settings import Clustering, Embedding, Student, digest
from grip_assets.stages.curation.clusters import column_of, fitted_of, teacher
from grip_assets.stages.curation.partition import with_vectors
from grip_assets.store.artifacts import ArtifactStore
from grip_assets.store.shards import Shards
from grip_assets.store.tables import RowRange, blocks, matrix, ranges_of, read_range, rows_of, texts

NEIGHBOURS, EXPONENT, NEAR_COPY = 8, 0.5, 0.9  # of the influence: M, b, and the cosine of near copies
CANDIDATES = 8  # documents of a cluster whose influence is measured, for each pseudo-label
MOST_LEARNED = 50_000  # pseudo-labels of all clusters together
AT_ONCE, BYTES_AT_ONCE = 4_096, 8 << 20  # documents and bytes of a shard of work
VERSION = "1"  # of the stored labels; raise it when n-grams or probabilities change


@dataclass(frozen=True)
class LabelDocuments:
    """The job: labels a range of rows of ``corpus``. ``weights``, ``classes``: globs of the student's tables.

    ``among``: the components that a label may be. Its unit of progress is a document.
    """

    corpus: str
    weights: str
    classes: str
    among: tuple[int, ...]

    def run(self, shard: RowRange) -> pa.Table:
        from grip_assets.method.ngrams import grams  # compiled
        from grip_assets.method.student import probabilities

        learned, component_C = opened.get(("student", self.weights), lambda: read(self.weights, self.classes))
        rows = read_range(self.corpus, ["doc_id", "text"], shard)
        share_NC = probabilities(learned, grams(rows["text"].to_pylist()))
        allowed_C = np.isin(component_C, self.among)
        share_NC = share_NC[:, allowed_C] / np.maximum(share_NC[:, allowed_C].sum(1, keepdims=True), 1e-30)
        best_N = share_NC.argmax(1)
        worked(len(rows))
        confidence_N = np.minimum(share_NC[np.arange(len(rows)), best_N], 1)
        component_N = component_C[allowed_C][best_N]
        return pa.table({"key": rows["doc_id"], "component": component_N, "confidence": confidence_N})


def compute(work: Work) -> Result | dict[str, Any]:
    if (column := column_of(work.files("components"))) is not None:
        work.log(f"the kept partition follows the column '{column}', so no student is needed")
        for table in TABLES:
            work.draft.write(table.name, table.empty())
        return {"documents_labelled": 0}
    assigned, live = teacher(work)
    embedded = pl.read_parquet(work.files("embeddings"), columns=["doc_id"])["doc_id"]
    settings = Student.of(work.settings)
    held_out_N = keyed_uniform(settings.seed, "student", embedded) < settings.held_out
    top_N = pseudo_labels(work, embedded, assigned, live)
    before = kept(work.settings, work.store.root)
    if before:
        _copy(work, before)
    else:
        _learn(work, embedded, top_N & ~held_out_N, assigned, live)
    job = _job(work, live)
    labels, fresh, seconds = _label_others(work, job)
    work.draft.write("student_labels", labels)
    figures, rate = _figures(work, job, embedded, assigned, live, held_out_N, top_N, labels)
    rates = {"documents_per_second": fresh / seconds if fresh else rate, **_embedding_rate(work)}
    work.draft.write("student", pl.DataFrame([figures | rates], stage.schema("student")))
    metrics = {"documents_labelled_now": fresh, "documents_labelled": len(labels)}
    metrics |= {name: figures[name] for name in ("agreement", "macro_f1", "mass_distance")}
    return Result(metrics | {"kept": before or ""}, keeps=((stage.name, before),) if before else ())


def pseudo_labels(work: Work, documents: pl.Series, assigned: Assigned, live: np.ndarray) -> np.ndarray:
    """The embedded ``documents`` from whose labels the student may learn, as a mask (N,): of each cluster those of
    highest influence, among its confident ones, without near copies."""
    settings, chosen_N = Student.of(work.settings), np.zeros(len(documents), bool)
    most = max(min(settings.per_cluster, MOST_LEARNED // len(live)), 1)
    u_N = keyed_uniform(settings.seed, "pseudo-labels", documents)
    rows_K = [
        _confident(np.flatnonzero(assigned.label_B == k), assigned.confidence_B, settings.confidence, u_N, most)
        for k in range(len(live))
    ]
    candidate_N = np.zeros(len(documents), bool)
    candidate_N[np.concatenate(rows_K)] = True
    place_N, x_MD = np.cumsum(candidate_N) - 1, rows_of(work.files("embeddings"), candidate_N)
    ids, among = documents.to_numpy(), tuple(map(int, live))
    fitted = fitted_of(work.files("components"), work.files("projection"), among)

    def taken(k: int) -> np.ndarray:
        from grip_assets.method import influence as gis  # compiled

        rows_M = rows_K[k]
        unit_MD = unit_rows(x_MD[place_N[rows_M]])
        density_M = fitted.log_density(unit_MD, np.full(len(rows_M), k, np.int32))
        found = gis.terms(unit_MD, gis.log_floored(assigned.confidence_B[rows_M]), density_M, NEIGHBOURS)
        order_M = gis.descending(gis.influence(found, EXPONENT), ids[rows_M])
        return rows_M[gis.top(order_M, unit_MD, most, NEAR_COPY)]

    for rows in threads.each(taken, range(len(live))):
        chosen_N[rows] = True
    return chosen_N


def _confident(rows_M: np.ndarray, confidence_N: np.ndarray, least: float, u_N: np.ndarray, most: int) -> np.ndarray:
    """The rows of a cluster with at least the confidence ``least``.

    If these are fewer than half of them, or than two for each of the ``most`` pseudo-labels, the most confident rows
    are taken. At most CANDIDATES for each pseudo-label are left, by their keyed hash ``u_N``.
    """
    confident = rows_M[confidence_N[rows_M] >= least]
    enough = min(max(2 * most, (len(rows_M) + 1) // 2), len(rows_M))
    if len(confident) < enough:
        confident = np.sort(rows_M[np.lexsort((u_N[rows_M], -confidence_N[rows_M]))[:enough]])
    if len(confident) > CANDIDATES * most:
        confident = np.sort(confident[np.argsort(u_N[confident], kind="stable")[: CANDIDATES * most]])
    return confident


def _learn(work: Work, documents: pl.Series, chosen_N: np.ndarray, assigned: Assigned, live: np.ndarray) -> None:
    """Fit the student on the labels of a mask of the ``documents``, and write its tables.

    A cluster all of whose pseudo-labels are held out is learned from all of its documents.
    """
    from grip_assets.method.student import fit

    have_K = np.bincount(assigned.label_B[chosen_N], minlength=len(live)) > 0
    chosen_N = chosen_N | ~have_K[assigned.label_B]
    label_of = dict(zip(documents.filter(pl.Series(chosen_N)), assigned.label_B[chosen_N].tolist(), strict=True))
    work.log(f"the student learns from {len(label_of):,} documents")
    found, ids = _grams(work, set(label_of))
    label_N = np.array([label_of[doc] for doc in ids])
    prior_K = np.bincount(assigned.label_B, minlength=len(live)) / len(documents)
    learned = fit(found, label_N, prior_K, Student.of(work.settings).prior_correction)
    classes = pl.DataFrame(
        {"component": live.astype(np.int32), "bias": learned.bias_C, "teacher_share": prior_K},
    ).with_columns(n_learned=pl.Series(np.bincount(label_N, minlength=len(live)), dtype=pl.Int64))
    work.draft.write("student_classes", classes)
    flat = pa.array(np.ascontiguousarray(learned.weight_FC).reshape(-1))
    weights = pa.FixedSizeListArray.from_arrays(flat, len(live))
    work.draft.write(
        "student_weights", pa.table({"bucket": learned.bucket_F, "idf": learned.idf_F, "weights": weights})
    )


def _grams(work: Work, wanted: set[str]) -> tuple[Any, list[str]]:
    """The n-grams of the wanted documents, in the order of their ids, which are returned too."""
    from grip_assets.method.ngrams import Grams, grams  # compiled

    held = sorted(texts(work.files("corpus"), wanted))  # at most MOST_LEARNED
    parts = list(
        threads.each(
            lambda some: grams([text for _, text in some]), (held[i : i + 64] for i in range(0, len(held), 64))
        )
    )
    sizes = np.concatenate([np.diff(part.start_N) for part in parts])
    found = Grams(
        np.concatenate([part.bucket_J for part in parts]),
        np.concatenate([part.count_J for part in parts]),
        np.concatenate([[0], np.cumsum(sizes)]),
    )
    return found, [doc for doc, _ in held]


def read(weights: str, classes: str) -> tuple[Any, np.ndarray]:
    """(the ``Classifier``, the component of each of its classes)."""
    from grip_assets.method.student import Classifier

    of_classes = pl.read_parquet(classes)
    parts = list(blocks(weights, ["bucket", "idf", "weights"]))
    n_classes = len(of_classes)
    weight_FC = np.concatenate([np.zeros((0, n_classes), np.float32), *(matrix(part["weights"]) for part in parts)])
    bucket_F, idf_F = (
        np.concatenate([np.zeros(0, dtype), *(part[name].to_numpy() for part in parts)])
        for name, dtype in (("bucket", np.int32), ("idf", np.float32))
    )
    learned = Classifier(bucket_F, idf_F, weight_FC, of_classes["bias"].to_numpy())
    return learned, of_classes["component"].to_numpy()


def _job(work: Work, live: np.ndarray) -> LabelDocuments:
    """Labels by the student in the draft. A component that was dissolved since it learned is no label any more."""
    weights, classes = work.files("student_weights"), work.files("student_classes")
    known_C = pl.read_parquet(classes)["component"].to_numpy()
    return LabelDocuments(work.files("corpus"), weights, classes, tuple(np.intersect1d(known_C, live).tolist()))


def _label_others(work: Work, job: LabelDocuments) -> tuple[pl.DataFrame, int, float]:
    """(labels of all documents without a vector, number of those labelled now, seconds that it took)."""
    corpus = pl.read_parquet(job.corpus, columns=["doc_id"])["doc_id"]
    others = corpus.filter(pl.Series(~with_vectors(work)))
    learned, component_C = read(job.weights, job.classes)
    how = digest([VERSION, learned.name, component_C.tolist(), list(job.among)])
    fresh, seconds = 0, 0.0

    def to_label(missing: pl.Series) -> ToDo:
        nonlocal fresh
        fresh = len(missing)
        there = ranges_of(job.corpus, missing, AT_ONCE, BYTES_AT_ONCE)
        return ToDo(job, there, "labelling", fresh, "documents", 64 * BYTES_AT_ONCE)

    started = time.monotonic()
    placed = Shards(work.store, stage.name, how).ready(others, to_label, work.executor, work.log)
    seconds = time.monotonic() - started
    found = placed.read() if len(others) else pa.table(stage.table("student_labels").empty().to_arrow())
    return pl.DataFrame(found).rename({"key": "doc_id"}, strict=False), fresh, seconds


def _figures(
    work: Work,
    job: LabelDocuments,
    documents: pl.Series,
    assigned: Assigned,
    live: np.ndarray,
    held_out_N: np.ndarray,
    top_N: np.ndarray,
    labels: pl.DataFrame,
) -> tuple[dict[str, Any], float | None]:
    """(the row of the table ``student`` without rates, held-out documents labelled per second)."""
    from grip_assets.method.student import macro_f1

    ids, started = documents.filter(pl.Series(held_out_N)), time.monotonic()
    there = ranges_of(job.corpus, ids, AT_ONCE, BYTES_AT_ONCE) if len(ids) else []
    answers = [pl.DataFrame(table) for table in work.executor.map(job, there)]
    seconds = time.monotonic() - started
    said = pl.concat(answers)["component"].to_numpy() if answers else np.zeros(0, np.int32)  # both in corpus order
    right = live[assigned.label_B[held_out_N]]
    same, of_top = said == right, top_N[held_out_N]
    teacher_K = np.bincount(assigned.label_B, minlength=len(live)) / len(documents)
    student_K = np.bincount(np.searchsorted(live, labels["component"].to_numpy()), minlength=len(live))
    classes = pl.read_parquet(job.classes)
    figures = {
        "model": "linear",
        "n_classes": len(classes),
        "n_learned": int(classes["n_learned"].sum()),
        "n_embedded": len(documents),
        "n_labelled": len(labels),
        "n_held_out": len(ids),
        **proportion(int(same.sum()), len(same)).columns("agreement"),
        "n_held_out_top": int(of_top.sum()),
        "agreement_top": known(float(same[of_top].mean())) if of_top.any() else None,
        "macro_f1": macro_f1(right, said) if len(ids) else None,
        "largest_class": float(teacher_K.max()),
        "mass_distance": float(np.abs(student_K / len(labels) - teacher_K).sum() / 2) if len(labels) else None,
        "mean_confidence": labels["confidence"].mean(),
    }
    return figures, len(ids) / seconds if len(ids) else None


def _embedding_rate(work: Work) -> dict[str, float | None]:
    """Documents a second of the stage embeddings, from the run with the same encoder that embedded most of them."""
    manifest = work.store.manifest("embeddings", work.inputs["embeddings"])
    alike = [m for m in work.store.ever_made("embeddings") if _encoder(m) == _encoder(manifest)]
    most = max([*alike, manifest], key=lambda m: m["metrics"].get("documents_embedded_now", 0))
    now, seconds = most["metrics"].get("documents_embedded_now", 0), most["seconds"]
    return {"embedding_documents_per_second": now / seconds if now and seconds else None}


def _encoder(manifest: dict[str, Any]) -> dict[str, Any]:
    values = manifest["settings"].get("embedding", {})
    return {name: value for name, value in values.items() if name not in ("sample", "seed")}


def _copy(work: Work, version: str) -> None:
    work.log(f"keeping student {version}: nothing is learned")
    for name in ("student_classes", "student_weights"):
        files = work.store.parquet(stage.name, version, name)
        columns = list(stage.schema(name))
        work.draft.write_blocks(name, _never_empty(blocks(files, columns), files, columns))


def _never_empty(tables: Iterator[pa.Table], files: str, columns: list[str]) -> Iterator[pa.Table]:
    """The blocks, or one without rows: a student of a single class may have no weights."""
    first = next(tables, None)
    if first is None:
        yield pl.scan_parquet(files).select(columns).collect().to_arrow(compat_level=pl.CompatLevel.oldest())
        return
    yield first
    yield from tables


def kept(settings: Settings, root: Path) -> str | None:
    """The student of the partition that settings/clustering.keep names, if it was made with these settings and is
    there; else None, and a student is fitted."""
    version, store = Clustering.of(settings).keep, ArtifactStore(root)
    if version is None or not store.knows("partition", version):
        return None
    partition = store.manifest("partition", version)
    then = Clustering.of(settings).model_copy(update={"keep": partition["settings"].get("clustering", {}).get("keep")})
    inputs = partition["inputs"] | {"partition": version}
    recipe = stage.recipe({**settings, "clustering": then}, inputs, root)
    return recipe if store.has(stage.name, recipe) else None


def facts(settings: Settings, root: Path) -> dict[str, Any]:
    version = kept(settings, root)
    return {"kept": version} if version else {}


def unused(settings: Settings) -> str:
    """Why no student is needed; "" if some documents have no vector."""
    sample, clustering = Embedding.of(settings).sample, Clustering.of(settings)
    if Embedding.of(settings).embeds_all:
        return f"settings/embedding.sample is {'null' if sample is None else f'{sample:g}'}"
    return "settings/clustering.method is column" if clustering.method == "column" else ""


TEXTS = ("corpus.text", "embeddings.embedding", "components.centroid")
TABLES = (
    Table(
        "student",
        (
            Column("model", pl.String, "Model: linear (logistic regression on hashed n-grams)."),
            Column("n_classes", pl.Int64, "Number of clusters that it tells apart.", ("components.cluster_id",)),
            Column("n_learned", pl.Int64, "Documents that it learned from.", TEXTS),
            Column("n_embedded", pl.Int64, "Documents with a vector.", ("embeddings.doc_id",)),
            Column("n_labelled", pl.Int64, "Documents that it labelled.", ("corpus.doc_id",)),
            Column("n_held_out", pl.Int64, "Embedded documents, drawn at random, that it never learns from.", TEXTS),
            Column("agreement", pl.Float64, "Share of these that it labels as the teacher does.", TEXTS),
            Column("low", pl.Float64, "Lower end of its 95% interval.", TEXTS),
            Column("high", pl.Float64, "Upper end of its 95% interval.", TEXTS),
            Column("n_held_out_top", pl.Int64, "Those among them that would be pseudo-labels.", TEXTS),
            Column("agreement_top", pl.Float64, "Agreement on these alone.", TEXTS),
            Column("macro_f1", pl.Float64, "Mean F1 over clusters, on the held-out documents.", TEXTS),
            Column("largest_class", pl.Float64, "Share of the largest cluster: the agreement of no student.", TEXTS),
            Column(
                "mass_distance",
                pl.Float64,
                "Distance of the shares of the clusters, half the sum of differences: among the documents that the"
                " student labelled, and among the embedded ones.",
                TEXTS,
            ),
            Column("mean_confidence", pl.Float64, "Mean confidence of its labels.", TEXTS),
            Column("documents_per_second", pl.Float64, "Documents labelled per second, on all workers."),
            Column(
                "embedding_documents_per_second", pl.Float64, "Documents embedded per second, when that was measured."
            ),
        ),
    ),
    Table(
        "student_labels",
        (
            Column("doc_id", pl.String, "Document without a vector.", ("corpus.doc_id",)),
            Column("component", pl.Int32, "Component that the student names.", TEXTS),
            Column("confidence", pl.Float32, "Probability of this component.", TEXTS),
        ),
    ),
    Table(
        "student_classes",
        (
            Column("component", pl.Int32, "Component of the partition.", ("components.cluster_id",)),
            Column("bias", pl.Float32, "Bias of its score, with the correction of the shares.", TEXTS),
            Column("teacher_share", pl.Float64, "Its share of the embedded documents.", TEXTS),
            Column("n_learned", pl.Int64, "Documents that the student learned from.", TEXTS),
        ),
    ),
    Table(
        "student_weights",
        (
            Column("bucket", pl.Int32, "Bucket of a hashed word or pair of words.", ("corpus.text",)),
            Column("idf", pl.Float32, "Its inverse document frequency among the documents learned from.", TEXTS),
            Column("weights", VECTOR32, "Its weight for each row of student_classes.", TEXTS),
        ),
    ),
)
CHECKS = (
    Check("every_other_document", True, "Each document without a vector has one label, a component of the partition."),
    Check("confidence_in_range", True, "Confidences are from 0 to 1."),
    Check("better_than_the_largest", False, "The agreement is above the share of the largest cluster."),
)


stage = Stage(
    name="student",
    code_version="1",
    compute=compute,
    description="A student that labels the documents without a vector, by their texts. It learns from the clusters of"
    " embedded documents, and is compared with them on documents that it never saw. `student` has the comparison,"
    " `student_labels` the labels. Not used unless settings/embedding.sample is set.",
    tables=TABLES,
    checks=CHECKS,
    expensive=True,
    inputs=("corpus", "embeddings", "partition"),
    reads={"student": None, "clustering": ("min_cluster_docs",)},
    facts=facts,
    unused=unused,
    unused_by=("embedding", "clustering"),
    earlier=kept,
)

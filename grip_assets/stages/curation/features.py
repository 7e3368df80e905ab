"""Features of documents that selections read, computed from files: ``method.selection.base.Features``.

A feature is computed when a selection first asks for it. It is stored as a shard, named by its inputs, so that SemDeDup
in a curation, SemDeDup as a strategy and D4 share one search. Densities are a stage of their own (densities.py).
"""

import math
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from grip_assets.engine.stage import Settings, Work
from grip_assets.errors import GripError
from grip_assets.method.geometry import unit_rows
from grip_assets.method.partition.base import PoolFacts
from grip_assets.method.selection import baselines
from grip_assets.method.selection.base import Attributed
from grip_assets.runtime.progress import Progress
from grip_assets.settings import Clustering, Corpus, Embedding, Evaluation, Quality, digest, hashed_values
from grip_assets.sources.benchmarks import content_hash, problems
from grip_assets.sources.documents import RawDocument
from grip_assets.sources.pool import DocumentPool, open_pool
from grip_assets.stages.curation import partition
from grip_assets.stages.curation.aims import aim_of
from grip_assets.stages.curation.densities import Part, parts
from grip_assets.stages.curation.partition import sample, sampled
from grip_assets.stages.curation.quality_scores import static_scores
from grip_assets.store.shards import DAMAGED, Shards
from grip_assets.store.sketches import rows_of_source, sketch_blocks
from grip_assets.store.tables import blocks, vector_blocks, vector_rows, width

TEXTS_AT_ONCE = 512
OF_ALL_VECTORS = {"likeness", "prototypicality"}
VERSION = "1"  # of the stored features; raise it when one of them changes for the same inputs


@dataclass(frozen=True)
class Likeness:
    """A job: SemDeDup's likeness of the documents of some clusters.

    ``files``: glob of ``cluster_embeddings``. ``clusters``: glob of ``clusters``, for its cosines. ``run`` returns a
    table with the column ``value``, in the order of the rows.
    """

    files: str
    clusters: str

    def run(self, part: Part) -> pa.Table:
        start, stop = part.bounds[0], part.bounds[-1]
        cosines = pl.scan_parquet(self.clusters).select("cosine").slice(start, stop - start).collect()
        cosine_N, x_ND = cosines["cosine"].to_numpy(), vector_rows(self.files, start, stop)
        places = [slice(first - start, last - start) for first, last in zip(part.bounds, part.bounds[1:], strict=False)]
        found = [baselines.likeness(unit_rows(x_ND[here]), cosine_N[here]) for here in places]
        return pa.table({"value": np.concatenate(found)})


class PoolFeatures:
    """Implements ``Features`` for ``documents``, which are in the order of the table ``clusters``.

    ``documents`` need the column ``density`` only for a selection that reads it. ``versions``: of the stages of
    attribution, if they are not the inputs of ``work``. ``seconds``: name of a feature to the time that its computation
    took.
    """

    def __init__(self, work: Work, documents: pl.DataFrame, versions: Mapping[str, str] | None = None):
        self.work, self.documents = work, documents
        self.versions = work.inputs if versions is None else versions
        self.seconds: dict[str, float] = {}
        self._held: dict[str, Any] = {}  # features that were asked for before; no feature depends on the seed

    def density(self) -> np.ndarray:
        return self.documents["density"].to_numpy()

    def quality(self) -> np.ndarray:
        """The static judge's score, by settings/quality.dimensions; -1 for a document without one."""
        if "quality" not in self._held:
            found = static_scores(self.work)
            self.seconds["quality"] = float(found["seconds"].sum())
            self._held["quality"] = self._ordered(found, "score").fill_null(-1.0).to_numpy()
        return self._held["quality"]

    def language(self) -> np.ndarray:
        languages = pl.read_parquet(self.work.files("corpus"), columns=["doc_id", "language"])
        return self._ordered(languages, "language").fill_null("").rank("dense").cast(pl.Int64).to_numpy() - 1

    def likeness(self) -> np.ndarray:
        return self._kept("likeness", [self.work.inputs["clusters"]], self._likeness)["value"].to_numpy()

    def prototypicality(self, kept_N: np.ndarray) -> np.ndarray:
        how = [self.work.inputs["clusters"], clustering_of(self.work.settings), digest(np.packbits(kept_N).tolist())]
        make = lambda: pl.DataFrame({"value": self._prototypicality(kept_N)})  # noqa: E731
        return self._kept("prototypicality", how, make)["value"].to_numpy()

    def target(self) -> tuple[np.ndarray, np.ndarray]:
        found = self._kept("target", [self.work.version_of("corpus"), target_facts(self.work.settings)], self._target)
        weight, long = (self._ordered(found, name) for name in ("weight", "long"))
        return weight.to_numpy(), long.to_numpy()

    def attributed(self) -> Attributed:
        """The sketches of the chosen source, in blocks, and the targets that count."""
        aims, clusters = (pl.read_parquet(self._files(f"attribution_{name}")) for name in ("aims", "clusters"))
        sketches = self._files("sketches")
        rows = rows_of_source(sketches, aims["source"][0], self.documents["doc_id"])
        unit = aims["normalize"][0] == "unit"
        return Attributed(lambda: sketch_blocks(sketches, rows), unit, aim_of(aims, clusters))

    def _files(self, table: str) -> str:
        owner = self.work.owners[table]
        return self.work.store.parquet(owner, self.versions[owner], table)

    def _kept(self, name: str, how: list[Any], make: Callable[[], pl.DataFrame]) -> pl.DataFrame:
        """A feature of the whole pool: read from an earlier run with the same ``how``, or computed and stored."""
        named = f"{name}-{digest([VERSION, *how])}"
        if named in self._held:
            return self._held[named]
        shards = Shards(self.work.store, "subset", named)
        found = _read(shards.folder)
        if found is None:
            started = time.monotonic()
            made = make()
            found = made.with_columns(key=pl.lit(name), seconds=pl.lit(time.monotonic() - started))
            shards.write(found.to_arrow(compat_level=pl.CompatLevel.oldest()))
        self.seconds[name] = float(found["seconds"][0])
        self._held[named] = found
        return found

    def _ordered(self, of: pl.DataFrame, column: str) -> pl.Series:
        """A column of another table in the order of the documents."""
        found = self.documents.select("doc_id").join(of, on="doc_id", how="left", maintain_order="left")
        return found[column]

    def _likeness(self) -> pl.DataFrame:
        sizes = self.documents.group_by("cluster_id", maintain_order=True).len()["len"].to_list()
        job = Likeness(self.work.files("cluster_embeddings"), self.work.files("clusters"))
        progress = Progress("comparing inside clusters", len(self.documents), "documents", self.work.log)
        found = []
        whole = parts(sizes, whole=True)
        for table in self.work.executor.map(job, whole, max(sizes) * width(job.files) * 8):
            found.append(table)
            progress.advance(len(table))
        progress.finish()
        return pl.DataFrame(pa.concat_tables(found))

    def _prototypicality(self, kept_N: np.ndarray) -> np.ndarray:
        from grip_assets.method.partition import finish, kmeans  # compiled

        settings = Clustering.of(self.work.settings)
        files = self.work.files("cluster_embeddings")
        ids = self.documents["doc_id"].filter(pl.Series(kept_N))
        settings = settings.model_copy(update={"k": settings.k and min(settings.k, len(ids))})
        sample_ND = sampled(files, np.flatnonzero(kept_N)[sample(ids, settings)], len(kept_N))
        fitted = kmeans.fit(sample_ND, settings, self.work.log, PoolFacts(len(ids)))
        kept = finish.InMemory(lambda: (x_BD for x_BD in vector_blocks(files, kept_N) if len(x_BD)))
        found = finish.finish(fitted, kept, settings.min_cluster_docs)
        return finish.centre(kept.blocks, found.cluster_N, len(found.component_K))[1]

    def _target(self) -> pl.DataFrame:
        """DSIR's weight of every document of the corpus."""
        from grip_assets.method.selection.dsir import log_weights

        work, files, n = self.work, self.work.files("corpus"), len(self.documents)
        progress = Progress("DSIR, two passes", 2 * n, "documents", work.log)
        with tempfile.TemporaryDirectory(dir=work.draft.folder) as folder:
            weight_N, long_N = log_weights(
                lambda: (block["text"].to_pylist() for block in blocks(files, ["text"], TEXTS_AT_ONCE)),
                math.ceil(n / TEXTS_AT_ONCE),
                target_texts(work.settings),
                Path(folder),
                progress.advance,
            )
        progress.finish()
        return pl.read_parquet(files, columns=["doc_id"]).with_columns(weight=weight_N, long=long_N)


def _read(folder: Path) -> pl.DataFrame | None:
    """The only shard of a feature; None if it is missing or damaged."""
    for file in sorted(folder.glob("*.parquet")):
        try:
            found = pl.from_arrow(pq.read_table(file))
        except DAMAGED:
            continue
        assert isinstance(found, pl.DataFrame)
        return found
    return None


def must_be_ready(features: tuple[str, ...], settings: Settings) -> None:
    """GripError if the package, target or vectors of a feature are missing. Call it before long computations."""
    must_have_vectors(features, settings)
    if "target" in features:
        from grip_assets.method.selection.dsir import must_be_there

        must_be_there()
        target_texts(settings)


def must_have_vectors(features: tuple[str, ...], settings: Settings) -> None:
    """GripError if a feature compares the vectors of all documents, and not all have one."""
    if not Embedding.of(settings).embeds_all and (OF_ALL_VECTORS & set(features)):
        raise GripError(
            "The selections 'semdedup' and 'd4' compare the vectors of all documents, and with"
            f" settings/embedding.sample={Embedding.of(settings).sample:g} not all have one. Set it to null, or choose"
            " another settings/selection.rule, and take both out of settings/evaluation.strategies."
        )


def target_texts(settings: Settings) -> list[str]:
    """The user's target set, or the benchmarks' problems with their solutions. GripError if there is neither."""
    evaluation, corpus = Evaluation.of(settings), Corpus.of(settings)
    if evaluation.target is None:
        found = [p.prompt + p.solution for name in corpus.benchmarks for p in problems(name)]
    else:
        found = [document.text for document in target_documents(evaluation.target, corpus)]
    if not found:
        raise GripError(
            "The selection 'dsir' needs a target, and there is none. Set settings/evaluation.target to your documents,"
            " or name a benchmark in settings/corpus.benchmarks."
        )
    return found


def target_documents(path: str, corpus: Corpus) -> Iterator[RawDocument]:
    """Documents of the target set, read in the same way as a pool."""
    return (d for d in target_pool(path, corpus).read() if isinstance(d, RawDocument))


def target_pool(path: str, corpus: Corpus) -> DocumentPool:
    alone: dict[str, Any] = {"path": path, "sources": [], "format": None, "max_documents": None}
    return open_pool(corpus.model_copy(update=alone))


def target_set_facts(path: str | None, corpus: Corpus) -> dict[str, Any]:
    """The content of the user's target set, and the settings with which it is read; empty if there is no set."""
    if path is None:
        return {}
    read_with = hashed_values(corpus, ("text_field", "id_field", "max_bytes"))
    return {"target": target_pool(path, corpus).fingerprint(), **read_with}


def target_facts(settings: Settings) -> dict[str, Any]:
    """What DSIR depends on outside of the corpus: the version of its package, and its target."""
    from grip_assets.method.selection.dsir import package_version

    target, corpus = Evaluation.of(settings).target, Corpus.of(settings)
    named = [content_hash(name) for name in corpus.benchmarks] if target is None else []
    return {"data-selection": package_version(), "benchmarks": named, **target_set_facts(target, corpus)}


def clustering_of(settings: Settings) -> dict[str, Any]:
    """The settings with which D4 clusters."""
    fields = partition.stage.reads["clustering"]
    return hashed_values(Clustering.of(settings), fields)


def feature_facts(features: tuple[str, ...], settings: Settings) -> dict[str, Any]:
    """What these features depend on outside of the tables. It goes into the recipe of a stage that selects by them."""
    facts: dict[str, Any] = {}
    if "target" in features:
        facts |= target_facts(settings)
    if "quality" in features:
        facts["dimensions"] = Quality.of(settings).dimensions
    if "prototypicality" in features:
        facts["clustering"] = clustering_of(settings)
    return facts

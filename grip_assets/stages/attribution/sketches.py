"""sketches: features of each document, made short [GRASP 4.4, a reconstruction: only its abstract is public].

A sketch keeps inner products: the alignment of a document with a target, and of documents with each other. What the
features are is said by the sources (sources/). Each computes them for new documents only. This stage writes them in the
order of the table ``clusters``, as float16, with those of the targets.

- precondition=fisher: sketches of gradients are multiplied by the inverse root of their damped covariance over the
  pool, so inner products are those of TRAK.
- scale: if the numbers of a source do not fit float16 well, all are multiplied by a power of two. Scores have no unit,
  so this changes none of them.

What is scored with the sketches is in method/attribution/.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa

from grip_assets.engine.declarations import VECTOR16, VECTOR32, Check, Column, Table
from grip_assets.engine.stage import Settings, Stage, Work
from grip_assets.errors import GripError
from grip_assets.method.attribution.surrogate import fisher_of, whitener
from grip_assets.runtime.progress import Progress
from grip_assets.settings import GRADIENTS, Attribution, field_names
from grip_assets.stages.attribution.attribution_targets import usable
from grip_assets.stages.attribution.sources import SOURCES, column
from grip_assets.stages.attribution.sources.base import Asked, Measured, Rows
from grip_assets.stages.curation.needed import no_attribution
from grip_assets.store.tables import vectors

ROWS = 4096  # documents in memory at a time
SMALLEST, LARGEST = 2.0**-6, 2.0**14  # if the largest number of a source is between these, its scale is 1


@dataclass(frozen=True)
class Finish:
    """What all features of a source are multiplied with at last. ``whiten_KK``: None unless precondition=fisher."""

    scale: float
    whiten_KK: np.ndarray | None

    def apply(self, feature_BK: np.ndarray) -> np.ndarray:
        """float32 (B, K)."""
        if self.whiten_KK is not None:
            feature_BK = (feature_BK.astype(np.float64) @ self.whiten_KK).astype(np.float32)
        return feature_BK * np.float32(self.scale)


def compute(work: Work) -> dict[str, Any]:
    settings = Attribution.of(work.settings).effective()
    documents = work.frame("clusters").select("doc_id", "cluster_id", "n_tokens")
    items = usable(work.frame("attribution_items")).filter(pl.col("half") == "aim")
    columns = SKETCHES.schema.names()
    targets, summary = [], []
    metrics: dict[str, float] = {"documents_sketched_now": 0}
    schema = _schema(settings.dim)
    with work.draft.writer("sketches", schema) as writer:
        for source in settings.sources:
            asked = Asked(work, settings, source, documents, items)
            measured = SOURCES[source](asked)
            finish = _finish(measured, asked)
            for block in _blocks(measured, finish, asked):
                writer.write(block.select(columns))
            targets += _targets(measured, finish, source)
            summary.append(_summary(measured, finish, source, asked))
            metrics["documents_sketched_now"] = max(metrics["documents_sketched_now"], measured.new)
            metrics[f"seconds_{source}"] = round(measured.seconds, 3)
    _must_have_the_same_targets(targets)
    kinds = {
        name: pl.Array(pl.Float32, settings.dim) if name == "sketch" else kind for name, kind in TARGETS.schema.items()
    }
    work.draft.write("target_sketches", pl.DataFrame(targets, kinds))
    work.draft.write("sketch_sources", pl.DataFrame(summary, schema_overrides={"prior": pl.Float64}))
    return {"sources": len(settings.sources), "documents": len(documents), **metrics}


def _schema(dim: int) -> pa.Schema:
    return pa.schema(
        [
            ("doc_id", pa.large_string()),
            ("cluster_id", pa.int32()),
            ("source", pa.large_string()),
            ("sketch", pa.list_(pa.float16(), dim)),
            ("n_tokens", pa.int64()),
            ("norm", pa.float64()),
        ]
    )


def _blocks(measured: Measured, finish: Finish, asked: Asked) -> Iterator[pa.Table]:
    documents = asked.documents
    for start, rows in _rows(measured, len(documents)):
        here = documents[start : start + len(rows.norm_B)]
        sketch_BK = finish.apply(rows.feature_BK)
        yield pa.table(
            {
                "doc_id": here["doc_id"].to_arrow().cast(pa.large_string()),
                "cluster_id": here["cluster_id"].to_arrow(),
                "source": pa.array([asked.source] * len(here), pa.large_string()),
                "sketch": vectors(sketch_BK),
                "n_tokens": pa.array(rows.n_tokens_B, pa.int64()),
                "norm": pa.array(rows.norm_B, pa.float64()),
            }
        )


def _rows(measured: Measured, n: int) -> Iterator[tuple[int, Rows]]:
    for start in range(0, n, ROWS):
        yield start, measured.read(start, min(start + ROWS, n))


def _finish(measured: Measured, asked: Asked) -> Finish:
    """The whitening of precondition=fisher, and the scale. Each reads all features once."""
    n = len(asked.documents)
    whiten_KK = None
    if asked.settings.precondition == "fisher" and asked.source in GRADIENTS:
        whiten_KK = whitener(_fisher(measured, n, asked))
    plain = Finish(1.0, whiten_KK)
    found = [np.abs(plain.apply(target.feature_K[None])).max() for target in measured.targets.values()]
    found += [np.abs(plain.apply(rows.feature_BK)).max() for _, rows in _rows(measured, n)]
    largest = float(max(found))
    if not np.isfinite(largest):
        raise GripError(f"The features of the source {asked.source} are not finite. Choose another source.")
    if largest == 0 or SMALLEST <= largest <= LARGEST:
        return plain
    return Finish(float(2.0 ** -np.floor(np.log2(largest))), whiten_KK)


def _fisher(measured: Measured, n: int, asked: Asked) -> np.ndarray:
    """The damped Fisher matrix of the pool's sketches, float64 (K, K): see ``surrogate.fisher``."""
    progress = Progress(f"Fisher matrix, {asked.source}", n, "documents", asked.work.log)

    def blocks() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for _, rows in _rows(measured, n):
            yield rows.feature_BK, rows.n_tokens_B
            progress.advance(len(rows.feature_BK))

    found_KK = fisher_of(blocks(), asked.settings.dim)
    progress.finish()
    return found_KK


def _must_have_the_same_targets(targets: list[dict[str, Any]]) -> None:
    """GripError if two sources have other targets, which could not be compared. Only the source column has its own."""
    of: dict[str, set[str]] = {}
    for row in targets:
        of.setdefault(row["source"], set()).add(row["target"])
    first, *others = of
    for source in others:
        if of[source] != of[first]:
            raise GripError(
                f"The targets of the source {source} are {', '.join(sorted(of[source]))}, and those of {first} are"
                f" {', '.join(sorted(of[first]))}. Name targets in settings/attribution.column as in the table"
                " attribution_items, or take column out of settings/attribution.candidates."
            )


def _targets(measured: Measured, finish: Finish, source: str) -> list[dict[str, Any]]:
    return [
        {
            "target": name,
            "source": source,
            "sketch": finish.apply(target.feature_K[None])[0].tolist(),
            "n_items": target.n_items,
        }
        for name, target in measured.targets.items()
    ]


def _summary(measured: Measured, finish: Finish, source: str, asked: Asked) -> dict[str, Any]:
    table = 2 * asked.settings.dim * len(asked.documents)
    return {
        "source": source,
        "features": measured.width,
        "sketch": measured.sketch,
        "scale": finish.scale,
        "seconds": measured.seconds,
        "flops": measured.flops,
        "bytes": measured.n_bytes + table,
        "prior": measured.prior,
    }


def facts(settings: Settings, root: Path) -> dict[str, Any]:
    """The content of the user's table, if a source reads it."""
    attribution = Attribution.of(settings)
    return {"column": column.content_of(attribution)} if "column" in attribution.sources else {}


def no_model(settings: Settings) -> str:
    """Why no sketch reads the reference model; "" if one does."""
    attribution = Attribution.of(settings)
    return "" if attribution.needs_a_model else f"settings/attribution.source is {attribution.source}"


def no_embedding(settings: Settings) -> str:
    """Why no sketch reads the settings of the encoder; "" if one does."""
    attribution = Attribution.of(settings)
    return "" if "embedding" in attribution.sources else f"settings/attribution.source is {attribution.source}"


READ = ("corpus.text", "reference.model", "cluster_embeddings.embedding")
SKETCHES = Table(
    "sketches",
    (
        Column("doc_id", pl.String, "Document.", ("clusters.doc_id",)),
        Column("cluster_id", pl.Int32, "Its cluster.", ("clusters.cluster_id",)),
        Column("source", pl.String, "What its features are computed from: see settings/attribution.source."),
        Column("sketch", VECTOR16, "Its features, shortened, float16. Narrower features have zeros at the end.", READ),
        Column(
            "n_tokens",
            pl.Int64,
            "Its tokens, as the source counts them: by the small models' tokenizer, the reference's, or the corpus'.",
            ("corpus.text", "clusters.n_tokens"),
        ),
        Column("norm", pl.Float64, "Norm of its features before they were shortened.", READ),
    ),
)
TARGETS = Table(
    "target_sketches",
    (
        Column("target", pl.String, "Target.", ("attribution_items.target",)),
        Column("source", pl.String, "What the features are computed from."),
        Column(
            "sketch",
            VECTOR32,
            "Mean of its items' features, weighted by tokens, shortened as those of documents.",
            ("attribution_items.text", "attribution_items.prompt", "reference.model"),
        ),
        Column("n_items", pl.Int64, "Items that shape it.", ("attribution_items.half",)),
    ),
)
TABLES = (
    SKETCHES,
    TARGETS,
    Table(
        "sketch_sources",
        (
            Column("source", pl.String, "Source of features."),
            Column("features", pl.Int64, "Numbers in a feature before it is shortened.", READ),
            Column(
                "sketch",
                pl.String,
                "How features are shortened. exact: not at all. factored: by the two factors of each layer. buckets:"
                " tokens are hashed together.",
            ),
            Column(
                "scale", pl.Float64, "Power of two that the sketches are multiplied with, so that they fit float16."
            ),
            Column("seconds", pl.Float64, "Processor time that the features took, whenever they were computed."),
            Column(
                "flops", pl.Float64, "Operations that they take, estimated: 6 for each weight and token of a gradient."
            ),
            Column("bytes", pl.Int64, "Bytes of the features as they are kept, and of the table."),
            Column(
                "prior",
                pl.Float64,
                "Tokens of the pool with which the counts of a subset are smoothed, as a share of the pool's tokens."
                " Null but for cross_entropy.",
                ("corpus.text",),
                added=True,
            ),
        ),
    ),
)
CHECKS = (
    Check("every_document", True, "Each source has one sketch for each document, of tokens and a norm."),
    Check("every_target", True, "Each source has a sketch of each target, from at least one item."),
    Check("not_all_alike", False, "No source gives all documents the same norm."),
)

stage = Stage(
    name="sketches",
    code_version="2",
    compute=compute,
    description="Features of each document that say how training on it would move the model: token counts, a gradient"
    " at the reference model, or vectors. They are shortened so that inner products are kept. `target_sketches` has"
    " those of the targets, `sketch_sources` what each source costs. A document is never sketched twice. Not used"
    " unless settings/selection.rule is greedy or settings/budget.base is grasp.",
    tables=TABLES,
    checks=CHECKS,
    expensive=True,
    inputs=("corpus", "clusters", "attribution_targets", "reference_model"),
    reads={
        "attribution": (*field_names(Attribution, "sketch"), "device"),
        "embedding": None,
    },
    left_out={"reference_model": no_model, "embedding": no_embedding},
    facts=facts,
    group="attribution",
    unused=no_attribution,
    unused_by=("budget", "selection"),
    otherwise="code, the encoder or the table of vectors changed",
)

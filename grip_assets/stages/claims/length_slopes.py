"""length_slopes: do long documents lie closer to their neighbours? This tests the claim of the paper's Fig. 2 (left).

The mean distance to the k nearest documents is compared with the length, under two encoders and two readings:
- `raw`: only the first window of a document, as most users embed.
- `pooled`: windows from the whole document, as many as settings/embedding allows, or a few if it allows only one.

All four combinations have the same sample of documents, so they can be compared. The stored vectors of the whole pool,
which the chain itself uses, are measured too. The other encoder embeds at most 2 windows of 256 tokens per document: it
may be a language model, which is many times slower.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import pyarrow as pa

from grip_assets.engine.declarations import Check, Column, Table
from grip_assets.engine.stage import Settings, Stage, Work
from grip_assets.method.geometry import unit_rows
from grip_assets.method.sampling import keyed_clusters
from grip_assets.method.statistics import known, mean, slope_over_groups, spearman
from grip_assets.models.files import content_hash, locate
from grip_assets.models.opening import EncoderFiles
from grip_assets.runtime.executors import ToDo
from grip_assets.runtime.progress import worked
from grip_assets.settings import Embedding, Evaluation, Selection, digest, hashed_values
from grip_assets.stages.claims.neighbour_distances import neighbour_distances
from grip_assets.stages.curation.densities import embedded_of
from grip_assets.store.shards import Shards
from grip_assets.store.tables import RowRange, matrix, ranges_of, read_range, rows_of, vectors

if TYPE_CHECKING:
    from grip_assets.models.encoder import Encoder

SAMPLE = 800  # documents; a language model of 135M parameters embeds them in six minutes of two idle cores
LEAST = 40  # documents of each cluster in the sample
LONG = 256  # tokens; slopes are also measured over long documents alone, since the claim is about these
OTHER_WINDOW, OTHER_WINDOWS = 256, 2
FEW = 4  # windows per document for `pooled`, if settings/embedding allows only one
SHARD_VERSION = "1"
AT_ONCE, BYTES_AT_ONCE = 8, 32 << 10  # documents of a shard of work
SETTING = "settings/evaluation.other_encoder"


@dataclass(frozen=True)
class View:
    """The sample under one encoder and reading: vectors (S, d), and how much of the documents was embedded."""

    encoder: str
    reading: str
    x_SD: np.ndarray
    window: int
    max_windows: int | None
    embedded_tokens: float
    neighbourhoods: tuple[str, ...] = ("cluster", "sample")


def compute(work: Work) -> dict[str, Any]:
    work.must_be_in_force()
    k = Selection.of(work.settings).neighbours
    clusters = embedded_of(work).select("doc_id", "cluster_id", "n_tokens")
    sample = keyed_clusters(0, "length_slopes", clusters, SAMPLE, max(LEAST, 4 * k))
    n_clusters = sample["cluster_id"].n_unique()
    work.log(f"a sample of {len(sample):,} of {len(clusters):,} documents, from {n_clusters} clusters")
    slopes: list[dict[str, Any]] = []
    points: list[dict[str, Any]] = []
    for view in _views(work, sample):
        embedded = {name: getattr(view, name) for name in ("window", "max_windows", "embedded_tokens")}
        for neighbourhood in view.neighbourhoods:
            names = {"encoder": view.encoder, "reading": view.reading, "neighbourhood": neighbourhood}
            if neighbourhood == "pool":
                measured = neighbour_distances(clusters, work.files("cluster_embeddings"), k)
            else:
                measured = _distances(sample, view.x_SD, k, neighbourhood)
            for least in (0, LONG):
                some = measured.filter(pl.col("n_tokens") >= least)
                if len(some):
                    slopes.append(names | embedded | {"from_tokens": least} | _slope(some))
            points.extend(names | row for row in _bands(measured))
    table = pl.DataFrame(slopes, stage.schema("length_slopes"))
    work.draft.write("length_slopes", table)
    work.draft.write("length_points", pl.DataFrame(points, stage.schema("length_points")))
    falls = table.filter(pl.col("high") < 0)
    return {"slopes": len(table), "slopes_below_0": len(falls), "documents": len(sample)}


def _other(settings: Settings) -> Embedding:
    """The settings of the other encoder: few windows, and always the mean over tokens."""
    return Embedding(model=Evaluation.of(settings).other_encoder, pooling="mean", max_windows=OTHER_WINDOWS)


def _views(work: Work, sample: pl.DataFrame) -> Iterator[View]:
    now = Embedding.of(work.settings)
    one = now.max_windows == 1
    read = now.model_copy(update={"max_windows": FEW if one else 1, "sample": None, "seed": 0})
    raw, pooled = _embedded(work, sample, read, "settings/embedding.model", None)
    yield raw
    table = pl.read_parquet(work.files("embeddings"), columns=["doc_id", "n_encoder_tokens"])
    here_N = table["doc_id"].is_in(sample["doc_id"].implode()).to_numpy()
    place = {doc: row for row, doc in enumerate(table["doc_id"].filter(pl.Series(here_N)))}
    order_S = [place[doc] for doc in sample["doc_id"]]
    tokens = float(table["n_encoder_tokens"].to_numpy()[here_N].mean())
    x_SD = rows_of(work.files("embeddings"), here_N)[order_S]
    stored = View(raw.encoder, "pooled", x_SD, raw.window, now.max_windows, tokens, ("cluster", "sample", "pool"))
    yield from (pooled, replace(stored, reading="stored", neighbourhoods=("pool",))) if one else (stored,)
    other = _other(work.settings)
    if other.model == now.model:
        work.log(f"{SETTING} is the encoder in force, so only one encoder is measured")
        return
    yield from _embedded(work, sample, other, SETTING, OTHER_WINDOW)


@dataclass(frozen=True)
class EmbedBothWays:
    """The job: embeds a range of rows of ``corpus``, by their first window and by all windows."""

    corpus: str
    encoder: EncoderFiles

    @property
    def opening(self) -> str:
        return f"loading the encoder {Path(self.encoder.files.name).name}"

    def open(self) -> "Encoder":
        return self.encoder.open()

    def run(self, shard: RowRange) -> pa.Table:
        from grip_assets.models.encoder import document_vector  # torch

        encoder = self.open()
        rows = read_range(self.corpus, ["doc_id", "text"], shard)
        embedded = []
        for text in rows["text"].to_pylist():
            units_WD, weights_W, _ = encoder.embed_windows(text)
            raw, pooled = (document_vector(units_WD[:n], weights_W[:n], text) for n in (1, len(units_WD)))
            embedded.append((raw, pooled, int(weights_W[0]), int(weights_W.sum())))
            worked(1)
        raws, pooleds, raw_tokens, pooled_tokens = zip(*embedded, strict=True)
        return pa.table(
            {
                "key": rows["doc_id"],
                "raw_tokens": list(raw_tokens),
                "pooled_tokens": list(pooled_tokens),
                "window": [encoder.window] * len(rows),
                "raw": vectors(np.stack(raws)),
                "pooled": vectors(np.stack(pooleds)),
            }
        )


def _embedded(
    work: Work, sample: pl.DataFrame, settings: Embedding, setting: str, at_most: int | None
) -> Iterator[View]:
    """The sample under an encoder, raw and pooled, from one pass. ``at_most``: most tokens of a window."""
    name = Path(settings.model).name
    model = content_hash(locate(settings.model, setting), work.store.root)
    made_from = [SHARD_VERSION, hashed_values(settings) | {"model": model}, at_most]
    shards = Shards(work.store, "length_slopes", digest(made_from))

    def to_embed(missing: pl.Series) -> ToDo:
        from grip_assets.models.proxy import converted  # torch

        files = converted(locate(settings.model, setting), work.store.root, work.log)
        s = settings
        encoder = EncoderFiles(files, s.pooling, s.window, s.max_windows, s.dtype, setting, at_most)
        job = EmbedBothWays(work.files("corpus"), encoder)
        there = ranges_of(work.files("corpus"), missing, AT_ONCE, BYTES_AT_ONCE)
        return ToDo(job, there, f"embedding with {name}", len(missing), "documents")

    rows = shards.completed(sample["doc_id"], to_embed, work.executor, work.log)
    for reading, windows in (("raw", 1), ("pooled", settings.max_windows)):
        tokens = float(np.mean(rows[f"{reading}_tokens"].to_numpy()))
        window = int(rows["window"][0].as_py())
        yield View(name, reading, matrix(rows[reading]), window, windows, tokens)


def _distances(sample: pl.DataFrame, x_SD: np.ndarray, k: int, neighbourhood: str) -> pl.DataFrame:
    """The sample with the column ``distance``: the mean distance to the k nearest.

    Documents with fewer than k neighbours are left out.
    """
    from grip_assets.method import neighbours  # compiled

    group_S = sample["cluster_id"].to_numpy() if neighbourhood == "cluster" else np.zeros(len(sample), int)
    distance_S = np.full(len(sample), np.nan)
    for group in np.unique(group_S):
        rows = np.flatnonzero(group_S == group)
        if len(rows) > k:
            together = neighbours.Cluster.of(unit_rows(x_SD[rows]), "float32")
            distance_S[rows] = neighbours.nearest(together, 0, len(rows), k).mean(axis=1)
    return sample.with_columns(distance=pl.Series(distance_S)).filter(pl.col("distance").is_not_nan())


def _doublings(measured: pl.DataFrame) -> np.ndarray:
    return np.log2(measured["n_tokens"].clip(1).to_numpy())


def _slope(measured: pl.DataFrame) -> dict[str, Any]:
    """Slope: change of the distance per doubling of the length.

    Its interval resamples whole clusters, since documents of one cluster are not independent.
    """
    x, y = _doublings(measured), measured["distance"].cast(pl.Float64).to_numpy()
    found, ranks = slope_over_groups(x, y, measured["cluster_id"].to_numpy()), spearman(x, y)
    return {
        "n_docs": len(measured),
        "n_clusters": measured["cluster_id"].n_unique(),
        **found.columns("slope"),
        "spearman": known(ranks.value),
        "mean_distance": float(y.mean()),
    }


def _bands(measured: pl.DataFrame) -> Iterator[dict[str, Any]]:
    """Mean distance by length, in bands of one doubling each."""
    bands = measured.with_columns(band=2 ** pl.Series(np.floor(_doublings(measured))).cast(pl.Int64))
    for (band,), some in bands.sort("band").group_by("band", maintain_order=True):
        found = mean(some["distance"].cast(pl.Float64).to_numpy())
        limits = (found.low, found.high) if found.n > 3 else (None, None)
        values = {"mean_distance": found.value, "low": limits[0], "high": limits[1]}
        yield {"length_band": band, "n": found.n, **values}


def _facts(settings: Settings, root: Path) -> dict[str, Any]:
    return {"model": content_hash(locate(_other(settings).model, SETTING), root)}


TABLES = (
    Table(
        "length_slopes",
        (
            Column("encoder", pl.String, "Encoder."),
            Column(
                "reading",
                pl.String,
                "Part of a document that is embedded. raw: its first window. pooled: windows of the whole document,"
                " weighted by their tokens. stored: as the chain embedded it.",
            ),
            Column(
                "neighbourhood",
                pl.String,
                "Documents among which neighbours are searched. cluster: the document's cluster in the sample. sample:"
                " the sample. pool: the whole cluster.",
            ),
            Column("window", pl.Int64, "Tokens per window, with special tokens."),
            Column("max_windows", pl.Int64, "Most windows per document, evenly spaced. Null: all."),
            Column(
                "embedded_tokens",
                pl.Float64,
                "Mean number of embedded tokens per document of the sample, by the encoder's tokenizer.",
                ("corpus.text", "embeddings.n_encoder_tokens"),
            ),
            Column(
                "from_tokens",
                pl.Int64,
                "The slope has only documents of at least so many tokens. 0: all. Their neighbours may be shorter.",
                ("clusters.n_tokens",),
            ),
            Column("n_docs", pl.Int64, "Number of documents with enough neighbours.", ("clusters.doc_id",)),
            Column("n_clusters", pl.Int64, "Number of clusters of these documents.", ("clusters.cluster_id",)),
            Column(
                "slope",
                pl.Float64,
                "Change of the mean distance to the k nearest per doubling of the tokens.",
                ("corpus.text", "embeddings.embedding", "clusters.n_tokens", "cluster_embeddings.embedding"),
            ),
            Column(
                "low",
                pl.Float64,
                "Lower end of its 95% interval, by resampling clusters.",
                ("corpus.text", "embeddings.embedding", "clusters.n_tokens", "cluster_embeddings.embedding"),
            ),
            Column(
                "high",
                pl.Float64,
                "Upper end of its 95% interval.",
                ("corpus.text", "embeddings.embedding", "clusters.n_tokens", "cluster_embeddings.embedding"),
            ),
            Column(
                "spearman",
                pl.Float64,
                "Rank correlation between length and distance.",
                ("corpus.text", "embeddings.embedding", "clusters.n_tokens", "cluster_embeddings.embedding"),
            ),
            Column(
                "mean_distance",
                pl.Float64,
                "Mean over documents of the distance to the k nearest.",
                ("corpus.text", "embeddings.embedding", "cluster_embeddings.embedding"),
            ),
        ),
    ),
    Table(
        "length_points",
        (
            Column("encoder", pl.String, "Encoder."),
            Column("reading", pl.String, "Part of a document that is embedded: raw, pooled or stored."),
            Column(
                "neighbourhood",
                pl.String,
                "Documents among which neighbours are searched: cluster, sample or pool.",
            ),
            Column(
                "length_band",
                pl.Int64,
                "Least tokens of the band. It ends before the double.",
                ("clusters.n_tokens",),
            ),
            Column("n", pl.Int64, "Number of documents in the band.", ("clusters.doc_id",)),
            Column(
                "mean_distance",
                pl.Float64,
                "Mean over these documents of the distance to the k nearest.",
                ("corpus.text", "embeddings.embedding", "cluster_embeddings.embedding"),
            ),
            Column(
                "low",
                pl.Float64,
                "Lower end of its 95% interval (Student's t). Null for fewer than four documents.",
                ("corpus.text", "embeddings.embedding", "cluster_embeddings.embedding"),
            ),
            Column(
                "high",
                pl.Float64,
                "Upper end of its 95% interval.",
                ("corpus.text", "embeddings.embedding", "cluster_embeddings.embedding"),
            ),
        ),
    ),
)
CHECKS = (
    Check("in_range", True, "Slopes are finite, mean distances from 0 to 2."),
    Check("falls", False, "The distance falls with the length in every measurement: its interval is below 0."),
)

stage = Stage(
    name="length_slopes",
    code_version="2",
    compute=compute,
    description="Does the distance to the nearest neighbours fall with the length of a document [paper Fig. 2, left]?"
    " The table has the change of the distance per doubling of the tokens, under two encoders, for one window and for"
    " the whole document, on one sample of documents: for all lengths, and for long documents alone. `length_points`"
    " has the mean distance by length.",
    tables=TABLES,
    checks=CHECKS,
    picture=True,
    expensive=True,
    inputs=("corpus", "embeddings", "clusters"),
    reads={"embedding": None, "selection": ("neighbours",), "evaluation": ("other_encoder",)},
    facts=_facts,
    group="evaluation",
)

"""The name of each cluster: what naming/ needs is read from files here. The stage is taxonomy.py."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl
import pyarrow as pa

from grip_assets.engine.stage import Work
from grip_assets.method.sampling import keyed_uniform
from grip_assets.naming import inert
from grip_assets.naming.compose import apart, chosen, names
from grip_assets.naming.distinctive import LEAST_SHARE, scored, shares, summed, together
from grip_assets.runtime.progress import Progress, worked
from grip_assets.settings import Taxonomy
from grip_assets.store.tables import RowRange, ranges_of, read_range

READ_AT_ONCE, BYTES_AT_ONCE = 256, 4 << 20  # most documents and bytes of a shard
PARTS = 16  # shards whose sums are held before they are joined


@dataclass(frozen=True)
class CountWords:
    """A job: the terms of documents. ``run`` returns doc_id, term (a list) and share (a list, see naming/distinctive).

    ``corpus``: glob of this table.
    """

    corpus: str

    def run(self, shard: RowRange) -> pa.Table:
        from grip_assets.naming.places import title  # sklearn
        from grip_assets.naming.words import terms

        rows = read_range(self.corpus, ["doc_id", "text", "source"], shard)
        titles = map(title, rows["source"].to_pylist())
        found = [shares(terms(text.as_py(), name)) for text, name in zip(rows["text"], titles, strict=True)]
        worked(len(rows))
        return pa.table(
            {
                "doc_id": rows["doc_id"],
                "term": pa.array([list(counts) for counts in found], pa.list_(pa.string())),
                "share": pa.array([list(counts.values()) for counts in found], pa.list_(pa.int64())),
            }
        )


@dataclass(frozen=True)
class Words:
    """``counts`` and ``read``: as naming/distinctive.py takes them. ``folders``: see naming/places.py."""

    counts: pl.DataFrame
    read: pl.DataFrame
    folders: pl.DataFrame


def read_words(work: Work, influence: pl.DataFrame) -> Words:
    """The words of the representatives and of a sample of each cluster, and the folders of all its documents."""
    from grip_assets.naming.places import folders  # sklearn

    clusters = pl.read_parquet(work.files("clusters"), columns=["doc_id", "cluster_id"])
    chosen = to_read(clusters, influence, Taxonomy.of(work.settings))
    counts = _counted(work, chosen)
    read = chosen.group_by("cluster_id").agg(n_read=pl.len().cast(pl.Int64)).sort("cluster_id")
    sources = pl.read_parquet(work.files("corpus"), columns=["doc_id", "source"])
    return Words(counts, read, folders(clusters.join(sources, on="doc_id").select("cluster_id", "source")))


def to_read(clusters: pl.DataFrame, influence: pl.DataFrame, settings: Taxonomy) -> pl.DataFrame:
    """doc_id and cluster_id of the representatives, and of ``sample`` documents of each cluster by a keyed hash."""
    u = pl.Series("u", keyed_uniform(settings.seed, "taxonomy", clusters["doc_id"]))
    drawn = clusters.with_columns(u).filter(pl.col("u").rank("ordinal").over("cluster_id") <= settings.sample)
    best = influence.filter(pl.col("rank") <= settings.top).select("doc_id", "cluster_id")
    return pl.concat([best, drawn.drop("u")]).unique("doc_id").sort("cluster_id", "doc_id")


def _counted(work: Work, chosen: pl.DataFrame) -> pl.DataFrame:
    """The sums of the shares of each term in each cluster (COUNTS of naming/distinctive.py)."""
    corpus = work.files("corpus")
    shards = ranges_of(corpus, chosen["doc_id"], READ_AT_ONCE, BYTES_AT_ONCE)
    progress = Progress("words of clusters", len(chosen), "documents", work.log)
    parts: list[pl.DataFrame] = []
    for table in work.executor.map(CountWords(corpus), shards, BYTES_AT_ONCE * 20, work.log, progress.advance):
        rows = pl.DataFrame(pl.from_arrow(table)).explode("term", "share").drop_nulls("term")
        rows = rows.join(chosen, on="doc_id").with_columns(n_docs=pl.lit(1, pl.Int64))
        parts.append(summed([rows.select("cluster_id", "term", "share", "n_docs")]))
        if len(parts) >= PARTS:
            parts = [summed(parts)]
    progress.finish()
    return summed(parts)


@dataclass(frozen=True)
class Named:
    """Names by words, of clusters or of families, in the order of their ids."""

    places: list[str]
    words: list[list[str]]
    names: list[str]


def by_words(words: Words, ids: list[int]) -> Named:
    """A name for each cluster of the ``ids``, from its words and folders."""
    return _named(words, ids, LEAST_SHARE, (), "cluster")


def by_words_of_families(words: Words, ids: list[int], taken: Iterable[str]) -> Named:
    """A name for each family of the ``ids``. ``taken``: names that are in use.

    A word need not be in many documents of a family: each of its clusters has words of its own.
    """
    return _named(words, ids, 0.0, taken, "family")


def _named(words: Words, ids: list[int], least_share: float, taken: Iterable[str], what: str) -> Named:
    from grip_assets.naming.places import places  # sklearn

    best: dict[int, list[tuple[str, float]]] = {}
    for cluster, term, score in scored(words.counts, words.read, least_share).iter_rows():
        best.setdefault(cluster, []).append((term, score))
    place_of = places(words.folders)
    found = [place_of.get(i, "") for i in ids]
    terms = [chosen(best.get(i, [])) for i in ids]
    return Named(found, terms, names(found, terms, taken, what))


def of_families(words: Words, family_of: Mapping[int, int]) -> Words:
    """The words of families instead of clusters."""
    family = pl.DataFrame(list(family_of.items()), {"cluster_id": pl.Int32, "family": pl.Int32}, orient="row")
    counts, read = together(words.counts, words.read, family)
    joined = words.folders.join(family, on="cluster_id").group_by(cluster_id="family", folder="folder").agg(pl.sum("n"))
    return Words(counts, read, joined.sort("cluster_id", "folder"))


def of_values(values: pl.Series, named: Named) -> tuple[list[str], list[str]]:
    """Names and ``named_by`` of clusters by a column: their values, made inert, and words where nothing is left."""
    shown = [inert.name(value or "") for value in values]
    names = [value or name for value, name in zip(shown, named.names, strict=True)]
    return apart(names, named.words), ["value" if value else "words" for value in shown]


def described(named: Named) -> Iterator[str]:
    """A line about each cluster that is named by words or by a value."""
    for place, words in zip(named.places, named.words, strict=True):
        parts = [f"Frequent words: {', '.join(words[:8])}."] if words else []
        parts += [f"Most documents are from {place}."] if place else []
        yield " ".join(parts)


def nearest(centroids_KD: np.ndarray) -> np.ndarray:
    """The cluster whose centroid is nearest to that of each cluster, int64 (K,); itself if it is alone."""
    cosine_KK = np.asarray(centroids_KD, np.float64) @ np.asarray(centroids_KD, np.float64).T
    np.fill_diagonal(cosine_KK, -np.inf)
    return cosine_KK.argmax(1)

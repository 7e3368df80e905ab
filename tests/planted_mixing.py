"""A data folder in which the corpus and the clusters of a small pool are planted, for the stages of the mixing."""

import json
import random

import polars as pl
from defaults import without_near_copies

from grip_assets.engine.inspect import inspect
from grip_assets.engine.make import Chain
from grip_assets.runtime.executors import Local
from grip_assets.settings import validate
from grip_assets.sources.documents import name_of
from grip_assets.stages import STAGES
from grip_assets.store.artifacts import ArtifactStore

WORDS = [f"{a}{b}{c}" for a in "bdfgklm" for b in "aeiou" for c in "nrstv"]
SIZES = {"python": 60, "go": 40, "rust": 12, "cobol": 2}


def text(seed: int, n: int = 60) -> str:
    return " ".join(random.Random(seed).choices(WORDS, k=n))


def pool() -> pl.DataFrame:
    """Documents of four languages and two clusters; the last one of go is a copy of its first."""
    languages = [name for name, n in SIZES.items() for _ in range(n)]
    texts = [text(i, 20 + i % 90) for i in range(len(languages))]
    texts[SIZES["python"] + SIZES["go"] - 1] = texts[SIZES["python"]] + " again"
    return pl.DataFrame({"language": languages, "text": texts}).with_columns(
        doc_id=pl.Series([name_of(t) for t in texts]),
        source=pl.format("file {}", pl.int_range(pl.len())),
        n_bytes=pl.col("text").str.len_bytes().cast(pl.Int64),
        n_tokens=pl.col("text").str.len_bytes().cast(pl.Int64) // 4,
        cluster_id=pl.Series([i % 3 > 0 for i in range(len(texts))]).cast(pl.Int32),
        kept=pl.Series([json.dumps({"licence": "mit"})] * len(texts)),
    )


class Folder:
    """A data folder in which corpus and clusters are planted."""

    def __init__(self, root, documents, **mixing):
        self.store, self.lines = ArtifactStore(root), []
        self.settings = without_near_copies()
        self.settings["budget"] = validate("budget", {"base": "mixture"})
        self.settings["corpus"] = validate("corpus", {"benchmarks": [], "keep": ["licence"]})
        self.settings["clustering"] = validate("clustering", {"min_cluster_docs": 10})
        self.turn(**{"vocabulary": 400, "passage": 100} | mixing)
        self._plant("corpus", {}, documents.drop("cluster_id"))
        clusters = documents.select("doc_id", "cluster_id", "n_tokens").sort("cluster_id", "doc_id")
        counts = clusters.group_by("cluster_id").agg(n_docs=pl.len(), n_tokens=pl.col("n_tokens").sum())
        centroid = pl.Series(
            [[float(i == k) for i in range(4)] for k in counts["cluster_id"]], dtype=pl.Array(pl.Float32, 4)
        )
        self._plant("clusters", {"corpus": "planted"}, clusters, centroids=counts.with_columns(centroid=centroid))

    def turn(self, **mixing):
        now = self.settings["mixing"].model_dump()
        self.settings["mixing"] = validate("mixing", now | mixing)

    def _plant(self, name, inputs, table, **others):
        manifest = {"stage": name, "version": "planted", "inputs": inputs, "settings": {}, "computed_at": 0}
        with self.store.publish(name, manifest | {"seconds": 0, "run_id": "", "metrics": {}}) as draft:
            for table_name, frame in {name: table, **others}.items():
                draft.write(table_name, frame)

    def make(self, *more, workers=1):
        """Makes mixture_domains and the stages ``more``; ``made`` is the last of them. ``workers``: threads, or an executor."""
        executor = Local(workers) if isinstance(workers, int) else workers
        self.chain = chain = Chain(STAGES, self.store, self.lines.append, "run", inspect, executor)
        inputs, self.owner = {"corpus": "planted", "clusters": "planted"}, {}
        for name in ("mixture_domains", *more):
            self.made = chain.make(STAGES[name], self.settings, inputs)
            inputs[name] = self.made.version
            self.owner |= {table: (name, self.made.version) for table in STAGES[name].table_names}
        return self

    def table(self, name):
        return pl.read_parquet(self.store.parquet(*self.owner[name], name))

    @property
    def metrics(self):
        return self.made.manifest["metrics"]

    @property
    def failed(self):
        return [check["name"] for check in self.made.manifest["checks"] if check["violations"]]

"""Texts that small models predict, and the tokenizer of these models: for evaluation, mixing and attribution.

Each item is a passage of a document, or the solution of a problem. An item that has a copy in the pool measures memory,
so it is not used. The user's target set is read in features.py. The models themselves are in training/.
"""

from collections.abc import Collection
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from grip_assets.engine.declarations import Column, Table
from grip_assets.engine.stage import Work
from grip_assets.errors import GripError
from grip_assets.method.sampling import keyed_uniform
from grip_assets.models.files import locate
from grip_assets.runtime.progress import Progress
from grip_assets.settings import Corpus, Embedding
from grip_assets.sources.benchmarks import problems
from grip_assets.sources.documents import name_of
from grip_assets.sources.steps.contamination import containment
from grip_assets.stages.curation.features import target_documents
from grip_assets.store.tables import texts

if TYPE_CHECKING:
    from tokenizers import Tokenizer

LANGUAGES = {"humaneval": "python"}
LEARNED_FROM = 20_000_000  # most bytes from which a tokenizer is learned
COPIED = 0.3  # a passage with more in_pool has a copy in the pool (a fork, vendored code) and is not used


def passage(text: str, longest: int, u: float) -> str:
    """A passage of at most ``longest`` bytes: the whole text, or a part of it.

    The part begins at the place that ``u`` in (0, 1) names, moved to the next beginning of a line.
    """
    data = text.encode()
    if len(data) <= longest:
        return text
    start = int(u * (len(data) - longest))
    line = data.find(b"\n", start, start + longest // 2) + 1  # 0: no line begins within half a passage
    cut = data[line or start :][:longest]
    return cut.decode(errors="ignore")


def in_pool(work: Work, passages: list[str], but: Collection[str] = ()) -> list[float]:
    """For each passage, the largest share of its runs of 13 words that one document of the pool has.

    ``but``: ids of documents that are not looked at.
    """
    n = pl.scan_parquet(work.files("corpus")).select(pl.len()).collect().item()
    progress = Progress("looking for copies", n, "documents", work.log)
    there = (text for doc, text in progress.each(texts(work.files("corpus"))) if doc not in but)
    found = containment(passages, there)
    progress.finish()
    return found


def benchmark_items(name: str) -> pl.DataFrame:
    """The solutions of a benchmark after their prompts: item_id, set, source, language, prompt, text."""
    return pl.DataFrame(
        {
            "item_id": f"{name}:{p.id}",
            "set": name,
            "source": p.id,
            "language": LANGUAGES[name],
            "prompt": p.prompt,
            "text": p.solution,
        }
        for p in problems(name)
        if p.solution
    )


def by_project(documents: pl.DataFrame, seed: int) -> pl.DataFrame:
    """Held-out documents in the order in which they are taken, with ``place``: where a passage of each begins.

    First one document of each project is taken, then a second one of each. So no large project dominates.
    """
    ids = documents["doc_id"]
    drawn = documents.with_columns(
        pl.Series("u", keyed_uniform(seed, "held out", ids)),
        pl.Series("of_project", keyed_uniform(seed, "held out", documents["project"])),
        pl.Series("place", keyed_uniform(seed, "passage", ids)),  # not u, which is small for chosen documents
    )
    drawn = drawn.with_columns(turn=pl.col("u").rank("ordinal").over("project"))
    return drawn.sort("turn", "of_project", "u").drop("turn", "of_project", "u")


def nearest_clusters(work: Work, found: pl.Series) -> pl.Series:
    """The nearest cluster of each of the texts, which are not in the pool: they are embedded now."""
    from grip_assets.models.encoder import load_encoder  # torch

    settings = Embedding.of(work.settings)
    encoder = load_encoder(
        locate(settings.model), settings.pooling, settings.window, settings.max_windows, settings.dtype
    )
    x_ND = np.stack([e.vector for e in encoder.embed_documents(found, settings.batch_windows)])
    centroids = work.frame("centroids")
    nearest_N = (x_ND.astype(np.float32) @ centroids["centroid"].to_numpy().astype(np.float32).T).argmax(1)
    return centroids["cluster_id"].gather(nearest_N)


def target_items(
    setting: str, path: str, corpus: Corpus, longest: int, seed: int, most: int, name: str = "target"
) -> pl.DataFrame:
    """Passages of the user's target set: item_id, set, source, language, text. At most ``most`` documents are drawn.

    ``setting`` names the path in the GripError for a set without documents. ``name``: of the set.
    """
    rows = [
        {
            "item_id": f"{name}:{name_of(d.text)}",
            "set": name,
            "source": d.source,
            "language": d.language,
            "text": passage(d.text, longest, 0.5),
        }
        for d in target_documents(path, corpus)
    ]
    if not rows:
        raise GripError(
            f"settings/{setting} is '{path}', and no document there can be read. Name a folder, or a JSONL or Parquet"
            " file, with text documents."
        )
    found = pl.DataFrame(rows, infer_schema_length=None).unique("item_id", maintain_order=True)
    u = pl.Series("u", keyed_uniform(seed, "target", found["item_id"]))
    return found.with_columns(u).sort("u").drop("u").head(most)


def learned_tokenizer(corpus: str, vocabulary: int, seed: int) -> "Tokenizer":
    """A byte-level BPE, learned on a sample of the pool. ``corpus``: glob of the table."""
    from grip_assets.training.small import learn_tokenizer  # torch

    sizes = pl.read_parquet(corpus, columns=["doc_id", "n_bytes"])
    u = pl.Series("u", keyed_uniform(seed, "tokenizer", sizes["doc_id"]))
    chosen = set(sizes.with_columns(u).sort("u").filter(pl.col("n_bytes").cum_sum() <= LEARNED_FROM)["doc_id"])
    found = texts(corpus, chosen or None)
    return learn_tokenizer((text for _, text in found), vocabulary)


def tokenizer_table(name: str) -> Table:
    """A table with the tokenizer of small models, as ``write_tokenizer`` writes it."""
    return Table(
        name,
        (
            Column("vocabulary", pl.Int64, "Size of the vocabulary.", ("corpus.text",)),
            Column("json", pl.String, "The byte-level BPE as JSON, for the library tokenizers.", ("corpus.text",)),
        ),
    )


def write_tokenizer(work: Work, name: str, vocabulary: int, seed: int) -> None:
    """Learn the tokenizer, and write it as the table ``name``."""
    tokenizer = learned_tokenizer(work.files("corpus"), vocabulary, seed)
    work.draft.write(name, pl.DataFrame({"vocabulary": tokenizer.get_vocab_size(), "json": tokenizer.to_str()}))

"""Texts that small models predict, and the tokenizer of these models: for the evaluation, and for the mixing.

Each item is a passage of a document, or the solution of a problem. An item that has a copy in the pool measures memory,
so it is not used. The user's target set is read in features.py. The models themselves are in training/.
"""

from collections.abc import Collection
from typing import TYPE_CHECKING

import polars as pl

from grip_assets.engine.stage import Work
from grip_assets.errors import GripError
from grip_assets.method.sampling import keyed_uniform
from grip_assets.runtime.progress import Progress
from grip_assets.settings import Corpus
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
    progress = Progress("looking for copies", len(work.frame("clusters")), "documents", work.log)
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


def target_items(setting: str, path: str, corpus: Corpus, longest: int, seed: int, most: int) -> pl.DataFrame:
    """Passages of the user's target set: item_id, set, source, language, text. At most ``most`` documents are drawn.

    ``setting`` names the path in the GripError for a set without documents.
    """
    rows = [
        {
            "item_id": f"target:{name_of(d.text)}",
            "set": "target",
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

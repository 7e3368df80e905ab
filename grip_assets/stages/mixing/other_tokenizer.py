"""How much a mixture depends on the tokenizer of the small models.

Small models learn weights as shares of their own tokens. The budget counts tokens of settings/corpus.tokenizer. If the
small tokenizer cuts a domain into more tokens than others, its share of the budget's tokens is smaller than its share
of the models'. Weights of DoReMi do not carry over to another tokenizer (sangmichaelxie/doremi#18, #23). Shapes: D
domains.
"""

import numpy as np
import polars as pl

from grip_assets.engine.stage import Work
from grip_assets.stages.mixing.objective import DOMAIN
from grip_assets.training.runs import tokenizer_in


def shift(weight_D: np.ndarray, small_D: np.ndarray, counted_D: np.ndarray) -> float:
    """The share of the weights that is elsewhere if they are counted in other tokens: a total variation.

    ``small_D``, ``counted_D``: tokens per byte of the two tokenizers; NaN where a domain has no text to measure, which
    then counts as an average one.
    """
    ratio_D = np.asarray(counted_D, np.float64) / np.asarray(small_D, np.float64)
    known_D = np.isfinite(ratio_D)
    if not known_D.any():
        return 0.0
    ratio_D = np.where(known_D, ratio_D, np.average(ratio_D[known_D], weights=weight_D[known_D] + 1e-12))
    there_D = weight_D * ratio_D
    return float(np.abs(weight_D - there_D / there_D.sum()).sum() / 2)


def measured_shift(work: Work, names: list[str], weight_D: np.ndarray) -> float | None:
    """``shift`` for the domains ``names``. The small tokenizer reads the held-out passages, and the corpus has counted
    the other tokens. None if the corpus was removed."""
    above = work.store.ancestors("mixture_domains", work.inputs["mixture_domains"])
    if "corpus" not in above or not work.store.has("corpus", above["corpus"]["version"]):
        return None
    corpus = work.store.parquet("corpus", above["corpus"]["version"], "corpus")
    counted = pl.read_parquet(corpus, columns=["doc_id", "n_bytes", "n_tokens"])
    placed = work.frame("mixture_documents").join(counted, on="doc_id")
    rate = pl.sum("n_tokens") / pl.sum("n_bytes")
    counted_D = placed.group_by("domain").agg(rate.alias("rate")).sort("domain")["rate"].to_numpy()
    return shift(weight_D, _tokens_per_byte(work, names), counted_D)


def _tokens_per_byte(work: Work, names: list[str]) -> np.ndarray:
    tokenizer = tokenizer_in(work.files("mixture_tokenizer"))
    items = work.frame("mixture_items").filter(pl.col("target").str.starts_with(DOMAIN))
    n_tokens = [len(e.ids) for e in tokenizer.encode_batch_fast(items["text"].to_list(), add_special_tokens=False)]
    counted = items.with_columns(n_tokens=pl.Series(n_tokens, dtype=pl.Int64))
    rate = pl.sum("n_tokens") / pl.col("text").str.len_bytes().sum()
    found = dict(counted.group_by("target").agg(rate.alias("rate")).iter_rows())
    return np.array([found.get(DOMAIN + name, np.nan) for name in names])

"""Weights in the budget's tokens, from weights in the small models' tokens.

Small models learn weights as shares of their own tokens. The budget counts tokens of settings/corpus.tokenizer. If the
small tokenizer cuts a domain more finely than the others, the domain has a smaller share of the budget's tokens for the
same text. So the weights are counted again, and the subset holds the texts that the small models asked for. Weights of
DoReMi do not carry over to a model with another tokenizer (sangmichaelxie/doremi#18, #23). Shapes: D domains,
S samples of weights.
"""

from dataclasses import replace

import numpy as np
import polars as pl

from grip_assets.engine.stage import Work
from grip_assets.method.sampling import keyed_uniform
from grip_assets.stages.mixing.learning import Learned, Pool
from grip_assets.store.tables import texts
from grip_assets.training.runs import tokenizer_in

DOCUMENTS = 64  # of each domain that are cut into the small models' tokens
CHARACTERS = 20_000  # most that are read of one document


def recounted(weights_SD: np.ndarray, ratio_D: np.ndarray) -> np.ndarray:
    """w'_d = w_d r_d / Σ_e w_e r_e, float64 of the same shape. ``ratio_D``: the budget's tokens for one token of the
    small models."""
    there_SD = weights_SD * ratio_D
    return there_SD / there_SD.sum(axis=-1, keepdims=True)


def in_the_budgets_tokens(learned: Learned, pool: Pool, ratio_D: np.ndarray) -> Learned:
    """What was learned, with weights and samples counted in the budget's tokens, within the caps of domains."""
    weight_D = pool.capped(recounted(learned.weight_D, ratio_D))
    samples_SD = recounted(learned.samples_SD, ratio_D) if len(learned.samples_SD) else learned.samples_SD
    return replace(learned, weight_D=weight_D, samples_SD=samples_SD)


def shift(weight_D: np.ndarray, there_D: np.ndarray) -> float:
    """The share of the weights that is elsewhere: the total variation between two mixtures."""
    return float(np.abs(weight_D - there_D).sum() / 2)


def tokens_for_one(work: Work, seed: int, n_domains: int) -> np.ndarray:
    """float64 (D,): the budget's tokens for one token of the small models, by domain.

    The small tokenizer reads ``DOCUMENTS`` documents of each domain that trainings may read, drawn by a hash of their
    ids. The corpus has counted the tokens of all of them. A domain without text counts as the mean of the others.
    """
    counted = pl.read_parquet(work.files("corpus"), columns=["doc_id", "n_bytes", "n_tokens"])
    documents = work.frame("mixture_documents").filter(~pl.col("held_out")).join(counted, on="doc_id")
    of_domain = documents.group_by("domain").agg(counted=pl.sum("n_tokens") / pl.sum("n_bytes"))
    rates = of_domain.join(_small(work, _drawn(documents, seed)), on="domain", how="left")
    ratio_D = np.full(n_domains, np.nan)
    ratio_D[rates["domain"].to_numpy()] = (rates["counted"] / rates["small"]).fill_null(np.nan).to_numpy()
    known_D = np.isfinite(ratio_D) & (ratio_D > 0)
    return np.where(known_D, ratio_D, ratio_D[known_D].mean() if known_D.any() else 1.0)


def _drawn(documents: pl.DataFrame, seed: int) -> pl.DataFrame:
    u = pl.Series("u", keyed_uniform(seed, "mixing: tokens", documents["doc_id"]))
    return documents.with_columns(u).sort("u", "doc_id").group_by("domain").head(DOCUMENTS)


def _small(work: Work, drawn: pl.DataFrame) -> pl.DataFrame:
    """domain, small: tokens of the small tokenizer for one byte."""
    tokenizer = tokenizer_in(work.files("mixture_tokenizer"))
    domain_of = dict(drawn.select("doc_id", "domain").iter_rows())
    rows: list[tuple[int, int, int]] = []
    for doc, text in texts(work.files("corpus"), domain_of.keys()):
        read = text[:CHARACTERS]
        n_tokens = len(tokenizer.encode(read, add_special_tokens=False).ids)
        rows.append((domain_of[doc], n_tokens, len(read.encode())))
    read_of = pl.DataFrame(rows, {"domain": pl.Int32, "n": pl.Int64, "n_bytes": pl.Int64}, orient="row")
    return read_of.group_by("domain").agg(small=pl.sum("n") / pl.sum("n_bytes"))

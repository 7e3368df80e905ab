"""length_by_beta: which lengths are selected at each exponent β. The claim of the paper's "diversity trap", tested.

With β = 0 density alone decides, and long documents, which lie close together, are taken less often than at random;
with β = 0.3 it is said to be made good. From stored densities, with the clusters' budgets in force and the draw's
random numbers in common: between two β of one draw only β differs. Beside them `random`: uniform weights, the same
budgets. It is the yardstick of the draw inside clusters; the pool differs from it by what budgets do to lengths.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import polars as pl

from grip_assets.engine.declarations import Check, Column, Table
from grip_assets.engine.stage import Stage, Work
from grip_assets.method.statistics import crossing, mean, wasserstein
from grip_assets.runtime.progress import Progress
from grip_assets.settings import Selection
from grip_assets.stages.curation.densities import densities_under
from grip_assets.stages.curation.subset import drawn_under

BETAS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.5, 2.0)
DRAWS = 20
BANDS = 5  # of the pool's documents, from short to long: fifths
MEASURES = ("mean_tokens", "mean_log2_tokens", "long_share", "long_tokens_share", "short_share")


class Lengths:
    """The pool's documents by length, and what a selection of them looks like. N documents, shortest first."""

    def __init__(self, tokens_N: np.ndarray):
        self.order = np.argsort(tokens_N, kind="stable")
        self.tokens_N = tokens_N[self.order]
        self.log_N = np.log2(np.maximum(self.tokens_N, 1))
        self.band_N = np.arange(len(tokens_N)) * BANDS // len(tokens_N)
        self.all_N = np.ones(len(tokens_N))

    def described(self, repeats_N: np.ndarray) -> dict[str, Any]:
        """Of copies in this order."""
        documents, tokens = repeats_N.sum(), repeats_N @ self.tokens_N
        by_band = [np.bincount(self.band_N, weights=w, minlength=BANDS) for w in (repeats_N, repeats_N * self.tokens_N)]
        shares, token_shares = by_band[0] / documents, by_band[1] / tokens
        return {
            "documents": float(documents),
            "mean_tokens": float(tokens / documents),
            "mean_log2_tokens": float(repeats_N @ self.log_N / documents),
            "long_share": float(shares[-1]),
            "long_tokens_share": float(token_shares[-1]),
            "short_share": float(shares[0]),
            "shares": shares,
            "token_shares": token_shares,
        }

    def distance(self, one_N: np.ndarray, other_N: np.ndarray) -> float:
        return wasserstein(self.log_N, one_N, other_N)


Drawn = Mapping[float | None, list[dict[str, Any]]]
"""What the draws under each β (None: random) look like, in their order."""


def compute(work: Work) -> dict[str, Any]:
    work.must_be_in_force()
    documents, _ = densities_under(work, work.settings)
    lengths = Lengths(documents["n_tokens"].to_numpy())
    selection = Selection.of(work.settings)
    betas = sorted({*BETAS, selection.beta})
    progress = Progress("drawing", (len(betas) + 1) * DRAWS, "subsets", work.log)
    drawn = draws(work.frame("budgets"), documents, lengths, selection, betas, progress.advance)
    progress.finish()
    pool = lengths.described(lengths.all_N)
    matched = pl.DataFrame(matches(drawn, betas, pool), stage.schema("length_match"))
    rows = [_row(drawn, beta, pool) for beta in (None, *betas)]
    work.draft.write("length_by_beta", pl.DataFrame(rows, stage.schema("length_by_beta")))
    bands = [row for beta in (None, *betas) for row in _band_rows(drawn, beta, lengths, pool)]
    work.draft.write("length_bands", pl.DataFrame(bands, stage.schema("length_bands")))
    work.draft.write("length_match", matched)
    return {f"beta_that_matches_{row['target']}_by_{row['by']}": row["matched_beta"] for row in matched.to_dicts()}


def draws(
    budgets: pl.DataFrame,
    documents: pl.DataFrame,
    lengths: Lengths,
    selection: Selection,
    betas: list[float],
    advance: Callable[[int], None] = lambda subsets: None,
) -> Drawn:
    """``documents``: with their density, as ``subset`` has them; ``lengths``: of these."""
    drawn = defaultdict(list)
    for i in range(DRAWS):
        random_N = lengths.all_N
        for beta, turned in _turned(selection, betas, i):
            repeats_N = drawn_under(budgets, documents, turned)[lengths.order]
            random_N = repeats_N if beta is None else random_N
            found = lengths.described(repeats_N)
            found["wasserstein"] = lengths.distance(repeats_N, lengths.all_N)
            found["wasserstein_to_random"] = lengths.distance(repeats_N, random_N)
            drawn[beta].append(found)
            advance(1)
    return drawn


def _turned(now: Selection, betas: list[float], draw: int) -> Iterator[tuple[float | None, Selection]]:
    """Random first, then each β, with the seed of this draw."""
    now = now.model_copy(update={"rule": "draw", "seed": now.seed + draw})
    yield None, now.model_copy(update={"weight": "uniform"})
    for beta in betas:
        yield beta, now.model_copy(update={"weight": "density", "beta": beta})


def _under(drawn: Drawn, beta: float | None, name: str) -> np.ndarray:
    """A measure of every draw under one β, (R, ...)."""
    return np.array([found[name] for found in drawn[beta]])


def _row(drawn: Drawn, beta: float | None, pool: dict[str, Any]) -> dict[str, Any]:
    row: dict[str, Any] = {"beta": beta, "draws": DRAWS, "documents": float(_under(drawn, beta, "documents").mean())}
    for name in (*MEASURES, "wasserstein"):
        row |= mean(_under(drawn, beta, name)).columns(name, f"{name}_low", f"{name}_high")
    row |= {f"{name}_pool": pool[name] for name in MEASURES}
    return row | {"wasserstein_to_random": float(_under(drawn, beta, "wasserstein_to_random").mean())}


def _band_rows(drawn: Drawn, beta: float | None, lengths: Lengths, pool: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Shares of each fifth; over random with the interval of the ratio, draw by draw."""
    shares_RB, tokens_RB = _under(drawn, beta, "shares"), _under(drawn, beta, "token_shares")
    ratio_RB = shares_RB / np.maximum(_under(drawn, None, "shares"), 1e-12)
    for band in range(BANDS):
        here = lengths.tokens_N[lengths.band_N == band]
        if len(here):
            yield {
                "beta": beta,
                "band": band + 1,
                "from_tokens": int(here[0]),
                "to_tokens": int(here[-1]),
                "share_of_documents": float(shares_RB[:, band].mean()),
                "share_of_tokens": float(tokens_RB[:, band].mean()),
                "documents_over_pool": float(shares_RB[:, band].mean() / pool["shares"][band]),
                **mean(ratio_RB[:, band]).columns("documents_over_random"),
            }


def matches(drawn: Drawn, betas: list[float], pool: dict[str, Any]) -> list[dict[str, Any]]:
    """At which β the lengths are those of the pool, or of random: where the mean crosses, and where the distributions
    are nearest. Of each draw one, the least β there is where that is long enough, and their mean with its interval;
    null where no β is."""
    rows = []
    means_BR = np.array([_under(drawn, beta, "mean_log2_tokens") for beta in betas])
    levels = {"pool": np.full(DRAWS, pool["mean_log2_tokens"]), "random": _under(drawn, None, "mean_log2_tokens")}
    for target, level_R in levels.items():
        # A draw that is long enough without the length term needs none of it; to leave it out would raise the mean.
        crossed = [
            betas[0] if means_BR[0, i] >= level_R[i] else crossing(np.array(betas), means_BR[:, i], level_R[i])
            for i in range(DRAWS)
        ]
        distance = "wasserstein" if target == "pool" else "wasserstein_to_random"
        apart_BR = np.array([_under(drawn, beta, distance) for beta in betas])
        nearest = [betas[int(b)] for b in apart_BR.argmin(axis=0)]
        for by, values in (("mean_log2_tokens", crossed), ("wasserstein", nearest)):
            found = mean(values)
            rows.append({"target": target, "by": by, **found.columns("matched_beta"), "draws": found.n})
    return rows


TABLES = (
    Table(
        "length_by_beta",
        (
            Column("beta", pl.Float64, "Exponent β of the length; null for random, which has uniform weights."),
            Column("draws", pl.Int64, "Draws, each with its seed."),
            Column(
                "documents",
                pl.Float64,
                "Mean number of documents selected.",
                ("selection_weights.density", "clusters.n_tokens", "budgets.allocated"),
            ),
            Column(
                "mean_tokens",
                pl.Float64,
                "Mean tokens of a selected document; mean over draws.",
                ("selection_weights.density", "clusters.n_tokens", "budgets.allocated"),
            ),
            Column(
                "mean_tokens_low",
                pl.Float64,
                "Of the 95% interval of that mean.",
                ("selection_weights.density", "clusters.n_tokens", "budgets.allocated"),
            ),
            Column(
                "mean_tokens_high",
                pl.Float64,
                "Of the 95% interval.",
                ("selection_weights.density", "clusters.n_tokens", "budgets.allocated"),
            ),
            Column(
                "mean_log2_tokens",
                pl.Float64,
                "Mean of log₂ tokens; mean over draws.",
                ("selection_weights.density", "clusters.n_tokens", "budgets.allocated"),
            ),
            Column(
                "mean_log2_tokens_low",
                pl.Float64,
                "Of the 95% interval of that mean.",
                ("selection_weights.density", "clusters.n_tokens", "budgets.allocated"),
            ),
            Column(
                "mean_log2_tokens_high",
                pl.Float64,
                "Of the 95% interval.",
                ("selection_weights.density", "clusters.n_tokens", "budgets.allocated"),
            ),
            Column(
                "long_share",
                pl.Float64,
                "Share of documents that are of the pool's longest fifth; mean over draws.",
                ("selection_weights.density", "clusters.n_tokens", "budgets.allocated"),
            ),
            Column(
                "long_share_low",
                pl.Float64,
                "Of the 95% interval of that mean.",
                ("selection_weights.density", "clusters.n_tokens", "budgets.allocated"),
            ),
            Column(
                "long_share_high",
                pl.Float64,
                "Of the 95% interval.",
                ("selection_weights.density", "clusters.n_tokens", "budgets.allocated"),
            ),
            Column(
                "long_tokens_share",
                pl.Float64,
                "Share of tokens in documents of the pool's longest fifth; mean over draws.",
                ("selection_weights.density", "clusters.n_tokens", "budgets.allocated"),
            ),
            Column(
                "long_tokens_share_low",
                pl.Float64,
                "Of the 95% interval of that mean.",
                ("selection_weights.density", "clusters.n_tokens", "budgets.allocated"),
            ),
            Column(
                "long_tokens_share_high",
                pl.Float64,
                "Of the 95% interval.",
                ("selection_weights.density", "clusters.n_tokens", "budgets.allocated"),
            ),
            Column(
                "short_share",
                pl.Float64,
                "Share of documents that are of the pool's shortest fifth; mean over draws.",
                ("selection_weights.density", "clusters.n_tokens", "budgets.allocated"),
            ),
            Column(
                "short_share_low",
                pl.Float64,
                "Of the 95% interval of that mean.",
                ("selection_weights.density", "clusters.n_tokens", "budgets.allocated"),
            ),
            Column(
                "short_share_high",
                pl.Float64,
                "Of the 95% interval.",
                ("selection_weights.density", "clusters.n_tokens", "budgets.allocated"),
            ),
            Column(
                "wasserstein",
                pl.Float64,
                "Wasserstein-1 distance to the pool, in doublings of the length, documents alike; mean over draws.",
                ("selection_weights.density", "clusters.n_tokens", "budgets.allocated"),
            ),
            Column(
                "wasserstein_low",
                pl.Float64,
                "Of the 95% interval of that mean.",
                ("selection_weights.density", "clusters.n_tokens", "budgets.allocated"),
            ),
            Column(
                "wasserstein_high",
                pl.Float64,
                "Of the 95% interval.",
                ("selection_weights.density", "clusters.n_tokens", "budgets.allocated"),
            ),
            Column("mean_tokens_pool", pl.Float64, "The same of the whole pool.", ("clusters.n_tokens",)),
            Column("mean_log2_tokens_pool", pl.Float64, "The same of the whole pool.", ("clusters.n_tokens",)),
            Column("long_share_pool", pl.Float64, "The same of the whole pool.", ("clusters.n_tokens",)),
            Column("long_tokens_share_pool", pl.Float64, "The same of the whole pool.", ("clusters.n_tokens",)),
            Column("short_share_pool", pl.Float64, "The same of the whole pool.", ("clusters.n_tokens",)),
            Column(
                "wasserstein_to_random",
                pl.Float64,
                "Distance to the random draw of the same seed, in doublings.",
                ("selection_weights.density", "clusters.n_tokens", "budgets.allocated"),
            ),
        ),
    ),
    Table(
        "length_bands",
        (
            Column("beta", pl.Float64, "Exponent β; null for random."),
            Column("band", pl.Int64, "Fifth of the pool's documents, 1 the shortest.", ("clusters.n_tokens",)),
            Column("from_tokens", pl.Int64, "Tokens of its shortest document.", ("clusters.n_tokens",)),
            Column("to_tokens", pl.Int64, "Tokens of its longest.", ("clusters.n_tokens",)),
            Column(
                "share_of_documents",
                pl.Float64,
                "Share of the selected documents.",
                ("selection_weights.density", "clusters.n_tokens", "budgets.allocated"),
            ),
            Column(
                "share_of_tokens",
                pl.Float64,
                "Share of the selected tokens.",
                ("selection_weights.density", "clusters.n_tokens", "budgets.allocated"),
            ),
            Column(
                "documents_over_pool",
                pl.Float64,
                "Share of documents over that in the pool.",
                ("selection_weights.density", "clusters.n_tokens", "budgets.allocated"),
            ),
            Column(
                "documents_over_random",
                pl.Float64,
                "Share of documents over that in the random draw of the same seed; mean over draws.",
                ("selection_weights.density", "clusters.n_tokens", "budgets.allocated"),
            ),
            Column(
                "low",
                pl.Float64,
                "Of the 95% interval of that mean.",
                ("selection_weights.density", "clusters.n_tokens", "budgets.allocated"),
            ),
            Column(
                "high",
                pl.Float64,
                "Of the 95% interval.",
                ("selection_weights.density", "clusters.n_tokens", "budgets.allocated"),
            ),
        ),
    ),
    Table(
        "length_match",
        (
            Column("target", pl.String, "Lengths to be matched, those of the pool or of the random draw."),
            Column("by", pl.String, "By the mean of log₂ tokens, or by the Wasserstein-1 distance."),
            Column(
                "matched_beta",
                pl.Float64,
                "β that matches, mean over draws, 0 for a draw that is long enough without; null where none does.",
                ("selection_weights.density", "clusters.n_tokens", "budgets.allocated"),
            ),
            Column(
                "low",
                pl.Float64,
                "Of the 95% interval of that mean.",
                ("selection_weights.density", "clusters.n_tokens", "budgets.allocated"),
            ),
            Column(
                "high",
                pl.Float64,
                "Of the 95% interval.",
                ("selection_weights.density", "clusters.n_tokens", "budgets.allocated"),
            ),
            Column("draws", pl.Int64, "Draws with such a β."),
        ),
    ),
)
CHECKS = (
    Check("in_range", True, "Every draw has documents; shares are from 0 to 1."),
    Check("longer_with_beta", False, "The larger β, the longer the documents that are selected."),
)

stage = Stage(
    name="length_by_beta",
    code_version="2",
    compute=compute,
    description="How long the selected documents are at each exponent of the length, beside a random draw and the pool"
    " [paper's diversity trap]: means, share of the longest fifth, distance between the distributions, over several"
    " draws. `length_bands` has every fifth, `length_match` the β at which lengths are those of the pool, or of"
    " random.",
    tables=TABLES,
    checks=CHECKS,
    picture=True,
    inputs=("corpus", "clusters", "budgets"),
    reads={"selection": None},
    group="evaluation",
)

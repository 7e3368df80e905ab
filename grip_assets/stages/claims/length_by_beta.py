"""length_by_beta: which lengths are selected at each exponent β? This tests the claim of the paper's "diversity trap".

The paper claims: with β = 0 density alone decides, and long documents, which lie close together, are taken less often
than at random; β = 0.3 makes up for it. Here the subset is drawn under many β, from stored densities and with the
budgets in force. Draws with the same seed share their random numbers, so only β differs between them.

`random` has uniform weights and the same budgets. It is the yardstick for the draw inside clusters. It differs from the
pool because budgets, too, favour some lengths.
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
BANDS = 5  # fifths of the pool's documents, from short to long
MEASURES = ("mean_tokens", "mean_log2_tokens", "long_share", "long_tokens_share", "short_share")


class Lengths:
    """The lengths of the pool's N documents, shortest first; describes selections by their lengths."""

    def __init__(self, tokens_N: np.ndarray):
        self.order = np.argsort(tokens_N, kind="stable")
        self.tokens_N = tokens_N[self.order]
        self.log_N = np.log2(np.maximum(self.tokens_N, 1))
        self.band_N = np.arange(len(tokens_N)) * BANDS // len(tokens_N)
        self.all_N = np.ones(len(tokens_N))

    def described(self, repeats_N: np.ndarray) -> dict[str, Any]:
        """Lengths of a selection. ``repeats_N``: copies of each document, shortest document first."""
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
"""β (None: random) to the descriptions of its draws, in the order of the draws."""


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
    """Describe ``DRAWS`` draws under each β and under random weights.

    ``documents``: with their densities, in the order of ``clusters``. ``lengths``: the lengths of these documents.
    """
    drawn = defaultdict(list)
    for i in range(DRAWS):
        random_N = lengths.all_N
        for beta, settings in _selections(selection, betas, i):
            repeats_N = drawn_under(budgets, documents, settings)[lengths.order]
            random_N = repeats_N if beta is None else random_N
            found = lengths.described(repeats_N)
            found["wasserstein"] = lengths.distance(repeats_N, lengths.all_N)
            found["wasserstein_to_random"] = lengths.distance(repeats_N, random_N)
            drawn[beta].append(found)
            advance(1)
    return drawn


def _selections(now: Selection, betas: list[float], draw: int) -> Iterator[tuple[float | None, Selection]]:
    """(β, settings) with the seed of this draw: random (None) first, then each β."""
    now = now.model_copy(update={"rule": "draw", "seed": now.seed + draw})
    yield None, now.model_copy(update={"weight": "uniform"})
    for beta in betas:
        yield beta, now.model_copy(update={"weight": "density", "beta": beta})


def _under(drawn: Drawn, beta: float | None, name: str) -> np.ndarray:
    """One measure of the R draws under one β, (R, ...)."""
    return np.array([found[name] for found in drawn[beta]])


def _row(drawn: Drawn, beta: float | None, pool: dict[str, Any]) -> dict[str, Any]:
    row: dict[str, Any] = {"beta": beta, "draws": DRAWS, "documents": float(_under(drawn, beta, "documents").mean())}
    for name in (*MEASURES, "wasserstein"):
        row |= mean(_under(drawn, beta, name)).columns(name, f"{name}_low", f"{name}_high")
    row |= {f"{name}_pool": pool[name] for name in MEASURES}
    return row | {"wasserstein_to_random": float(_under(drawn, beta, "wasserstein_to_random").mean())}


def _band_rows(drawn: Drawn, beta: float | None, lengths: Lengths, pool: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Rows of ``length_bands``: the share of each fifth, and its ratio to random, paired by draw."""
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
    """Rows of ``length_match``: the β at which the selected lengths match those of the pool, or of random.

    There are two ways to match: the mean log length crosses that of the target, or the distributions are nearest. Each
    draw gives one β. A draw that is long enough at the least β gives that one. A row has the mean over draws with its
    interval, and null if no draw has a match.
    """
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


FROM_DRAWS = ("selection_weights.density", "clusters.n_tokens", "budgets.allocated")  # sources of a measured draw
TABLES = (
    Table(
        "length_by_beta",
        (
            Column("beta", pl.Float64, "Exponent β of the length. Null for random, which has uniform weights."),
            Column("draws", pl.Int64, "Number of draws. Each has its own seed."),
            Column(
                "documents",
                pl.Float64,
                "Mean number of documents selected.",
                FROM_DRAWS,
            ),
            Column(
                "mean_tokens",
                pl.Float64,
                "Mean tokens of a selected document, mean over draws.",
                FROM_DRAWS,
            ),
            Column(
                "mean_tokens_low",
                pl.Float64,
                "Lower end of its 95% interval.",
                FROM_DRAWS,
            ),
            Column(
                "mean_tokens_high",
                pl.Float64,
                "Upper end of its 95% interval.",
                FROM_DRAWS,
            ),
            Column(
                "mean_log2_tokens",
                pl.Float64,
                "Mean log₂ of the tokens of a selected document, mean over draws.",
                FROM_DRAWS,
            ),
            Column(
                "mean_log2_tokens_low",
                pl.Float64,
                "Lower end of its 95% interval.",
                FROM_DRAWS,
            ),
            Column(
                "mean_log2_tokens_high",
                pl.Float64,
                "Upper end of its 95% interval.",
                FROM_DRAWS,
            ),
            Column(
                "long_share",
                pl.Float64,
                "Share of selected documents that are in the pool's longest fifth, mean over draws.",
                FROM_DRAWS,
            ),
            Column(
                "long_share_low",
                pl.Float64,
                "Lower end of its 95% interval.",
                FROM_DRAWS,
            ),
            Column(
                "long_share_high",
                pl.Float64,
                "Upper end of its 95% interval.",
                FROM_DRAWS,
            ),
            Column(
                "long_tokens_share",
                pl.Float64,
                "Share of selected tokens that are in the pool's longest fifth of documents, mean over draws.",
                FROM_DRAWS,
            ),
            Column(
                "long_tokens_share_low",
                pl.Float64,
                "Lower end of its 95% interval.",
                FROM_DRAWS,
            ),
            Column(
                "long_tokens_share_high",
                pl.Float64,
                "Upper end of its 95% interval.",
                FROM_DRAWS,
            ),
            Column(
                "short_share",
                pl.Float64,
                "Share of selected documents that are in the pool's shortest fifth, mean over draws.",
                FROM_DRAWS,
            ),
            Column(
                "short_share_low",
                pl.Float64,
                "Lower end of its 95% interval.",
                FROM_DRAWS,
            ),
            Column(
                "short_share_high",
                pl.Float64,
                "Upper end of its 95% interval.",
                FROM_DRAWS,
            ),
            Column(
                "wasserstein",
                pl.Float64,
                "Wasserstein-1 distance to the pool's lengths, in doublings of the length, mean over draws.",
                FROM_DRAWS,
            ),
            Column(
                "wasserstein_low",
                pl.Float64,
                "Lower end of its 95% interval.",
                FROM_DRAWS,
            ),
            Column(
                "wasserstein_high",
                pl.Float64,
                "Upper end of its 95% interval.",
                FROM_DRAWS,
            ),
            Column("mean_tokens_pool", pl.Float64, "Mean tokens of a document, in the pool.", ("clusters.n_tokens",)),
            Column(
                "mean_log2_tokens_pool",
                pl.Float64,
                "Mean log₂ of the tokens of a document, in the pool.",
                ("clusters.n_tokens",),
            ),
            Column(
                "long_share_pool",
                pl.Float64,
                "Share of documents that are in the longest fifth, in the pool.",
                ("clusters.n_tokens",),
            ),
            Column(
                "long_tokens_share_pool",
                pl.Float64,
                "Share of tokens that are in the longest fifth, in the pool.",
                ("clusters.n_tokens",),
            ),
            Column(
                "short_share_pool",
                pl.Float64,
                "Share of documents that are in the shortest fifth, in the pool.",
                ("clusters.n_tokens",),
            ),
            Column(
                "wasserstein_to_random",
                pl.Float64,
                "Wasserstein-1 distance to the random draw with the same seed, in doublings of the length.",
                FROM_DRAWS,
            ),
        ),
    ),
    Table(
        "length_bands",
        (
            Column("beta", pl.Float64, "Exponent β of the length. Null for random."),
            Column(
                "band", pl.Int64, "Fifth of the pool's documents by length. 1 is the shortest.", ("clusters.n_tokens",)
            ),
            Column("from_tokens", pl.Int64, "Tokens of the shortest document in the fifth.", ("clusters.n_tokens",)),
            Column("to_tokens", pl.Int64, "Tokens of the longest document in the fifth.", ("clusters.n_tokens",)),
            Column(
                "share_of_documents",
                pl.Float64,
                "Share of the selected documents that are in the fifth.",
                FROM_DRAWS,
            ),
            Column(
                "share_of_tokens",
                pl.Float64,
                "Share of the selected tokens that are in the fifth.",
                FROM_DRAWS,
            ),
            Column(
                "documents_over_pool",
                pl.Float64,
                "Share of documents, divided by the share in the pool.",
                FROM_DRAWS,
            ),
            Column(
                "documents_over_random",
                pl.Float64,
                "Share of documents, divided by the share in the random draw with the same seed, mean over draws.",
                FROM_DRAWS,
            ),
            Column(
                "low",
                pl.Float64,
                "Lower end of its 95% interval.",
                FROM_DRAWS,
            ),
            Column(
                "high",
                pl.Float64,
                "Upper end of its 95% interval.",
                FROM_DRAWS,
            ),
        ),
    ),
    Table(
        "length_match",
        (
            Column("target", pl.String, "Lengths to match: those of the pool, or of random."),
            Column(
                "by", pl.String, "Measure of the match: mean_log2_tokens, or wasserstein (the Wasserstein-1 distance)."
            ),
            Column(
                "matched_beta",
                pl.Float64,
                "β that matches, mean over draws. A draw that is long enough at β = 0 counts as 0. Null if none"
                " matches.",
                FROM_DRAWS,
            ),
            Column(
                "low",
                pl.Float64,
                "Lower end of its 95% interval.",
                FROM_DRAWS,
            ),
            Column(
                "high",
                pl.Float64,
                "Upper end of its 95% interval.",
                FROM_DRAWS,
            ),
            Column("draws", pl.Int64, "Number of draws that have a match."),
        ),
    ),
)
CHECKS = (
    Check("in_range", True, "Every draw has documents, and shares are from 0 to 1."),
    Check("longer_with_beta", False, "A larger β selects longer documents."),
)

stage = Stage(
    name="length_by_beta",
    code_version="2",
    compute=compute,
    description="How long are the selected documents at each exponent of the length [paper's diversity trap]? Their"
    " lengths are compared with those of a random draw and of the pool: means, share of the longest fifth, distance"
    " between the distributions, over several draws. `length_bands` has every fifth. `length_match` has the β at which"
    " lengths match those of the pool, or of random.",
    tables=TABLES,
    checks=CHECKS,
    picture=True,
    inputs=("corpus", "clusters", "budgets"),
    reads={"selection": None},
    group="evaluation",
)

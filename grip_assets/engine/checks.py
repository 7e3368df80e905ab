"""Asset checks: one SQL file each, ``sql/checks/<asset>__<name>.sql``, whose rows are the violations.

A check runs on the finished draft of an artifact, before it is published; what it found is kept with the artifact,
so a reused artifact brings its checks along. Blocking ones stop what follows.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from grip_assets.store.query import query


@dataclass(frozen=True)
class Check:
    asset: str
    name: str
    blocking: bool
    description: str


CHECKS = [
    Check("corpus", "unique_documents", True, "No document is in the corpus twice."),
    Check("corpus", "nothing_lost", True, "Documents read = kept + held out + rejected."),
    Check("corpus", "held_out_apart", True, "No document is both held out and in the corpus."),
    Check(
        "corpus",
        "few_rejected",
        False,
        "At most a fifth of the documents is rejected other than as duplicates.",
    ),
    Check("embeddings", "unit_norms", True, "Every embedding has norm 1 within float16."),
    Check("embeddings", "every_document_embedded", True, "One embedding for each document of the corpus."),
    Check("clusters", "every_document_in_one_cluster", True, "Each embedded document is in exactly one cluster."),
    Check("clusters", "no_empty_cluster", True, "Every centroid has documents, and as many as it says."),
    Check(
        "clusters",
        "balanced",
        False,
        "The largest cluster has at most 50 times the documents of the median one.",
    ),
    Check("sigma_k", "spread", False, "No cluster is a point (σ_k below 0.02)."),
    Check("probe_set", "within_clusters", True, "min(8, N_k) <= n_k <= N_k, for the floor in settings/probe."),
    Check("probe_set", "sums_to_budget", True, "The probe set has as many documents as its allocation says."),
    Check("quality_scores", "in_range", True, "Scores from 0 to 10, their mean from 0 to 1."),
    Check("quality_scores", "few_failed", True, "At most the share of documents in quality.max_failed has no score."),
    Check("quality_scores", "judged", False, "Every cluster has as many judged documents as quality.min_judged says."),
    Check("adaptation_deltas", "finite", True, "Losses and drops are finite, and losses are positive."),
    Check("adaptation_deltas", "learned", False, "The loss of every cluster fell."),
    Check(
        "adaptation_deltas",
        "more_than_luck",
        False,
        "Two samples of documents rank the drops of the clusters alike, at least at 0.5. Below, the drops are mostly"
        " noise: budget.replay=none leaves them out.",
    ),
    Check("budgets", "sum_exact", True, "Allocated and real budgets sum to the total, or to all there is."),
    Check("budgets", "within_caps", True, "No cluster is given more than it has (times max_repeats)."),
    Check("budgets", "multiplier_in_range", True, "1 <= r_k <= 1 + alpha."),
    Check(
        "budgets",
        "mean_drop_positive",
        False,
        "The mean drop τ_norm is above 0; otherwise nothing is replayed.",
    ),
    Check("subset", "within_budgets", True, "Every cluster is drawn to its budget, within a document that fits."),
    Check("subset", "budget_met", False, "At least 99% of the budget could be used."),
    Check("subset", "nothing_lost", True, "Documents read = selected + not selected + held out + rejected."),
    Check("subset", "diversity_in_range", True, "Entropies are from 0 to 2, and of as many documents as there are."),
    Check("judge_report", "repeats_itself", False, "Judged twice, the score has a weighted kappa of at least 0.6."),
    Check("judge_report", "not_by_length", False, "Length explains at most half of the score's variance."),
    Check("corpus_map", "finite", True, "Every point of the map is finite."),
    Check("corpus_map", "same_clusters", True, "Every document of the map is once in it, and in its cluster."),
    Check("knobs", "budget_conserved", True, "Whatever knob is turned, the clusters' budgets sum to the same."),
    Check("knobs", "in_range", True, "Overlaps and moved shares are from 0 to 1."),
    Check("rounds", "shares_sum_to_one", True, "In every round the clusters' shares of the budget sum to 1."),
    Check("stability", "in_range", True, "Overlaps are from 0 to 1, correlations from -1 to 1."),
    Check("stability", "above_chance", False, "Other clusters or another probe leave more of the subset than chance."),
    Check("sensitivity", "in_range", True, "Correlations are from -1 to 1, and every variant knows clusters."),
    Check("sensitivity", "ranked_alike", False, "Every other probe ranks the clusters alike: Spearman's at least 0.5."),
    Check("length_slopes", "in_range", True, "Slopes are finite, mean distances from 0 to 2."),
    Check("length_slopes", "falls", False, "The distance falls with the length, by its interval, however it is seen."),
    Check("length_by_beta", "in_range", True, "Every draw has documents; shares are from 0 to 1."),
    Check("length_by_beta", "longer_with_beta", False, "The larger β, the longer the documents that are selected."),
    Check("probe_variance", "same_size", True, "All allocations are compared at one size of the probe."),
    Check("probe_variance", "unbiased", True, "The mean estimate is the truth, within four standard errors."),
    Check(
        "probe_variance", "as_expected", False, "The variance over draws is that of the formula, within a factor of 2."
    ),
    Check("probe_variance", "neyman_pays", False, "Neyman's allocation estimates better than the proportional one."),
    Check("strategies", "same_budget", True, "Every strategy takes the same tokens, within a document."),
    Check("strategies", "of_the_pool", True, "Every strategy takes documents of the corpus, each in one row."),
    Check("evaluation_set", "apart", True, "No held-out document that is predicted is in the pool."),
    Check("evaluation_set", "something_to_predict", True, "Every item has a text, and is there once."),
    Check("trainings", "complete", True, "Every strategy and seed has finite bits above 0 for every item."),
    Check("evaluation", "in_their_intervals", True, "Every mean lies in its interval; verdicts are what these say."),
]


def of(asset: str) -> list[Check]:
    return [check for check in CHECKS if check.asset == asset]


def run(asset: str, tables: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Outcome of each check of ``asset``: its name, the number of violations and the first five of them."""
    outcomes = []
    for check in of(asset):
        violations = query(f"checks/{asset}__{check.name}", tables)
        outcomes.append(
            {
                "name": check.name,
                "violations": len(violations),
                "first": [str(r) for r in violations.head(5).rows(named=True)],
            }
        )
    return outcomes


def stopping(asset: str, outcomes: list[dict[str, Any]]) -> list[str]:
    """Names of the checks that stop what follows."""
    blocking = {check.name for check in of(asset) if check.blocking}
    return [o["name"] for o in outcomes if o["violations"] and o["name"] in blocking]

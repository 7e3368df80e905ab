"""The chain: one module a stage, in pipeline order, named after its asset; then what reports on it."""

from grip_assets.assets import (
    adaptation_deltas,
    budgets,
    clusters,
    corpus,
    embeddings,
    judge_report,
    probe_set,
    quality_scores,
    sigma_k,
    subset,
)

STAGES = {
    module.stage.name: module.stage
    for module in (
        corpus,
        embeddings,
        clusters,
        sigma_k,
        probe_set,
        quality_scores,
        adaptation_deltas,
        budgets,
        subset,
        judge_report,
    )
}

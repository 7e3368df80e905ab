"""The chain: one module a stage, in pipeline order, named after its asset; then what reports on it."""

from grip_assets.assets import (
    adaptation_deltas,
    budgets,
    clusters,
    corpus,
    corpus_map,
    embeddings,
    judge_report,
    knobs,
    probe_set,
    quality_scores,
    sigma_k,
    stability,
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
        corpus_map,
        knobs,
        stability,
    )
}
CURATED = {name: stage for name, stage in STAGES.items() if not stage.on_request}
"""What `curate` brings up to date."""

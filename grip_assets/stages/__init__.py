"""The chain: one module a stage, in pipeline order, named after its asset; then what reports on it."""

from grip_assets.assets import (
    adaptation_deltas,
    budgets,
    clusters,
    corpus,
    corpus_map,
    embeddings,
    evaluation,
    evaluation_set,
    judge_report,
    knobs,
    length_by_beta,
    length_slopes,
    probe_set,
    probe_variance,
    quality_scores,
    rounds,
    sensitivity,
    sigma_k,
    stability,
    strategies,
    subset,
    trainings,
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
        rounds,
        stability,
        evaluation_set,
        strategies,
        trainings,
        evaluation,
        sensitivity,
        length_slopes,
        length_by_beta,
        probe_variance,
    )
}
CURATED = {name: stage for name, stage in STAGES.items() if stage.group != "evaluation"}  # what the job curate makes

"""The stages in pipeline order. Each has a module of the same name, in curation/, mixing/, attribution/, reports/,
evaluation/ or claims/."""

# A stage of its package's name gets another one here: it would hide the package, which is an attribute of this module.
from grip_assets.engine.stage import narrowed
from grip_assets.stages.attribution import attribution as attribution_itself
from grip_assets.stages.attribution import attribution_targets, counterfactuals, reference_model, sketches
from grip_assets.stages.claims import length_by_beta, length_slopes, probe_variance, sensitivity
from grip_assets.stages.curation import (
    adaptation_deltas,
    budgets,
    clusters,
    corpus,
    densities,
    embeddings,
    headers,
    near_duplicates,
    partition,
    probe_set,
    quality_scores,
    sigma_k,
    student,
    subset,
    taxonomy,
)
from grip_assets.stages.evaluation import (
    closed_loop,
    evaluation_set,
    mixture_check,
    random_curve,
    strategies,
    trainings,
)
from grip_assets.stages.evaluation import evaluation as evaluation_itself
from grip_assets.stages.mixing import mixture, mixture_domains, mixture_runs
from grip_assets.stages.reports import (
    balance,
    cluster_report,
    corpus_map,
    judge_report,
    knobs,
    redundancy,
    rounds,
    stability,
)

STAGES = narrowed(
    {
        module.stage.name: module.stage
        for module in (
            corpus,
            near_duplicates,
            headers,
            embeddings,
            partition,
            student,
            clusters,
            taxonomy,
            sigma_k,
            probe_set,
            quality_scores,
            adaptation_deltas,
            mixture_domains,
            mixture_runs,
            mixture,
            attribution_targets,
            reference_model,
            sketches,
            counterfactuals,
            attribution_itself,
            budgets,
            densities,
            subset,
            judge_report,
            corpus_map,
            cluster_report,
            balance,
            redundancy,
            knobs,
            rounds,
            stability,
            evaluation_set,
            strategies,
            trainings,
            random_curve,
            closed_loop,
            evaluation_itself,
            mixture_check,
            sensitivity,
            length_slopes,
            length_by_beta,
            probe_variance,
        )
    }
)
CURATED = {name: stage for name, stage in STAGES.items() if stage.group != "evaluation"}  # stages of the job curate

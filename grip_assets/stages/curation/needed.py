"""Which measurements budgets and selections need. Stages that measure something else are unused, and these are the
reasons.

Each function is a ``Stage.unused``: it returns a reason, or "" if the stage is needed.
"""

from grip_assets.engine.stage import Settings
from grip_assets.settings import Attribution, Budget, Selection

READ_TO_SELECT = (
    "corpus",
    "headers",
    "embeddings",
    "partition",
    "student",
    "clusters",
    "sigma_k",
    "probe_set",
    "quality_scores",
    "adaptation_deltas",
)
"""The stages whose tables are read to select as another profile, or another seed, would."""


def no_drops(settings: Settings) -> str:
    """Why drops are not needed; "" if replay follows them."""
    budget = Budget.of(settings)
    return "" if budget.reads_drops else f"settings/budget.replay is {budget.replay}"


def no_quality(settings: Settings) -> str:
    """Why the quality of clusters is not needed, nor a probe set; "" if the base budget or replay needs it."""
    budget = Budget.of(settings)
    return "" if budget.reads_quality else budget.pure


def no_mixture(settings: Settings) -> str:
    """Why no mixture is learned; "" if the base budget is one."""
    base = Budget.of(settings).base
    return "" if base == "mixture" else f"settings/budget.base is {base}"


def no_attribution(settings: Settings) -> str:
    """Why documents are not attributed to targets; "" if the base budget or the selection needs it."""
    reasons = no_grasp_budget(settings), no_greedy(settings)
    return f"{reasons[0]} and {reasons[1].removeprefix('settings/')}" if all(reasons) else ""


def no_grasp_budget(settings: Settings) -> str:
    """Why the budgets of clusters read no attribution; "" if the base budget is grasp."""
    base = Budget.of(settings).base
    return "" if base == "grasp" else f"settings/budget.base is {base}"


def no_greedy(settings: Settings) -> str:
    """Why the selection reads no attribution; "" if it is greedy."""
    rule = Selection.of(settings).rule
    return "" if rule == "greedy" else f"settings/selection.rule is {rule}"


def no_trials(settings: Settings) -> str:
    """Why no models are retrained on subsets; "" if a configuration of the attribution is chosen by them."""
    if why := no_attribution(settings):
        return why
    return "" if Attribution.of(settings).calibrates else "settings/attribution.choose is none"


def no_reference(settings: Settings) -> str:
    """Why the attribution needs no reference model; "" if a source or a retraining needs it."""
    attribution = Attribution.of(settings)
    if why := no_attribution(settings):
        return why
    if attribution.needs_a_model or attribution.continues:
        return ""
    retrained = "attribution.start is scratch" if attribution.calibrates else "attribution.choose is none"
    return f"settings/attribution.source is {attribution.source}, which needs no model, and {retrained}"

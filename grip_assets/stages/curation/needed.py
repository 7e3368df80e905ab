"""Which measurements settings/budget reads. A stage that nothing reads is not used, and says why."""

from grip_assets.engine.stage import Settings
from grip_assets.settings import Budget


def no_drops(settings: Settings) -> str:
    """Why nothing reads the probe's drops; "" where replay does."""
    budget = Budget.of(settings)
    return "" if budget.reads_drops else f"settings/budget.replay is {budget.replay}"


def no_quality(settings: Settings) -> str:
    """Why nothing reads the quality of the clusters, and so no probe is drawn for it; "" where base or replay does."""
    budget = Budget.of(settings)
    return "" if budget.reads_quality else budget.pure

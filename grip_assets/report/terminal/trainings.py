"""The small models that a plan would train on mixtures and on trials: how many, on how many tokens, for how long."""

from collections.abc import Sequence

from grip_assets.engine.plan import Step
from grip_assets.engine.stage import Settings
from grip_assets.report.terminal.forecast import duration
from grip_assets.report.terminal.spending import clusters_of
from grip_assets.settings import Attribution, Mixing
from grip_assets.stages.attribution.counterfactuals import number_of_retrainings, tokens_to_train
from grip_assets.stages.costs import Cost, Forecast, number_of_trainings
from grip_assets.store.artifacts import ArtifactStore

STAGE = "mixture_runs"


def trainings(settings: Settings, steps: Sequence[Step], store: ArtifactStore, forecast: Forecast) -> list[str]:
    """Lines for a plan; none if no model would be trained on a mixture or on a trial."""
    return [*_on_mixtures(settings, steps, store, forecast), *_on_trials(settings, forecast)]


def _to_compute(forecast: Forecast, asset: str) -> Cost | None:
    return next((cost for cost in forecast.costs if cost.asset == asset and cost.action == "compute"), None)


def _on_trials(settings: Settings, forecast: Forecast) -> list[str]:
    """The reference model, and the models of the trials of attribution."""
    attribution, lines = Attribution.of(settings), []
    if cost := _to_compute(forecast, "reference_model"):
        lines.append(f"reference_model: a training of {attribution.tokens:,} tokens; {_time(cost)}")
    if cost := _to_compute(forecast, "counterfactuals"):
        n, in_all = number_of_retrainings(attribution), tokens_to_train(attribution)
        lines.append(
            f"counterfactuals: at most {n:,} trainings, {in_all:,} tokens in all;"
            f" {_time(cost)}. Trainings that were made before are not made again."
        )
    return lines


def _on_mixtures(settings: Settings, steps: Sequence[Step], store: ArtifactStore, forecast: Forecast) -> list[str]:
    cost = _to_compute(forecast, STAGE)
    if cost is None:
        return []
    mixing = Mixing.of(settings)
    domains = _domains(settings, steps, store, forecast)
    n = _number(mixing, domains)
    if n is None:
        return [
            f"{STAGE}: a training for each domain and one for the natural shares, of {_each(mixing)}; {_time(cost)}"
        ]
    return [
        f"{STAGE}: at most {n:,} trainings of {_each(mixing)}, {n * mixing.tokens:,} in all; {_time(cost)}."
        " Trainings that were made before are not made again.",
    ]


def _each(mixing: Mixing) -> str:
    return f"{mixing.tokens:,} tokens each"


def _time(cost: Cost) -> str:
    return f"about {duration(cost.seconds)} ({cost.basis})"


def _number(mixing: Mixing, domains: int | None) -> int | None:
    """How many models are trained. None if it depends on the domains, and their number is not known."""
    if mixing.method == "perf" and domains is None:
        return None
    return number_of_trainings(mixing, domains or 0)


def _domains(settings: Settings, steps: Sequence[Step], store: ArtifactStore, forecast: Forecast) -> int | None:
    version = next((s.version for s in steps if s.asset == "mixture_domains" and s.version), None)
    if version and store.has("mixture_domains", version):
        return int(store.manifest("mixture_domains", version)["tables"]["mixture_domains"]["rows"])
    return clusters_of(settings, steps, store, forecast.size) if Mixing.of(settings).domains == "clusters" else None

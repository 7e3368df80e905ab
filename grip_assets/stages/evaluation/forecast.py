"""What an evaluation would take, before it starts: seeds that a difference of 1% needs, trainings, and their time.

The spread is that of the latest trainings of this data folder; where there are none, a prior that is said. What the
curation and the stages behind the strategies take comes from stages/costs.py.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import polars as pl

from grip_assets.engine.stage import Settings
from grip_assets.errors import GripError
from grip_assets.method.power import DIFFERENCE, PRIOR, seeds_needed, shown_by
from grip_assets.profiles import ROUNDS
from grip_assets.settings import Evaluation
from grip_assets.stages.curation.predicted import COPIED
from grip_assets.stages.evaluation.advice import RANDOM, usual_spread
from grip_assets.stages.evaluation.evaluation import PRECEDENCE, losses_of
from grip_assets.stages.evaluation.trainings import MODEL
from grip_assets.stages.evaluation.trainings import stage as trainings
from grip_assets.store.artifacts import ArtifactStore
from grip_assets.training.recipe import Shape, parameters

CPU, GPU = 1e-10, 2e-13
"""Seconds for a token and parameter that is trained: on two cores as in stages/costs.py; on a GPU not measured."""
SELECTING = 5.0  # seconds of a selection, with its share of reading; measured on some thousand documents


@dataclass(frozen=True)
class Spread:
    """``value``: of paired differences to random, as a share of its loss. ``seeds``: None where it is the prior."""

    value: float
    seeds: int | None = None
    strategies: int = 0
    tokens: int = 0

    def __str__(self) -> str:
        if self.seeds is None:
            return f"{self.value:.2%} of the loss (nothing was trained here yet: what other pools had)"
        return (
            f"{self.value:.2%} of the loss (measured here: the median of {self.strategies} strategies, {self.seeds}"
            f" seeds, {self.tokens:,} tokens)"
        )


@dataclass(frozen=True)
class Trainings:
    """``number``: by part (strategies, curve, loop). ``units``: as many trainings of evaluation.tokens take as long."""

    number: Mapping[str, int]
    units: float
    tokens: int
    parameters: int
    seconds: float
    basis: str

    @property
    def in_all(self) -> int:
        return sum(self.number.values())


def trainings_of(settings: Evaluation, store: ArtifactStore) -> Trainings:
    """The trainings of these settings, none of which is taken for made, and how long they take."""
    of_strategies = sum(len(settings.seeds_of(name)) for name in settings.selecting)
    seeds = len(settings.seeds_of(RANDOM))
    loops = 2 * len(settings.seeds_of(ROUNDS)) if ROUNDS in settings.strategies else 0
    number = {"strategies": of_strategies, "curve": seeds * len(settings.multiples), "loop": loops}
    units = of_strategies + seeds * sum(settings.multiples) + loops
    size = parameters(Shape(**settings.model_dump(include=set(MODEL))))
    each, basis = _rate(settings, store)
    work = units * settings.tokens * size
    return Trainings({k: n for k, n in number.items() if n}, units, settings.tokens, size, work * each, basis)


def _rate(settings: Evaluation, store: ArtifactStore) -> tuple[float, str]:
    """Seconds for a token and parameter, and where the figure comes from."""
    for manifest in _latest(store):
        then = Evaluation(**(Evaluation().model_dump() | manifest["settings"]["evaluation"]))
        now, n = manifest["metrics"].get("models_trained_now"), manifest.get("seconds")
        if not now or not n or ("cuda" in manifest.get("devices", [])) != (settings.device == "cuda"):
            continue
        size = parameters(Shape(**then.model_dump(include=set(MODEL))))
        return n / (now * then.tokens * size), f"scaled from {now:,} trainings here"
    return (GPU if settings.device == "cuda" else CPU), "guess"


def _latest(store: ArtifactStore) -> list[dict[str, Any]]:
    """Manifests of the trainings, the latest first."""
    return sorted(store.ever_made(trainings.name), key=lambda manifest: -manifest["computed_at"])


def spread_seen(store: ArtifactStore) -> Spread:
    """The spread in the latest trainings, on the set that decides; the prior if there are none."""
    for manifest in _latest(store):
        try:
            measured = _measured(store, manifest)
        except (GripError, OSError, pl.exceptions.PolarsError):
            continue  # its tables were removed
        sets = sorted(measured["set"].unique().to_list(), key=lambda n: PRECEDENCE.get(n, len(PRECEDENCE)))
        losses = losses_of(measured.filter(set=sets[0]), "strategy") if sets else {}
        found = usual_spread(losses) if RANDOM in losses else float("nan")
        if found == found:  # not NaN
            tokens = manifest["settings"]["evaluation"]["tokens"]
            return Spread(found, len(losses[RANDOM]), len(losses) - 1, tokens)
    return Spread(PRIOR)


def _measured(store: ArtifactStore, manifest: Mapping[str, Any]) -> pl.DataFrame:
    of_set = manifest["inputs"]["evaluation_set"]
    items = pl.read_parquet(store.parquet("evaluation_set", of_set, "evaluation_set"))
    items = items.filter(pl.col("in_pool") <= COPIED).select("item_id", "set", "n_bytes")
    return pl.read_parquet(store.parquet(trainings.name, manifest["version"], "trainings")).join(items, on="item_id")


def as_lines(found: Spread, models: Trainings, before: float, settings: Settings) -> list[str]:
    """The forecast for the terminal. ``before``: seconds of the curation and of the stages behind the strategies."""
    evaluation = Evaluation.of(settings)
    seeds = len(evaluation.seeds_of(RANDOM))
    needed = seeds_needed(found.value)
    parts = ", ".join(f"{n:,} {PARTS[part]}" for part, n in models.number.items())
    return [
        f"spread:    paired differences to random have a standard deviation of {found}",
        f"power:     a difference of {DIFFERENCE:.0%} needs {needed or 'more than 1,000'} seeds"
        f" (paired, 95%, power 80%); {seeds} seeds show one of {shown_by(seeds, found.value):.1%}",
        f"trainings: {models.in_all:,} ({parts}) of models with {models.parameters / 1e6:.1f} million parameters;"
        f" as long as {models.units:,.0f} trainings of {models.tokens:,} tokens",
        f"time:      about {_minutes(before)} before the trainings and {_minutes(models.seconds)} for them"
        f" ({models.basis}): {_minutes(before + models.seconds)} in all. Trainings that were made before are not made"
        " again.",
        *_to_needed(evaluation, needed, seeds, models, before),
    ]


PARTS = {"strategies": "of strategies", "curve": "of the random curve", "loop": "of the closed loop"}


def _to_needed(evaluation: Evaluation, needed: int | None, seeds: int, models: Trainings, before: float) -> list[str]:
    """With the seeds that a difference of 1% needs: how long it would take, and how to ask for it."""
    if needed is None or needed <= seeds:
        return []
    name = "main_seeds" if evaluation.main else "seeds"
    seconds = before + models.seconds * needed / seeds
    return [f"           with {needed} seeds about {_minutes(seconds)}: --set evaluation.{name}={min(needed, 50)}"]


def as_data(found: Spread, models: Trainings, before: float, settings: Settings) -> dict[str, Any]:
    """The forecast as JSON."""
    seeds = len(Evaluation.of(settings).seeds_of(RANDOM))
    return {
        "spread": vars(found),
        "seeds": seeds,
        "seeds_needed": seeds_needed(found.value),
        "difference": DIFFERENCE,
        "difference_shown": shown_by(seeds, found.value),
        "trainings": vars(models) | {"in_all": models.in_all},
        "seconds_before": before,
        "seconds": before + models.seconds,
    }


def _minutes(seconds: float) -> str:
    minutes = seconds / 60
    return f"{minutes:,.0f} min" if minutes < 100 else f"{minutes / 60:,.1f} h"

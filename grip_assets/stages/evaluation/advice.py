"""What a user should do after an evaluation, as a sentence: which profile, how much better, worth what, for how long.

Pure functions over losses by strategy and seed. The stage `evaluation` writes the result as the table
``recommendation``; the terminal and the report print its words.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from grip_assets.method.power import DIFFERENCE, seeds_needed, shown_by, spread, usual
from grip_assets.method.statistics import ROUNDING, Estimate, mean
from grip_assets.method.worth import Worth
from grip_assets.profiles import IN_FORCE

RANDOM = "random"
Losses = Mapping[str, Mapping[int, float]]
"""Strategy to seed to bits per byte."""
Variant = Literal["one", "several", "nothing", "too_few_seeds"]


@dataclass(frozen=True)
class Advice:
    """``strategy``: the one to use. ``better``: its paired gain over random, as a share of random's loss.

    ``as_good``: strategies that cannot be told from the best, the cheapest first; ``strategy`` is one of them.
    ``seeds_needed``: those that show a true difference of 1%; None for more than 1,000.
    """

    variant: Variant
    strategy: str
    words: str
    better: Estimate | None
    as_good: tuple[str, ...]
    seeds: int
    seeds_needed: int | None

    def columns(self) -> dict[str, Any]:
        """Columns of the table ``recommendation``."""
        gain = self.better.columns("better", "better_low", "better_high") if self.better else {}
        return {
            "variant": self.variant,
            "strategy": self.strategy,
            "words": self.words,
            **gain,
            "as_good": ", ".join(self.as_good),
            "seeds": self.seeds,
            "seeds_needed": self.seeds_needed,
        }


def advice(
    losses: Losses, seconds: Mapping[str, float], worths: Mapping[str, Worth], usable: Sequence[str] | None = None
) -> Advice:
    """What to use on this pool, by the losses on one set of texts.

    ``seconds``: of the selection of each strategy. ``usable``: strategies that a user can choose; None: all of them.
    A strategy is measurably better than another if the 95% interval of their paired difference leaves 0 out.
    """
    chosen = [name for name in losses if name != RANDOM and (usable is None or name in usable)]
    better = [name for name in chosen if _is_better(losses, name, RANDOM)]
    if not better:
        return _nothing(losses, chosen)
    best = min(better, key=lambda name: _mean(losses, name))
    as_good = [name for name in better if not _is_better(losses, best, name)]
    unbeaten = [n for n in as_good if not any(_is_better(losses, other, n) for other in better)] or [best]
    as_good.sort(key=lambda name: (seconds.get(name, 0.0), _mean(losses, name)))
    name = min(unbeaten, key=lambda n: (seconds.get(n, 0.0), _mean(losses, n)))
    gain = _gain(losses, name)
    variant: Variant = "several" if len(as_good) > 1 else "one"
    words = f"On this pool, use {_named(name)}{_among(name, as_good)}: {_how_much(gain)}{_worth(worths.get(name))}"
    words += f", for {_time(seconds.get(name, 0.0))}; nothing else was measurably better."
    n, needed = len(losses[name]), seeds_needed_of(losses)
    return Advice(variant, name, words, gain, tuple(as_good), n, needed)


def _nothing(losses: Losses, chosen: Sequence[str]) -> Advice:
    """No strategy is measurably better than random: because none is, or because there are too few seeds to tell."""
    n, of_spread = len(losses[RANDOM]), usual_spread(losses)
    needed = seeds_needed_of(losses)
    start = "On this pool, nothing was measurably better than random"
    if not chosen:
        return Advice("nothing", RANDOM, f"{start}: nothing else was compared.", None, (), n, needed)
    if np.isnan(of_spread):
        words = f"{start}: all strategies select the same documents. Lower settings/budget.total."
        return Advice("nothing", RANDOM, words, None, (), n, needed)
    shown = f"{shown_by(n, of_spread):.1%}"
    if shown_by(n, of_spread) <= DIFFERENCE:
        words = f"{start}, and {n} seeds would show a difference of {shown}: use profile random, which costs nothing."
        return Advice("nothing", RANDOM, words, None, (), n, needed)
    seeds = f"{needed} seeds" if needed else "more than 1,000 seeds"
    words = (
        f"{start}, but {n} seeds show only differences from {shown}. A difference of {DIFFERENCE:.0%} needs {seeds}:"
        f" --set evaluation.seeds={needed or 50}. Until then use profile random, which costs nothing."
    )
    return Advice("too_few_seeds", RANDOM, words, None, (), n, needed)


def usual_spread(losses: Losses) -> float:
    """The median over strategies of the spread of their paired differences to random, as a share of its loss."""
    return usual({name: spread(of, losses[RANDOM]) for name, of in losses.items() if name != RANDOM})


def seeds_needed_of(losses: Losses) -> int | None:
    """The seeds that show a true difference of 1% on this pool. None if that is not known, or more than 1,000."""
    of_spread = usual_spread(losses)
    return None if np.isnan(of_spread) else seeds_needed(of_spread)


def _mean(losses: Losses, name: str) -> float:
    return float(np.mean(list(losses[name].values())))


def _paired(losses: Losses, name: str, other: str) -> Estimate:
    shared = [seed for seed in losses[name] if seed in losses[other]]
    return mean([losses[name][seed] - losses[other][seed] for seed in shared])


def _is_better(losses: Losses, name: str, other: str) -> bool:
    found = _paired(losses, name, other)
    return bool(found.high < 0 and found.high - found.low > ROUNDING)


def _gain(losses: Losses, name: str) -> Estimate:
    """The paired gain over random as a share of random's mean loss under the same seeds."""
    found = _paired(losses, name, RANDOM)
    base = float(np.mean([losses[RANDOM][seed] for seed in losses[name] if seed in losses[RANDOM]]))
    return Estimate(-found.value / base, -found.high / base, -found.low / base, found.n)


def _named(name: str) -> str:
    return "your own settings" if name == IN_FORCE else f"profile {name}"


def _among(name: str, as_good: Sequence[str]) -> str:
    others = [other for other in as_good if other != name]
    if not others:
        return ""
    listed = others[0] if len(others) == 1 else f"{', '.join(others[:-1])} and {others[-1]}"
    return f", the cheapest of {len(others) + 1} that cannot be told apart (with {listed})"


def _how_much(gain: Estimate) -> str:
    return f"{gain.value:.1%} better than random (95% interval {gain.low:.1%} to {gain.high:.1%})"


def _worth(found: Worth | None) -> str:
    if found is None or not found.known:
        return ""
    interval = "" if np.isnan(found.low) else f" ({found.said(found.low)} to {found.said(found.high)})"
    return f", worth {found.said(found.value)} times the tokens{interval}"


def _time(seconds: float) -> str:
    minutes = seconds / 60
    if minutes < 1:
        return "less than a minute"
    return f"{minutes:,.0f} minute{'s' * (round(minutes) != 1)}"

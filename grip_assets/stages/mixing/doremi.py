"""doremi: the mean of the proxy's weights over steps and seeds [DoReMi, M5]. The proxy is trained in mixture_runs."""

import numpy as np
import polars as pl

from grip_assets.errors import GripError
from grip_assets.stages.mixing.learning import Given, Learned, failures

SETTLED = 0.02  # total variation between two tenths of the steps


def learn(given: Given) -> Learned:
    """The interval is over seeds. GripError if no proxy was trained."""
    steps, pool = given.work.frame("mixture_steps"), given.pool
    if steps.is_empty():
        raise GripError(f"DoReMi has no weights. {failures(given.losses)}".strip())
    means = steps.group_by("seed", "domain").agg(pl.mean("weight")).sort("seed", "domain")
    mean_SD = means["weight"].to_numpy().reshape(-1, len(pool.natural_D))
    samples_SD = np.array([pool.capped(mean_D) for mean_D in mean_SD])
    change = moved(steps)
    return Learned(pool.capped(mean_SD.mean(axis=0)), samples_SD, said={"moved": change}, words=[settled(change)])


def moved(steps: pl.DataFrame) -> float | None:
    """How far DoReMi's weights moved between the last two tenths of the steps: the total variation of their means, the
    largest over seeds. None if there are too few steps."""
    tenth = (pl.col("step") * 10 // (pl.col("step").max() + 1)).over("seed")
    by_tenth = steps.with_columns(tenth=tenth).group_by("seed", "domain", "tenth").agg(pl.mean("weight"))
    last, before = (by_tenth.filter(tenth=t).drop("tenth") for t in (9, 8))
    apart = last.join(before, on=["seed", "domain"], suffix="_before")
    if apart.is_empty():
        return None
    change = (pl.col("weight") - pl.col("weight_before")).abs().sum() / 2
    return apart.group_by("seed").agg(change.alias("moved"))["moved"].max()  # type: ignore[return-value]


def settled(moved: float | None) -> str:
    """Whether the weights came to rest, in words."""
    if moved is None:
        return "There were too few steps to say whether the weights settled."
    if moved <= SETTLED:
        return f"The weights settled: they moved by {moved:.1%} between the last two tenths of the steps."
    return (
        f"The weights had not settled: they moved by {moved:.1%} between the last two tenths of the steps. Train longer"
        " (mixing.tokens), or lower mixing.eta."
    )

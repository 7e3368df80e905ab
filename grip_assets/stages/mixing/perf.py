"""perf: domains whose upsampling lowers the loss get more, by rank. Ours; the rule is in method/mixing/perf.py."""

import numpy as np
import polars as pl

from grip_assets.errors import GripError
from grip_assets.method.mixing import perf
from grip_assets.stages.mixing.learning import Given, Learned, failures, weights_of
from grip_assets.stages.mixing.objective import Objective


def learn(given: Given) -> Learned:
    """The interval is over seeds. GripError if no training on the natural shares went well."""
    pool, rho = given.pool, given.mixing.rho
    gain_SD = gains(given.work.frame("mixtures"), given.losses, given.objective, pool.natural_D)
    weight_D = perf.weights(pool.natural_D, np.nanmean(gain_SD, axis=0), rho)
    samples = [pool.capped(perf.weights(pool.natural_D, gain_D, rho)) for gain_D in gain_SD]
    return Learned(pool.capped(weight_D), np.array(samples))


def gains(mixtures: pl.DataFrame, losses: pl.DataFrame, objective: Objective, natural_D: np.ndarray) -> np.ndarray:
    """How much the objective falls if a domain is upsampled, float64 (S, D), by seed; 0 where that training failed.

    Seeds whose training on the natural shares failed are left out. GripError if all of them are.
    """
    ids = mixtures.select("mixture_id", "kind").unique().sort("mixture_id")
    weights_nD = weights_of(mixtures)
    seeds = losses["seed"].unique().sort()
    runs = seeds.to_frame().join(ids.select("mixture_id"), how="cross", maintain_order="left_right")
    value_Sn = objective.value(losses, runs).reshape(len(seeds), len(ids))
    kinds_n = ids["kind"].to_numpy()
    base_S = value_Sn[:, kinds_n == "natural"][:, 0]
    gain_SD = np.zeros((len(seeds), len(natural_D)))
    for n in np.flatnonzero(kinds_n == "upsampled"):
        gain_SD[:, np.argmax(weights_nD[n] / natural_D)] = np.nan_to_num(base_S - value_Sn[:, n])
    if not np.isfinite(base_S).any():
        raise GripError(f"No model was trained on the natural shares. {failures(losses)}".strip())
    return gain_SD[np.isfinite(base_S)]

"""regmix: a regression of the loss on the weights, and the best weights by it within the guards [RegMix, C8 to C10].

The regressions and the search are in method/mixing/. Shapes: n mixtures, D domains, T targets, M mixers, S resamples.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from grip_assets.method.mixing.law import fitted_law
from grip_assets.method.mixing.predictability import measures, resamples, splits
from grip_assets.method.mixing.regress import Fit, Model, by_embedding
from grip_assets.method.mixing.search import Search
from grip_assets.method.statistics import Estimate, mean
from grip_assets.runtime.progress import Progress
from grip_assets.stages.mixing import evidence
from grip_assets.stages.mixing.learning import Given, Learned, Pool, swarm_of

SPLITS, SHARE = 10, 0.8  # of predictability, and the share of the mixtures that a split is fitted on
MANY = 128  # mixtures from which on the rank mean ranks better than the log-linear law [C9]
POINT = 0.01  # of the mixture, by which a weight is raised to see what it is worth
PROPOSES = "loglinear"  # the regressor that finds the weights [C8]
EARLIER = "evidence"  # the regression on mean embeddings that knows the mixtures of earlier partitions only [C23]


def learn(given: Given) -> Learned:
    """The best weights by the log-linear law, and what it predicts of all mixers.

    A search finds a mixture of which the regression is too optimistic. By how much is estimated from the resamples, as
    Efron's bootstrap does for an error rate: each resample's own best mixture is better by its own regression than by
    the regression of all. The prediction of the found mixture is corrected by it.
    """
    mixing, pool, objective, cheap = given.mixing, given.pool, given.objective, given.cheap
    weights_nD, loss_nT = swarm_of(given.work.frame("mixtures"), given.losses, objective)
    rows = _splits(given, weights_nD, loss_nT)  # first, since it refuses evidence that cannot be used
    share_T = objective.share_T
    search = Search(pool.natural_D, pool.most_D, mixing.kl_to_natural)
    model = fitted_law(weights_nD, loss_nT, share_T)
    found_D = search.best(model)
    tried_MD = np.array([found_D, *cheap.values()])
    samples, predictions, optimism = [np.empty((0, len(found_D)))], [np.empty((0, len(tried_MD)))], []
    progress = Progress("resampling mixtures", mixing.bootstrap, "resamples", given.work.log)
    for rows_n in resamples(len(weights_nD), mixing.bootstrap, mixing.seed):
        other = fitted_law(weights_nD[rows_n], loss_nT[rows_n], share_T, near=model)
        its_own_D = search.best(other)
        samples.append(its_own_D[None])
        predictions.append(other.predict(tried_MD)[None])
        optimism.append(_gain(other, its_own_D, pool) - _gain(model, its_own_D, pool))
        progress.advance(1)
    progress.finish()
    of_MS, value_M = np.concatenate(predictions).T, model.predict(tried_MD)
    bias = float(np.mean(optimism)) if optimism else 0.0
    of_MS[0], value_M[0] = of_MS[0] + bias, value_M[0] + bias
    gain = _resampled(value_M[1] - value_M[0], of_MS[1] - of_MS[0])
    said = {
        **_predictability(rows, len(weights_nD)),
        "spread": float((loss_nT @ share_T).std()),
        "optimism": bias,
        **gain.columns("gain", "gain_low", "gain_high"),
    }
    return Learned(
        found_D,
        np.concatenate(samples),
        resampled=True,
        fit=rows,
        predicted={name: _resampled(*pair) for name, *pair in zip(["found", *cheap], value_M, of_MS, strict=True)},
        effect_D=effects(model, found_D),
        said=said,
        words=[_ranked(said), _better(said)],
    )


def effects(model: Model, weight_D: np.ndarray) -> np.ndarray:
    """How much the predicted loss changes if the weight of one domain rises by ``POINT``, float64 (D,).

    The others fall in proportion. NaN for a domain that has nearly all of the weight.
    """
    room_D = 1 - weight_D
    part_D = np.divide(POINT, room_D, out=np.full(len(weight_D), np.nan), where=room_D > POINT)
    raised_DD = (1 - part_D[:, None]) * weight_D + np.diag(part_D)
    known_D = np.isfinite(part_D)
    found_D = np.full(len(weight_D), np.nan)
    found_D[known_D] = model.predict(raised_DD[known_D]) - model.predict(weight_D[None])
    return found_D


def _gain(model: Model, weight_D: np.ndarray, pool: Pool) -> float:
    """How much less loss the model predicts for the weights than for the natural shares."""
    natural, found = model.predict(np.array([pool.natural_D, weight_D]))
    return float(natural - found)


def _splits(given: Given, weights_nD: np.ndarray, loss_nT: np.ndarray) -> list[dict[str, Any]]:
    mixing, share_T = given.mixing, given.objective.share_T
    ranks = "rank_mean" if len(weights_nD) >= MANY else PROPOSES
    names = dict.fromkeys([PROPOSES, ranks if mixing.regressor == "auto" else mixing.regressor])
    rows, fit = [], None
    for name in names:
        if name == "embedding":
            fit, row = _on_embeddings(given, weights_nD, loss_nT)
            rows += row
        given.work.log(f"{SPLITS} splits: how well {name} ranks mixtures that it has not seen")
        rows += splits(weights_nD, loss_nT, name, SPLITS, SHARE, mixing.seed, share_T, fit)
        fit = None
    return rows


def _on_embeddings(given: Given, weights_nD: np.ndarray, loss_nT: np.ndarray) -> tuple[Fit, list[dict[str, Any]]]:
    """The regression on mean embeddings, which knows the mixtures of earlier partitions if there are any. And then, as
    a row of ``mixture_fit``, how well those alone predict all mixtures of now."""
    share_T, mean_DV, before = given.objective.share_T, evidence.of_this_partition(given), evidence.earlier(given)
    if not before:
        return by_embedding(mean_DV), []
    known_m = np.concatenate([found.loss_nT @ share_T for found in before])
    fit = by_embedding(mean_DV, np.concatenate([found.mean_nV for found in before]), known_m)
    alone = fit(weights_nD[:0], loss_nT[:0], given.mixing.seed, share_T)
    measured = measures(alone.predict(weights_nD), loss_nT @ share_T)
    return fit, [{"split": 0, "regressor": EARLIER, "n_train": len(known_m), **measured}]


def _predictability(rows: list[dict[str, Any]], n: int) -> dict[str, Any]:
    """Spearman's correlation of the ranking regressor over its splits. Splits share mixtures, so Student's interval
    would be too narrow: Nadeau and Bengio's correction widens it."""
    last = rows[-1]["regressor"]
    values = [row["spearman"] for row in rows if row["regressor"] == last and row["spearman"] is not None]
    over = mean(values)
    wider = np.sqrt(1 + len(values) * (1 - SHARE) / SHARE)
    low = max(over.value - (over.value - over.low) * wider, -1.0)
    high = min(over.value + (over.high - over.value) * wider, 1.0)
    found = Estimate(over.value, low, high, n)
    return {"regressor": last, **found.columns("spearman", "spearman_low", "spearman_high")}


def _resampled(value: float, of_S: np.ndarray) -> Estimate:
    """A value with the percentiles of its resamples as the interval, which is widened if the value is outside."""
    if len(of_S) < 2:
        return Estimate(float(value), np.nan, np.nan, len(of_S))
    low, high = np.quantile(of_S, [0.025, 0.975])
    return Estimate(float(value), min(float(low), float(value)), max(float(high), float(value)), len(of_S))


def _ranked(row: Mapping[str, Any]) -> str:
    if row["spearman"] is None:
        return "There are too few mixtures to say how well their losses can be predicted."
    found = Estimate(row["spearman"], row["spearman_low"] or np.nan, row["spearman_high"] or np.nan, SPLITS)
    if not found.low > 0:
        return (
            f"The regression predicts mixtures that it has not seen no better than chance (Spearman {found}), so these"
            " weights mean nothing. Train more mixtures (mixing.mixtures), longer (mixing.tokens), or each under more"
            " seeds (mixing.seeds)."
        )
    return f"The regression ranks mixtures that it has not seen with Spearman {found}."


def _better(row: Mapping[str, Any]) -> str:
    if row["gain"] is None or row["gain_low"] is None:
        return ""
    if row["gain_low"] > 0 and (row["spearman_low"] or 0) > 0:
        gain = f"{row['gain']:.4f} bits per byte ({row['gain_low']:.4f} to {row['gain_high']:.4f})"
        return f"The found mixture is predicted to be better than the natural shares by {gain}."
    more = f"{-row['gain']:+.4f} bits per byte ({-row['gain_high']:+.4f} to {-row['gain_low']:+.4f})"
    return (
        "The found mixture is not predicted to be better than the natural shares. Its predicted loss differs by"
        f" {more}."
    )

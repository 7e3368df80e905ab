"""mixture: the weights of domains and clusters that the small models' losses ask for, and what is predicted of them.

- regmix: a regression of the loss on the weights, and the best weights by it within the guards [RegMix, C8 to C10].
- doremi: the mean of the proxy's weights over steps and seeds [DoReMi, M5].
- perf: domains whose upsampling lowers the loss get more. Ours.

Five mixers that cost nothing stand beside the learned one. What is predicted of all six is written here, before any of
their trainings for mixture_check. The objective is in objective.py, the mathematics in method/mixing/.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import polars as pl

from grip_assets.engine.declarations import Check, Column, Table
from grip_assets.engine.stage import Stage, Work
from grip_assets.errors import GripError
from grip_assets.method.budget.allocation import resolve_total, water_fill
from grip_assets.method.budget.base import Domains
from grip_assets.method.budget.registry import base_shares
from grip_assets.method.mixing import perf
from grip_assets.method.mixing.law import fitted_law
from grip_assets.method.mixing.predictability import resamples, splits
from grip_assets.method.mixing.regress import Model
from grip_assets.method.mixing.search import Search, divergence
from grip_assets.method.statistics import Estimate, known, mean
from grip_assets.runtime.progress import Progress
from grip_assets.settings import Budget, Mixing, field_names
from grip_assets.stages.curation.needed import no_mixture
from grip_assets.stages.mixing.objective import Objective, objective_of

CHEAP = ("natural", "uniform", "tempered", "unimax", "chameleon")  # mixers that need no training [C21]
SPLITS, SHARE = 10, 0.8  # of predictability, and the share of the mixtures that a split is fitted on
FEWEST = 8  # mixtures that a regression needs
MANY = 128  # mixtures from which on the rank mean ranks better than the log-linear law [C9]
SETTLED = 0.02  # total variation between two tenths of DoReMi's steps
POINT = 0.01  # of the mixture, by which a weight is raised to see what it is worth
PROPOSES = "loglinear"  # the regressor that finds the weights [C8]
ONE_HOT = (
    "Nearly all the weight is on one domain. Known remedies: the reference on the natural shares"
    " (mixing.reference=natural), a smaller step (mixing.eta=0.1), and larger batches, so that each holds every domain"
    " (mixing.batch_tokens)."
)
Cheap = Mapping[str, np.ndarray]  # mixer to its weights (D,)


@dataclass(frozen=True)
class Pool:
    """D domains and K clusters. ``share_DK``: the share of a domain's tokens that a cluster has. ``most_D``: the
    largest weight of each domain. ``natural_D``: shares of tokens, without held-out documents. ``size_D``, ``total``:
    sizes and the budget, in its unit."""

    domains: pl.DataFrame
    cluster_K: np.ndarray
    share_DK: np.ndarray
    natural_D: np.ndarray
    natural_K: np.ndarray
    size_D: np.ndarray
    total: int
    most_D: np.ndarray

    def capped(self, weight_D: np.ndarray) -> np.ndarray:
        """The weights with none above its cap; the rest goes to the others in proportion."""
        return water_fill(weight_D, self.most_D, 1.0)


@dataclass(frozen=True)
class Learned:
    """What a method found.

    ``samples_SD``: weights by resample (regmix) or by seed (doremi, perf), for intervals; no rows if there are none.
    ``resampled``: whether they are resamples, so that percentiles are the interval. ``fit``: rows of ``mixture_fit``.
    ``predicted``: of each mixer, the prediction and its interval. ``effect_D``: from ``effects``; None if nothing is
    predicted. ``said``: columns of ``mixture_summary``.
    """

    weight_D: np.ndarray
    samples_SD: np.ndarray
    resampled: bool = False
    fit: list[dict[str, Any]] = field(default_factory=list)
    predicted: Mapping[str, Estimate] = field(default_factory=dict)
    effect_D: np.ndarray | None = None
    said: dict[str, Any] = field(default_factory=dict)

    def interval(self, of_DX: np.ndarray) -> tuple[np.ndarray | None, np.ndarray | None]:
        """Low and high ends (X,) of the 95% interval of ``weights @ of_DX``; None with fewer than two samples."""
        if len(self.samples_SD) < 2:
            return None, None
        found_SX = self.samples_SD @ of_DX
        if self.resampled:
            low_X, high_X = np.quantile(found_SX, [0.025, 0.975], axis=0)
        else:
            ends = [mean(column) for column in found_SX.T]
            low_X, high_X = np.array([e.low for e in ends]), np.array([e.high for e in ends])
        return np.clip(low_X, 0, 1), np.clip(high_X, 0, 1)


def pool_of(domains: pl.DataFrame, documents: pl.DataFrame, budget: Budget, epochs: float) -> Pool:
    """``documents``: domain, cluster_id, n_tokens of each document. ``epochs``: most readings of a domain."""
    domains = domains.sort("domain")
    unit = pl.sum("n_tokens") if budget.unit == "tokens" else pl.len().cast(pl.Int64)
    tokens = documents.group_by("domain", "cluster_id").agg(pl.sum("n_tokens"), size=unit)
    cluster_K = tokens["cluster_id"].unique().sort().to_numpy()
    tokens_DK, size_DK = np.zeros((2, len(domains), len(cluster_K)))
    at = (tokens["domain"].to_numpy(), np.searchsorted(cluster_K, tokens["cluster_id"].to_numpy()))
    tokens_DK[at], size_DK[at] = tokens["n_tokens"].to_numpy(), tokens["size"].to_numpy()
    size_D = size_DK.sum(axis=1)
    total = resolve_total(budget.total, int(size_D.sum()))
    return Pool(
        domains,
        cluster_K,
        tokens_DK / np.maximum(tokens_DK.sum(axis=1, keepdims=True), 1),
        domains["natural_share"].to_numpy() / domains["natural_share"].sum(),
        tokens_DK.sum(axis=0) / tokens_DK.sum(),
        size_D,
        total,
        np.minimum(epochs * size_D / total, 1),
    )


def epochs_of(mixing: Mixing, budget: Budget) -> float:
    """Most readings of a domain in the subset."""
    repeats = budget.max_repeats if budget.overflow == "repeat" else 1
    return repeats if mixing.max_epochs is None else mixing.max_epochs


def compute(work: Work) -> dict[str, Any]:
    mixing, budget = Mixing.of(work.settings), Budget.of(work.settings)
    placed = work.frame("mixture_documents").join(
        work.frame("clusters").select("doc_id", "cluster_id", "n_tokens"), on="doc_id", maintain_order="left"
    )
    pool = pool_of(work.frame("mixture_domains"), placed, budget, epochs_of(mixing, budget))
    losses = work.frame("mixture_losses")
    objective = objective_of(mixing.objective, pool.domains, _measured(losses))
    cheap = cheap_mixers(pool, work.frame("centroids"))
    learned = LEARNERS[mixing.method](work, mixing, pool, objective, cheap)
    mixers = {"found": learned.weight_D, **cheap}
    work.draft.write("mixture", _by_cluster(pool, learned))
    work.draft.write("mixture_weights", _by_domain(pool, learned))
    work.draft.write("mixture_fit", pl.DataFrame(learned.fit, stage.schema("mixture_fit")))
    work.draft.write("mixture_prediction", _prediction(mixers))
    work.draft.write("mixture_predicted", _predicted(mixers, learned))
    summary = _summary(mixing, objective, pool, learned, losses)
    work.draft.write("mixture_summary", pl.DataFrame([summary], stage.schema("mixture_summary")))
    work.log(summary["words"])
    return {name: value for name, value in summary.items() if value is not None}


def _measured(losses: pl.DataFrame) -> list[str]:
    return losses["target"].unique(maintain_order=True).drop_nulls().to_list()


def cheap_mixers(pool: Pool, centroids: pl.DataFrame) -> dict[str, np.ndarray]:
    """The five mixers of C21 over the domains, each within the caps: name to float64 (D,).

    The centroid of a domain is the mean of the centroids of its clusters, by tokens.
    """
    of_K = centroids.join(pl.DataFrame({"cluster_id": pool.cluster_K}), on="cluster_id").sort("cluster_id")
    centroid_DV = pool.share_DK @ of_K["centroid"].to_numpy().astype(np.float64)
    domains = Domains(np.arange(len(pool.size_D)), pool.size_D, total=pool.total, centroid_KV=_unit(centroid_DV))
    found = {mixer: base_shares(mixer, domains) for mixer in CHEAP if mixer != "natural"}
    return {mixer: pool.capped(share_D) for mixer, share_D in {"natural": pool.natural_D, **found}.items()}


def _unit(x_DV: np.ndarray) -> np.ndarray:
    length_D1 = np.linalg.norm(x_DV, axis=1, keepdims=True)
    return np.divide(x_DV, length_D1, out=np.full_like(x_DV, np.nan), where=length_D1 > 0)


def _regmix(work: Work, mixing: Mixing, pool: Pool, objective: Objective, cheap: Cheap) -> Learned:
    """The best weights by the log-linear law, and what it predicts of all mixers.

    A search finds a mixture of which the regression is too optimistic. By how much is estimated from the resamples, as
    Efron's bootstrap does for an error rate: each resample's own best mixture is better by its own regression than by
    the regression of all. The prediction of the found mixture is corrected by it.
    """
    weights_nD, loss_nT = swarm_of(work.frame("mixtures"), work.frame("mixture_losses"), objective)
    share_T = objective.share_T
    search = Search(pool.natural_D, pool.most_D, mixing.kl_to_natural, seed=mixing.seed)
    model = fitted_law(weights_nD, loss_nT, share_T)
    found_D = search.best(model)
    tried_MD = np.array([found_D, *cheap.values()])
    samples, predictions, optimism = [np.empty((0, len(found_D)))], [np.empty((0, len(tried_MD)))], []
    progress = Progress("resampling mixtures", mixing.bootstrap, "resamples", work.log)
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
    rows = _splits(work, mixing, weights_nD, loss_nT, objective)
    return Learned(
        found_D,
        np.concatenate(samples),
        resampled=True,
        fit=rows,
        predicted={name: _resampled(*pair) for name, *pair in zip(["found", *cheap], value_M, of_MS, strict=True)},
        effect_D=effects(model, found_D),
        said={
            **_predictability(rows, len(weights_nD)),
            "spread": float((loss_nT @ share_T).std()),
            "optimism": bias,
            **gain.columns("gain", "gain_low", "gain_high"),
        },
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


def swarm_of(mixtures: pl.DataFrame, losses: pl.DataFrame, objective: Objective) -> tuple[np.ndarray, np.ndarray]:
    """Shares that the trainings of the swarm really read, float64 (n, D), and their losses, float64 (n, T): the mean
    over seeds. A mixture without a loss is left out. GripError if there are too few."""
    swarm = mixtures.filter(pl.col("kind").is_in(["swarm", "natural"]))
    ids = swarm.select("mixture_id").unique().sort("mixture_id")
    weights_nD = weights_of(swarm)
    loss_nT = objective.matrix(_mean_over_seeds(losses), ids)
    there_n = np.isfinite(loss_nT).all(axis=1)
    if there_n.sum() < FEWEST:
        raise GripError(
            f"Only {there_n.sum()} of {len(ids)} mixtures have a loss, and a regression needs {FEWEST}."
            f" {_failures(losses) or 'Raise settings/mixing.mixtures.'}"
        )
    return weights_nD[there_n], loss_nT[there_n]


def weights_of(mixtures: pl.DataFrame) -> np.ndarray:
    """The shares that were read, or the wanted ones where no training went well, float64 (n, D), by mixture and
    domain."""
    rows = mixtures.sort("mixture_id", "domain").select("domain", share=pl.coalesce("achieved", "weight"))
    weights_nD = rows["share"].to_numpy().reshape(-1, rows["domain"].n_unique())
    return weights_nD / weights_nD.sum(axis=1, keepdims=True)


def _mean_over_seeds(losses: pl.DataFrame) -> pl.DataFrame:
    return losses.group_by("mixture_id", "target").agg(pl.mean("loss"))


def _failures(losses: pl.DataFrame) -> str:
    """The trainings that failed, in words; "" if all went well."""
    failed = losses.drop_nulls("failed").unique(["mixture_id", "seed"]).sort("mixture_id", "seed")
    if failed.is_empty():
        return ""
    n = losses.select("mixture_id", "seed").n_unique()
    return f"{len(failed):,} of {n:,} trainings failed: {failed['failed'][0]}"


def _splits(
    work: Work, mixing: Mixing, weights_nD: np.ndarray, loss_nT: np.ndarray, objective: Objective
) -> list[dict[str, Any]]:
    ranks = "rank_mean" if len(weights_nD) >= MANY else PROPOSES
    names = dict.fromkeys([PROPOSES, ranks if mixing.regressor == "auto" else mixing.regressor])
    rows = []
    for name in names:
        work.log(f"{SPLITS} splits: how well {name} ranks mixtures that it has not seen")
        rows += splits(weights_nD, loss_nT, name, SPLITS, SHARE, mixing.seed, objective.share_T)
    return rows


def _predictability(rows: list[dict[str, Any]], n: int) -> dict[str, Any]:
    """Spearman's correlation of the ranking regressor over its splits. Splits share mixtures, so Student's interval
    would be too narrow: Nadeau and Bengio's correction widens it."""
    last = rows[-1]["regressor"]
    values = [known for row in rows if row["regressor"] == last and (known := row["spearman"]) is not None]
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


def _doremi(work: Work, mixing: Mixing, pool: Pool, objective: Objective, cheap: Cheap) -> Learned:
    steps = work.frame("mixture_steps")
    if steps.is_empty():
        raise GripError(f"DoReMi has no weights. {_failures(work.frame('mixture_losses'))}".strip())
    means = steps.group_by("seed", "domain").agg(pl.mean("weight")).sort("seed", "domain")
    mean_SD = means["weight"].to_numpy().reshape(-1, len(pool.natural_D))
    samples_SD = np.array([pool.capped(mean_D) for mean_D in mean_SD])
    return Learned(pool.capped(mean_SD.mean(axis=0)), samples_SD, said={"moved": moved(steps)})


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


def _perf(work: Work, mixing: Mixing, pool: Pool, objective: Objective, cheap: Cheap) -> Learned:
    gain_SD = gains(work.frame("mixtures"), work.frame("mixture_losses"), objective, pool.natural_D)
    weight_D = perf.weights(pool.natural_D, np.nanmean(gain_SD, axis=0), mixing.rho)
    samples = [pool.capped(perf.weights(pool.natural_D, gain_D, mixing.rho)) for gain_D in gain_SD]
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
        raise GripError(f"No model was trained on the natural shares. {_failures(losses)}".strip())
    return gain_SD[np.isfinite(base_S)]


LEARNERS = {"regmix": _regmix, "doremi": _doremi, "perf": _perf}


def _by_cluster(pool: Pool, learned: Learned) -> pl.DataFrame:
    """The table ``mixture``: w_k = Σ_d w_d · (tokens of d in k) / (tokens of d)."""
    low_K, high_K = learned.interval(pool.share_DK)
    return pl.DataFrame(
        {
            "cluster_id": pool.cluster_K,
            "weight": learned.weight_D @ pool.share_DK,
            "natural_share": pool.natural_K,
            "low": low_K,
            "high": high_K,
        },
        stage.schema("mixture"),
    )


def _by_domain(pool: Pool, learned: Learned) -> pl.DataFrame:
    low_D, high_D = learned.interval(np.eye(len(pool.natural_D)))
    return pl.DataFrame(
        {
            "domain": pool.domains["domain"],
            "name": pool.domains["name"],
            "weight": learned.weight_D,
            "low": low_D,
            "high": high_D,
            "natural_share": pool.natural_D,
            "most": pool.most_D,
            "effect": None if learned.effect_D is None else [known(effect) for effect in learned.effect_D],
        },
        stage.schema("mixture_weights"),
    )


def _prediction(mixers: Mapping[str, np.ndarray]) -> pl.DataFrame:
    rows = [(mixer, d, w) for mixer, weight_D in mixers.items() for d, w in enumerate(weight_D.tolist())]
    return pl.DataFrame(rows, stage.schema("mixture_prediction"), orient="row")


def _predicted(mixers: Mapping[str, np.ndarray], learned: Learned) -> pl.DataFrame:
    nothing = Estimate(np.nan, np.nan, np.nan, 0)
    rows = [{"mixer": name, **learned.predicted.get(name, nothing).columns("predicted")} for name in mixers]
    return pl.DataFrame(rows, stage.schema("mixture_predicted"))


def _summary(
    mixing: Mixing, objective: Objective, pool: Pool, learned: Learned, losses: pl.DataFrame
) -> dict[str, Any]:
    """The row of ``mixture_summary``."""
    runs = losses.group_by("mixture_id", "seed").agg(pl.col("failed").drop_nulls().first())
    row = {
        "method": mixing.method,
        "objective": objective.name,
        "trainings": len(runs),
        "failed": int(runs["failed"].is_not_null().sum()),
        "kl": float(divergence(learned.weight_D, pool.natural_D)[0]),
        "largest_weight": float(learned.weight_D.max()),
        "effective_domains": effective(learned.weight_D),
        "natural_domains": effective(pool.natural_D),
        **learned.said,
    }
    return {**row, "words": " ".join(_words(row, losses))}


def effective(weight_D: np.ndarray) -> float:
    """The number of domains that count: exp of the entropy of the weights."""
    positive = weight_D[weight_D > 0]
    return float(np.exp(-(positive * np.log(positive)).sum()))


def _words(row: Mapping[str, Any], losses: pl.DataFrame) -> list[str]:
    said = [_failures(losses) and f"{_failures(losses)}."]
    said += [_ranked(row), _better(row)] if row["method"] == "regmix" else []
    said += [_settled(row["moved"])] if row["method"] == "doremi" else []
    said += [ONE_HOT] if one_hot(row) else []
    return [sentence for sentence in said if sentence]


def one_hot(row: Mapping[str, Any]) -> bool:
    """Whether one domain has nearly all the weight, where it has not nearly all of the pool."""
    return row["largest_weight"] > 0.9 or (row["effective_domains"] < 2 <= row["natural_domains"])


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


def _settled(moved: float | None) -> str:
    if moved is None:
        return "There were too few steps to say whether the weights settled."
    if moved <= SETTLED:
        return f"The weights settled: they moved by {moved:.1%} between the last two tenths of the steps."
    return (
        f"The weights had not settled: they moved by {moved:.1%} between the last two tenths of the steps. Train longer"
        " (mixing.tokens), or lower mixing.eta."
    )


TRAINED = ("mixture_losses.loss", "mixtures.achieved")
BY_STEPS = (*TRAINED, "mixture_steps.weight")
TABLES = (
    Table(
        "mixture",
        (
            Column("cluster_id", pl.Int32, "Cluster.", ("clusters.cluster_id",)),
            Column(
                "weight",
                pl.Float64,
                "Its share of the base budget: the weights of its domains, by its share of their tokens.",
                ("mixture_weights.weight", "mixture_documents.domain", "clusters.n_tokens"),
            ),
            Column("natural_share", pl.Float64, "Its share of the pool's tokens.", ("clusters.n_tokens",)),
            Column("low", pl.Float64, "Lower end of the 95% interval of the weight. Null if there is none.", BY_STEPS),
            Column("high", pl.Float64, "Upper end of the interval.", BY_STEPS),
        ),
    ),
    Table(
        "mixture_weights",
        (
            Column("domain", pl.Int32, "Domain.", ("mixture_domains.domain",)),
            Column("name", pl.String, "Its name.", ("mixture_domains.name",)),
            Column("weight", pl.Float64, "Its learned weight. The sum is 1.", BY_STEPS),
            Column(
                "low",
                pl.Float64,
                "Lower end of the 95% interval of the weight: over resampled mixtures (regmix) or seeds (doremi, perf)."
                " Null if there is none.",
                BY_STEPS,
            ),
            Column("high", pl.Float64, "Upper end of the interval.", BY_STEPS),
            Column("natural_share", pl.Float64, "Its share of the pool.", ("mixture_domains.natural_share",)),
            Column(
                "most",
                pl.Float64,
                "Its largest weight, if the subset may read a domain only so often.",
                ("mixture_documents.domain", "clusters.n_tokens"),
            ),
            Column(
                "effect",
                pl.Float64,
                "Change of the predicted objective, in bits per byte, if the weight rises by 0.01 and the others fall"
                " in proportion. Below 0: more of it is better. Null for doremi and perf.",
                TRAINED,
            ),
        ),
    ),
    Table(
        "mixture_fit",
        (
            Column("split", pl.Int64, "Random split of the mixtures: four fifths are fitted, the others predicted."),
            Column("regressor", pl.String, "Regression that predicts them."),
            Column("spearman", pl.Float64, "Rank correlation of predicted and measured objective.", TRAINED),
            Column("spearman_best", pl.Float64, "The same among the best quarter of the mixtures.", TRAINED),
            Column(
                "regret",
                pl.Float64,
                "How much worse the best of the five that are predicted best is than the best of all, in standard"
                " deviations of the objective.",
                TRAINED,
            ),
            Column("n_train", pl.Int64, "Mixtures that were fitted.", ("mixtures.mixture_id",)),
            Column("spread", pl.Float64, "Standard deviation of the objective over the mixtures.", TRAINED),
        ),
    ),
    Table(
        "mixture_prediction",
        (
            Column(
                "mixer",
                pl.String,
                "Rule that gives the weights: found (the learned ones), natural, uniform, tempered, unimax, chameleon.",
            ),
            Column("domain", pl.Int32, "Domain.", ("mixture_domains.domain",)),
            Column(
                "weight",
                pl.Float64,
                "Its weight, within its cap.",
                ("mixture_weights.weight", "mixture_domains.natural_share", "centroids.centroid"),
            ),
        ),
    ),
    Table(
        "mixture_predicted",
        (
            Column("mixer", pl.String, "Rule that gives the weights.", ("mixture_prediction.mixer",)),
            Column(
                "predicted",
                pl.Float64,
                "Objective that the regression predicts, in bits per byte. Null for doremi and perf.",
                TRAINED,
            ),
            Column("low", pl.Float64, "Lower end of its 95% interval, over resampled mixtures.", TRAINED),
            Column("high", pl.Float64, "Upper end of the interval.", TRAINED),
        ),
    ),
    Table(
        "mixture_summary",
        (
            Column("method", pl.String, "How the weights were learned: regmix, doremi or perf."),
            Column("objective", pl.String, "Loss that they should lower.", ("mixture_losses.target",)),
            Column("trainings", pl.Int64, "Trainings behind them.", ("mixture_losses.mixture_id",)),
            Column("failed", pl.Int64, "Trainings that failed, and are left out.", ("mixture_losses.failed",)),
            Column("kl", pl.Float64, "Kullback-Leibler distance to the natural shares, in nats.", BY_STEPS),
            Column("largest_weight", pl.Float64, "The largest weight.", ("mixture_weights.weight",)),
            Column(
                "effective_domains",
                pl.Float64,
                "Number of domains that count: exp of the entropy of the weights.",
                ("mixture_weights.weight",),
            ),
            Column(
                "natural_domains",
                pl.Float64,
                "The same for the natural shares.",
                ("mixture_domains.natural_share",),
            ),
            Column("regressor", pl.String, "Regression that ranks mixtures."),
            Column("spearman", pl.Float64, "Its rank correlation, mean over the splits.", ("mixture_fit.spearman",)),
            Column(
                "spearman_low",
                pl.Float64,
                "Lower end of its 95% interval, corrected because the splits share mixtures.",
                ("mixture_fit.spearman",),
            ),
            Column("spearman_high", pl.Float64, "Upper end of the interval.", ("mixture_fit.spearman",)),
            Column("spread", pl.Float64, "Standard deviation of the objective over the mixtures.", TRAINED),
            Column(
                "optimism",
                pl.Float64,
                "By how much the search made the regression too optimistic of the found mixture. Its prediction is"
                " corrected by this.",
                TRAINED,
            ),
            Column(
                "gain",
                pl.Float64,
                "How much lower the objective of the found mixture is than that of the natural shares, as predicted.",
                TRAINED,
            ),
            Column("gain_low", pl.Float64, "Lower end of its 95% interval, over resampled mixtures.", TRAINED),
            Column("gain_high", pl.Float64, "Upper end of the interval.", TRAINED),
            Column(
                "moved",
                pl.Float64,
                "Total variation of DoReMi's weights between the last two tenths of the steps.",
                ("mixture_steps.weight",),
            ),
            Column("words", pl.String, "What to know about these weights, in words.", ("mixture_fit.spearman",)),
        ),
    ),
)
CHECKS = (
    Check(
        "sum_to_one", True, "The weights of domains, of clusters and of each mixer are none below 0, with the sum 1."
    ),
    Check("within_caps", True, "No weight is above its cap."),
    Check("near_natural", True, "With regmix, the distance to the natural shares is at most mixing.kl_to_natural."),
    Check("not_one_hot", False, f"The weights are spread over the domains. {ONE_HOT}"),
    Check(
        "none_vanishes",
        False,
        "No domain has less than a twentieth of its natural share. Otherwise the subset forgets it: lower"
        " mixing.kl_to_natural, or mixing.eta for doremi.",
    ),
    Check(
        "predicts",
        False,
        "The regression ranks mixtures that it has not seen better than chance. Otherwise the weights mean nothing:"
        " raise mixing.mixtures, mixing.tokens or mixing.seeds.",
    ),
    Check(
        "better_than_natural",
        False,
        "The found mixture is predicted to be better than the natural shares. Otherwise budget.base=proportional does"
        " as well, and costs nothing.",
    ),
    Check("all_trained", False, "No training failed. Otherwise lower mixing.learning_rate."),
)

stage = Stage(
    name="mixture",
    code_version="1",
    compute=compute,
    description="The learned budget: a weight for each cluster, which settings/budget.base=mixture follows."
    " `mixture_weights` has the weights of the domains with intervals, `mixture_fit` how well losses of mixtures can be"
    " predicted, `mixture_prediction` and `mixture_predicted` what is predicted of these weights and of five simple"
    " rules, before any of them is trained for `mixture_check`. `mixture_summary` says in words what to make of it.",
    tables=TABLES,
    checks=CHECKS,
    picture=True,
    inputs=("clusters", "mixture_domains", "mixture_runs"),
    reads={
        "mixing": (*field_names(Mixing, "fit"), "method", "seed"),
        "budget": ("total", "unit", "overflow", "max_repeats"),
    },
    group="mixing",
    unused=no_mixture,
    unused_by=("budget",),
)

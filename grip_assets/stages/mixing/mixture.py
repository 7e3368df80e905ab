"""mixture: the weights of domains and clusters that the small models' losses ask for, and what is predicted of them.

- regmix: a regression of the loss on the weights, and the best weights by it within the guards [RegMix, C8 to C10].
- doremi: the mean of the proxy's weights over steps and seeds [DoReMi, M5].
- perf: domains whose upsampling lowers the loss get more. Ours.

Five mixers that cost nothing stand beside the learned one. What is predicted of all six is written here, before any of
their trainings for mixture_check. The objective is in objective.py, the mathematics in method/mixing/.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import polars as pl

from grip_assets.engine.declarations import Check, Column, Table
from grip_assets.engine.stage import Result, Stage, Work
from grip_assets.method.budget.base import Domains
from grip_assets.method.budget.registry import base_shares
from grip_assets.method.mixing.search import divergence
from grip_assets.method.statistics import Estimate, known
from grip_assets.settings import Budget, Mixing, field_names
from grip_assets.stages.curation.needed import no_mixture
from grip_assets.stages.mixing import doremi, evidence, perf, regmix
from grip_assets.stages.mixing.learning import Given, Learned, Pool, epochs_of, failures, pool_of
from grip_assets.stages.mixing.objective import Objective, objective_of
from grip_assets.stages.mixing.other_tokenizer import in_the_budgets_tokens, shift, tokens_for_one

CHEAP = ("natural", "uniform", "tempered", "unimax", "chameleon")  # mixers that need no training [C21]
ONE_HOT = (
    "Nearly all the weight is on one domain. Known remedies: the reference on the natural shares"
    " (mixing.reference=natural), a smaller step (mixing.eta=0.1), and larger batches, so that each holds every domain"
    " (mixing.batch_tokens)."
)


def compute(work: Work) -> Result:
    mixing, budget = Mixing.of(work.settings), Budget.of(work.settings)
    placed = work.frame("mixture_documents").join(
        work.frame("clusters").select("doc_id", "cluster_id", "n_tokens"), on="doc_id", maintain_order="left"
    )
    pool = pool_of(work.frame("mixture_domains"), placed, budget, epochs_of(mixing, budget))
    losses = work.frame("mixture_losses")
    objective = objective_of(mixing.objective, pool.domains, _measured(losses))
    cheap = cheap_mixers(pool, work.frame("centroids"))
    learned = METHODS[mixing.method](Given(work, mixing, pool, objective, cheap))
    budgeted = in_the_budgets_tokens(learned, pool, tokens_for_one(work, mixing.seed, len(pool.natural_D)))
    mixers = {"found": learned.weight_D, **cheap}
    work.draft.write("mixture", _by_cluster(pool, budgeted))
    work.draft.write("mixture_weights", _by_domain(pool, learned, budgeted))
    work.draft.write("mixture_fit", pl.DataFrame(learned.fit, stage.schema("mixture_fit")))
    work.draft.write("mixture_prediction", _prediction(mixers))
    work.draft.write("mixture_predicted", _predicted(mixers, learned))
    summary = _summary(mixing, objective, pool, learned, losses)
    work.draft.write("mixture_summary", pl.DataFrame([summary], stage.schema("mixture_summary")))
    work.log(summary["words"])
    metrics = {name: value for name, value in summary.items() if value is not None}
    metrics["tokenizer_shift"] = shift(learned.weight_D, budgeted.weight_D)
    return Result(metrics, keeps=tuple(evidence.kept(work.store, mixing.evidence)))


def _measured(losses: pl.DataFrame) -> list[str]:
    return losses["target"].unique(maintain_order=True).drop_nulls().to_list()


METHODS: dict[str, Callable[[Given], Learned]] = {"regmix": regmix.learn, "doremi": doremi.learn, "perf": perf.learn}


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


def _by_cluster(pool: Pool, budgeted: Learned) -> pl.DataFrame:
    """The table ``mixture``: w_k = Σ_d w'_d · (tokens of d in k) / (tokens of d), with w' in the budget's tokens."""
    low_K, high_K = budgeted.interval(pool.share_DK)
    return pl.DataFrame(
        {
            "cluster_id": pool.cluster_K,
            "weight": budgeted.weight_D @ pool.share_DK,
            "natural_share": pool.natural_K,
            "low": low_K,
            "high": high_K,
        },
        stage.schema("mixture"),
    )


def _by_domain(pool: Pool, learned: Learned, budgeted: Learned) -> pl.DataFrame:
    low_D, high_D = learned.interval(np.eye(len(pool.natural_D)))
    return pl.DataFrame(
        {
            "domain": pool.domains["domain"],
            "name": pool.domains["name"],
            "weight": learned.weight_D,
            "low": low_D,
            "high": high_D,
            "budget_weight": budgeted.weight_D,
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
    return {**row, "words": " ".join(_words(row, learned, losses))}


def effective(weight_D: np.ndarray) -> float:
    """The number of domains that count: exp of the entropy of the weights."""
    positive = weight_D[weight_D > 0]
    return float(np.exp(-(positive * np.log(positive)).sum()))


def _words(row: Mapping[str, Any], learned: Learned, losses: pl.DataFrame) -> list[str]:
    failed = failures(losses)
    said = [failed and f"{failed}.", *learned.words, ONE_HOT if one_hot(row) else ""]
    return [sentence for sentence in said if sentence]


def one_hot(row: Mapping[str, Any]) -> bool:
    """Whether one domain has nearly all the weight, where it has not nearly all of the pool."""
    return row["largest_weight"] > 0.9 or (row["effective_domains"] < 2 <= row["natural_domains"])


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
                "Its share of the base budget, in tokens of settings/corpus.tokenizer: the weights of its domains, by"
                " its share of their tokens.",
                ("mixture_weights.budget_weight", "mixture_documents.domain", "clusters.n_tokens"),
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
            Column(
                "weight",
                pl.Float64,
                "Its learned weight, a share of the small models' tokens. The sum is 1.",
                BY_STEPS,
            ),
            Column(
                "low",
                pl.Float64,
                "Lower end of the 95% interval of the weight: over resampled mixtures (regmix) or seeds (doremi, perf)."
                " Null if there is none.",
                BY_STEPS,
            ),
            Column("high", pl.Float64, "Upper end of the interval.", BY_STEPS),
            Column(
                "budget_weight",
                pl.Float64,
                "The weight as a share of the tokens of settings/corpus.tokenizer, within its cap. The budget follows"
                " it. It differs from `weight` where the small models' tokenizer cuts a domain more finely, or less,"
                " than others.",
                ("mixture_weights.weight", "mixture_tokenizer.json", "corpus.n_tokens"),
            ),
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
            Column(
                "regressor",
                pl.String,
                "Regression that predicts them. evidence: fitted on settings/mixing.evidence alone, it predicts all.",
            ),
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
    Check(
        "same_tokens",
        False,
        "At most 5% of the weights moved when they were counted in tokens of settings/corpus.tokenizer and not in those"
        " of the small models. More means that the two tokenizers cut the domains differently. The budget is right for"
        " the texts that the small models read. It need not be right for a model with a third tokenizer: name that in"
        " settings/corpus.tokenizer.",
    ),
    Check("all_trained", False, "No training failed. Otherwise lower mixing.learning_rate."),
)

stage = Stage(
    name="mixture",
    code_version="2",
    compute=compute,
    description="The learned budget: a weight for each cluster, which settings/budget.base=mixture follows."
    " `mixture_weights` has the weights of the domains with intervals, `mixture_fit` how well losses of mixtures can be"
    " predicted, `mixture_prediction` and `mixture_predicted` what is predicted of these weights and of five simple"
    " rules, before any of them is trained for `mixture_check`. `mixture_summary` says in words what to make of it.",
    tables=TABLES,
    checks=CHECKS,
    picture=True,
    inputs=("corpus", "clusters", "mixture_domains", "mixture_runs"),
    reads={
        "mixing": (*field_names(Mixing, "fit"), "method", "seed"),
        "budget": ("total", "unit", "overflow", "max_repeats"),
    },
    group="mixing",
    unused=no_mixture,
    unused_by=("budget",),
)

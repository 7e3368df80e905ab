"""mixture_check: are models that are trained on the learned mixture better, and did the prediction hold?

The learned mixture is trained beside the five simple rules and, if it was measured, GRIP's own budget over the same
domains, each under the same seeds. Trainings are those of mixture_runs, so a mixture that was trained there is not
trained again. What was predicted of them is in the tables of the stage mixture, which was made before.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import polars as pl

from grip_assets.engine.declarations import Check, Column, Table
from grip_assets.engine.make import missing_under
from grip_assets.engine.stage import Stage, Work
from grip_assets.method.statistics import Estimate, mean, rank_agreement, verdict
from grip_assets.settings import Adaptation, Budget, Mixing
from grip_assets.stages.curation import source_weights
from grip_assets.stages.curation.budgets import budgets_under, measured_under
from grip_assets.stages.curation.headers import no_header
from grip_assets.stages.curation.needed import READ_TO_SELECT, no_mixture
from grip_assets.stages.evaluation.strategies import strategy
from grip_assets.stages.mixing import mixture_runs
from grip_assets.stages.mixing.mixture_runs import trained
from grip_assets.stages.mixing.objective import Objective, objective_of

NATURAL = "natural"
GRIP = "grip"  # the mixer that is GRIP's own budget, and the profile that has it
RANKED = 4  # mixers that a rank correlation needs


def compute(work: Work) -> dict[str, Any]:
    work.must_be_in_force()
    mixing = Mixing.of(work.settings)
    mixers = {name: rows["weight"].to_numpy() for (name,), rows in _in_order(work.frame("mixture_prediction"))}
    own, why_not = own_budget(work)
    if own is not None:
        mixers[GRIP] = own
    seeds = range(mixing.seed, mixing.seed + mixing.check_seeds)
    losses = trained(work, mixing, list(mixers.values()), list(seeds))
    names = pl.DataFrame(
        {"mixture": range(len(mixers)), "mixer": list(mixers)}, {"mixture": pl.Int32, "mixer": pl.String}
    )
    measured = losses.join(names, on="mixture", how="left", maintain_order="left")
    check = measured.select(stage.schema("mixture_check").names()).sort(
        pl.col("mixer").replace_strict(list(mixers), range(len(mixers))), "seed", "target"
    )
    domains = work.frame("mixture_domains").sort("domain")
    objective = objective_of(mixing.objective, domains, check["target"].unique(maintain_order=True).to_list())
    rows = verdicts(check, list(mixers), objective, _predicted(work.frame("mixture_predicted")))
    work.draft.write("mixture_check", check)
    work.draft.write("mixture_verdict", pl.DataFrame(rows, stage.schema("mixture_verdict")))
    order = order_held(rows)
    work.log(in_words(order))
    if why_not:
        work.log(why_not)
    return {
        **{f"to_natural_{row['mixer']}": row["mean"] for row in rows},
        **{f"verdict_{row['mixer']}": row["words"] for row in rows},
        **order.columns("order", "order_low", "order_high"),
        "prediction": in_words(order),
        **({"grip_left_out": why_not} if why_not else {}),
    }


def _in_order(prediction: pl.DataFrame) -> Any:
    return prediction.sort("domain", maintain_order=True).group_by("mixer", maintain_order=True)


def _predicted(table: pl.DataFrame) -> dict[str, float]:
    """Mixer to the difference to the natural shares that is predicted; empty if nothing is."""
    values = dict(table.drop_nulls("predicted").select("mixer", "predicted").iter_rows())
    return {mixer: value - values[NATURAL] for mixer, value in values.items()} if NATURAL in values else {}


def own_budget(work: Work) -> tuple[np.ndarray | None, str]:
    """The shares of the domains in the budget of the profile grip on the same clusters, float64 (D,).

    None and the reason if quality or drops were not measured on these clusters: a check of a mixture asks no judge.
    """
    settings = strategy(GRIP, work.settings).settings
    if missing := missing_under(settings, work):
        return None, (
            f"GRIP's own budget is left out: {missing[0]} was not made for these clusters. To compare with it, first"
            " run `grip curate --profile grip`, then curate again with these settings."
        )
    tables = measured_under(work, settings)
    budgets = budgets_under(tables, Budget.of(settings).effective(), Adaptation.of(settings).delta)
    placed = work.frame("mixture_documents").join(
        work.frame("clusters").select("doc_id", "cluster_id", "n_tokens"), on="doc_id", maintain_order="left"
    )
    in_domain = placed.group_by("domain", "cluster_id").agg(pl.sum("n_tokens"))
    of_cluster = pl.col("n_tokens") / pl.sum("n_tokens").over("cluster_id")
    shares = in_domain.with_columns(part=of_cluster).join(
        budgets.select("cluster_id", share=pl.col("allocated") / pl.col("allocated").sum()), on="cluster_id"
    )
    weights = shares.group_by("domain").agg(weight=(pl.col("part") * pl.col("share")).sum()).sort("domain")
    return weights["weight"].to_numpy(), ""


def verdicts(
    check: pl.DataFrame, mixers: list[str], objective: Objective, predicted: Mapping[str, float]
) -> list[dict[str, Any]]:
    """Rows of ``mixture_verdict``: the objective of each mixer less that of the natural shares, paired by seed."""
    seeds = check["seed"].unique().sort()
    runs = pl.DataFrame({"mixer": mixers}).join(seeds.to_frame(), how="cross", maintain_order="left_right")
    value_MS = objective.value(check, runs).reshape(len(mixers), len(seeds))
    natural_S = value_MS[mixers.index(NATURAL)]
    failed = dict(check.drop_nulls("failed").group_by("mixer").agg(pl.first("failed")).iter_rows())
    rows = []
    for mixer, value_S in zip(mixers, value_MS, strict=True):
        difference = mean(value_S - natural_S)
        said = "the natural shares, with which the others are compared"
        if mixer != NATURAL:
            said = _said(difference, natural_S, failed.get(mixer) or failed.get(NATURAL))
        rows.append(
            {
                "mixer": mixer,
                **difference.columns("mean"),
                "measured": mean(value_S).columns("value")["value"],
                "predicted": predicted.get(mixer),
                "words": said,
            }
        )
    return rows


def _said(difference: Estimate, natural_S: np.ndarray, failed: str | None) -> str:
    if not difference.known:
        return f"not measured: {failed or 'no training went well'}"
    words = verdict(difference, mean(natural_S).value, NATURAL)
    return f"{words} ({failed})" if failed else words


def order_held(rows: list[dict[str, Any]]) -> Estimate:
    """Spearman's correlation over the mixers of predicted and measured differences, with a bootstrap interval."""
    both = [(r["predicted"], r["mean"]) for r in rows if r["predicted"] is not None and r["mean"] is not None]
    if len(both) < RANKED:
        return Estimate(np.nan, np.nan, np.nan, len(both))
    predicted, measured = np.array(both).T
    return rank_agreement(predicted, measured)


def in_words(order: Estimate) -> str:
    """Whether the mixers came out in the order that was predicted."""
    if not order.known:
        return "Nothing was predicted of these mixers, so no order can hold." if not order.n else (
            "Too few mixers were predicted and measured to say whether the predicted order held."
        )  # fmt: skip
    held = "held" if order.low > 0 else "did not hold beyond chance"
    return f"The predicted order of the mixers {held}: rank correlation {order}."


MEASURED = ("mixture_prediction.weight", "corpus.text", "mixture_items.text")
TABLES = (
    Table(
        "mixture_check",
        (
            Column(
                "mixer",
                pl.String,
                "Rule that gives the weights: those of mixture_prediction, and grip (GRIP's own budget on these"
                " clusters, if it was measured).",
                ("mixture_prediction.mixer",),
            ),
            Column("seed", pl.Int64, "Seed of the training."),
            Column("target", pl.String, "Texts that are predicted.", ("mixture_items.target",)),
            Column("loss", pl.Float64, "Loss in bits per byte. Null if the training failed.", MEASURED),
            Column("failed", pl.String, "Why the training failed. Null if it went well.", MEASURED),
        ),
    ),
    Table(
        "mixture_verdict",
        (
            Column("mixer", pl.String, "Rule that gives the weights.", ("mixture_check.mixer",)),
            Column(
                "mean",
                pl.Float64,
                "Mean difference of the objective to the natural shares, paired by seed. Below 0 is better.",
                ("mixture_check.loss",),
            ),
            Column("low", pl.Float64, "Lower end of its 95% interval (Student's t).", ("mixture_check.loss",)),
            Column("high", pl.Float64, "Upper end of the interval.", ("mixture_check.loss",)),
            Column("measured", pl.Float64, "Mean of the objective, in bits per byte.", ("mixture_check.loss",)),
            Column(
                "predicted",
                pl.Float64,
                "The difference that was predicted. Null if nothing was.",
                ("mixture_predicted.predicted",),
            ),
            Column("words", pl.String, "The difference in words.", ("mixture_check.loss",)),
        ),
    ),
)
CHECKS = (
    Check("complete", True, "Every mixer has a loss, or a reason, for each seed and target; some losses are there."),
    Check("found_not_worse", False, "The learned mixture is not worse than the natural shares."),
)

stage = Stage(
    name="mixture_check",
    code_version="1",
    compute=compute,
    description="Are models that are trained on the learned mixture better? The learned weights, the natural shares,"
    " four other simple rules and GRIP's own budget are trained, each under settings/mixing.check_seeds seeds. The"
    " table has their losses. `mixture_verdict` has differences to the natural shares, paired by seed, beside what was"
    " predicted, with a verdict.",
    tables=TABLES,
    checks=CHECKS,
    picture=True,
    expensive=True,
    inputs=(
        *READ_TO_SELECT,
        "mixture_domains",
        "mixture_runs",
        "mixture",
    ),
    reads={
        "mixing": (*mixture_runs.TRAINING, "objective", "check_seeds"),
        "budget": None,
        "adaptation": ("delta",),
    },
    group="evaluation",
    unused=no_mixture,
    unused_by=("budget", "embedding"),
    left_out={"headers": no_header},
    facts=lambda settings, root: source_weights.facts(settings),
)

"""A learned mixture in words and figures: which domains moved, which matter, how sure that is.

The page, the terminal and the pictures ask here, so that they say the same. The labels of domains come from
store/learned_mixture.py. What the stages say about the weights themselves, as whether DoReMi settled, is in the table
`mixture_summary`.
"""

from collections.abc import Mapping, Sequence

import polars as pl

from grip_assets.stages.mixing.objective import objective_of
from grip_assets.store import cluster_names
from grip_assets.store.cluster_names import NONE, ClusterNames
from grip_assets.store.learned_mixture import Mixture

DOMAINS = {"clusters": "clusters", "families": "families of clusters", "column": "values of a column"}
MIXERS = {
    "found": "the learned weights",
    "natural": "natural shares",
    "uniform": "uniform",
    "tempered": "tempered",
    "unimax": "UniMax",
    "chameleon": "Chameleon",
    "grip": "GRIP's own budget",
}
REGRESSORS = {
    "loglinear": "log-linear law",
    "lightgbm": "LightGBM",
    "gp": "Gaussian process",
    "rank_mean": "mean rank of the three",
    "embedding": "regression on mean embeddings",
    "evidence": "regression on mixtures of earlier partitions",
}


def labels_of(rows: pl.DataFrame, names: ClusterNames = NONE) -> dict[int, str]:
    """The labels of domains where no manifest says what they are, as in a picture: clusters have a cluster_id."""
    kind = "clusters" if rows["cluster_id"].null_count() == 0 else "column"
    return cluster_names.of_domains(rows.to_dicts(), kind, names)


def up_and_down(mixture: Mixture, most: int) -> tuple[list[str], list[str]]:
    """The domains whose share rose most, and those whose share fell most, each as ``label (4.0% → 8.0%)``."""
    rows = mixture.moved().to_dicts()
    said = [
        (row["change"], f"{mixture.label(row['domain'])} ({share(row['natural_share'])} → {share(row['weight'])})")
        for row in rows
    ]
    return [text for change, text in said if change > 0][:most], [text for change, text in said if change < 0][:most]


def share(value: float) -> str:
    return f"{value:.1%}"


def how_sure(weights: pl.DataFrame) -> str:
    """For how many domains the interval of the weight excludes the natural share, as a sentence."""
    rows = weights.drop_nulls(["low", "high"])
    if rows.is_empty():
        return "The weights have no intervals."
    up = rows.filter(pl.col("low") > pl.col("natural_share")).height
    down = rows.filter(pl.col("high") < pl.col("natural_share")).height
    if not up + down:
        return "No weight differs for certain: every 95% interval holds the natural share of its domain."
    return (
        f"{up + down} of {rows.height} weights differ for certain from the natural share, which their 95% intervals"
        f" exclude: {up} {'is' if up == 1 else 'are'} higher and {down} lower."
    )


def predictability(fit: pl.DataFrame) -> pl.DataFrame:
    """One row for each regressor: medians and quartiles over the splits of the table ``mixture_fit``."""
    measures = ("spearman", "spearman_best", "regret")
    quartiles = [
        pl.col(name).quantile(q, "linear").alias(f"{name}_{said}")
        for name in measures
        for said, q in (("low", 0.25), ("median", 0.5), ("high", 0.75))
    ]
    by = fit.group_by("regressor", maintain_order=True)
    return by.agg(*quartiles, splits=pl.len(), n_train=pl.first("n_train"), spread=pl.median("spread"))


def objectives(losses: pl.DataFrame, objective: str, domains: pl.DataFrame, by: str) -> pl.DataFrame:
    """The objective of each ``by`` (mixture_id or mixer) and seed: columns ``by``, seed and value. No failed ones.

    ``domains``: the table ``mixture_domains``. ``objective``: settings/mixing.objective. GripError if it was not
    measured.
    """
    runs = losses.select(by, "seed").unique().sort(by, "seed")
    measured = losses["target"].drop_nulls().unique(maintain_order=True).to_list()
    value = objective_of(objective, domains, measured).value(losses, runs)
    return runs.with_columns(value=pl.Series(value)).filter(pl.col("value").is_finite())


def reasons(mixture: Mixture, steps: pl.DataFrame, gains: pl.DataFrame) -> dict[int, float]:
    """What the weight of each domain follows, in the units that ``reason`` says. Empty if it is not known.

    ``steps``: the table ``mixture_steps``. ``gains``: from ``upsampled``.
    """
    method = mixture.settings.get("method")
    if method == "doremi":
        rows = steps.group_by("domain").agg(value=pl.mean("excess_loss"))
    elif method == "perf":
        rows = gains
    elif "effect" in mixture.weights.columns:
        rows = mixture.weights.select("domain", value="effect")
    else:
        return {}
    return dict(rows.drop_nulls().sort("domain").select("domain", "value").iter_rows())


def matter(mixture: Mixture, value: Mapping[int, float], most: int) -> str:
    """The ``most`` domains on which the weights depend most, with figures, as a sentence; "" if that is not known.

    ``value``: from ``reasons``.
    """
    if not value:
        return ""
    method = mixture.settings.get("method")
    size = abs if method == "regmix" else lambda v: v
    top = sorted(value, key=lambda domain: (-size(value[domain]), domain))[:most]
    if method == "doremi":
        said = [f"{mixture.label(d)} ({value[d]:.3f} nats per token)" for d in top]
        return f"the loss was farthest above that of the reference on {_and(said)}."
    if method == "perf":
        said = [f"{mixture.label(d)} by {value[d]:.4f}" for d in top if value[d] > 0]
        if not said:
            return "no domain lowered the loss when it was read more often."
        return f"read more often, they lowered the loss most: {_and(said)} bits per byte."
    said = [f"{mixture.label(d)} by {signed(value[d])}" for d in top]
    return (
        "raising a share by one point, at the cost of all others, changes the predicted loss most for"
        f" {_and(said)} bits per byte. Less is better."
    )


def reason(mixture: Mixture, value: float) -> str:
    """Why a domain has its weight, as a clause. ``value``: of this domain, from ``reasons``."""
    method = mixture.settings.get("method")
    if method == "doremi":
        return f"its loss was {value:.3f} nats per token above that of the reference, as a mean over the steps"
    if method == "perf" and value <= 0:
        return "read more often, it did not lower the loss"
    if method == "perf":
        return f"read more often, it lowered the loss by {value:.4f} bits per byte"
    return f"one point more of it changes the predicted loss by {signed(value)} bits per byte"


def _and(said: Sequence[str]) -> str:
    return said[0] if len(said) == 1 else f"{', '.join(said[:-1])} and {said[-1]}"


def signed(value: float) -> str:
    return f"{value:+.4f}".replace("-", "−")


def upsampled(mixtures: pl.DataFrame, value: pl.DataFrame) -> pl.DataFrame:
    """How much better the objective is with each domain read more often: columns domain and value.

    ``value``: the objective of each mixture and seed. Positive: reading the domain more often lowers the objective.
    """
    natural = mixtures.filter(kind="natural")
    base = value.join(natural.select("mixture_id").unique(), on="mixture_id").select("seed", base="value")
    raised = mixtures.filter(kind="upsampled").join(natural.select("domain", before="weight"), on="domain")
    which = raised.sort(pl.col("weight") / pl.col("before"), descending=True).unique("mixture_id", keep="first")
    paired = value.join(which.select("mixture_id", "domain"), on="mixture_id").join(base, on="seed")
    return paired.group_by("domain").agg(value=(pl.col("base") - pl.col("value")).mean()).sort("domain")


def swarm(mixtures: pl.DataFrame, losses: pl.DataFrame, value: pl.DataFrame, domains: pl.DataFrame) -> pl.DataFrame:
    """One row for each trained mixture: mixture_id, kind, distance, value, failed, domain, weight.

    ``distance``: total variation to the natural shares. ``value``: mean objective over seeds; null if all failed.
    ``domain``: the one with the largest weight. ``failed``: a reason, if a training failed.
    """
    joined = mixtures.join(domains.select("domain", "natural_share"), on="domain")
    by = joined.sort("mixture_id", "weight", "domain", descending=[False, True, False])
    rows = by.group_by("mixture_id", maintain_order=True).agg(
        pl.first("kind", "domain", "weight"), distance=(pl.col("weight") - pl.col("natural_share")).abs().sum() / 2
    )
    failed = losses.drop_nulls("failed").group_by("mixture_id").agg(pl.first("failed"))
    means = value.group_by("mixture_id").agg(pl.mean("value"))
    return rows.join(means, on="mixture_id", how="left").join(failed, on="mixture_id", how="left").sort("mixture_id")

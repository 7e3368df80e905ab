"""A learned mixture in words: which domains moved and which matter, how sure that is, and whether DoReMi settled.

The page, the terminal and the pictures ask here, so that they say the same. The tables are made in stages/mixing/.

Shapes: D domains, T steps.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import duckdb
import numpy as np
import polars as pl

from grip_assets.store import cluster_names
from grip_assets.store.artifacts import ArtifactStore
from grip_assets.store.cluster_names import NONE, ClusterNames
from grip_assets.store.query import sql_text

METHODS = {"regmix": "RegMix", "doremi": "DoReMi", "perf": "performance heuristic"}
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
}
SAME = 0.005  # shares that differ by less count as equal
VANISHED = 0.1  # of the natural share
SETTLED = 0.02  # most of the weight that may still move, in total
ONE_HOT = 0.9


@dataclass(frozen=True)
class Mixture:
    """What mixing learned. ``weights``: the table ``mixture_weights``. ``labels``: of its domains.

    ``settings``: settings/mixing with which it was learned. ``version``: of the asset ``mixture``.
    """

    weights: pl.DataFrame
    labels: Mapping[int, str]
    settings: Mapping[str, Any] = field(default_factory=dict)
    version: str = ""

    @property
    def method(self) -> str:
        return METHODS.get(self.settings.get("method", ""), "The mixer")

    def label(self, domain: int) -> str:
        return self.labels.get(domain, f"domain {domain}")

    def moved(self) -> pl.DataFrame:
        """The weights with the column change, in points of a share; the largest change first, then the domain."""
        changed = self.weights.with_columns(change=pl.col("weight") - pl.col("natural_share"))
        return changed.sort(pl.col("change").abs(), "domain", descending=[True, False])


def in_force(connection: duckdb.DuckDBPyConnection, store: ArtifactStore, names: ClusterNames) -> Mixture | None:
    """The mixture in force; None if there is none, or if the settings in force do not need it."""
    versions = dict(connection.sql(sql_text("report/run")).pl().select("asset", "version").iter_rows())
    version = versions.get("mixture")
    if version is None or not store.has("mixture", version):
        return None
    manifest = store.manifest("mixture", version)
    if "unused" in manifest:
        return None
    weights = pl.read_parquet(store.parquet("mixture", version, "mixture_weights")).sort("domain")
    if weights.is_empty():
        return None
    domains = store.ancestors("mixture", version).get("mixture_domains", manifest)
    settings = manifest["settings"].get("mixing", {})
    kind = domains["settings"].get("mixing", settings).get("domains", "clusters")
    labels = cluster_names.of_domains(weights.to_dicts(), kind, names)
    return Mixture(weights, labels, settings | {"domains": kind}, version)


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


def vanished(mixture: Mixture) -> list[str]:
    """The labels of the domains that keep less than a tenth of their natural share."""
    rows = mixture.weights.filter(pl.col("weight") < VANISHED * pl.col("natural_share")).sort("domain")
    return [mixture.label(d) for d in rows["domain"]]


def one_hot(mixture: Mixture) -> str:
    """A sentence if nearly all of the weight is on one domain; otherwise ""."""
    weight_D = mixture.weights["weight"].to_numpy()
    if len(weight_D) < 2 or (weight_D.max() <= ONE_HOT and effective(weight_D) >= 2):
        return ""
    top = mixture.weights.row(int(weight_D.argmax()), named=True)
    return (
        f"Nearly all of the weight is on one domain: {mixture.label(top['domain'])} has {share(top['weight'])}. The"
        " checks of the asset mixture say what to try."
    )


def effective(weight_D: np.ndarray) -> float:
    """The number of equal domains with the same entropy."""
    p_D = weight_D[weight_D > 0] / weight_D.sum()
    return float(np.exp(-(p_D * np.log(p_D)).sum()))


def settled(steps: pl.DataFrame) -> str:
    """Whether the weights of DoReMi had settled at its end, as a sentence. ``steps``: the table ``mixture_steps``.

    The mean weights of the last quarter of the steps are compared with those of the quarter before.
    """
    moved = {seed: _still_moving(rows) for (seed,), rows in steps.group_by("seed", maintain_order=True)}
    if not moved:
        return ""
    most = max(moved.values())
    quarters = (
        f"The mean weights of the last quarter of the steps differ by {points(most)} in total from those of the"
        f" quarter before{f', in the worst of {len(moved)} seeds' if len(moved) > 1 else ''}."
    )
    if most <= SETTLED:
        return f"DoReMi had settled at its end. {quarters}"
    return f"DoReMi had not settled at its end. {quarters} With more steps (mixing.tokens) it may give other weights."


def _still_moving(steps: pl.DataFrame) -> float:
    """Total variation between the mean weights of the last two quarters of the steps of one seed."""
    step_T = steps["step"].to_numpy()
    quarter = max((step_T.max() - step_T.min() + 1) / 4, 1)
    at = (int(step_T.max()) - pl.col("step")) // float(quarter)
    means = (
        steps.with_columns(quarter=at)
        .filter(pl.col("quarter") < 2)
        .group_by("domain", "quarter")
        .agg(pl.mean("weight"))
    )
    by_quarter = {q: dict(rows.select("domain", "weight").iter_rows()) for (q,), rows in means.group_by("quarter")}
    if len(by_quarter) < 2:
        return 1.0
    one, other = by_quarter.values()
    return sum(abs(one.get(d, 0) - other.get(d, 0)) for d in one.keys() | other.keys()) / 2


def points(value: float) -> str:
    """A difference of shares: ``1.2 points``."""
    return f"{100 * value:.1f} points"


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


def objective_weights(targets: Sequence[str], objective: str, domains: pl.DataFrame) -> dict[str, float]:
    """The weight of each target in the objective; they sum to 1. Targets that do not count are left out.

    ``domains``: the table ``mixture_domains``. ``objective``: settings/mixing.objective.
    """
    if objective == "held_out":
        share_of = {f"domain:{name}": value for name, value in domains.select("name", "natural_share").iter_rows()}
        counted = {target: share_of[target] for target in targets if target in share_of}
    elif objective == "benchmarks":
        counted = {t: 1.0 for t in targets if t != "target" and not t.startswith("domain:")}
    else:
        counted = {t: 1.0 for t in targets if t == objective}
    total = sum(counted.values())
    return {target: value / total for target, value in counted.items()} if total else {}


def objectives(losses: pl.DataFrame, objective: str, domains: pl.DataFrame, by: str) -> pl.DataFrame:
    """The objective of each ``by`` (mixture_id or mixer) and seed: columns ``by``, seed and value. No failed ones."""
    weights = objective_weights(losses["target"].unique().sort().to_list(), objective, domains)
    counted = pl.DataFrame(
        {"target": list(weights), "counts": list(weights.values())}, {"target": pl.String, "counts": pl.Float64}
    )
    joined = losses.drop_nulls("loss").join(counted, on="target")
    whole = joined.group_by(by, "seed", maintain_order=True).agg(
        value=(pl.col("loss") * pl.col("counts")).sum(), there=pl.len()
    )
    return whole.filter(pl.col("there") == len(weights)).drop("there")


def matter(mixture: Mixture, most: int, steps: pl.DataFrame, gains: pl.DataFrame) -> str:
    """The ``most`` domains on which the objective depends most, with figures, as a sentence; "" if that is not known.

    ``steps``: the table ``mixture_steps``. ``gains``: from ``upsampled``.
    """
    method = mixture.settings.get("method")
    if method == "doremi" and len(steps):
        rows = (
            steps.group_by("domain").agg(value=pl.mean("excess_loss")).sort("value", "domain", descending=[True, False])
        )
        said = [f"{mixture.label(d)} ({value:.3f} nats per token)" for d, value in rows.head(most).iter_rows()]
        return f"the loss was farthest above that of the reference on {_and(said)}."
    if method == "perf" and len(gains):
        rows = gains.filter(pl.col("value") > 0).sort("value", "domain", descending=[True, False])
        if rows.is_empty():
            return "no domain lowered the loss when it was read more often."
        said = [f"{mixture.label(d)} by {value:.4f}" for d, value in rows.head(most).iter_rows()]
        return f"read more often, they lowered the loss most: {_and(said)} bits per byte."
    if "effect" not in mixture.weights.columns or not mixture.weights["effect"].count():
        return ""
    rows = (
        mixture.weights.select("domain", "effect")
        .drop_nulls()
        .sort(pl.col("effect").abs(), "domain", descending=[True, False])
    )
    said = [f"{mixture.label(d)} by {_change(value)}" for d, value in rows.head(most).iter_rows()]
    return (
        "one hundredth more of the mixture, taken from all other domains, changes the predicted loss most for"
        f" {_and(said)} bits per byte. Less is better."
    )


def _and(said: Sequence[str]) -> str:
    return said[0] if len(said) == 1 else f"{', '.join(said[:-1])} and {said[-1]}"


def _change(value: float) -> str:
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

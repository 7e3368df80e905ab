"""Settings of a budget that is learned from small models."""

from typing import Literal

from pydantic import field_validator

from grip_assets.settings.fields import knob
from grip_assets.settings.group import Group
from grip_assets.settings.small_model import Precision, Trainer, of_the_model, of_the_training

REGMIX = {"method": "regmix"}
DOREMI = {"method": "doremi"}
PERF = {"method": "perf"}
OBJECTIVES = ("held_out", "benchmarks", "target")  # or domain:NAME


class Mixing(Group):
    """A budget that is learned: small models are trained on mixtures of domains, and their losses decide the weights.

    It is used with settings/budget.base=mixture. A domain is a cluster, a family of clusters, or a value of a column.
    """

    name = "mixing"

    method: Literal["regmix", "doremi", "perf"] = knob(
        "regmix",
        "How the weights are learned. regmix: by a regression of the loss on the weights of many mixtures. doremi: a"
        " model whose weights follow its excess loss over a reference. perf: domains whose upsampling lowers the loss"
        " get more; ours, since the paper says too little.",
        part="runs",
    )
    domains: Literal["clusters", "families", "column"] = knob(
        "clusters",
        "What is mixed. clusters: the clusters in force. families: groups of similar clusters, about √K."
        " column: each value of a column of the pool.",
        part="domains",
    )
    column: str = knob(
        "language",
        "Column of the domains: language, source, pool, or a column that corpus.keep names. Rare values become one"
        " domain, (other). Documents without a value become the domain (missing).",
        given=True,
        when={"domains": "column"},
        part="domains",
    )
    held_out: int = knob(
        16,
        "Documents of each domain that no training reads, and that the models predict. At most a tenth of the domain's"
        " documents, and of its tokens.",
        part="domains",
        ge=1,
    )
    passage: int = knob(1000, "Most bytes of each of these on which the loss is measured.", part="domains", ge=100)
    target_set: str | None = knob(
        None,
        "Your target set (folder, JSONL, Parquet), on which the loss is measured too. Documents that are in the pool"
        " are not used. null: none.",
        given=True,
        part="domains",
    )
    objective: str = knob(
        "held_out",
        "Loss that the weights should lower. held_out: the mean over domains, by their shares of the pool. benchmarks:"
        " the solutions of corpus.benchmarks. target: your target_set. domain:NAME: one domain.",
        part="fit",
    )
    mixtures: int = knob(
        64, "Number of mixtures. More of them later train only the new ones.", "n", when=REGMIX, part="runs", ge=8
    )
    prior: float = knob(
        0.5,
        "Exponent of the natural shares in the mean of the mixtures. 1: the natural shares. 0: all domains alike.",
        when=REGMIX,
        part="runs",
        ge=0,
        le=1,
    )
    strengths: list[float] = knob(
        [0.1, 5.0],
        "Least and largest concentration of the Dirichlet from which mixtures are drawn. A small one gives mixtures of"
        " few domains.",
        when=REGMIX,
        part="runs",
    )
    max_ratio: float = knob(
        15.0,
        "Largest weight of a domain in a mixture, as a multiple of its natural share.",
        when=REGMIX,
        part="runs",
        gt=1,
    )
    min_weight: float = knob(
        2e-4,
        "Smaller weights in a mixture are 0, and weights are its multiples.",
        when=REGMIX,
        part="runs",
        gt=0,
        le=0.01,
    )
    regressor: Literal["auto", "loglinear", "lightgbm", "gp", "rank_mean", "embedding"] = knob(
        "auto",
        "Regression that ranks mixtures. rank_mean: the mean rank by the first three. embedding: by the mean embedding"
        " of what a mixture reads, whatever its domains. auto: loglinear below 128 mixtures, otherwise rank_mean. The"
        " weights themselves always come from loglinear.",
        when=REGMIX,
        part="fit",
    )
    evidence: list[str] = knob(
        [],
        "Versions of earlier mixture_runs, whose mixtures the regression learns from too. They may be of another"
        " partition. The table mixture_fit says how well they alone predict the mixtures of now.",
        given=True,
        when={"method": "regmix", "regressor": "embedding"},
        added=True,
        part="fit",
    )
    kl_to_natural: float | None = knob(
        0.1,
        "Largest Kullback-Leibler distance of the weights to the natural shares, in nats. null: no limit.",
        when=REGMIX,
        part="fit",
        gt=0,
    )
    bootstrap: int = knob(
        200,
        "Resamples of the mixtures for the intervals of the weights. 0: no intervals.",
        when=REGMIX,
        part="fit",
        ge=0,
    )
    eta: float = knob(1.0, "Step size of the weights.", "η", when=DOREMI, part="runs", gt=0)
    smoothing: float = knob(
        1e-3, "Share of the uniform weights in each step.", "c", when=DOREMI, part="runs", gt=0, lt=1
    )
    reference: Literal["natural", "tempered", "uniform"] = knob(
        "natural",
        "Weights on which the reference model is trained. tempered: by the square root of the natural shares.",
        when=DOREMI,
        part="runs",
    )
    factor: float = knob(2.0, "How much each domain in turn is upsampled.", when=PERF, part="runs", gt=1)
    rho: float = knob(1.0, "How much the ranked gains count in the weights.", "ρ", when=PERF, part="fit", ge=0)
    max_epochs: float | None = knob(
        None,
        "Most readings of a domain in the subset, which bound its weight. null: budget.max_repeats with"
        " budget.overflow=repeat, otherwise 1.",
        part="fit",
        gt=0,
    )
    repetition: Literal["matched", "free"] = knob(
        "matched",
        "How often a training repeats a domain. matched: as often as the subset would, so it sees of each domain only"
        " the share that a training has of the budget. free: it may see the whole domain.",
        part="runs",
    )
    seeds: int = knob(1, "Trainings of each mixture.", part="runs", ge=1, le=20)
    check_seeds: int = knob(3, "Trainings of each mixture in mixture_check.", part="check", ge=2, le=20)
    seed: int = knob(0, "Seed of held-out documents and mixtures, and of the first training.", part="runs", ge=0)
    tokens: int = of_the_training("tokens", 300_000, description="Tokens of each training.", symbol="T")
    vocabulary: int = of_the_model("vocabulary", 1024)
    hidden: int = of_the_model("hidden", 128)
    layers: int = of_the_model("layers", 2)
    heads: int = of_the_model("heads", 2)
    context: int = of_the_model("context", 64)
    batch_tokens: int = of_the_training("batch_tokens", 256)
    learning_rate: float = of_the_training("learning_rate", 1.5e-3)
    dtype: Precision = of_the_training("dtype", "bfloat16")
    device: Trainer = of_the_training("device", "cpu")

    @field_validator("objective")
    @classmethod
    def one_loss(cls, value: str) -> str:
        value = value.strip()
        of_a_domain = value.startswith("domain:") and value != "domain:"
        if value not in OBJECTIVES and not of_a_domain:
            raise ValueError(f"must be {', '.join(OBJECTIVES)}, or domain:NAME with the name of a domain")
        return value

    @field_validator("strengths")
    @classmethod
    def two_above_zero(cls, value: list[float]) -> list[float]:
        if not (len(value) == 2 and 0 < value[0] <= value[1]):
            raise ValueError("must be two numbers above 0, the first not above the second")
        return value

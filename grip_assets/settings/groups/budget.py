"""Settings of the budget, and of its shares."""

from typing import Any, Literal

from pydantic import field_validator

from grip_assets.settings.fields import knob, size
from grip_assets.settings.group import Group

NEYMAN = {"base": "neyman"}
UNIMAX = {"base": "unimax"}
CHAMELEON = {"base": "chameleon"}
REPLAYED = {"replay": ["quality", "loss"]}


class Budget(Group):
    """How large the subset is, and how it is shared out among the clusters [paper eq. 5, 7, 8]."""

    name = "budget"

    total: float = knob(
        0.25,
        "Size of the subset. Up to 1.0: a share of the pool (10%; 1.0 is the whole pool). Otherwise a count (200000,"
        " 500M, 2B).",
        "B_total",
        gt=0,
        given=True,
    )
    unit: Literal["tokens", "documents"] = knob(
        "tokens", "Unit of the budget and of N_k, the size of a cluster.", given=True
    )
    base: Literal[
        "neyman", "proportional", "given", "mixture", "uniform", "tempered", "unimax", "chameleon", "grasp"
    ] = knob(
        "neyman",
        "How the budget is shared out before replay. neyman: by size, spread and quality. proportional: by size alone."
        " given: by your weights. mixture: by the weights that settings/mixing learns. uniform: to all clusters alike."
        " tempered: by a power of size. unimax: uniform, up to max_epochs. chameleon: more of the clusters that are"
        " like the others. grasp: so that the clusters together fit the targets of settings/attribution best.",
        added=True,
    )
    weights: str | None = knob(
        None,
        "File with a weight for each cluster (JSON, YAML or CSV). It names a cluster by its id or by its value in"
        " clustering.column.",
        given=True,
        when={"base": "given"},
        added=True,
    )
    exponent: float = knob(
        0.5,
        "Exponent of a cluster's size. 0: all clusters alike. 1: in proportion to size.",
        when={"base": "tempered"},
        added=True,
        ge=0,
        le=1,
    )
    max_epochs: float = knob(
        4.0, "Most readings of a cluster. Its share is lower than uniform if necessary.", when=UNIMAX, added=True, gt=0
    )
    ridge: float = knob(
        0.1,
        "Strength of the ridge in the leverage scores. A large one counts only how far a cluster is from the mean.",
        "λ",
        when=CHAMELEON,
        added=True,
        gt=0,
    )
    leverage_temperature: float = knob(
        1.0,
        "Temperature of the inverse leverage scores. A large one gives equal shares.",
        when=CHAMELEON,
        added=True,
        gt=0,
    )
    tau: float = knob(0.5, "Exponent of a cluster's size and spread, N_k σ_k.", "τ", when=NEYMAN, ge=0, le=4)
    temperature: float = knob(1.0, "Temperature of the quality term.", "T", when={"use_quality": True}, gt=0)
    use_sigma: bool = knob(True, "Whether the base budget has the spread σ_k.", "σ_k", when=NEYMAN)
    use_quality: bool = knob(True, "Whether the base budget has the quality term.", "exp(Q_k/T)", when=NEYMAN)
    quality_scale: Literal["unit", "raw", "zscore"] = knob(
        "unit", "Scale of Q_k in the quality term.", "Q_k", when={"use_quality": True}
    )
    replay: Literal["none", "quality", "loss"] = knob(
        "none",
        "What raises the budget of a cluster above the gate. none: nothing. quality: a high quality. loss: a drop of"
        " the adaptation probe, as in the paper; see direction.",
        "r_k",
    )
    alpha: float = knob(2.0, "The largest factor on a budget is 1 + α.", "α", when=REPLAYED, ge=0)
    gate: float = knob(
        0.4,
        "Quality, from 0 to 1, that a cluster needs before its budget is raised.",
        "τ_th",
        when={**REPLAYED, "gate_quantile": None},
        ge=0,
        le=1,
    )
    quality_bound: float = knob(
        0.0,
        "Number of standard errors by which Q_k is lowered, so that the budget uses a lower confidence bound.",
        "z",
        when=[{"use_quality": True}, REPLAYED],
        ge=0,
    )
    gate_quantile: float | None = knob(
        None, "Put the gate at this quantile of Q_k. null: at the value of gate.", when=REPLAYED, ge=0, le=1
    )
    direction: Literal["deficit", "learnable"] = knob(
        "deficit",
        "Which clusters are raised. deficit: those with small drops. learnable: those with large drops.",
        when={"replay": "loss"},
    )
    norm_weights: Literal["uniform", "size"] = knob(
        "uniform",
        "Weights of the clusters in the mean with which a cluster's drop is compared.",
        "τ_norm",
        when=REPLAYED,
    )
    overflow: Literal["waterfill", "repeat", "error"] = knob(
        "waterfill",
        "What happens to a budget above its cap. waterfill: the rest goes to other clusters. repeat: documents are"
        " repeated, up to max_repeats times. error: the run stops.",
    )
    max_repeats: int = knob(1, "Most copies of a document in the subset.", when={"overflow": "repeat"}, ge=1)

    @property
    def reads_quality(self) -> bool:
        """Whether Q_k makes a difference: in the base budget, or as the gate of replay."""
        return self.replay != "none" or (self.applies("use_quality") and self.use_quality)

    @property
    def reads_drops(self) -> bool:
        """Whether the drops of the adaptation probe make a difference."""
        return self.replay == "loss"

    @property
    def pure(self) -> str:
        """The reason, in words, why quality is not measured. It is true only if ``reads_quality`` is false."""
        quality = f"{self.name}.use_quality is false and " if self.base == "neyman" else ""
        return f"settings/{self.name}.base is {self.base}, {quality}{self.name}.replay is none"

    @field_validator("total", mode="before")
    @classmethod
    def a_share_or_a_count(cls, value: Any) -> Any:
        value = size(value, float, False) if isinstance(value, str) else value
        if isinstance(value, int) and not isinstance(value, bool) and value == 1:
            raise ValueError("1 would be a budget of a single token or document; write 100% or 1.0 for the whole pool")
        if isinstance(value, float) and 1 < value < 2:
            raise ValueError("it is neither a share (at most 1.0, or 100%) nor a count")
        return value

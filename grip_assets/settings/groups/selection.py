"""Settings of the selection of documents."""

from typing import Any, Literal

from pydantic import field_validator

from grip_assets.settings.fields import Not, knob
from grip_assets.settings.group import Group

WEIGHTED = {"weight": ["length", "density"]}
BY_DENSITY = {"weight": "density"}
GREEDY = {"rule": "greedy"}


class Selection(Group):
    """How documents are selected: by default those of a cluster that are unusual and long [paper eq. 9, 10]."""

    name = "selection"

    rule: Literal[
        "draw",
        "random",
        "by_cluster",
        "by_language",
        "top_quality",
        "semdedup",
        "d4",
        "dsir",
        "longest",
        "shortest",
        "greedy",
    ] = knob(
        "draw",
        "How documents are selected. draw: by weights, to the budget of each cluster. by_cluster, by_language: the same"
        " amount of each. greedy: those that help most with the targets of settings/attribution, given what is already"
        " selected. The others: to the whole budget.",
        added=True,
    )
    weight: Literal["uniform", "length", "density"] = knob(
        "density",
        "Weights of the draw. uniform: all the same. length: the length term. density: length and density terms.",
        when={"rule": "draw"},
    )
    beta: float = knob(0.3, "Exponent of a document's length in its weight.", "β", when=WEIGHTED, ge=0, le=3)
    neighbours: int = knob(
        10, "Number of nearest neighbours from which density is measured.", "k", when=BY_DENSITY, ge=1
    )
    bandwidth: str = knob(
        "median",
        "Bandwidth of the density: a number, or median (of the neighbour distances in the cluster).",
        "h",
        when=BY_DENSITY,
    )
    bandwidth_scale: float = knob(1.0, "Factor on the bandwidth.", when=BY_DENSITY, gt=0)
    split: int = knob(
        200_000, "Clusters with more documents are split before neighbours are searched.", when=BY_DENSITY, ge=1000
    )
    rho_floor: float = knob(0.01, "Lowest density, as a share of k. The paper has 0.", "ρ", when=BY_DENSITY, ge=0, lt=1)
    clip_quantile: float = knob(
        0.995, "Weights above this quantile are lowered to it. The paper has 1.", when=WEIGHTED, gt=0, le=1
    )
    max_tokens: int | None = knob(None, "Documents with more tokens are never selected. null: no limit.", gt=0)
    max_share: float | None = knob(
        None,
        "Documents with more than this share of the budget's tokens are never selected, so that no single one is a"
        " large part of the subset. null: no limit.",
        added=True,
        gt=0,
        le=1,
    )
    seed: int = knob(0, "Seed of the draw.", when={"rule": Not(["semdedup", "d4", "greedy"])}, ge=0)
    scope: Literal["pool", "clusters"] = knob(
        "pool",
        "Budget that greedy fills. pool: one budget, that of all clusters together. clusters: the budget of each"
        " cluster.",
        when=GREEDY,
        added=True,
    )
    rounds: int = knob(
        32,
        "Rounds of greedy. In each, the best documents are taken together, and then what they cover is counted. More"
        " rounds see more of what documents have in common, and take longer.",
        "R",
        when=GREEDY,
        added=True,
        ge=1,
        le=10_000,
    )

    @field_validator("bandwidth", mode="before")
    @classmethod
    def median_or_a_positive_number(cls, value: Any) -> str:
        if value == "median":
            return "median"
        try:
            positive = float(value) > 0
        except (TypeError, ValueError):
            positive = False
        if not positive:
            raise ValueError("must be 'median' or a number above 0")
        return str(float(value))

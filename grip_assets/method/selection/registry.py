"""The selections, by their names in settings/selection.rule. base.py says how to add one."""

from grip_assets.method.selection import baselines, greedy, weighted
from grip_assets.method.selection.base import CLUSTERS, STRATA, Rule

SELECTIONS: dict[str, Rule] = {
    "draw": Rule(weighted.select, CLUSTERS, ("density",), clustered=True),
    "random": Rule(baselines.random),
    "by_cluster": Rule(baselines.by_cluster, CLUSTERS, clustered=True),
    "by_language": Rule(baselines.by_language, STRATA, ("language",)),
    "top_quality": Rule(baselines.top_quality, features=("quality",)),
    "semdedup": Rule(baselines.semdedup, features=("likeness",), clustered=True),
    "d4": Rule(baselines.d4, features=("likeness", "prototypicality"), clustered=True),
    "dsir": Rule(baselines.dsir, features=("target",)),
    "longest": Rule(baselines.longest),
    "shortest": Rule(baselines.shortest),
    "greedy": Rule(greedy.select, features=("attributed",), clustered=True),
}

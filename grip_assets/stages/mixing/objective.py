"""The loss that a mixture should lower: settings/mixing.objective, as a weighted mean over the measured targets.

mixture.py fits it and mixture_check.py compares it. The losses of all targets are measured in any case.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from grip_assets.errors import GripError
from grip_assets.settings.fields import nearest

DOMAIN = "domain:"
TARGET = "target"


@dataclass(frozen=True)
class Objective:
    """The mean of the losses of ``targets``, weighted by ``share_T`` (their sum is 1)."""

    name: str
    targets: tuple[str, ...]
    share_T: np.ndarray

    def matrix(self, losses: pl.DataFrame, runs: pl.DataFrame) -> np.ndarray:
        """The loss of each of the ``runs`` on each target, float64 (n, T); NaN if it was not measured.

        ``losses``: one row per run and target, with a column ``loss``. ``runs``: the columns that name a run.
        """
        keys = runs.columns
        wanted = losses.filter(pl.col("target").is_in(self.targets)).select(*keys, "target", "loss")
        every = runs.join(pl.DataFrame({"target": self.targets}), how="cross", maintain_order="left_right")
        found = every.join(wanted, on=[*keys, "target"], how="left", maintain_order="left")["loss"]
        return found.cast(pl.Float64).fill_null(np.nan).to_numpy().reshape(len(runs), len(self.targets))

    def value(self, losses: pl.DataFrame, runs: pl.DataFrame) -> np.ndarray:
        """The objective of each of the ``runs``, float64 (n,); NaN if one of its targets was not measured."""
        return self.matrix(losses, runs) @ self.share_T


def objective_of(name: str, domains: pl.DataFrame, measured: Sequence[str]) -> Objective:
    """The objective ``name`` of settings/mixing.

    ``domains``: the table ``mixture_domains``. ``measured``: the targets that have losses. GripError if the objective
    needs a target that was not measured; it lists those that were.
    """
    known = set(measured)
    shares = dict(domains.select(pl.format(DOMAIN + "{}", "name"), "natural_share").iter_rows())
    if name == "held_out":
        chosen = {target: share for target, share in shares.items() if target in known}
    elif name == "benchmarks":
        chosen = {target: 1.0 for target in measured if target not in shares and target != TARGET}
    else:
        chosen = {name: 1.0} if name in known else {}
    if not chosen or not sum(chosen.values()) > 0:
        raise GripError(_missing(name, sorted(known)))
    share_T = np.array(list(chosen.values()))
    return Objective(name, tuple(chosen), share_T / share_T.sum())


def _missing(name: str, measured: list[str]) -> str:
    why = {
        "held_out": "no domain has a held-out document. Raise settings/mixing.held_out.",
        "benchmarks": "no loss on a benchmark was measured. Name one in settings/corpus.benchmarks.",
        TARGET: "no loss on a target set was measured. Name yours in settings/mixing.target_set.",
    }.get(name)
    if why is None:
        why = f"there is no such domain. {nearest(name, dict.fromkeys(measured))}"
    listed = ", ".join(measured) or "none"
    return f"settings/mixing.objective is {name}, and {why} Losses were measured on: {listed}."

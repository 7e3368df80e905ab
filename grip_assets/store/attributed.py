"""The attribution in force for people: which score of subsets was chosen, and how well it and others predict training.

The report, the terminal and exports read it here. The words about it are in report/attribution.py. It is computed in
stages/attribution/.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import duckdb
import polars as pl

from grip_assets.store.artifacts import ArtifactStore

MEAN = "mean of targets"
"""Value of the column ``target`` of ``attribution_fidelity`` where it is the mean over targets."""
BASELINES = {
    "random": "random order",
    "length": "length",
    "graddot": "GradDot",
    "cosine": "cosine of gradients",
    "trak": "TRAK-like",
    "influence": "influence",
    "kernelsm": "KernelSM",
    "embedding": "embedding similarity",
    "unigram_ce": "unigram cross-entropy",
    "unigram_chi2": "unigram χ²",
    "dsir": "DSIR's n-grams",
}


@dataclass(frozen=True)
class Attributed:
    """What the stage ``attribution`` found.

    ``choice``, ``fidelity``: the tables ``attribution_choice`` and ``attribution_fidelity``. ``settings``:
    settings/attribution with which it was made, as far as its stages read them. ``version``: of the asset.
    """

    choice: pl.DataFrame
    fidelity: pl.DataFrame
    settings: Mapping[str, Any] = field(default_factory=dict)
    version: str = ""

    @property
    def chosen(self) -> dict[str, Any]:
        """The row of the chosen configuration."""
        return next(self.choice.filter("chosen").iter_rows(named=True))

    @property
    def measured(self) -> bool:
        """Whether fidelity was measured."""
        return not self.fidelity.is_empty()

    @property
    def targets(self) -> list[str]:
        """Those on which fidelity was measured."""
        return [name for name in self.fidelity["target"].unique(maintain_order=True) if name != MEAN]

    def label(self, score: str) -> str:
        """A configuration or a baseline in words."""
        rows = self.choice.filter(configuration=score)
        return configuration(rows.row(0, named=True)) if len(rows) else BASELINES.get(score, score.replace("_", " "))


def configuration(row: Mapping[str, Any]) -> str:
    """A row of ``attribution_choice`` in words, as in ``unigram, unit norm, γ 0.3``."""
    if row["source"] == "cross_entropy":
        return "cross-entropy" + ("" if row["gamma"] else ", additive")
    norm = [] if row["normalize"] in (None, "none") else [f"{row['normalize']} norm"]
    return ", ".join([str(row["source"]), *norm, f"γ {row['gamma']:g}" if row["gamma"] else "additive"])


def in_force(connection: duckdb.DuckDBPyConnection, store: ArtifactStore) -> Attributed | None:
    """The attribution in force. None if there is none, or if the settings in force do not need it."""
    version = version_in_force(connection)
    return of_version(store, version) if version else None


def version_in_force(connection: duckdb.DuckDBPyConnection) -> str | None:
    """The version of the asset ``attribution`` in force, used or not; None if there is none."""
    found = connection.execute("SELECT version FROM artifacts WHERE in_force AND asset = 'attribution'").fetchall()
    return found[0][0] if found else None


def of_version(store: ArtifactStore, version: str) -> Attributed | None:
    """A version of the asset ``attribution``; None if its folder was removed, or if it was not used."""
    if not store.has("attribution", version) or "unused" in (manifest := store.manifest("attribution", version)):
        return None
    settings: dict[str, Any] = {}
    for made_from in [*store.ancestors("attribution", version).values(), manifest]:
        settings |= made_from["settings"].get("attribution", {})
    choice, fidelity = (
        pl.read_parquet(store.parquet("attribution", version, f"attribution_{name}")) for name in ("choice", "fidelity")
    )
    return Attributed(choice, fidelity, settings, version) if choice["chosen"].any() else None

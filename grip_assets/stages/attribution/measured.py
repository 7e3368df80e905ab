"""What the trials measured, in arrays: which documents each subset has, and its utility on every target.

The tables are those of counterfactuals.py. Shapes: N documents, S subsets, T targets.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from grip_assets.errors import GripError

CALIBRATION, CHECK = "calibration", "check"


@dataclass(frozen=True)
class Trials:
    """Subsets in the order of their ids.

    ``members``: rows of the table ``clusters`` of each subset's documents; a row that is listed twice counts twice.
    ``utility_TS``: mean over the seeds of settings/attribution, NaN where no training went well. ``first_TS`` and
    ``again_TS``: under the first seed and under the last; NaN without a second one. ``tokens_N``: what the retrained
    model reads of each document, by which a subset's documents are weighed; 0 for one that is in no subset.
    """

    ids: list[str]
    members: list[np.ndarray]
    role_S: np.ndarray
    kind_S: np.ndarray
    size_S: np.ndarray
    block_S: np.ndarray
    utility_TS: np.ndarray
    first_TS: np.ndarray
    again_TS: np.ndarray
    tokens_N: np.ndarray

    def only(self, role: str) -> "Trials":
        """The subsets of one role that have a utility on some target."""
        kept = np.flatnonzero((self.role_S == role) & np.isfinite(self.utility_TS).any(axis=0))
        return Trials(
            [self.ids[s] for s in kept],
            [self.members[s] for s in kept],
            self.role_S[kept],
            self.kind_S[kept],
            self.size_S[kept],
            self.block_S[kept],
            self.utility_TS[:, kept],
            self.first_TS[:, kept],
            self.again_TS[:, kept],
            self.tokens_N,
        )


def trials_of(
    subsets: pl.DataFrame, utilities: pl.DataFrame, documents: pl.Series, targets: Sequence[str], seeds: int
) -> Trials:
    """``subsets``, ``utilities``: the tables trial_subsets and utilities. ``documents``: ids in the order of the table
    ``clusters``. ``seeds``: seeds whose mean is the utility; a further one only shows the noise.

    GripError if a subset has a document that is not in the pool.
    """
    row_of = documents.to_frame("doc_id").with_row_index("row")
    placed = subsets.cast({"subset_id": pl.String}).join(row_of, on="doc_id", how="left", maintain_order="left")
    if placed["row"].null_count():
        raise GripError("A trial has a document that is not in the pool. Materialize counterfactuals again.")
    placed = placed.sort("subset_id", "row")
    tokens_N = np.zeros(len(documents))
    tokens_N[placed["row"].to_numpy()] = placed["n_tokens"].to_numpy()
    every = placed[np.repeat(np.arange(len(placed)), placed["repeats"].to_numpy())]
    by_id = every.group_by("subset_id", maintain_order=True)
    rows = by_id.agg("row", pl.first("role", "kind", "size", "block"))
    ids = rows["subset_id"].to_list()
    mean_TS, first_TS, again_TS = _by_seed(utilities.cast({"subset_id": pl.String}), ids, targets, seeds)
    return Trials(
        ids,
        [np.array(found, np.int64) for found in rows["row"]],
        rows["role"].to_numpy(),
        rows["kind"].to_numpy(),
        rows["size"].to_numpy(),
        rows["block"].to_numpy(),
        mean_TS,
        first_TS,
        again_TS,
        tokens_N,
    )


def _by_seed(
    utilities: pl.DataFrame, ids: Sequence[str], targets: Sequence[str], seeds: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(mean over the first ``seeds`` seeds, the first seed, the last of several), each float64 (T, S)."""
    went_well = utilities.filter(pl.col("utility").is_finite()).sort("target", "subset_id", "seed")
    values = went_well.group_by("target", "subset_id", maintain_order=True).agg("utility")
    mean_TS, first_TS, again_TS = (np.full((len(targets), len(ids)), np.nan) for _ in range(3))
    place_T = {target: t for t, target in enumerate(targets)}
    place_S = {subset: s for s, subset in enumerate(ids)}
    for target, subset, found in values.iter_rows():
        if target in place_T and subset in place_S:
            at = place_T[target], place_S[subset]
            mean_TS[at], first_TS[at] = float(np.mean(found[:seeds])), found[0]
            again_TS[at] = found[-1] if len(found) > 1 else np.nan
    return mean_TS, first_TS, again_TS

"""The interface of a source of features, and how features that are too wide are shortened.

A source says what the features of a document are. It returns the features of all documents, block by block in the
order of the table ``clusters``, and those of the targets, made alike. Shapes: N documents, B of a block, T targets, W =
``width`` numbers of a feature, K = settings/attribution.dim.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import polars as pl

from grip_assets.engine.stage import Work
from grip_assets.method.attribution.sketching import Sketch, sketch_of, target_basis
from grip_assets.settings import Attribution

STAGE = "sketches"
VERSION = "1"  # of the stored features; raise it when one of them changes for the same inputs


@dataclass(frozen=True)
class Asked:
    """What a source is asked for.

    ``documents``: doc_id, cluster_id and n_tokens, in the order of ``clusters``. ``items``: item_id, target, prompt and
    text of the items that shape targets, in the order of the table.
    """

    work: Work
    settings: Attribution
    source: str
    documents: pl.DataFrame
    items: pl.DataFrame

    @property
    def targets(self) -> list[str]:
        return self.items["target"].unique(maintain_order=True).to_list()


class Rows(NamedTuple):
    """Features of some documents: float32 (B, K), padded with zeros; their tokens; the norm of each before it was
    shortened."""

    feature_BK: np.ndarray
    n_tokens_B: np.ndarray
    norm_B: np.ndarray


@dataclass(frozen=True)
class Target:
    """``feature_K``: float32. ``n_items``: items that shape it."""

    feature_K: np.ndarray
    n_items: int


@dataclass(frozen=True)
class Measured:
    """What a source found.

    ``sketch``: how features were shortened; exact if they were not. ``seconds``: processor time that the features took,
    whenever they were computed. ``flops``: operations that they take, estimated. ``n_bytes``: of the features as they
    are kept, beside the table. ``new``: documents whose features were computed now. ``prior``: of cross_entropy, the
    tokens with which counts are smoothed, as a share of those of the pool.
    """

    width: int
    sketch: str
    read: Callable[[int, int], Rows]
    targets: dict[str, Target]
    seconds: float
    flops: float
    n_bytes: int
    new: int
    prior: float | None = None


Source = Callable[[Asked], Measured]


def shortening(settings: Attribution, width: int, target_TW: np.ndarray, name: str) -> tuple[Sketch, str]:
    """The map of features of this width to ``dim`` numbers, and its name. ``target_TW``: features of targets or of
    their items, for svd."""
    kind = settings.sketch
    if width <= settings.dim:
        return sketch_of(kind, width, settings.dim), "exact"
    if kind == "svd":
        return target_basis(target_TW, settings.dim), kind
    return sketch_of(kind, width, settings.dim, settings.seed, name), kind


def padded(feature_BW: np.ndarray, dim: int) -> np.ndarray:
    """float32 (B, dim), with zeros at the end."""
    feature_BW = np.asarray(feature_BW, np.float32)
    return np.pad(feature_BW, ((0, 0), (0, dim - feature_BW.shape[1])))


def norms(feature_BW: np.ndarray) -> np.ndarray:
    """float64 (B,)."""
    return np.sqrt(np.einsum("bw,bw->b", feature_BW, feature_BW, dtype=np.float64))


def mean_of(feature_IW: np.ndarray, weight_I: np.ndarray) -> np.ndarray:
    """The weighted mean of features, float32 (W,), summed in float64."""
    weight_I = np.asarray(weight_I, np.float64)
    return (weight_I @ feature_IW.astype(np.float64) / max(weight_I.sum(), 1)).astype(np.float32)

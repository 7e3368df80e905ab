"""Documents that are in the subset whatever the selection takes: the fixed background of the paper.

A selection sees the other documents only, by ``Without``. ``with_background`` puts the two together again.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np

from grip_assets.method.selection.base import Attributed, Features, Selected, Steps


class Without(Features):
    """The features of the documents that are not in the mask ``kept_N``."""

    def __init__(self, features: Features, kept_N: np.ndarray):
        self.features, self.free_N = features, ~kept_N

    def density(self) -> np.ndarray:
        return self.features.density()[self.free_N]

    def quality(self) -> np.ndarray:
        return self.features.quality()[self.free_N]

    def language(self) -> np.ndarray:
        return self.features.language()[self.free_N]

    def likeness(self) -> np.ndarray:
        return self.features.likeness()[self.free_N]

    def prototypicality(self, kept_N: np.ndarray) -> np.ndarray:
        wanted_N = np.zeros(len(self.free_N), bool)
        wanted_N[np.flatnonzero(self.free_N)[kept_N]] = True
        return self.features.prototypicality(wanted_N)

    def target(self) -> tuple[np.ndarray, np.ndarray]:
        weight_N, long_N = self.features.target()
        return weight_N[self.free_N], long_N[self.free_N]

    def attributed(self) -> Attributed:
        found = self.features.attributed()
        return replace(found, blocks=self._blocks(found.blocks))

    def _blocks(self, every: Callable[[], Iterator[np.ndarray]]) -> Callable[[], Iterator[np.ndarray]]:
        def blocks() -> Iterator[np.ndarray]:
            start = 0
            for block_BF in every():
                free_B = self.free_N[start : start + len(block_BF)]
                start += len(block_BF)
                if free_B.any():
                    yield block_BF[free_B]

        return blocks


def with_background(found: Selected, kept_N: np.ndarray) -> Selected:
    """The selection of all documents: those of the mask ``kept_N`` once, the others as ``found`` has them."""
    if not kept_N.any():
        return found

    def everywhere(values_M: np.ndarray, of_kept: float) -> np.ndarray:
        values_N = np.full(len(kept_N), of_kept, values_M.dtype)
        values_N[~kept_N] = values_M
        return values_N

    steps = found.steps and Steps(
        everywhere(found.steps.rank_N, 0),
        *(everywhere(x, 0.0) for x in (found.steps.gain_N, found.steps.covered_N, found.steps.alignment_N)),
    )
    return replace(
        found,
        key_N=everywhere(found.key_N, 0.0),
        drawn=replace(found.drawn, repeats_N=everywhere(found.repeats_N, 1)),
        length_weight_N=everywhere(found.length_weight_N, 1.0),
        selection_weight_N=everywhere(found.selection_weight_N, 1.0),
        steps=steps,
    )

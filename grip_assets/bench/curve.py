"""The curve of costs over the size of the pool: power laws of each stage, and the sizes at which they bend.

chain.py measures the rows, this module only reads them. A row is one JSON object with ``stage``, ``documents`` and
``seconds``.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

TELLING = 1.0  # seconds: below, a stage is mostly its start, and no power law is fitted
BENDS = 0.2  # two neighbouring slopes that differ by more are a bend


@dataclass(frozen=True)
class Fitted:
    """The power law of one stage: seconds = exp(``constant``) * documents ** ``exponent``.

    ``slopes``: the exponent between each size and the next one. ``bends``: the sizes at which the slope changes by more
    than BENDS. ``worst``: the largest relative error of the law at a measured size.
    """

    stage: str
    sizes: list[int]
    exponent: float
    constant: float
    slopes: list[float]
    bends: list[int]
    worst: float


def fitted(rows: Iterable[Mapping[str, Any]]) -> list[Fitted]:
    """A law for each stage that took at least a second at two sizes or more, by least squares of the logarithms."""
    found = []
    for stage, points in by_stage(rows).items():
        told = [(n, seconds) for n, seconds in points if seconds >= TELLING]
        if len(told) >= 2:
            found.append(_law(stage, *map(list, zip(*told, strict=True))))
    return found


def by_stage(rows: Iterable[Mapping[str, Any]]) -> dict[str, list[tuple[int, float]]]:
    """Stage to (documents, seconds), by rising size. A size that was measured more than once has its median."""
    seen: dict[str, dict[int, list[float]]] = {}
    for row in rows:
        if "stage" in row:
            seen.setdefault(row["stage"], {}).setdefault(row["documents"], []).append(row["seconds"])
    return {stage: [(n, float(np.median(sizes[n]))) for n in sorted(sizes)] for stage, sizes in seen.items()}


def _law(stage: str, sizes: Sequence[int], seconds: Sequence[float]) -> Fitted:
    x, y = np.log(sizes), np.log(seconds)
    exponent, constant = np.polyfit(x, y, 1)
    slopes = np.diff(y) / np.diff(x)
    bends = [sizes[int(i) + 1] for i in np.flatnonzero(np.abs(np.diff(slopes)) > BENDS)]
    worst = np.abs(np.exp(constant + exponent * x - y) - 1).max()
    return Fitted(stage, list(sizes), float(exponent), float(constant), [float(s) for s in slopes], bends, float(worst))

"""Unit vectors with known clusters, for tests of partitions."""

import numpy as np

from grip_assets.method.geometry import unit_rows
from grip_assets.method.partition.finish import directions


def planted(sizes, d=24, spread=0.15, seed=0):
    """Unit rows around random directions, shuffled, with their labels."""
    rng = np.random.default_rng(seed)
    centres = directions(rng.normal(size=(len(sizes), d)))
    labels = np.repeat(np.arange(len(sizes)), sizes)
    x = unit_rows(centres[labels] + spread * rng.normal(size=(len(labels), d)) / np.sqrt(d) * 3)
    order = rng.permutation(len(labels))
    return x[order], labels[order]


def blocks_of(x, size):
    """Starts a pass over the rows in blocks."""
    return lambda: (x[i : i + size] for i in range(0, len(x), size))

"""A pool, targets and subsets of a logistic regression that is retrained in milliseconds: what acceptance checks use.

The pool has groups that share a direction and a label, so documents of a group are redundant. Structured subsets come
from few or from many groups, or have duplicates; random ones are uniform.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

N, D, GROUPS, SIZE = 600, 20, 12, 80


def loss(theta_D, x_ND, y_N):
    """Mean logistic loss of labels -1 and 1."""
    return np.logaddexp(0, -y_N * (x_ND @ theta_D)).mean()


def gradients(theta_D, x_ND, y_N):
    """Of each row, (N, D)."""
    return (-y_N / (1 + np.exp(y_N * (x_ND @ theta_D))))[:, None] * x_ND


@dataclass(frozen=True)
class Toy:
    seed: int = 0
    targets: int = 5

    def __post_init__(self):
        rng = np.random.default_rng(self.seed)
        centre_GD = rng.normal(size=(GROUPS, D))
        truth_D = rng.normal(size=D)
        group_N = rng.integers(0, GROUPS, N)
        x_ND = centre_GD[group_N] + 0.5 * rng.normal(size=(N, D))
        y_N = np.where(rng.random(N) < 1 / (1 + np.exp(-x_ND @ truth_D)), 1.0, -1.0)
        items = []
        for _ in range(self.targets):
            groups = rng.choice(GROUPS, 4, replace=False)
            x = centre_GD[rng.choice(groups, 100)] + 0.5 * rng.normal(size=(100, D))
            items.append((x, np.where(x @ truth_D > 0, 1.0, -1.0)))
        object.__setattr__(self, "x_ND", x_ND)
        object.__setattr__(self, "y_N", y_N)
        object.__setattr__(self, "group_N", group_N)
        object.__setattr__(self, "items", items)
        object.__setattr__(self, "start_D", 0.3 * rng.normal(size=D))

    @cached_property
    def phi_ND(self):
        return gradients(self.start_D, self.x_ND, self.y_N)

    @cached_property
    def target_TD(self):
        return np.array([gradients(self.start_D, x, y).mean(0) for x, y in self.items])

    @cached_property
    def smoothness(self):
        """Largest curvature that a target's loss can have."""
        return max(np.linalg.eigvalsh(x.T @ x / len(x))[-1] / 4 for x, _ in self.items)

    def structured(self, n, seed=0):
        """Subsets of SIZE rows from 1 to all groups; every third has each row four times."""
        rng, found = np.random.default_rng([self.seed, 1, seed]), []
        for s in range(n):
            groups = rng.choice(GROUPS, rng.integers(1, GROUPS + 1), replace=False)
            some = np.flatnonzero(np.isin(self.group_N, groups))
            if s % 3 == 2:
                found.append(np.repeat(rng.choice(some, SIZE // 4), 4))
            else:
                found.append(rng.choice(some, min(SIZE, len(some)), replace=False))
        return found

    def random(self, n, seed=0):
        rng = np.random.default_rng([self.seed, 2, seed])
        return [rng.choice(N, SIZE, replace=False) for _ in range(n)]

    def retrained(self, members, step, steps=1):
        """By how much each target's loss falls after ``steps`` of gradient descent on each subset, (T, S)."""
        found = []
        for rows in members:
            theta_D = self.start_D
            for _ in range(steps):
                theta_D = theta_D - step * gradients(theta_D, self.x_ND[rows], self.y_N[rows]).mean(0)
            found.append([loss(self.start_D, x, y) - loss(theta_D, x, y) for x, y in self.items])
        return np.array(found).T

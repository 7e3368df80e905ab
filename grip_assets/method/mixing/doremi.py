"""DoReMi's update of the weights of domains by exponentiated gradient [arXiv 2305.10429], equations M3 and M5.

The losses come from the proxy in training/doremi.py. Shapes: D domains.
"""

import numpy as np


class Weights:
    """The weights of domains over the steps of a proxy. They start uniform.

    ``alpha_D``: the weights, float64 (D,). They sum to 1, and each is at least ``smoothing`` / D. ``excess_D``: the
    last known excess loss of each domain.
    """

    def __init__(self, n_domains: int, eta: float, smoothing: float):
        self.eta, self.smoothing = eta, smoothing
        self.alpha_D = np.full(n_domains, 1 / n_domains)
        self.excess_D = np.zeros(n_domains)
        self._sum_D = np.zeros(n_domains)
        self._steps = 0

    def update(self, excess_D: np.ndarray, present_D: np.ndarray) -> np.ndarray:
        """The weights after one step, float64 (D,).

        ``excess_D``: excess loss of each domain in the batch, nats per token (M2). ``present_D``: whether the batch
        holds the domain. One that is absent keeps its last excess.
        """
        self.excess_D = np.where(present_D, excess_D, self.excess_D)
        log_D = np.log(self.alpha_D) + self.eta * self.excess_D
        raised_D = np.exp(log_D - log_D.max())
        self.alpha_D = (1 - self.smoothing) * raised_D / raised_D.sum() + self.smoothing / len(log_D)
        self._sum_D += self.alpha_D
        self._steps += 1
        return self.alpha_D

    @property
    def average(self) -> np.ndarray:
        """The mean of the weights over all steps (M5), float64 (D,): the result. Before the first step: uniform."""
        return self._sum_D / self._steps if self._steps else self.alpha_D

"""The rule ``draw``, GRIP's selection: documents of each cluster are drawn, weighted by density and length, until its
budget is met [G9, A15, A26]. The formulas and the draw are in draw.py."""

from dataclasses import replace

import numpy as np

from grip_assets.method.selection import draw
from grip_assets.method.selection.base import Budgets, Documents, Features, Parameters, Selected, take_in_clusters


def select(documents: Documents, budgets: Budgets, features: Features, settings: Parameters) -> Selected:
    """``settings.weight`` gives P(x) inside the cluster: ∝ ρ(x)⁻¹ (ℓ(x)/ℓ_avg)^β, the length term alone, or uniform.

    Weights of sources multiply it.
    """
    length_N, weight_N = weights(documents, features, settings)
    if documents.weight_N is not None:
        weight_N = weight_N * documents.weight_N
    key_N = draw.keys(documents.uniform(settings.seed), weight_N)
    return replace(take_in_clusters(documents, budgets, key_N), length_weight_N=length_N, selection_weight_N=weight_N)


def weights(documents: Documents, features: Features, settings: Parameters) -> tuple[np.ndarray, np.ndarray]:
    """(length weight, selection weight), each float64 (N,). They depend only on the documents of the same cluster."""
    n = len(documents.tokens_N)
    length_N, weight_N = np.ones(n), np.ones(n)
    if settings.weight == "uniform":
        return length_N, weight_N
    density_N = features.density() if settings.weight == "density" else np.ones(n)
    stop_K = np.cumsum(documents.size_K)
    for start, stop in zip((stop_K - documents.size_K).tolist(), stop_K.tolist(), strict=True):
        if start == stop:  # nothing to select from, for example a cluster of the background alone
            continue
        here = slice(start, stop)
        k = max(min(settings.neighbours, stop - start - 1), 1)
        length_N[here] = draw.length_weight(documents.tokens_N[here], settings.beta)
        weight_N[here] = draw.selection_weight(
            density_N[here], length_N[here], k, settings.rho_floor, settings.clip_quantile
        )
    return length_N, weight_N

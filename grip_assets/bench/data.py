"""Planted and real vectors and texts, for benches and tests."""

from itertools import islice

import numpy as np

from grip_assets.method.geometry import unit_rows
from grip_assets.settings import Corpus
from grip_assets.sources.documents import RawDocument
from grip_assets.sources.pool import open_pool


def mixture(n: int, d: int, components: int, seed: int, rows_seed: int = 0) -> np.ndarray:
    """Unit rows, float32 (n, d), that resemble embeddings of a pool.

    There are components of heavy-tailed (Pareto) sizes around 64 topics, each with its own spread. Variances fall as
    1/j along a random basis, as those of real embeddings do.
    """
    rng = np.random.default_rng(seed)
    spread_D = np.arange(1, d + 1) ** -0.5
    spread_D /= np.linalg.norm(spread_D)
    basis_DD = np.linalg.qr(rng.standard_normal((d, d)))[0]
    topics_TD = _unit(rng.standard_normal((64, d)) * spread_D)
    own_KD = 0.8 * rng.standard_normal((components, d)) * spread_D
    centres_KD = _unit(topics_TD[rng.integers(0, 64, components)] + own_KD)
    share_K = rng.pareto(1.1, components) + 0.05
    noise_K = rng.lognormal(-0.3, 0.3, components)
    rng = np.random.default_rng([seed, rows_seed])
    component_N = rng.choice(components, n, p=share_K / share_K.sum())
    x_ND = np.empty((n, d), np.float32)
    for start in range(0, n, 16_384):
        some = component_N[start : start + 16_384]
        noise_BD = noise_K[some, None] * rng.standard_normal((len(some), d)) * spread_D
        x_ND[start : start + 16_384] = _unit(centres_KD[some] + noise_BD) @ basis_DD.T
    return _unit(x_ND)


class VonMisesFisherMixture:
    """A planted pool: documents of von Mises-Fisher distributions around centres, which lie around 64 topics.

    Sizes of the components are heavy-tailed (Pareto), so there are a few huge clusters. The mean cosine of a document
    to its centre is from 0.6 to 0.9, of a centre to its topic 0.6. ``rows(n, block)`` are unit rows, float32 (n, d),
    the same for the same ``block`` in any order, so a pool of any size needs the memory of one block.
    """

    TOPICS = 64

    def __init__(self, d: int, components: int, seed: int):
        rng = np.random.default_rng(seed)
        self.seed = seed
        topics_TD = _unit(rng.standard_normal((self.TOPICS, d)))[rng.integers(0, self.TOPICS, components)]
        around_K = np.full(components, concentration(0.6, d))
        self.centres_KD = von_mises_fisher(topics_TD.astype(np.float32), around_K, rng)
        share_K = rng.pareto(1.1, components) + 0.05
        self.share_K = share_K / share_K.sum()
        self.kappa_K = concentration(rng.uniform(0.6, 0.9, components), d)

    def rows(self, n: int, block: int) -> np.ndarray:
        rng = np.random.default_rng([self.seed, 1, block])
        component_N = rng.choice(len(self.share_K), n, p=self.share_K)
        return von_mises_fisher(self.centres_KD[component_N], self.kappa_K[component_N], rng)


def concentration(cosine: np.ndarray | float, d: int) -> np.ndarray:
    """κ of the distribution in d dimensions whose mean cosine to its centre is about this (Banerjee et al. 2005)."""
    r = np.asarray(cosine, np.float64)
    return r * (d - r * r) / (1 - r * r)


def von_mises_fisher(centre_ND: np.ndarray, kappa_N: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """One draw of vMF(centre, κ) for each row, float32 (N, d): Wood's rejection (1994) for the cosine, and a uniform
    direction orthogonal to the centre."""
    n, d = centre_ND.shape
    b_N = (d - 1) / (2 * kappa_N + np.sqrt(4 * kappa_N**2 + (d - 1) ** 2))
    x_N = (1 - b_N) / (1 + b_N)
    c_N = kappa_N * x_N + (d - 1) * np.log1p(-x_N * x_N)
    w_N, left = np.empty(n), np.arange(n)
    while len(left):
        z = rng.beta((d - 1) / 2, (d - 1) / 2, len(left))
        w = (1 - (1 + b_N[left]) * z) / (1 - (1 - b_N[left]) * z)
        above = kappa_N[left] * w + (d - 1) * np.log1p(-x_N[left] * w) - c_N[left]
        taken = above >= np.log(rng.random(len(left)))
        w_N[left[taken]] = w[taken]
        left = left[~taken]
    tangent_ND = rng.standard_normal((n, d), np.float32)
    tangent_ND -= np.einsum("nd,nd->n", tangent_ND, centre_ND)[:, None] * centre_ND
    tangent_ND *= (np.sqrt(1 - w_N * w_N) / np.linalg.norm(tangent_ND, axis=1))[:, None].astype(np.float32)
    return tangent_ND + w_N[:, None].astype(np.float32) * centre_ND


def _unit(x_ND: np.ndarray) -> np.ndarray:
    return x_ND / np.linalg.norm(x_ND, axis=1, keepdims=True)


def real_embeddings(n: int) -> np.ndarray:
    """Unit embeddings of n pieces of 46 tokens of the Python files on this machine, by the packaged encoder."""
    import torch

    from grip_assets.models.encoder import load_encoder
    from grip_assets.models.files import locate

    encoder = load_encoder(locate("all-MiniLM-L6-v2"), None, 48, 8, "bfloat16")
    pieces = islice((w for text in real_texts(n) for w in encoder.windows(text)[:8] if len(w) == 46), n)
    rows = [encoder.before + piece + encoder.after for piece in pieces]
    found = []
    with torch.inference_mode():
        for start in range(0, len(rows), 64):
            ids_WL = torch.tensor(rows[start : start + 64], device=encoder.model.device)
            hidden_WLD = encoder.model(input_ids=ids_WL).last_hidden_state
            found.append(hidden_WLD.float().mean(1).cpu().numpy())
    return unit_rows(np.concatenate(found))


def real_texts(n: int) -> list[str]:
    """Texts of n files of the source code on this machine, drawn by hash."""
    pool = open_pool(Corpus(max_bytes=100_000, max_documents=n))
    return [document.text for document in pool.read() if isinstance(document, RawDocument)]

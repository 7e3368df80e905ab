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

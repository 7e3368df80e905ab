"""Benches embedding and probe: against sentence-transformers and a plain training loop, all on all cores."""

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
import torch

from grip_assets.bench import Result, interleaved
from grip_assets.bench.data import real_texts
from grip_assets.models.encoder import load_encoder
from grip_assets.models.files import locate
from grip_assets.models.proxy import Proxy, load_proxy
from grip_assets.runtime import threads
from grip_assets.runtime.threads import default_workers
from grip_assets.store.artifacts import data_root
from grip_assets.training.adaptation import Batch, adapt

LEARNING_RATE, STD = 3e-4, 0.02


def embedding(quick: bool) -> Iterator[Result]:
    """First windows of real files. Quality: the lowest cosine of our vector to theirs."""
    from sentence_transformers import SentenceTransformer

    texts = real_texts(60 if quick else 250)
    files = locate("all-MiniLM-L6-v2")
    model = SentenceTransformer(str(files.folder), device="cpu")
    for dtype in ("float32", "bfloat16"):
        encoder = load_encoder(files, None, None, 1, dtype)
        found: dict[str, np.ndarray] = {}

        def ours(encoder: Any = encoder, found: dict[str, np.ndarray] = found) -> None:
            found["ours"] = np.stack([e.vector for e in encoder.embed_documents(texts)]).astype(np.float32)

        def theirs(found: dict[str, np.ndarray] = found) -> None:
            torch.set_num_threads(default_workers())
            found["theirs"] = model.encode(texts, normalize_embeddings=True)

        ours()
        taken = interleaved(ours, theirs, 1 if quick else 2)
        cosine = float((found["ours"] * found["theirs"]).sum(1).min())
        yield taken.result(
            "embedding", "sentence-transformers", cosine, f"{len(texts)} documents, {dtype}: lowest cosine"
        )


def probe(quick: bool) -> Iterator[Result]:
    """Eight clusters of 2,048 tokens; the plain loop does two. Quality: largest relative difference of the drops."""
    proxy = load_proxy("SmolLM2-135M", data_root())
    n = 2
    ids = [proxy.tokenize(text) for text in real_texts(200)]
    windows = [w for document in ids if len(w := document[:512]) == 512]
    batches = [Batch(some, some) for some in (windows[i : i + 4] for i in range(0, 4 * n, 4))]
    for depth, steps in ((0, 1),) if quick else ((0, 10), (2, 3)):
        found: dict[str, list[float]] = {}

        def ours(depth: int = depth, steps: int = steps, found: dict[str, list[float]] = found) -> None:
            torch.set_num_threads(1)
            learn = partial(adapt, proxy, depth=depth, learning_rate=LEARNING_RATE, steps=steps, init_std=STD, seed=0)
            curves = threads.each(learn, batches)
            found["ours"] = [c.train[0] - c.train[-1] for c in curves]

        def theirs(depth: int = depth, steps: int = steps, found: dict[str, list[float]] = found) -> None:
            torch.set_num_threads(default_workers())
            found["theirs"] = [_plain(proxy, b.train, depth, steps) for b in batches]

        taken = interleaved(ours, theirs, 1)
        pairs = zip(found["ours"], found["theirs"], strict=True)
        error = max(abs(a - b) / abs(b) for a, b in pairs)
        note = f"N = {depth}, {steps} steps, {n} clusters of 2,048 tokens: largest relative difference of the drops"
        yield taken.result("probe", "the plain loop", error, note)


def _plain(proxy: Proxy, windows: list[list[int]], depth: int, steps: int) -> float:
    """The plain loop: a full forward pass each step, torch's cross entropy, AdamW on the layers that were reset."""
    generator = torch.Generator().manual_seed(0)
    head = torch.empty(proxy.vocabulary, proxy.hidden).normal_(0, STD, generator=generator).requires_grad_()
    head = head.detach().to(proxy.device).requires_grad_()
    blocks = proxy.retrained(depth, STD, generator)
    kept = [proxy.blocks[len(proxy.blocks) - depth + i] for i in range(depth)]
    for i, block in enumerate(blocks):
        proxy.blocks[len(proxy.blocks) - depth + i] = block
    optimizer = torch.optim.AdamW([*blocks.parameters(), head], lr=LEARNING_RATE)
    ids = torch.tensor(windows, device=proxy.device)
    losses = []
    for step in range(steps + 1):
        hidden = proxy.body(input_ids=ids, use_cache=False).last_hidden_state[:, :-1]
        loss = torch.nn.functional.cross_entropy((hidden @ head.T).flatten(0, 1), ids[:, 1:].flatten())
        losses.append(float(loss.detach()))
        if step < steps:
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    for i, block in enumerate(kept):
        proxy.blocks[len(proxy.blocks) - depth + i] = block
    return losses[0] - losses[-1]

"""What a GPU gains, and whether its results are right: every path of this package that runs on one, in one script.

    python -m grip_assets.bench.gpu [--minutes 9] [--out table.jsonl] [--only kmeans,probe_head]
    python -m grip_assets.bench.gpu --device cpu --quick      # the same rows, tiny, without a GPU

Each row first compares the result on the device with that of the processor of the same machine, and then its time with
what a user would run on a GPU instead: faiss-gpu, cuVS, flash-kmeans and sentence-transformers where they can be
imported, and a plain loop in torch. Inputs are planted mixtures, words and models that are made here by seed, so
nothing is read from a disk or a network. A row is written, as one JSON object a line, as soon as it is there. Rows that
would begin after ``--minutes`` are left out, by name. Without a GPU every row says so.

Numbers of ``check``: see RULES. A row that breaks its rule, or fails, makes the exit status 1.
"""

import argparse
import copy
import importlib.util
import json
import os
import platform
import statistics
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, TextIO

import numpy as np

from grip_assets.bench.data import mixture
from grip_assets.models.files import ModelFiles
from grip_assets.runtime import device, threads
from grip_assets.training.recipe import Item, Shape, TrainingRecipe

NO_GPU = "no CUDA device"
RULES = {
    "assignment": ("rows whose label or cosine differs", 0.0),
    "kmeans": ("rows whose label differs, plus centroids that differ", 0.0),
    "gem": ("numbers of the mixture that differ", 0.0),
    "neighbours": ("distances that differ", 0.0),
    "embedding": ("largest difference of a number of a vector", 1e-3),
    "probe_states": ("relative difference of the drop in closed form", 1e-3),
    "probe_head": ("relative difference of the drop", 1e-3),
    "probe_blocks": ("relative difference of the drop", 1e-3),
    "sketches": ("largest difference of a sketch, relative to its length", 1e-3),
    "training": ("relative difference of the losses of the first steps, in float32", 1e-3),
}
"""For each row: the number that is compared with the processor's result, and the most that it may be."""

# Sizes: (with a GPU, quick).
SIZES: dict[str, tuple[dict[str, int], dict[str, int]]] = {
    "assignment": ({"n": 500_000, "d": 384, "k": 1024}, {"n": 600, "d": 32, "k": 20}),
    "kmeans": ({"n": 262_144, "d": 384, "k": 1024, "iterations": 20}, {"n": 600, "d": 32, "k": 12, "iterations": 3}),
    "gem": ({"n": 100_000, "d": 384, "k": 256, "iterations": 10}, {"n": 500, "d": 24, "k": 5, "iterations": 3}),
    "neighbours": ({"n": 40_000, "d": 384, "k": 10}, {"n": 400, "d": 32, "k": 5}),
    "embedding": ({"n": 4000, "words": 200, "layers": 6, "width": 384},
                  {"n": 9, "words": 20, "layers": 1, "width": 32}),
    "probe_states": ({"n": 64, "length": 512, "layers": 30, "width": 576, "vocabulary": 49_152},
                     {"n": 3, "length": 16, "layers": 2, "width": 32, "vocabulary": 300}),
    "probe_head": ({"n": 8, "length": 512, "layers": 30, "width": 576, "vocabulary": 49_152, "steps": 5},
                   {"n": 3, "length": 16, "layers": 2, "width": 32, "vocabulary": 300, "steps": 2}),
    "probe_blocks": ({"n": 4, "length": 512, "layers": 30, "width": 576, "vocabulary": 49_152, "steps": 3},
                     {"n": 3, "length": 16, "layers": 2, "width": 32, "vocabulary": 300, "steps": 2}),
    "sketches": ({"n": 128, "length": 128, "layers": 6, "width": 384, "vocabulary": 16_384, "dim": 1024},
                 {"n": 4, "length": 16, "layers": 1, "width": 32, "vocabulary": 300, "dim": 64}),
    "training": ({"n": 100, "length": 512, "layers": 8, "width": 512, "vocabulary": 16_384, "batch": 32},
                 {"n": 3, "length": 16, "layers": 1, "width": 32, "vocabulary": 300, "batch": 2}),
}  # fmt: skip


class Found(NamedTuple):
    """``n``: items of the row. ``check``: see RULES. ``cpu_s``: seconds of our code on the processor, all cores.
    Where the processor did a part of the work, these are scaled. ``theirs``: what a user would pick -> a function that
    runs it."""

    n: int
    check: float
    ours: Callable[[], Any]
    cpu_s: float
    theirs: dict[str, Callable[[], Any]]


@dataclass(frozen=True)
class Bench:
    """``where``: the device of torch. ``quick``: tiny inputs, each measured once."""

    where: str
    quick: bool

    def size(self, name: str) -> dict[str, int]:
        return SIZES[name][self.quick]

    @property
    def format(self) -> Any:
        return f"{self.where}/float16"

    def seconds(self, run: Callable[[], Any]) -> float:
        """The median of three runs after one that warms up."""
        taken = []
        for _ in range(1 if self.quick else 4):
            started = time.perf_counter()
            run()
            self.wait()
            taken.append(time.perf_counter() - started)
        return statistics.median(taken if self.quick else taken[1:])

    def wait(self) -> None:
        if self.where == device.CUDA:
            import torch  # heavy

            torch.cuda.synchronize()

    def to(self, x: np.ndarray) -> Any:
        """A tensor on the device."""
        import torch  # heavy

        return torch.from_numpy(np.ascontiguousarray(x)).to(self.where)


@contextmanager
def on(where: str) -> Iterator[None]:
    """While the block runs, ``GRIP_DEVICE`` is ``where``."""
    before = os.environ.get("GRIP_DEVICE")
    os.environ["GRIP_DEVICE"] = where
    try:
        yield
    finally:
        os.environ.pop("GRIP_DEVICE")
        if before is not None:
            os.environ["GRIP_DEVICE"] = before


def timed(run: Callable[[], Any]) -> tuple[Any, float]:
    started = time.perf_counter()
    found = run()
    return found, time.perf_counter() - started


def on_processor(run: Callable[[], Any]) -> tuple[Any, float]:
    """(the result on the processor, seconds)."""
    with on(device.CPU):
        return timed(run)


def differs(a: np.ndarray, b: np.ndarray) -> float:
    """How many numbers differ; infinity for other shapes."""
    a, b = np.asarray(a), np.asarray(b)
    return float((a != b).sum()) if a.shape == b.shape else float("inf")


def importable(name: str) -> bool:
    return importlib.util.find_spec(name) is not None


def faiss_gpu() -> Any:
    """The module faiss, if it was built for GPUs; else None."""
    if not importable("faiss"):
        return None
    import faiss  # optional

    return faiss if hasattr(faiss, "StandardGpuResources") else None


# ------------------------------------------------------------------------------------------------------------- geometry

ROWS_AT_ONCE = 16_384  # of a job, as in stages/curation/clusters.py


def assignment(b: Bench) -> Found:
    from grip_assets.method.partition.nearest import two_nearest  # compiled
    from grip_assets.method.screening import encode, fastest_of_the_processor

    size = b.size("assignment")
    x_ND, k = mixture(size["n"], size["d"], size["k"], 0), size["k"]
    c_KD = x_ND[:: len(x_ND) // k][:k].copy()

    def ours(format: Any) -> tuple[np.ndarray, ...]:
        codes = encode(c_KD, format)
        parts = threads.each(
            lambda s: two_nearest(x_ND[s : s + ROWS_AT_ONCE], c_KD, codes), range(0, len(x_ND), ROWS_AT_ONCE)
        )
        return tuple(np.concatenate(column) for column in zip(*parts, strict=True))

    expected, cpu_s = on_processor(lambda: ours(fastest_of_the_processor()[0]))
    wrong = sum(differs(*pair) for pair in zip(ours(b.format), expected, strict=True))
    theirs: dict[str, Callable[[], Any]] = {"torch loop": lambda: _torch_nearest(b, x_ND, c_KD)}
    if b.where == device.CUDA and (faiss := faiss_gpu()):

        def by_faiss() -> Any:
            index = faiss.GpuIndexFlatIP(faiss.StandardGpuResources(), x_ND.shape[1])
            index.add(c_KD)
            return index.search(x_ND, 2)

        theirs["faiss-gpu IndexFlatIP"] = by_faiss
    return Found(len(x_ND), wrong, lambda: ours(b.format), cpu_s, theirs)


def _torch_nearest(b: Bench, x_ND: np.ndarray, c_KD: np.ndarray) -> np.ndarray:
    c = b.to(c_KD)
    parts = [
        (b.to(x_ND[s : s + ROWS_AT_ONCE]) @ c.T).topk(min(2, len(c)), dim=1)[1][:, 0].cpu()
        for s in range(0, len(x_ND), ROWS_AT_ONCE)
    ]
    return np.concatenate([part.numpy() for part in parts])


def kmeans(b: Bench) -> Found:
    from grip_assets.method.partition import lloyd  # compiled
    from grip_assets.method.screening import fastest_of_the_processor

    size = b.size("kmeans")
    x_ND, k, iterations = mixture(size["n"], size["d"], size["k"], 1), size["k"], size["iterations"]
    start_KD = x_ND[:: len(x_ND) // k][:k].copy()

    def ours(format: Any) -> Any:
        return lloyd.lloyd(lloyd.prepare(x_ND, format), start_KD.copy(), iterations)

    expected, cpu_s = on_processor(lambda: ours(fastest_of_the_processor()[0]))
    found = ours(b.format)
    wrong = differs(found.label_N, expected.label_N) + differs(found.centroids_KD, expected.centroids_KD)
    theirs: dict[str, Callable[[], Any]] = {"torch loop": lambda: _torch_kmeans(b, x_ND, start_KD, iterations)}
    if b.where == device.CUDA and importable("flash_kmeans"):
        from flash_kmeans import batch_kmeans_Cosine  # optional

        def by_flash() -> Any:
            x, c = b.to(x_ND).half()[None], b.to(start_KD).half()[None]
            ids, *_ = batch_kmeans_Cosine(x, k, max_iters=iterations, init_centroids=c)
            return ids.cpu()

        theirs["flash-kmeans, float16"] = by_flash
    if b.where == device.CUDA and (faiss := faiss_gpu()):

        def by_faiss() -> Any:
            model = faiss.Kmeans(
                x_ND.shape[1], k, niter=iterations, spherical=True, gpu=True, max_points_per_centroid=len(x_ND)
            )
            model.train(x_ND)
            return model.assign(x_ND)

        theirs["faiss-gpu Kmeans, spherical"] = by_faiss
    return Found(len(x_ND), wrong, lambda: ours(b.format), cpu_s, theirs)


def _torch_kmeans(b: Bench, x_ND: np.ndarray, start_KD: np.ndarray, iterations: int) -> np.ndarray:
    import torch  # heavy

    x, c = b.to(x_ND), b.to(start_KD)

    def nearest() -> Any:
        return torch.cat([(part @ c.T).argmax(1) for part in x.split(ROWS_AT_ONCE)])

    for _ in range(iterations):
        sums = torch.zeros_like(c).index_add_(0, nearest(), x)
        norms = sums.norm(dim=1, keepdim=True)
        c = torch.where(norms > 0, sums / norms.clamp_min(1e-12), c)
    return nearest().cpu().numpy()


def gem(b: Bench) -> Found:
    from grip_assets.method.partition import lloyd  # compiled
    from grip_assets.method.partition import mixture as mixtures
    from grip_assets.method.screening import fastest_of_the_processor

    size = b.size("gem")
    x_ND, k = mixture(size["n"], size["d"], size["k"], 2), size["k"]
    options = mixtures.Options(seeds=1, iterations=size["iterations"], tolerance=0.0)

    def ours(format: Any) -> Any:
        return mixtures.fit(lloyd.prepare(x_ND, format), k, options)

    expected, cpu_s = on_processor(lambda: ours(fastest_of_the_processor()[0]))
    with on(b.where):
        found = ours(b.format)
    wrong = sum(differs(mine, its) for mine, its in zip(found[:5], expected[:5], strict=True))
    plain = partial(_torch_em, b, x_ND, expected.mu_KD, expected.kappa_K, size["iterations"])
    return Found(len(x_ND), wrong, lambda: ours(b.format), cpu_s, {"torch loop, EM without a balance": plain})


def _torch_em(b: Bench, x_ND: np.ndarray, mu_KD: np.ndarray, kappa_K: np.ndarray, iterations: int) -> np.ndarray:
    """Expectation-maximisation of the directions, with the concentrations of the end: less work than ours."""
    import torch  # heavy

    x, mu, kappa = b.to(x_ND), b.to(mu_KD), b.to(kappa_K.astype(np.float32))
    for _ in range(iterations):
        sums = torch.zeros_like(mu)
        for part in x.split(ROWS_AT_ONCE):
            sums += torch.softmax((part @ mu.T) * kappa, dim=1).T @ part
        mu = sums / sums.norm(dim=1, keepdim=True).clamp_min(1e-12)
    return mu.cpu().numpy()


def neighbours(b: Bench) -> Found:
    from grip_assets.method import neighbours as search  # compiled
    from grip_assets.method.screening import fastest_of_the_processor

    size = b.size("neighbours")
    x_ND, k = mixture(size["n"], size["d"], 16, 3), size["k"]
    at_once = 8192  # as densities.LARGE

    def ours(format: Any) -> np.ndarray:
        cluster, n = search.Cluster.of(x_ND, format), len(x_ND)
        parts = threads.each(lambda s: search.nearest(cluster, s, min(s + at_once, n), k), range(0, n, at_once))
        return np.concatenate(list(parts))

    expected, cpu_s = on_processor(lambda: ours(fastest_of_the_processor()[0]))
    wrong = differs(ours(b.format), expected)
    theirs: dict[str, Callable[[], Any]] = {"torch loop": lambda: _torch_neighbours(b, x_ND, k)}
    if b.where == device.CUDA and (faiss := faiss_gpu()):

        def by_faiss() -> Any:
            index = faiss.GpuIndexFlatL2(faiss.StandardGpuResources(), x_ND.shape[1])
            index.add(x_ND)
            return index.search(x_ND, k + 1)

        theirs["faiss-gpu IndexFlatL2"] = by_faiss
    if b.where == device.CUDA and importable("cuvs"):
        from cuvs.neighbors import brute_force  # optional

        def by_cuvs() -> Any:
            x = b.to(x_ND)
            return brute_force.search(brute_force.build(x, metric="sqeuclidean"), x, k + 1)

        theirs["cuVS brute_force"] = by_cuvs
    return Found(len(x_ND), wrong, lambda: ours(b.format), cpu_s, theirs)


def _torch_neighbours(b: Bench, x_ND: np.ndarray, k: int) -> np.ndarray:
    x = b.to(x_ND)
    found = [(part @ x.T).topk(min(k + 1, len(x)), dim=1)[0].cpu() for part in x.split(1024)]
    return np.sqrt(np.maximum(2 - 2 * np.concatenate([part.numpy() for part in found]), 0))


# --------------------------------------------------------------------------------------------------------------- models


def embedding(b: Bench) -> Found:
    from grip_assets.models.encoder import load_encoder  # torch

    size = b.size("embedding")
    texts = _texts(size["n"], size["words"])
    with tempfile.TemporaryDirectory() as folder:
        _write_encoder(Path(folder), size["layers"], size["width"])
        files = ModelFiles("made by seed", Path(folder))

        def load() -> Any:
            return load_encoder(files, "mean", None, 1, "float32")

        with on(b.where):
            encoder = load()
        some = texts[:64]
        expected, _ = on_processor(lambda: [e.vector for e in load().embed_documents(some)])
        found = [e.vector for e in encoder.embed_together(some)]
        wrong = float(np.abs(np.stack(found).astype(float) - np.stack(expected).astype(float)).max())
        _, cpu_s = on_processor(lambda: list(load().embed_documents(texts[: max(len(texts) // 8, 1)])))
        theirs: dict[str, Callable[[], Any]] = {"torch loop": lambda: _torch_embedding(b, encoder, texts)}
        if importable("sentence_transformers"):
            from sentence_transformers import SentenceTransformer  # optional

            model = SentenceTransformer(folder, device=b.where)
            theirs["sentence-transformers"] = lambda: model.encode(texts, batch_size=256, normalize_embeddings=True)
    return Found(len(texts), wrong, lambda: encoder.embed_together(texts), cpu_s * 8, theirs)


def _texts(n: int, most: int) -> list[str]:
    rng = np.random.default_rng(4)
    lengths = np.clip(rng.lognormal(np.log(most / 3), 0.7, n), 1, most).astype(int)
    return [" ".join(f"w{word}" for word in np.minimum(rng.zipf(1.2, length), 999)) for length in lengths]


def _write_encoder(folder: Path, layers: int, width: int) -> None:
    """A BERT of MiniLM's shape with random weights, and a tokenizer of words."""
    import torch  # heavy
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    special = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    words = [*special.values(), *(f"w{i}" for i in range(1000))]
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    ends = [(name, words.index(name)) for name in ("[CLS]", "[SEP]")]
    tokenizer.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=ends)
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=256, **special).save_pretrained(folder)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(4)
        config = BertConfig(
            vocab_size=len(words),
            hidden_size=width,
            num_hidden_layers=layers,
            num_attention_heads=max(width // 32, 1),
            intermediate_size=4 * width,
            max_position_embeddings=256,
        )
        BertModel(config).save_pretrained(folder)


def _torch_embedding(b: Bench, encoder: Any, texts: list[str]) -> np.ndarray:
    """Padded batches of 64 texts, in their order."""
    import torch  # heavy

    found = []
    for start in range(0, len(texts), 64):
        some = encoder.tokenizer(
            texts[start : start + 64], padding=True, truncation=True, return_tensors="pt", return_token_type_ids=False
        ).to(b.where)
        with torch.inference_mode():
            hidden = encoder.model(**some).last_hidden_state
        mask = some["attention_mask"][..., None].float()
        mean = (hidden * mask).sum(1) / mask.sum(1)
        found.append(torch.nn.functional.normalize(mean, dim=1).cpu().numpy())
    return np.concatenate(found)


def _shape(size: dict[str, int]) -> Shape:
    return Shape(size["vocabulary"], size["width"], size["layers"], max(size["width"] // 64, 1), size["length"])


def _proxies(b: Bench, size: dict[str, int]) -> tuple[Any, Any, list[list[int]]]:
    """(a proxy on the device, the same on the processor, windows). Its weights are random."""
    from grip_assets.models.proxy import Proxy  # torch
    from grip_assets.training.small import new_model

    rng = np.random.default_rng(5)
    windows = [rng.zipf(1.3, size["length"]).clip(1, size["vocabulary"] - 1).tolist() for _ in range(size["n"])]
    there, here = (new_model(_shape(size), 0).eval() for _ in range(2))
    return Proxy(None, there.to(b.where)), Proxy(None, here), windows


def probe_states(b: Bench) -> Found:
    from grip_assets.training.adaptation import hidden_states  # torch
    from grip_assets.training.closed_form import first_step_on_itself

    size = b.size("probe_states")
    proxy, reference, windows = _proxies(b, size)
    some = windows[: max(len(windows) // 8, 1)]
    next_T = np.array([token for window in some for token in window[1:]])

    def drop(of: Any) -> float:
        return first_step_on_itself(hidden_states(of, some), next_T, size["vocabulary"]).held_out

    expected, cpu_s = on_processor(lambda: drop(reference))
    wrong = abs(drop(proxy) / expected - 1)
    theirs = {"torch loop, a window at a time": lambda: [proxy.states([window]) for window in windows]}
    cpu_s *= len(windows) / len(some)
    return Found(size["n"] * size["length"], wrong, lambda: hidden_states(proxy, windows), cpu_s, theirs)


def probe_head(b: Bench) -> Found:
    return _probe(b, "probe_head", 0)


def probe_blocks(b: Bench) -> Found:
    return _probe(b, "probe_blocks", 2)


def _probe(b: Bench, name: str, depth: int) -> Found:
    from grip_assets.bench.models import LEARNING_RATE, STD, _plain  # torch
    from grip_assets.training.adaptation import Batch, adapt

    size = b.size(name)
    proxy, reference, windows = _proxies(b, size)
    some, steps = windows[: max(len(windows) // 4, 1)], size["steps"]

    def drop(of: Any, read: list[list[int]]) -> float:
        curve = adapt(of, Batch(read, read), depth, LEARNING_RATE, steps, STD, 0)
        return curve.train[0] - curve.train[-1]

    expected, cpu_s = on_processor(lambda: drop(reference, some))
    wrong = abs(drop(proxy, some) / expected - 1)
    cpu_s *= len(windows) / len(some)
    theirs = {"the plain loop": lambda: _plain(proxy, windows, depth, steps)}
    return Found(size["n"] * size["length"] * steps, wrong, lambda: drop(proxy, windows), cpu_s, theirs)


def sketches(b: Bench) -> Found:
    from grip_assets.training.gradients import Collector, Passage, features  # torch
    from grip_assets.training.projecting import projection_of
    from grip_assets.training.small import new_model

    size = b.size("sketches")
    shape, model, rng = _shape(size), new_model(_shape(size), 0).eval(), np.random.default_rng(6)
    tokens_NL = rng.zipf(1.3, (size["n"], size["length"])).clip(1, size["vocabulary"] - 1)
    passages = [Passage(f"document {i}", Item([], row.tolist())) for i, row in enumerate(tokens_NL)]

    def ours(where: str, some: list[Any]) -> np.ndarray:
        projection = projection_of("countsketch", size["dim"] + 1, size["dim"], 0)
        with Collector(model, "full", where) as collector:
            return np.stack([f.sketch_K for f in features(collector, some, shape.context, 0, projection)])

    some = passages[: max(len(passages) // 8, 1)]
    expected, cpu_s = on_processor(lambda: ours(device.CPU, some))
    away_N = np.linalg.norm(ours(b.where, some) - expected, axis=1) / np.linalg.norm(expected, axis=1)
    cpu_s *= len(passages) / len(some)
    theirs = {"torch loop, a document at a time": lambda: _torch_gradients(b, model, tokens_NL, size["dim"])}
    return Found(len(passages), float(away_N.max()), lambda: ours(b.where, passages), cpu_s, theirs)


def _torch_gradients(b: Bench, model: Any, tokens_NL: np.ndarray, dim: int) -> np.ndarray:
    import torch  # heavy

    model = copy.deepcopy(model).to(b.where).requires_grad_(True)
    width = sum(weight.numel() for weight in model.parameters())
    bins = torch.randint(0, dim, (width,), device=b.where)
    signs = torch.randint(0, 2, (width,), device=b.where, dtype=torch.int8).float() * 2 - 1
    found = []
    for row in tokens_NL:
        ids = b.to(np.append(0, row))[None]
        logits = model(input_ids=ids[:, :-1], use_cache=False).logits[0]
        model.zero_grad()
        torch.nn.functional.cross_entropy(logits, ids[0, 1:]).backward()
        gradient = torch.cat([weight.grad.flatten() for weight in model.parameters()])
        found.append(torch.zeros(dim, device=b.where).index_add_(0, bins, gradient * signs).cpu().numpy())
    return np.stack(found)


FIRST = 3  # steps of a training that are compared


def training(b: Bench) -> Found:
    from grip_assets.training.small import epochs, loop, new_model  # torch

    size = b.size("training")
    shape, rng = _shape(size), np.random.default_rng(7)
    windows_WC = rng.zipf(1.3, (4 * size["batch"], shape.context + 1)).clip(1, shape.vocabulary - 1).astype(np.int64)
    n_tokens = size["batch"] * shape.context

    def ours(where: str, steps: int, dtype: str, per_step: int) -> np.ndarray:
        recipe = TrainingRecipe(steps * n_tokens, n_tokens, 1e-3, dtype, where)
        return loop(new_model(shape, 0), epochs(windows_WC, per_step, steps, 0), recipe, steps)

    few = max(size["batch"] // 8, 1)
    expected, cpu_s = on_processor(lambda: ours(device.CPU, FIRST, "float32", few))
    wrong = float(np.abs(ours(b.where, FIRST, "float32", few) / expected - 1).max())
    cpu_s *= size["n"] * size["batch"] / (FIRST * few)
    theirs = {"torch loop, bfloat16": lambda: _torch_training(b, shape, windows_WC, size["batch"], size["n"])}
    run = partial(ours, b.where, size["n"], "bfloat16", size["batch"])
    return Found(n_tokens * size["n"], wrong, run, cpu_s, theirs)


def _torch_training(b: Bench, shape: Any, windows_WC: np.ndarray, batch: int, steps: int) -> float:
    import torch  # heavy

    from grip_assets.training.small import new_model

    model = new_model(shape, 0).to(b.where)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    value = 0.0
    for step in range(steps):
        first = step * batch % len(windows_WC)
        ids = b.to(windows_WC[first : first + batch])
        with torch.autocast(b.where, torch.bfloat16):
            logits = model(input_ids=ids[:, :-1], use_cache=False).logits
            loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        value = float(loss.detach())
    return value


# ------------------------------------------------------------------------------------------------------------ the table

ROWS: dict[str, Callable[[Bench], Found]] = {
    row.__name__: row
    for row in (
        assignment, kmeans, gem, neighbours, embedding, probe_states, probe_head, probe_blocks, sketches, training
    )
}  # fmt: skip


def measured(name: str, b: Bench) -> Iterator[dict[str, Any]]:
    """The rows of one path: the same times of ours against each of theirs."""
    if not b.quick:
        ROWS[name](Bench(device.CPU, quick=True))  # compiles our kernels, so that the processor's time is without that
    found, (what, most) = ROWS[name](b), RULES[name]
    with on(b.where):
        ours_s = b.seconds(found.ours)
        shared = {"n": found.n, "ours_s": ours_s, "cpu_s": found.cpu_s, "check": found.check, "what": what}
        shared |= {"holds": bool(found.check <= most), "size": b.size(name)}
        for against, run in found.theirs.items():
            yield {"name": name, "against": against, **shared, **_of_theirs(b, run, ours_s)}


def _of_theirs(b: Bench, run: Callable[[], Any], ours_s: float) -> dict[str, Any]:
    """The time of a peer, or why it failed. Its failure breaks no rule of ours."""
    try:
        theirs_s = b.seconds(run)
    except Exception as error:
        return {"theirs_s": None, "ratio": None, "theirs_failed": f"{type(error).__name__}: {error}"[:500]}
    return {"theirs_s": theirs_s, "ratio": theirs_s / ours_s}


def machine(where: str) -> dict[str, Any]:
    """The first row: where and when the others were measured."""
    import torch  # heavy

    name = torch.cuda.get_device_name() if where == device.CUDA and torch.cuda.is_available() else platform.processor()
    return {
        "name": "machine",
        "device": name or platform.machine(),
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "cores": threads.default_workers(),
        "date": time.strftime("%Y-%m-%d"),
    }


def table(b: Bench, names: list[str], minutes: float) -> Iterator[dict[str, Any]]:
    """All rows, as they are measured. One that fails leaves the others."""
    started = time.monotonic()
    for name in names:
        if b.where == device.CUDA and not _has_gpu():
            yield {"name": name, "skipped": NO_GPU}
        elif time.monotonic() - started > 60 * minutes:
            yield {"name": name, "left_out": f"{minutes:g} minutes were over"}
        else:
            try:
                yield from measured(name, b)
            except Exception as error:
                traceback.print_exc()  # the table has only its last line
                yield {"name": name, "error": f"{type(error).__name__}: {error}"[:500]}


def _has_gpu() -> bool:
    import torch  # heavy

    return torch.cuda.is_available()


def write(rows: Iterator[dict[str, Any]], files: list[TextIO]) -> int:
    """Write rows as they come. Returns how many failed or broke their rule."""
    bad = 0
    for row in rows:
        bad += "error" in row or row.get("holds") is False
        for file in files:
            print(json.dumps(row), file=file, flush=True)
    return bad


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m grip_assets.bench.gpu", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--device", choices=(device.CUDA, device.CPU), default=device.CUDA)
    parser.add_argument("--quick", action="store_true", help="tiny inputs")
    parser.add_argument("--minutes", type=float, default=9, help="start no row after so many minutes")
    parser.add_argument("--only", help="names of rows, with commas between them")
    parser.add_argument("--out", type=Path, help="write the rows to this file too")
    given = parser.parse_args(arguments)
    names = given.only.split(",") if given.only else list(ROWS)
    if unknown := [name for name in names if name not in ROWS]:
        parser.error(f"there is no row '{unknown[0]}'; the rows are {', '.join(ROWS)}")
    b = Bench(given.device, given.quick)

    def rows() -> Iterator[dict[str, Any]]:
        yield machine(b.where)
        yield from table(b, names, given.minutes)

    if given.out is None:
        return int(write(rows(), [sys.stdout]) > 0)
    with given.out.open("w", encoding="utf-8") as file:
        return int(write(rows(), [sys.stdout, file]) > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

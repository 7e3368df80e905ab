"""Bench sketches: gradient sketches of documents, against dattri's projected gradients on the same model and texts.

dattri takes texts of one length, so both read windows. The scores are GradDot's, <gradient of an item, gradient of a
document>. Both are compared with exact gradients, by Spearman's rank correlation over documents, mean over items.
"""

import copy
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from grip_assets.bench import Result, interleaved
from grip_assets.bench.data import real_texts
from grip_assets.method.agreement import rank_correlation
from grip_assets.training.gradients import Collector, Passage, features
from grip_assets.training.projecting import Projection, projection_of
from grip_assets.training.recipe import Item, Shape, TrainingRecipe
from grip_assets.training.small import encode, learn_tokenizer, new_model, train

SHAPE = Shape(1024, 128, 2, 2, 128)  # settings/attribution by default
DIM, ITEMS, TRAINED = 1024, 16, 30_000


def sketches(quick: bool) -> Iterator[Result]:
    """CountSketch against dattri's Gaussian projection, both of 1,024 numbers and on one thread. Quality: our rank
    correlation with exact gradients."""
    torch.set_num_threads(1)
    model, windows = _trained(40 if quick else 200)
    n = 16 if quick else 128
    documents, items = windows[:n], windows[n : n + ITEMS]
    exact_NI = _scores(_ours(model, documents, None), _ours(model, items, None))
    for source in ("full", "head"):
        found: dict[str, np.ndarray] = {}

        def ours(source: str = source, found: dict[str, np.ndarray] = found) -> None:
            projection = projection_of("countsketch", DIM + 1, DIM, 0)
            found["ours"] = _ours(model, documents, projection, source)

        def theirs(found: dict[str, np.ndarray] = found) -> None:
            found["theirs"] = _theirs(model, documents)

        ours()
        taken = interleaved(ours, theirs, 1)
        of_items = _ours(model, items, projection_of("countsketch", DIM + 1, DIM, 0), source)
        our_rho = _agreement(exact_NI, _scores(found["ours"], of_items))
        their_rho = _agreement(exact_NI, _scores(found["theirs"], _theirs(model, items)))
        note = (
            f"{source}, {n} windows of 128 tokens, {n / taken.ours_s:,.0f} documents/s: rank correlation with exact"
            f" gradients (theirs {their_rho:.3f})"
        )
        yield taken.result("sketches", "dattri, full gradient", our_rho, note)


def _trained(n: int) -> tuple[Any, np.ndarray]:
    """(a small model, windows of real texts that begin with the separator, int64 (N, 129))."""
    texts = real_texts(n)
    tokenizer = learn_tokenizer(texts, SHAPE.vocabulary)
    ids = [np.array(row, np.int64) for row in encode(tokenizer, texts)]
    model = new_model(SHAPE, 0)
    train(model, ids, SHAPE, TrainingRecipe(TRAINED, 1024, 1.5e-3, "float32"), 0)
    length = SHAPE.context
    windows = [np.append(0, row[i : i + length]) for row in ids for i in range(0, len(row) - length + 1, 4 * length)]
    return model.eval(), np.stack(windows)


def _ours(model: Any, windows: np.ndarray, projection: Projection | None, source: str = "full") -> np.ndarray:
    passages = [Passage(f"window {i}", Item([], row[1:].tolist())) for i, row in enumerate(windows)]
    with Collector(model, source) as collector:
        return np.stack([f.sketch_K for f in features(collector, passages, SHAPE.context, 0, projection)])


def _theirs(model: Any, windows: np.ndarray) -> np.ndarray:
    """dattri's gradients of each text, by torch.func, and its random projection."""
    from dattri.func.projection import random_project
    from dattri.task import AttributionTask

    eager = copy.deepcopy(model)
    eager.config._attn_implementation = "eager"  # torch.func computes other attention text by text, which is slower

    def loss(parameters: Any, data: Any) -> torch.Tensor:
        (ids,) = data
        logits = torch.func.functional_call(eager, parameters, (ids[None, :-1],), {"use_cache": False}).logits[0]
        return torch.nn.functional.cross_entropy(logits, ids[1:])

    task = AttributionTask(loss, model, {name: weight.detach() for name, weight in model.state_dict().items()})
    parameters, _ = task.get_param(ckpt_idx=0)
    gradient_of = task.get_grad_loss_func(in_dims=(None, 0))
    found = []
    for start in range(0, len(windows), ITEMS):
        batch = torch.from_numpy(windows[start : start + ITEMS])
        gradient = gradient_of(parameters, (batch,))
        project = random_project(gradient, len(batch), proj_dim=DIM, proj_max_batch_size=32, proj_seed=0, device="cpu")
        found.append(project(gradient, ensemble_id=0).detach().numpy())
    return np.concatenate(found)


def _scores(documents_NK: np.ndarray, items_IK: np.ndarray) -> np.ndarray:
    return documents_NK.astype(np.float64) @ items_IK.T.astype(np.float64)


def _agreement(exact_NI: np.ndarray, found_NI: np.ndarray) -> float:
    return float(np.mean([rank_correlation(a, b) for a, b in zip(exact_NI.T, found_NI.T, strict=True)]))

"""The adaptation probe by training steps [G5, A1, A4 to A7]: how fast does a reset head learn a cluster?

The backbone is frozen. The head (and the last N blocks) start from one initialisation that all clusters share, and take
n full-batch AdamW steps on the cluster's probe. Delta = L(theta_init) - L(theta_n), losses per predicted token. Hidden
states at the boundary are computed once per window, not once per step. The gradient of the head is written by hand: a
step is two products of T x V x h at depth 0, and three at other depths. One block of logits is in memory at a time.
Each cluster runs on one thread. The closed form is in closed_form.py; the passages for both are chosen here. Shapes: T
predicted tokens, V vocabulary, h hidden size, C tokens of a micro-batch.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from grip_assets.errors import GripError
from grip_assets.method.sampling import keyed_uniform
from grip_assets.models.proxy import Boundary, Proxy
from grip_assets.runtime import device
from grip_assets.runtime.memory import in_blocks
from grip_assets.training.closed_form import Passages, in_batches

HELD_OUT = 5  # one document in five
BATCH_TOKENS = {device.CPU: 512, device.CUDA: 32_768}  # of one forward pass; more is not faster on a CPU
MICRO_BATCH = 4096  # least tokens of a block of logits on a GPU: its cache is not what limits a block


@dataclass(frozen=True)
class Batch:
    """Windows of one cluster: those that are trained on, and those on which the loss is measured."""

    train: list[list[int]]
    evaluate: list[list[int]]


@dataclass(frozen=True)
class Curve:
    """Loss per predicted token before each step and after the last: ``steps + 1`` values."""

    train: list[float]
    evaluate: list[float]


def probe_batch(
    documents: Sequence[tuple[str, list[int]]], window: int, cap: int | None, held_out: bool, seed: int
) -> Batch:
    """Windows of a cluster's probe documents (id, tokens), which are given in the order of their draw.

    Whole documents are held out, the first fifth (at least one). Windows of one document resemble each other, so a loss
    on other windows of a document trained on would measure memory. A single document is cut at four fifths of its
    tokens. The ``cap`` on tokens is filled in rounds, with one window of each document per round, at positions drawn by
    a keyed hash. So many documents are represented, and not only by their beginnings, which are licences and imports.
    """
    usable = _usable(documents)
    if not held_out:
        windows = _without_documents(_fill(usable, window, cap, seed))
        return Batch(windows, windows)
    n = max(len(usable) // HELD_OUT, 1)
    kept, trained = usable[:n], usable[n:]
    if len(usable) == 1:
        doc, ids = usable[0]
        cut = len(ids) - max(len(ids) // HELD_OUT, 2)
        trained, kept = [(doc, ids[:cut])], [(doc, ids[cut:])]
    cap_kept = None if cap is None else max(cap // HELD_OUT, 2)
    cap_trained = None if cap is None or cap_kept is None else cap - cap_kept
    return Batch(
        _without_documents(_fill(trained, window, cap_trained, seed)),
        _without_documents(_fill(kept, window, cap_kept, seed)),
    )


def passages(
    documents: Sequence[tuple[str, list[int]]], window: int, cap: int | None, folds: int, seed: int
) -> Passages | None:
    """Windows with their documents, for the closed form; None if there is nothing to predict.

    As in ``probe_batch``, but all documents share ``cap``. Windows are shortened if necessary, so that at least as many
    documents as ``folds`` fit into the cap (0: none is held out). A single document is cut as in ``probe_batch``.
    """
    usable, held_out = _usable(documents), folds > 0
    if held_out and cap is not None and usable:
        window = min(window, max(cap // min(len(usable), folds), 2))
    if held_out and len(usable) == 1:
        batch = probe_batch(usable, window, cap, True, seed)
        parts = np.repeat([0, 1], [len(batch.train), len(batch.evaluate)])
        whole = batch.train and batch.evaluate
        return Passages(batch.train + batch.evaluate, parts, [usable[0][0]] * 2, held_out=1) if whole else None
    chosen = _fill(usable, window, cap, seed)
    numbers, document_W = np.unique([number for number, _ in chosen], return_inverse=True)
    ids = [usable[int(number)][0] for number in numbers]
    return Passages(_without_documents(chosen), document_W, ids) if len(ids) > held_out else None


def _usable(documents: Sequence[tuple[str, list[int]]]) -> list[tuple[str, list[int]]]:
    """The documents of two tokens or more. In a single token there is nothing to predict."""
    return [(doc, ids) for doc, ids in documents if len(ids) > 1]


def _without_documents(chosen: list[tuple[int, list[int]]]) -> list[list[int]]:
    return [window for _, window in chosen]


def _fill(
    documents: Sequence[tuple[str, list[int]]], window: int, cap: int | None, seed: int
) -> list[tuple[int, list[int]]]:
    """Windows with the numbers of their documents, in the order in which they are read."""
    queues = [_windows(doc, ids, window, seed) for doc, ids in documents]
    chosen: list[tuple[int, list[int]]] = []
    left = cap if cap is not None else sum(len(ids) for _, ids in documents)
    for turn in range(max(map(len, queues), default=0)):
        for number, queue in enumerate(queues):
            if turn < len(queue) and left > 1:
                chosen.append((number, queue[turn][:left]))
                left -= len(chosen[-1][1])
    return chosen


def hidden_states(proxy: Proxy, windows: list[list[int]], done: Callable[[int], None] = lambda n: None) -> np.ndarray:
    """States that enter the head, float32 (T, h), for all tokens except the last of each window, in order.

    Each window takes one forward pass. ``done`` is called with the number of tokens of each batch.
    """
    found: dict[int, np.ndarray] = {}
    for batch in in_batches(windows, BATCH_TOKENS[proxy.device]):
        with device.turn(proxy.device):
            states_BLH = proxy.states([windows[i] for i in batch])
        found.update((i, states_LH[:-1]) for i, states_LH in zip(batch, states_BLH, strict=True))
        done(sum(len(windows[i]) for i in batch))
    return np.concatenate([found[i] for i in range(len(windows))])


def _windows(doc: str, ids: list[int], window: int, seed: int) -> list[list[int]]:
    cut = [w for i in range(0, len(ids), window) if len(w := ids[i : i + window]) > 1]
    order = np.argsort(keyed_uniform(seed, "adaptation", [f"{doc}:{i}" for i in range(len(cut))]), kind="stable")
    return [cut[i] for i in order]


def adapt(
    proxy: Proxy,
    batch: Batch,
    depth: int,
    learning_rate: float,
    steps: int,
    init_std: float,
    seed: int,
    micro_batch: int = 256,
    done: Callable[[], None] = lambda: None,
) -> Curve:
    """Loss curve of one cluster, from an initialisation that depends only on ``seed``, on the device of the proxy.

    AdamW with torch's defaults (betas 0.9 and 0.999, weight decay 0.01). ``done`` is called after each step. GripError
    if the loss is not finite.
    """
    with device.turn(proxy.device):
        curve = _curve(proxy, batch, depth, learning_rate, _counted(steps, done), init_std, seed, micro_batch)
    if not np.isfinite(curve.train + curve.evaluate).all():
        raise GripError(
            "The probe's loss is not finite. Lower settings/adaptation.learning_rate, or try another"
            " settings/adaptation.proxy."
        )
    return curve


def _curve(
    proxy: Proxy,
    batch: Batch,
    depth: int,
    learning_rate: float,
    steps: Iterator[int],
    init_std: float,
    seed: int,
    micro_batch: int,
) -> Curve:
    generator = torch.Generator().manual_seed(seed)
    head_VH = torch.empty(proxy.vocabulary, proxy.hidden).normal_(0, init_std, generator=generator).to(proxy.device)
    micro_batch = micro_batch if proxy.device == device.CPU else max(micro_batch, MICRO_BATCH)
    same = batch.evaluate is batch.train
    train = [proxy.boundary(w, depth) for w in batch.train]
    held = train if same else [proxy.boundary(w, depth) for w in batch.evaluate]
    if depth == 0:
        there = None if same else _pairs(held, batch.evaluate)
        return _adapt_head(head_VH, _pairs(train, batch.train), there, learning_rate, steps, micro_batch)
    blocks = proxy.retrained(depth, init_std, generator)
    learner = _Learner(proxy, blocks, torch.nn.Parameter(head_VH), micro_batch)
    kept = None if same else (held, batch.evaluate)
    return _adapt_blocks(learner, (train, batch.train), kept, learning_rate, steps)


def _counted(steps: int, done: Callable[[], None]) -> Iterator[int]:
    for step in range(steps):
        yield step
        done()


def _pairs(states: list[Boundary], windows: list[list[int]]) -> tuple[torch.Tensor, torch.Tensor]:
    """(T, h) states and the (T,) tokens that follow them."""
    hidden_TH = torch.cat([s.hidden_LH[:-1] for s in states])
    next_T = torch.tensor([token for window in windows for token in window[1:]], device=hidden_TH.device)
    return hidden_TH, next_T


Pairs = tuple[torch.Tensor, torch.Tensor]


def _adapt_head(
    head_VH: torch.Tensor,
    train: Pairs,
    held: Pairs | None,
    learning_rate: float,
    steps: Iterator[int],
    micro_batch: int,
) -> Curve:
    head = torch.nn.Parameter(head_VH)
    head.grad = torch.empty_like(head)
    optimizer = torch.optim.AdamW([head], lr=learning_rate, fused=True)
    trained, evaluated = [], []
    for _ in steps:
        if held:
            evaluated.append(head_loss(head.data, *held, micro_batch))
        trained.append(head_loss(head.data, *train, micro_batch, head.grad.zero_()))
        optimizer.step()
    trained.append(head_loss(head.data, *train, micro_batch))
    if held:
        evaluated.append(head_loss(head.data, *held, micro_batch))
    return Curve(trained, evaluated if held else trained)


@torch.no_grad()
def head_loss(
    head_VH: torch.Tensor,
    hidden_TH: torch.Tensor,
    next_T: torch.Tensor,
    micro_batch: int,
    grad_VH: torch.Tensor | None = None,
    grad_TH: torch.Tensor | None = None,
    of: int | None = None,
) -> float:
    """Cross entropy of softmax(hidden head') against the next tokens: the sum, divided by n = ``of`` (default T).

    Its gradients are added to ``grad_VH`` and written to ``grad_TH``. With E = exp(logits - max) and Z its row sums,
    dL/dW = (E' (H / Z) - onehot' H) / n and dL/dH = (E W / Z - onehot W) / n. The softmax is not normalised. The rows
    of H are scaled instead, which saves a pass over the logits; such a pass costs more than the products.
    """
    n, losses = of or len(next_T), torch.empty(len(next_T), dtype=torch.float64, device=hidden_TH.device)

    def part(start: int, stop: int) -> None:
        hidden_CH, next_C = hidden_TH[start:stop], next_T[start:stop]
        logits_CV = hidden_CH @ head_VH.T
        top_C = logits_CV.amax(1)
        target_C = logits_CV.gather(1, next_C[:, None])[:, 0]
        logits_CV.sub_(top_C[:, None]).exp_()
        z_C = logits_CV.sum(1)
        losses[start:stop] = z_C.log() + top_C - target_C
        if grad_TH is not None:
            grad_TH[start:stop] = (logits_CV @ head_VH / z_C[:, None] - head_VH[next_C]) / n
        if grad_VH is not None:  # last, since a block that ran out of memory is repeated, and this adds up
            grad_VH.addmm_(logits_CV.T, hidden_CH / z_C[:, None], alpha=1 / n)

    in_blocks(len(next_T), micro_batch, part, "logits of the probe")
    if grad_VH is not None:
        grad_VH.index_add_(0, next_T, hidden_TH, alpha=-1 / n)
    return float(losses.sum()) / n


@dataclass(frozen=True)
class _Learner:
    """Reset blocks and head on top of the frozen part."""

    proxy: Proxy
    blocks: torch.nn.ModuleList
    head_VH: torch.nn.Parameter
    micro_batch: int

    def loss(self, states: list[Boundary], windows: list[list[int]], learn: bool) -> float:
        """Mean loss over all tokens. With ``learn``, gradients are accumulated window by window.

        The head's gradient is computed by hand. The gradient of the hidden states then goes through the blocks by
        autograd.
        """
        n = sum(len(w) - 1 for w in windows)
        total = 0.0
        for state, window in zip(states, windows, strict=True):
            with torch.set_grad_enabled(learn):
                hidden_LH = self.proxy.through(self.blocks, state)[:-1]
            known_LH = hidden_LH.detach()
            next_L = torch.tensor(window[1:], device=known_LH.device)
            grad_LH = torch.empty_like(known_LH) if learn else None
            grad_VH = self.head_VH.grad if learn else None
            total += head_loss(self.head_VH.data, known_LH, next_L, self.micro_batch, grad_VH, grad_LH, n)
            if learn:
                hidden_LH.backward(grad_LH)
        return total


Windows = tuple[list[Boundary], list[list[int]]]


def _adapt_blocks(
    learner: _Learner, train: Windows, held: Windows | None, learning_rate: float, steps: Iterator[int]
) -> Curve:
    optimizer = torch.optim.AdamW([*learner.blocks.parameters(), learner.head_VH], lr=learning_rate, fused=True)
    learner.head_VH.grad = torch.zeros_like(learner.head_VH)
    trained, evaluated = [], []
    for _ in steps:
        if held:
            evaluated.append(learner.loss(*held, learn=False))
        optimizer.zero_grad(set_to_none=False)
        trained.append(learner.loss(*train, learn=True))
        optimizer.step()
    trained.append(learner.loss(*train, learn=False))
    if held:
        evaluated.append(learner.loss(*held, learn=False))
    return Curve(trained, evaluated if held else trained)

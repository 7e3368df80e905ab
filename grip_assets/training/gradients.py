"""Gradient features of documents at a causal language model, by one collector: set-up, hooks, tear-down.

The gradient of a document is the mean over its predicted tokens [GRASP 4.1; a reconstruction, since the paper is public
only as an abstract]. One backward pass serves a batch of documents. It computes no gradient of a weight. Hooks record
what enters each layer and the gradient of what leaves it. The gradient of a weight matrix for one document is then the
product of these two over the document's own tokens. So a dense gradient exists for one document at a time, and with a
projection for one matrix at a time.

Sources of features:
- full: all weights. A tied head is one matrix with the input embedding, and has the sum of both gradients.
- blocks: the weights of the transformer blocks.
- head: the output matrix alone, sum over t of (p_t - y_t) h_t'. It takes a forward pass only. A tied head counts as if
  it were untied, so what goes through the input embedding is not in it.
- factored: K4, as in LoGra. Each linear layer of the blocks gives (P_b b_t)(P_a a_t)' summed over t, and layers are
  added up. No dense gradient is made.
- hidden: the mean of the states that enter the head. Not a gradient.

A document's features depend on its own tokens only, bit for bit: batches have fixed shapes, a document that fits into a
batch is never divided between two, and a longer one gets batches of its own. Projections are in projecting.py, and
everything is float32 before them. Shapes: B windows, L tokens of a window, T
predicted tokens of a document, k length of a sketch.
"""

import copy
import inspect
import warnings
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

import numpy as np
import torch

from grip_assets.errors import GripError
from grip_assets.runtime.device import one_thread
from grip_assets.training.projecting import Factors, Projection
from grip_assets.training.recipe import Item

AT_ONCE = 2048  # most tokens of a batch
LOGITS = 1 << 26  # most logits of a batch: 256 MiB
SHORTEST = 16  # tokens of a window; shorter ones are padded
DAMPING = 0.1  # of the mean root of the second moments, as for the Fisher matrix
GRADIENTS = ("full", "blocks", "head", "factored")


@dataclass(frozen=True)
class Passage:
    """A document, or an item of a target. Errors name it by ``name``."""

    name: str
    item: Item


@dataclass(frozen=True)
class Feature:
    """``sketch_K``: float32. ``norm``: of the feature before the projection. ``n_tokens``: predicted tokens T."""

    sketch_K: np.ndarray
    norm: float
    n_tokens: int


Parts = Iterable[tuple[str, torch.Tensor]]
"""The parts of one document's feature: name and float32 vector."""


# ---------------------------------------------------------------------------------------------- which windows are read


@dataclass(frozen=True)
class Window:
    """``tokens_L``: token ids. The last ``predicted`` of them are predicted."""

    tokens_L: list[int]
    predicted: int


def windows_of(item: Item, context: int, start: int) -> list[Window]:
    """The windows of an item, of at most ``context`` tokens and one more. Each text token is predicted once.

    Texts begin after the token ``start``. Tokens of a prompt are not predicted. A text without a prompt is read as in
    training, window after window. With a prompt, windows overlap by half, as where losses are measured.
    """
    joined = [start, *item.prompt_L, *item.text_L]
    before = context // 2 if item.prompt_L else 1
    done, found = len(joined) - len(item.text_L), []
    while done < len(joined):
        first = max(min(done - before, len(joined) - context - 1), 0)
        stop = min(first + context + 1, len(joined))
        found.append(Window(joined[first:stop], stop - done))
        done = stop
    return found


@dataclass(frozen=True)
class Piece:
    """Windows of one passage, all or a part of them, in one batch. ``n``: predicted tokens of the whole passage.
    ``last``: whether the passage ends here."""

    number: int
    windows: tuple[Window, ...]
    n: int
    last: bool = True


def batches_of(
    passages: Sequence[Passage], context: int, start: int, at_once: int = AT_ONCE
) -> Iterator[tuple[int, list[Piece]]]:
    """(length of the windows, pieces) of each batch. The pieces of a passage come in their order, one after another."""
    shared: dict[int, list[Piece]] = {}
    for number, passage in enumerate(passages):
        windows = windows_of(passage.item, context, start)
        length = _length(max((len(window.tokens_L) - 1 for window in windows), default=1), context)
        rows, n = rows_of(length, at_once), len(passage.item.text_L)
        if len(windows) <= rows:
            shared.setdefault(length, []).append(Piece(number, tuple(windows), n))
            continue
        for first in range(0, len(windows), rows):
            part = tuple(windows[first : first + rows])
            yield length, [Piece(number, part, n, first + rows >= len(windows))]
    for length, pieces in sorted(shared.items()):
        yield from ((length, batch) for batch in _packed(pieces, rows_of(length, at_once)))


def rows_of(length: int, at_once: int = AT_ONCE) -> int:
    """Windows of a batch."""
    return max(at_once // length, 1)


def _length(longest: int, context: int) -> int:
    """The length of a passage's windows: a power of two, or the context. It depends on this passage only."""
    return min(max(1 << (longest - 1).bit_length(), SHORTEST), max(context, longest))


def _packed(pieces: list[Piece], rows: int) -> list[list[Piece]]:
    """The pieces in batches of at most ``rows`` windows: each goes into the first batch that has room."""
    batches: list[list[Piece]] = []
    room: list[int] = []
    for piece in sorted(pieces, key=lambda piece: -len(piece.windows)):
        fits = next((i for i, left in enumerate(room) if left >= len(piece.windows)), None)
        if fits is None:
            fits = len(batches)
            batches.append([])
            room.append(rows)
        batches[fits].append(piece)
        room[fits] -= len(piece.windows)
    return batches


# -------------------------------------------------------------------------------------------------------- the collector


@dataclass
class Layer:
    """A module that has weights, with what the hooks recorded in the last pass: its ``uses`` as (input, gradient of the
    output). ``names``: its own weights -> their names in the model.

    ``ends``: for a norm, two copies with the weights 1 and 0. Its output is its weights times something, and the
    difference of their outputs is that. It is recorded instead of the input.
    """

    name: str
    module: torch.nn.Module
    names: dict[str, str]
    ends: tuple[torch.nn.Module, torch.nn.Module] | None = None
    uses: list[tuple[torch.Tensor, torch.Tensor]] = field(default_factory=list)


class Collector:
    """Records, for one model and source, what per-document gradients are made from. A context manager.

    The model is not changed: the collector works on a copy that shares its weights. So each thread has its own.
    """

    def __init__(self, model: Any, source: str, device: str = "cpu"):
        one_thread()
        self.source, self.device = source, device
        self.model = _own_copy(model, device)
        self.head = _head(self.model)
        self.vocabulary, self.hidden = _size_of(self.head)
        self.layers = _layers(self.model, source, self.head)
        self.at_once = min(AT_ONCE, LOGITS // self.vocabulary)
        self._handles: list[Any] = []
        self._takes_positions = "position_ids" in inspect.signature(self.model.forward).parameters

    def __enter__(self) -> Self:
        if self.source in ("head", "hidden"):
            begins = [self.head]
        else:
            begins = [module for module in self.model.modules() if isinstance(module, torch.nn.Embedding)]
        for module in begins:
            self._handles.append(module.register_forward_hook(_begin_here))
        for layer in self.layers:
            self._handles.append(layer.module.register_forward_hook(_recorder(layer)))
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles.clear()

    def run(self, length: int, pieces: Sequence[Piece]) -> "Batch":
        """One pass over a batch. Rows that no piece fills are padding, so every batch of a length has one shape."""
        rows = rows_of(length, self.at_once)
        tokens_BL = np.zeros((rows, length + 1), np.int64)
        weight_BL = np.zeros((rows, length), np.float32)
        row = 0
        for piece in pieces:
            for window in piece.windows:
                last = len(window.tokens_L)
                tokens_BL[row, :last] = window.tokens_L
                weight_BL[row, last - 1 - window.predicted : last - 1] = 1 / piece.n
                row += 1
        self._pass(torch.from_numpy(tokens_BL).to(self.device), torch.from_numpy(weight_BL).to(self.device))
        return Batch(self, pieces, weight_BL)

    def _pass(self, tokens_BL: torch.Tensor, weight_BL: torch.Tensor) -> None:
        for layer in self.layers:
            layer.uses.clear()
        named: dict[str, Any] = {"use_cache": False}
        if self._takes_positions:  # one row for each window, or learned positions have one gradient for the batch
            places_L = torch.arange(weight_BL.shape[1], device=self.device)
            named["position_ids"] = places_L.expand(weight_BL.shape)
        with torch.set_grad_enabled(self.source != "hidden"):
            logits = self.model(input_ids=tokens_BL[:, :-1], **named).logits
            if self.source != "hidden":
                nats = torch.nn.functional.cross_entropy(
                    logits.float().flatten(0, 1), tokens_BL[:, 1:].flatten(), reduction="none"
                )
                (nats * weight_BL.flatten()).sum().backward()
        for layer in self.layers:
            if not layer.uses or any(len(part) != len(weight_BL) for use in layer.uses for part in use):
                raise GripError(
                    f"The gradient of '{layer.name}' ({type(layer.module).__name__}) of the reference model cannot be"
                    " taken by document. Set settings/attribution.source to head, or choose another reference."
                )


@dataclass(frozen=True)
class Batch:
    """What the collector recorded for some pieces, as the parts of their features."""

    collector: Collector
    pieces: Sequence[Piece]
    weight_BL: np.ndarray

    def parts(self, factors: Factors | None) -> Iterator[tuple[Piece, Parts]]:
        """The parts of each piece. They must be read before the next pass."""
        source, row = self.collector.source, 0
        projected = _factored(self.collector.layers, factors) if source == "factored" and factors else []
        for piece in self.pieces:
            rows = slice(row, row + len(piece.windows))
            row = rows.stop
            if source == "hidden":
                yield piece, self._hidden(rows)
            elif source == "factored":
                yield piece, [("factored", _summed(projected, rows))]
            else:
                yield piece, _dense(self.collector.layers, rows)

    def _hidden(self, rows: slice) -> Parts:
        ((state_BLH, _),) = self.collector.layers[0].uses
        weight_BL = torch.from_numpy(self.weight_BL[rows]).to(state_BLH.device)
        yield "hidden", torch.einsum("bl,blh->h", weight_BL, state_BLH[rows])


def _own_copy(model: Any, device: str) -> Any:
    """A copy of the modules, which shares the weights if these are float32 and on the device. Weights are frozen."""
    if any(weight.dtype in (torch.bfloat16, torch.float16) for weight in model.parameters()):
        warnings.warn(
            "The weights of the reference model are in a 16-bit format. Gradients are computed in float32, but scores"
            " at rounded weights are noisy. Use a float32 checkpoint if there is one.",
            stacklevel=3,
        )
    shared: dict[int, Any] = {id(buffer): buffer.to(device) for buffer in model.buffers()}
    for weight in model.parameters():
        shared[id(weight)] = torch.nn.Parameter(weight.detach().to(device, torch.float32), requires_grad=False)
    return copy.deepcopy(model, shared).eval()


def _head(model: Any) -> torch.nn.Module:
    head = model.get_output_embeddings()
    if head is None:
        raise GripError("The reference model has no output matrix, so it is no causal language model. Choose another.")
    return head


def _size_of(head: torch.nn.Module) -> tuple[int, int]:
    """(vocabulary, width of a state)."""
    weight = head.weight
    assert isinstance(weight, torch.Tensor)
    return weight.shape[0], weight.shape[1]


def _layers(model: Any, source: str, head: torch.nn.Module) -> list[Layer]:
    """The modules with weights that a source reads."""
    of_the_model = {id(weight): name for name, weight in model.named_parameters()}
    inside = set(_blocks(model).modules()) if source in ("blocks", "factored") else set(model.modules())
    wanted = {head} if source in ("head", "hidden") else inside
    found = []
    for name, module in model.named_modules():
        own = {own: of_the_model[id(weight)] for own, weight in module.named_parameters(recurse=False)}
        if module in wanted and own and (source != "factored" or isinstance(module, torch.nn.Linear)):
            is_norm = type(module).__name__.endswith("Norm")
            found.append(Layer(name, module, own, _ends(module) if is_norm else None))
    return found


def _with(module: torch.nn.Module, weights: Mapping[str, torch.Tensor]) -> torch.nn.Module:
    """A copy of a module with other weights of its own, and without hooks."""
    made = copy.copy(module)
    made._forward_hooks = OrderedDict()
    made._parameters = {**module._parameters, **weights}  # type: ignore[dict-item]
    return made


def _ends(norm: torch.nn.Module) -> tuple[torch.nn.Module, torch.nn.Module]:
    """Copies of a norm with the weights 1 and 0, without a bias."""
    own = dict(norm.named_parameters(recurse=False))
    one, zero = ({k: torch.full_like(w, 0 if k == "bias" else value) for k, w in own.items()} for value in (1, 0))
    return _with(norm, one), _with(norm, zero)


def _blocks(model: Any) -> torch.nn.ModuleList:
    """The transformer blocks: the largest list of modules."""
    lists = [module for module in model.modules() if isinstance(module, torch.nn.ModuleList)]
    if not lists:
        raise GripError(
            f"The reference model ({type(model).__name__}) has no list of blocks. Set settings/attribution.source to"
            " full or head."
        )
    return max(lists, key=lambda blocks: sum(weight.numel() for weight in blocks.parameters()))


def _begin_here(module: torch.nn.Module, inputs: tuple, output: torch.Tensor) -> torch.Tensor:
    """The output as the leaf at which the backward pass ends."""
    return output.detach().requires_grad_(torch.is_grad_enabled())


def _recorder(layer: Layer) -> Callable:
    def record(module: torch.nn.Module, inputs: tuple, output: torch.Tensor) -> None:
        (given,) = inputs
        if not output.requires_grad:
            layer.uses.append((given.detach(), output.detach()))
            return
        if layer.ends:
            given = layer.ends[0](given.detach()) - layer.ends[1](given.detach())
        output.register_hook(lambda gradient: layer.uses.append((given.detach(), gradient)))

    return record


# ------------------------------------------------------------------------------------------- gradients of one document


def _dense(layers: Sequence[Layer], rows: slice) -> Parts:
    """The gradient of each weight over the tokens of some windows. A weight that two layers share is one part."""
    owners: dict[str, list[tuple[Layer, str]]] = {}
    for layer in layers:
        for own, name in layer.names.items():
            owners.setdefault(name, []).append((layer, own))
    for name, uses in owners.items():
        total: torch.Tensor | None = None
        for layer, own in uses:
            for given, gradient in layer.uses:
                found = _gradient(layer, own, given[rows], gradient[rows])
                total = found if total is None else total + found
        assert total is not None
        yield name, total.flatten()


def _gradient(layer: Layer, own: str, given: torch.Tensor, gradient: torch.Tensor) -> torch.Tensor:
    module = layer.module
    if own == "bias" and (layer.ends or isinstance(module, torch.nn.Linear)):
        return gradient.flatten(0, -2).sum(0)
    if isinstance(module, torch.nn.Linear):
        return gradient.flatten(0, -2).T @ given.flatten(0, -2)
    if isinstance(module, torch.nn.Embedding):
        return torch.zeros_like(module.weight).index_add_(0, given.flatten(), gradient.flatten(0, -2))
    if layer.ends:
        return (gradient * given).flatten(0, -2).sum(0)
    return _by_autograd(module, own, given, gradient)


def _by_autograd(module: torch.nn.Module, own: str, given: torch.Tensor, gradient: torch.Tensor) -> torch.Tensor:
    """The gradient of a weight of any other module, which is run again on these tokens only."""
    weight = getattr(module, own).detach().requires_grad_()
    with torch.enable_grad():
        return torch.autograd.grad(_with(module, {own: weight})(given), weight, gradient)[0]


def _factored(layers: Sequence[Layer], factors: Factors | None) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """(P_a a, P_b b) of each use of each linear layer, for the whole batch."""
    assert factors is not None
    found = []
    for layer in layers:
        for given, gradient in layer.uses:
            p_a, p_b = (
                factors.factor(f"{layer.name}.{side}", tensor.shape[-1], given.device)
                for side, tensor in (("in", given), ("out", gradient))
            )
            found.append((given @ p_a, gradient @ p_b))
    return found


def _summed(projected: list[tuple[torch.Tensor, torch.Tensor]], rows: slice) -> torch.Tensor:
    """The factored gradients of some windows, summed over tokens and layers."""
    products = [b[rows].flatten(0, -2).T @ a[rows].flatten(0, -2) for a, b in projected]
    return torch.stack(products).sum(0).flatten()


# --------------------------------------------------------------------------------------------------- features of many


def features(
    collector: Collector,
    passages: Sequence[Passage],
    context: int,
    start: int,
    projection: Projection | None = None,
    factors: Factors | None = None,
    scales: Mapping[str, torch.Tensor] | None = None,
    done: Callable[[int], None] = lambda tokens: None,
) -> list[Feature]:
    """The features of the passages, in their order. The collector's hooks must be set.

    ``projection``: None for features as they are. ``factors``: for the source factored. ``scales``: a factor for each
    number of the parts that it names, the root of a preconditioner. ``done`` is called with the predicted tokens of
    each passage. GripError names the first passage whose feature is not finite.
    """
    found: dict[int, Feature] = {}
    waiting: list[tuple[int, int, Parts]] = []
    at_once = projection.at_once if projection else 1

    def sketch_those() -> None:
        sketch_NK, norm_N = _sketched([parts for _, _, parts in waiting], projection)
        for (number, n, _), sketch_K, norm in zip(waiting, sketch_NK, norm_N, strict=True):
            if not (np.isfinite(norm) and np.isfinite(sketch_K).all()):
                raise _not_finite(passages[number].name)
            found[number] = Feature(sketch_K.astype(np.float32), float(norm), n)
            done(n)
        waiting.clear()

    for number, n, parts in _parts_of_each(collector, passages, context, start, factors):
        scaled = (
            (name, values_P * scales[name] if scales and name in scales else values_P) for name, values_P in parts
        )
        waiting.append((number, n, scaled if at_once == 1 else list(scaled)))
        if len(waiting) == at_once:
            sketch_those()
    if waiting:
        sketch_those()
    empty_K = np.zeros(projection.dim if projection else width(collector, factors), np.float32)
    return [found.get(number, Feature(empty_K, 0.0, 0)) for number in range(len(passages))]


def second_moments(
    collector: Collector, passages: Sequence[Passage], context: int, start: int
) -> dict[str, np.ndarray]:
    """The mean over the passages of the squared gradient, for each part, float32."""
    total: dict[str, np.ndarray] = {}
    for number, _, parts in _parts_of_each(collector, passages, context, start, None):
        for name, values_P in parts:
            if not torch.isfinite(values_P).all():
                raise _not_finite(passages[number].name)
            total[name] = total.get(name, 0) + values_P.square().cpu().numpy() / len(passages)
    return total


def adam_scales(moments: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The root of Adam's diagonal preconditioner, 1 / sqrt(sqrt(v) + damping), for each part, float32.

    The damping is a tenth of the mean of sqrt(v). Without it, weights that the sample hardly touched would lead.
    """
    n = sum(len(v_P) for v_P in moments.values())
    mean = sum(float(np.sqrt(v_P, dtype=np.float64).sum()) for v_P in moments.values()) / n
    damping = DAMPING * max(mean, float(np.finfo(np.float32).tiny))
    return {name: (1 / np.sqrt(np.sqrt(v_P) + damping)).astype(np.float32) for name, v_P in moments.items()}


def width(collector: Collector, factors: Factors | None = None) -> int:
    """Numbers in a feature before the projection."""
    if factors is not None:
        return factors.side**2
    if collector.source == "hidden":
        return collector.hidden
    weights = {name: getattr(layer.module, own) for layer in collector.layers for own, name in layer.names.items()}
    return sum(weight.numel() for weight in weights.values())


def _parts_of_each(
    collector: Collector, passages: Sequence[Passage], context: int, start: int, factors: Factors | None
) -> Iterator[tuple[int, int, Parts]]:
    """(number, predicted tokens, parts) of each passage. The parts of one in several batches are summed, so they are
    all in memory for a while. A passage without a token to predict is left out."""
    held: dict[str, torch.Tensor] = {}
    for length, pieces in batches_of(passages, context, start, collector.at_once):
        pieces = [piece for piece in pieces if piece.windows]
        if not pieces:
            continue
        for piece, parts in collector.run(length, pieces).parts(factors):
            if piece.last and not held:
                yield piece.number, piece.n, parts
                continue
            for name, values_P in parts:
                held[name] = held[name] + values_P if name in held else values_P
            if piece.last:
                yield piece.number, piece.n, held.items()
                held = {}


def _sketched(each: Sequence[Parts], projection: Projection | None) -> tuple[np.ndarray, np.ndarray]:
    """(sketches, norms before the projection), float64 (N, k) and (N,). The parts of all N come in the same order."""
    square_N: np.ndarray | float = 0.0
    sketch_NK: np.ndarray | float = 0.0
    whole = []
    for parts in zip(*each, strict=True):
        (name, *_), values_NP = [name for name, _ in parts], torch.stack([values_P for _, values_P in parts])
        square_N = square_N + torch.linalg.vector_norm(values_NP, dim=1, dtype=torch.float64).square().cpu().numpy()
        if projection is None:
            whole.append(values_NP.cpu().numpy())
        else:
            sketch_NK = sketch_NK + projection.add(name, values_NP)
    return np.concatenate(whole, axis=1) if projection is None else np.asarray(sketch_NK), np.sqrt(square_N)


def _not_finite(name: str) -> GripError:
    return GripError(
        f"The gradient of {name} is not finite at the reference model. Look at this text, or choose another"
        " settings/attribution.reference, or lower settings/attribution.learning_rate if it was trained here."
    )

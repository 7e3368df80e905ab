"""A small causal language model, trained from scratch: the yardstick of the evaluation, and of a mixture of domains.

It is a Llama from transformers with a tied head, with a byte-level BPE learned on the pool. There is one ``loop`` for
all trainings. It is plain: AdamW, warm-up over a tenth of the steps, then a cosine to a tenth of the peak. Cost: 6 x
parameters x tokens operations. Each training runs on one thread, so its result does not depend on how many run at once.
Which windows a mixture reads is in mixtures.py.
"""

import math
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from safetensors.torch import load, save
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM

from grip_assets.errors import GripError
from grip_assets.method.sampling import keyed_order
from grip_assets.training.recipe import Item, Shape, TrainingRecipe, pace, wide

END = "<|end|>"  # before, between and after documents
HEAD = "lm_head.weight"
SCORED_AT_ONCE = 16  # windows
LOOKED_AT = 64  # steps between two looks at the losses: each look makes a GPU wait
_initialising = threading.Lock()  # all threads share torch's random state


class Diverged(Exception):
    """The loss of a training is not finite from ``step`` on, which counts from 0."""

    def __init__(self, step: int):
        super().__init__(f"the loss is not finite from step {step + 1} on")
        self.step = step


class Batch(NamedTuple):
    """Windows of one step: int64 (B, C + 1), and the domain of each, int64 (B,), where a loss needs it."""

    tokens_BL: np.ndarray
    domain_B: np.ndarray | None = None


Loss = Callable[[torch.Tensor, torch.Tensor, np.ndarray | None], torch.Tensor]
"""Nats of each predicted token (B, C), the windows (B, C + 1) and the domain of each (B,) -> the loss of a step."""


def learn_tokenizer(texts: Iterable[str], vocabulary: int) -> Tokenizer:
    """Learn a byte-level BPE. It decodes every text exactly, so bits per byte are defined."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary, special_tokens=[END], initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def encode(tokenizer: Tokenizer, texts: list[str]) -> list[list[int]]:
    """Token ids of each text. Text that looks like the separator ``END`` is read as plain text."""
    tokenizer.encode_special_tokens = True
    return [encoding.ids for encoding in tokenizer.encode_batch_fast(texts, add_special_tokens=False)]


def new_model(shape: Shape, seed: int, settings: str = "evaluation") -> Any:
    """A new model, initialised from ``seed``. GripError if ``heads`` of ``settings`` does not divide the width."""
    if shape.hidden % shape.heads:
        raise GripError(
            f"settings/{settings}.heads is {shape.heads}, which does not divide the width {shape.hidden}."
            " Choose another number of heads."
        )
    config = LlamaConfig(
        vocab_size=shape.vocabulary,
        hidden_size=shape.hidden,
        intermediate_size=wide(shape),
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.heads,
        max_position_embeddings=2 * shape.context,
        tie_word_embeddings=True,
        bos_token_id=0,
        eos_token_id=0,
    )
    with _initialising, torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return LlamaForCausalLM(config)


def packed(model: Any) -> bytes:
    """The weights as safetensors. A head that is tied to the embedding is left out."""
    weights = {name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()}
    if model.config.tie_word_embeddings:
        weights.pop(HEAD, None)
    return save(weights)


def unpacked(model: bytes, shape: Shape) -> Any:
    """The model of ``packed``."""
    return with_weights(new_model(shape, 0), model)


def with_weights(made: Any, weights: bytes) -> Any:
    """``made``, with the weights of a model of the same architecture, as ``packed`` made them."""
    made.load_state_dict(load(weights), strict=False)
    return made


def train(
    model: Any,
    documents: Sequence[np.ndarray],
    shape: Shape,
    recipe: TrainingRecipe,
    seed: int,
    advance: Callable[[int], None] = lambda tokens: None,
) -> list[float]:
    """Train ``model`` on the documents' tokens. Returns the mean loss (nats per token) of each tenth of the steps.

    Documents are joined with END between them and cut into windows. The windows are read in a random order that depends
    on ``seed``, with a new order for each pass. A document that should weigh more is there more often. GripError if the
    loss is not finite.
    """
    windows_WC = pack(documents, shape.context)
    steps, per_step = pace(shape, recipe)
    try:
        losses = loop(model, epochs(windows_WC, per_step, steps, seed), recipe, steps, advance=advance)
    except Diverged:
        raise GripError("The training loss is not finite. Lower settings/evaluation.learning_rate.") from None
    return by_tenths(losses)


def mean_loss(nats_BC: torch.Tensor, tokens_BL: torch.Tensor, domain_B: np.ndarray | None) -> torch.Tensor:
    """The mean over all tokens of a step."""
    return nats_BC.mean()


def loop(
    model: Any,
    batches: Iterable[Batch],
    recipe: TrainingRecipe,
    steps: int,
    loss: Loss = mean_loss,
    advance: Callable[[int], None] = lambda tokens: None,
) -> np.ndarray:
    """Train ``model`` on one batch in each of the ``steps``. Returns the loss of each step, float64 (steps,).

    The recipe's ``batch_tokens`` is not read: a batch is as large as it comes. ``advance`` is called with the predicted
    tokens of each step. Diverged if a loss is not finite.
    """
    optimizer = optimizer_of(model, recipe)
    losses_T = torch.zeros(steps, dtype=torch.float64, device=recipe.device)
    run_steps(model, optimizer, batches, recipe, steps, range(steps), losses_T, loss, advance)
    return losses_T.cpu().numpy()


def optimizer_of(model: Any, recipe: TrainingRecipe) -> torch.optim.AdamW:
    """The optimizer of a training. The model is moved to the recipe's device."""
    parameters = list(model.to(recipe.device).parameters())
    return torch.optim.AdamW(parameters, lr=recipe.learning_rate, betas=(0.9, 0.95), weight_decay=0.1, fused=True)


def run_steps(
    model: Any,
    optimizer: torch.optim.Optimizer,
    batches: Iterable[Batch],
    recipe: TrainingRecipe,
    steps: int,
    some: range,
    losses_T: torch.Tensor,
    loss: Loss = mean_loss,
    advance: Callable[[int], None] = lambda tokens: None,
) -> None:
    """Take ``some`` of the ``steps`` of a training, and write their losses into ``losses_T`` (steps,)."""
    parameters = list(model.parameters())
    for step, batch in zip(some, batches, strict=True):
        for group in optimizer.param_groups:
            group["lr"] = recipe.learning_rate * rate(step, steps)
        tokens_BL = torch.from_numpy(batch.tokens_BL).to(recipe.device)
        nats_BC = token_nats(model, tokens_BL, recipe)
        value = loss(nats_BC, tokens_BL, batch.domain_B)
        value.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        losses_T[step] = value.detach()
        advance(nats_BC.numel())
        if (step + 1) % LOOKED_AT == 0 or step + 1 == some.stop:
            _must_be_finite(losses_T)


def _must_be_finite(losses_T: torch.Tensor) -> None:
    if not bool(torch.isfinite(losses_T).all()):
        raise Diverged(int(torch.isfinite(losses_T).logical_not().nonzero()[0, 0]))


def by_tenths(losses_T: np.ndarray) -> list[float]:
    """The mean loss of each tenth of the steps."""
    return [float(part.mean()) for part in np.array_split(losses_T, min(10, len(losses_T)))]


def pack(documents: Sequence[np.ndarray], context: int, end: int = 0) -> np.ndarray:
    """Windows of ``context + 1`` tokens, int64. Each begins with the last token of the one before.

    ``end``: the token before, between and after documents. Tokens at the end that fill no window are left out.
    GripError if there are too few tokens for one window.
    """
    joined = np.concatenate([np.append(end, ids) for ids in documents] + [np.full(1, end)]).astype(np.int64)
    n = (len(joined) - 1) // context
    if not n:
        raise GripError(
            f"The subset has {len(joined):,} tokens, fewer than one window of settings/evaluation.context ({context})."
            " Raise settings/budget.total, or lower the context."
        )
    return np.lib.stride_tricks.sliding_window_view(joined, context + 1)[: n * context : context]


def epochs(windows_WC: np.ndarray, per_step: int, steps: int, seed: int) -> Iterator[Batch]:
    """``steps`` batches of ``per_step`` windows. Each epoch reads all windows, in an order that depends on ``seed``."""
    order = _order(len(windows_WC), seed)
    return (Batch(windows_WC[[next(order) for _ in range(per_step)]]) for _ in range(steps))


def one_epoch(windows_WC: np.ndarray, per_step: int, seed: int) -> Iterator[Batch]:
    """All windows once, in the order of the first of the ``epochs``. The last batch may be smaller."""
    order_W = keyed_order(seed, "windows of epoch 0", len(windows_WC))
    return (Batch(windows_WC[order_W[start : start + per_step]]) for start in range(0, len(order_W), per_step))


def _order(n: int, seed: int) -> Iterator[int]:
    epoch = 0
    while True:
        yield from keyed_order(seed, f"windows of epoch {epoch}", n)
        epoch += 1


def rate(step: int, steps: int) -> float:
    """Learning rate of a step as a share of the peak."""
    warm = max(steps // 10, 1)
    if step < warm:
        return (step + 1) / warm
    return 0.1 + 0.45 * (1 + math.cos(math.pi * (step - warm) / max(steps - warm, 1)))


def token_nats(model: Any, tokens_BL: torch.Tensor, recipe: TrainingRecipe) -> torch.Tensor:
    """Loss of each token after the first, (B, L - 1), in float32."""
    half = recipe.dtype == "bfloat16"
    with torch.autocast(recipe.device, torch.bfloat16, enabled=half):
        logits = model(input_ids=tokens_BL[:, :-1], use_cache=False).logits
    next_BL = tokens_BL[:, 1:]
    # Flattened to rows: cross_entropy over a transposed view takes five times as long.
    nats = torch.nn.functional.cross_entropy(logits.float().flatten(0, 1), next_BL.flatten(), reduction="none")
    return nats.view(next_BL.shape)


@torch.no_grad()
def nats_of(model: Any, tokens_BL: torch.Tensor, recipe: TrainingRecipe) -> torch.Tensor:
    """``token_nats`` of a model that is not trained."""
    return token_nats(model, tokens_BL, recipe)


@torch.no_grad()
def bits(model: Any, items: Sequence[Item], shape: Shape, recipe: TrainingRecipe, end: int = 0) -> np.ndarray:
    """Bits that the model needs for the text of each item, float64. Of ``shape``, only the context is read.

    ``end``: the token before an item.
    A text that is longer than a window is read in windows that overlap by half, so that every token except the first
    few has at least half a window before it. Windows of similar lengths are read together. Padding comes after the
    tokens, where a causal model does not see it.
    """
    model.eval()
    spans = [span for i, item in enumerate(items) for span in _spans(i, item, shape.context, end)]
    spans.sort(key=lambda span: len(span[1]))
    found = np.zeros(len(items))
    for start in range(0, len(spans), SCORED_AT_ONCE):
        group = spans[start : start + SCORED_AT_ONCE]
        longest = len(group[-1][1])
        tokens_BL = torch.tensor([ids + [0] * (longest - len(ids)) for _, ids, _ in group], device=recipe.device)
        nats_BL = token_nats(model, tokens_BL, recipe).double().cpu().numpy()
        for row_L, (i, ids, new) in zip(nats_BL, group, strict=True):
            found[i] += row_L[len(ids) - 1 - new : len(ids) - 1].sum() / math.log(2)
    model.train()
    return found


def _spans(i: int, item: Item, context: int, end: int) -> Iterator[tuple[int, list[int], int]]:
    """(number of the item, tokens of a window, number of tokens at its end that are predicted)."""
    joined = [end, *item.prompt_L, *item.text_L]
    done = len(joined) - len(item.text_L)
    while done < len(joined):
        start = max(min(done - context // 2, len(joined) - context - 1), 0)
        stop = min(start + context + 1, len(joined))
        yield i, joined[start:stop], stop - done
        done = stop


@torch.no_grad()
def complete(model: Any, prompt_L: list[int], longest: int, device: str) -> list[int]:
    """The most likely continuation, token by token, to END or ``longest``."""
    model.eval()
    ids = torch.tensor([[0, *prompt_L]], device=device)
    out = model.generate(
        ids, attention_mask=torch.ones_like(ids), max_new_tokens=longest, do_sample=False, pad_token_id=0
    )
    model.train()
    new = out[0, ids.shape[1] :].tolist()
    return new[: new.index(0)] if 0 in new else new

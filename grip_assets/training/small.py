"""A small causal language model trained from nothing: the yardstick of the evaluation.

A Llama from transformers with a tied head, a byte-level BPE learned on the pool, and a plain loop: AdamW, warm-up over
a tenth of the steps, then a cosine to a tenth of the peak. Cost: 6 x parameters x tokens operations. One training is
one shard on one thread, so its result does not depend on how many run at once.
"""

import math
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM

from grip_assets.errors import GripError
from grip_assets.method.sampling import keyed_order
from grip_assets.training.recipe import Item, Shape, TrainingRecipe

END = "<|end|>"  # between documents, and before the first
SCORED_AT_ONCE = 16  # windows
_initialising = threading.Lock()  # torch's seed is one for all threads


def learn_tokenizer(texts: Iterable[str], vocabulary: int) -> Tokenizer:
    """A byte-level BPE: every text comes back as it was, so bits per byte are defined."""
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
    """Token ids of each text; what looks like the separator inside a document is plain text."""
    tokenizer.encode_special_tokens = True
    return [encoding.ids for encoding in tokenizer.encode_batch_fast(texts, add_special_tokens=False)]


def new_model(shape: Shape, seed: int) -> Any:
    """The initialisation that ``seed`` names, the same for every subset."""
    if shape.hidden % shape.heads:
        raise GripError(
            f"settings/evaluation.heads is {shape.heads}, which does not divide the width {shape.hidden}."
            " Choose another number of heads."
        )
    config = LlamaConfig(
        vocab_size=shape.vocabulary,
        hidden_size=shape.hidden,
        intermediate_size=-(-shape.hidden * 8 // 3 // 64) * 64,
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


def train(
    model: Any,
    documents: Sequence[np.ndarray],
    shape: Shape,
    recipe: TrainingRecipe,
    seed: int,
    advance: Callable[[int], None] = lambda tokens: None,
) -> list[float]:
    """Train ``model`` on the documents' tokens, and return the mean loss (nats a token) of each tenth of the steps.

    Documents are joined with END between them, cut into windows, and the windows are read in an order that ``seed``
    names, a new one each time that all were read. A document that is to weigh more is there more often.
    """
    windows_WC = pack(documents, shape.context)
    model.to(recipe.device)
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=recipe.learning_rate, betas=(0.9, 0.95), weight_decay=0.1, fused=True
    )
    per_step = max(recipe.batch_tokens // shape.context, 1)
    steps = max(recipe.tokens // (per_step * shape.context), 1)
    order = _order(len(windows_WC), seed)
    losses = np.zeros(steps)
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = recipe.learning_rate * rate(step, steps)
        batch_BC = torch.from_numpy(windows_WC[[next(order) for _ in range(per_step)]]).to(recipe.device)
        loss = _nats(model, batch_BC, recipe).mean()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        losses[step] = loss.item()
        advance(per_step * shape.context)
    if not np.isfinite(losses).all():
        raise GripError("The training loss is not finite. Lower settings/evaluation.learning_rate.")
    return [float(part.mean()) for part in np.array_split(losses, min(10, steps))]


def pack(documents: Sequence[np.ndarray], context: int) -> np.ndarray:
    """Windows of ``context + 1`` tokens, int64, each beginning with the last token of the one before; the end that
    fills no window is left out."""
    joined = np.concatenate([np.append(0, ids) for ids in documents] + [np.zeros(1, np.int64)]).astype(np.int64)
    n = (len(joined) - 1) // context
    if not n:
        raise GripError(
            f"The subset has {len(joined):,} tokens, less than one window of settings/evaluation.context ({context})."
            " Raise settings/budget.total, or lower the context."
        )
    return np.lib.stride_tricks.sliding_window_view(joined, context + 1)[: n * context : context]


def _order(n: int, seed: int) -> Iterator[int]:
    epoch = 0
    while True:
        yield from keyed_order(seed, f"windows of epoch {epoch}", n)
        epoch += 1


def rate(step: int, steps: int) -> float:
    """Learning rate as a share of its peak."""
    warm = max(steps // 10, 1)
    if step < warm:
        return (step + 1) / warm
    return 0.1 + 0.45 * (1 + math.cos(math.pi * (step - warm) / max(steps - warm, 1)))


def _nats(model: Any, tokens_BL: torch.Tensor, recipe: TrainingRecipe) -> torch.Tensor:
    """Loss of each token after the first, (B, L - 1), float32."""
    half = recipe.dtype == "bfloat16"
    with torch.autocast(recipe.device, torch.bfloat16, enabled=half):
        logits = model(input_ids=tokens_BL[:, :-1], use_cache=False).logits
    next_BL = tokens_BL[:, 1:]
    # Rows, not a transposed view, which takes five times as long.
    nats = torch.nn.functional.cross_entropy(logits.float().flatten(0, 1), next_BL.flatten(), reduction="none")
    return nats.view(next_BL.shape)


@torch.no_grad()
def bits(model: Any, items: Sequence[Item], shape: Shape, recipe: TrainingRecipe) -> np.ndarray:
    """Bits that the text of each item costs, float64.

    A prompt stays as long as a window has room for it. A text that is longer is read in windows that overlap by half,
    so that every token but the first few has at least half a window before it. Windows of about the same length are
    read together; what fills the shorter ones up comes after them, where a causal model does not see it.
    """
    model.eval()
    spans = [span for i, item in enumerate(items) for span in _spans(i, item, shape.context)]
    spans.sort(key=lambda span: len(span[1]))
    found = np.zeros(len(items))
    for start in range(0, len(spans), SCORED_AT_ONCE):
        group = spans[start : start + SCORED_AT_ONCE]
        longest = len(group[-1][1])
        tokens_BL = torch.tensor([ids + [0] * (longest - len(ids)) for _, ids, _ in group], device=recipe.device)
        nats_BL = _nats(model, tokens_BL, recipe).double().cpu().numpy()
        for row_L, (i, ids, new) in zip(nats_BL, group, strict=True):
            found[i] += row_L[len(ids) - 1 - new : len(ids) - 1].sum() / math.log(2)
    model.train()
    return found


def _spans(i: int, item: Item, context: int) -> Iterator[tuple[int, list[int], int]]:
    """(item, tokens of a window, how many of them are predicted, from its end)."""
    joined = [0, *item.prompt_L, *item.text_L]
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

"""The encoder f_θ: a document becomes one unit vector [paper 2.2, A19].

A document is cut into consecutive windows of the model's length. Each window runs alone, on one thread, without
padding. So a vector depends only on its text, not on the batch, its neighbours or the number of workers. On a CPU this
costs nothing: two workers with one window each are as fast as one padded batch on two threads. The document's vector is
the sum of its windows' unit vectors, weighted by their tokens, then normalised, in float16. Cost: one forward pass over
each embedded token.

On a GPU the windows of many documents run together, padded, those of similar lengths in one batch. The components of a
vector then differ by up to 1e-3 from those of the processor, which are the reference.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers

from grip_assets.errors import GripError
from grip_assets.models.files import ModelFiles
from grip_assets.models.loading import quiet
from grip_assets.runtime import device, threads
from grip_assets.runtime.memory import in_blocks

BATCH_TOKENS = 32_768  # of a padded batch on a GPU
TOGETHER = 512  # documents whose windows share batches, where texts come as a stream


@dataclass(frozen=True)
class Embedded:
    """``vector``: float16 (d,). ``n_encoder_tokens``: embedded tokens without special ones. ``n_windows``: all windows
    of
    the document."""

    vector: np.ndarray
    n_encoder_tokens: int
    n_windows: int
    n_windows_embedded: int


def load_encoder(
    files: ModelFiles,
    pooling: str | None,
    window: int | None,
    max_windows: int | None,
    dtype: str,
    setting: str = "settings/embedding.model",
) -> "Encoder":
    """Load an encoder from safetensors. None means the model's own pooling, the model's own window, or all windows.

    GripError names ``setting`` if it cannot be loaded, or if ``window`` is above the model's own.
    """
    local = {"local_files_only": True} if files.folder else {}
    with quiet():
        try:
            tokenizer = transformers.AutoTokenizer.from_pretrained(files.source(), **local)
            model = transformers.AutoModel.from_pretrained(
                files.source(), dtype=getattr(torch, dtype), use_safetensors=True, **local
            )
        except (OSError, ValueError) as error:
            raise GripError(f"{setting} '{files.name}' cannot be loaded: {error}") from error
    device.one_thread()
    own = _own_window(files, model.config, tokenizer)
    if window and window > own:
        raise GripError(f"settings/embedding.window is {window}; {files.name} takes at most {own} tokens. Lower it.")
    return Encoder(
        tokenizer,
        model.eval().to(device.best()),
        pooling or _own_pooling(files, model.config),
        window or own,
        max_windows,
    )


class Encoder:
    """A loaded encoder. Use ``load_encoder`` to make one."""

    def __init__(self, tokenizer: Any, model: Any, pooling: str, window: int, max_windows: int | None):
        self.tokenizer, self.model, self.pooling = tokenizer, model, pooling
        self.window, self.max_windows = window, max_windows
        self.before, self.after = _special_tokens(tokenizer)
        self.content = window - len(self.before) - len(self.after)

    @property
    def on_gpu(self) -> bool:
        return str(self.model.device.type) != device.CPU

    def embed_documents(
        self, texts: Iterable[str], batch_windows: int = 1, done: Callable[[float], None] = lambda n: None
    ) -> Iterator[Embedded]:
        """Vectors in the order of ``texts``. ``batch_windows``: see ``embed``."""
        device.one_thread()
        for embedded in self._on_gpu(texts) if self.on_gpu else self._on_threads(texts, batch_windows):
            done(1)
            yield embedded

    def _on_threads(self, texts: Iterable[str], batch_windows: int) -> Iterator[Embedded]:
        yield from threads.each(lambda text: self.embed(text, batch_windows), texts)

    def _on_gpu(self, texts: Iterable[str]) -> Iterator[Embedded]:
        stream = iter(texts)
        while some := list(islice(stream, TOGETHER)):
            yield from self.embed_together(some)

    def embed(self, text: str, batch_windows: int = 1) -> Embedded:
        """The vector of a document.

        With ``batch_windows`` above 1, so many windows are padded into one batch on the processor too. The components
        of the result then differ by up to 1e-3. On a GPU batches are as large as ``embed_together`` makes them.
        """
        return _embedded(text, *self.embed_windows(text, batch_windows))

    def embed_shard(
        self, texts: Sequence[str], batch_windows: int = 1, done: Callable[[float], None] = lambda n: None
    ) -> list[Embedded]:
        """The vectors of some documents, on this thread: on a GPU together, on the processor one after the other."""
        if self.on_gpu:
            found = self.embed_together(texts)
            done(len(texts))
            return found
        found = []
        for text in texts:
            found.append(self.embed(text, batch_windows))
            done(1)
        return found

    def embed_together(self, texts: Sequence[str], batch_tokens: int = BATCH_TOKENS) -> list[Embedded]:
        """The vectors of documents whose windows share batches of at most ``batch_tokens`` tokens, padding included.

        The components of a vector differ by up to 1e-3 from those of ``embed``.
        """
        cut = [self.windows(text) for text in texts]
        kept = [[windows[i] for i in _evenly(len(windows), self.max_windows)] for windows in cut]
        units_WD = self._padded([window for windows in kept for window in windows], batch_tokens)
        ends = np.cumsum([len(windows) for windows in kept])
        parts = np.split(units_WD, ends[:-1])
        return [
            _embedded(text, part_WD, _weights(some), len(windows))
            for text, part_WD, some, windows in zip(texts, parts, kept, cut, strict=True)
        ]

    def embed_windows(self, text: str, batch_windows: int = 1) -> tuple[np.ndarray, np.ndarray, int]:
        """(unit vectors of the embedded windows, float64 (W, d); their tokens without special ones, (W,); number of all
        windows)."""
        windows = self.windows(text)
        chosen = _evenly(len(windows), self.max_windows)
        kept = [windows[i] for i in chosen]
        if self.on_gpu:
            return self._padded(kept, BATCH_TOKENS), _weights(kept), len(windows)
        found: dict[int, np.ndarray] = {}
        in_blocks(
            len(kept), batch_windows, lambda i, j: found.update({i: self._forward(kept[i:j])}), "windows of the encoder"
        )
        units_WD = np.concatenate(list(found.values()))
        return units_WD, _weights(kept), len(windows)

    def _padded(self, windows: list[list[int]], batch_tokens: int) -> np.ndarray:
        """Unit vectors of windows, float64 (W, d). Windows of similar lengths share a batch, so little is padding."""
        order = sorted(range(len(windows)), key=lambda i: len(windows[i]))
        special = len(self.before) + len(self.after)
        found: dict[int, np.ndarray] = {}

        def forward(start: int, stop: int) -> None:
            some = order[start:stop]
            with device.turn(str(self.model.device.type)):
                found.update(zip(some, self._forward([windows[i] for i in some]), strict=True))

        for first, last in batches_of([len(windows[i]) + special for i in order], batch_tokens):
            in_blocks(last - first, last - first, partial(_within, forward, first), "windows of the encoder")
        return np.stack([found[i] for i in range(len(windows))])

    def windows(self, text: str) -> list[list[int]]:
        """The tokens of a text in consecutive windows, at least one. Nothing in the text is read as a special token."""
        ids = self.tokenizer(
            text,
            add_special_tokens=False,
            split_special_tokens=True,
            return_attention_mask=False,
            verbose=False,
        )["input_ids"]
        if not ids:  # the tokenizer drops all characters of this text: embed one unknown token instead
            ids = [self.tokenizer.unk_token_id or 0]
        return [ids[i : i + self.content] for i in range(0, len(ids), self.content)]

    def _forward(self, windows: list[list[int]]) -> np.ndarray:
        """Unit vectors of windows, float64 (W, d)."""
        rows = [self.before + window + self.after for window in windows]
        length = max(map(len, rows))
        device = self.model.device
        ids_WL = torch.tensor([row + [0] * (length - len(row)) for row in rows], device=device)
        mask_WL = torch.tensor([[1] * len(row) + [0] * (length - len(row)) for row in rows], device=device)
        masked = {"attention_mask": mask_WL} if len(rows) > 1 else {}
        with torch.inference_mode():
            hidden_WLD = self.model(input_ids=ids_WL, **masked).last_hidden_state.float()
        pooled_WD = pool(hidden_WLD, mask_WL, self.pooling).double().cpu().numpy()
        return pooled_WD / np.linalg.norm(pooled_WD, axis=1, keepdims=True)


def _within(work: Callable[[int, int], None], first: int, start: int, stop: int) -> None:
    work(first + start, first + stop)


def batches_of(lengths: Sequence[int], batch_tokens: int) -> Iterator[tuple[int, int]]:
    """Ranges of the ascending ``lengths``: padded to the longest, at most ``batch_tokens`` together, or one alone."""
    start = 0
    for stop in range(1, len(lengths) + 1):
        if stop == len(lengths) or (stop - start + 1) * lengths[stop] > batch_tokens:
            yield start, stop
            start = stop


def _weights(windows: list[list[int]]) -> np.ndarray:
    """The tokens of each window without special ones, float64 (W,)."""
    return np.array([len(window) for window in windows], np.float64)


def _embedded(text: str, units_WD: np.ndarray, weights_W: np.ndarray, n_windows: int) -> Embedded:
    return Embedded(document_vector(units_WD, weights_W, text), int(weights_W.sum()), n_windows, len(weights_W))


def document_vector(units_WD: np.ndarray, weights_W: np.ndarray, text: str) -> np.ndarray:
    """The sum of the windows' unit vectors, weighted by their tokens, then normalised: float16 (d,)."""
    total_D = weights_W @ units_WD
    norm = float(np.linalg.norm(total_D))
    if not norm > 0:
        raise GripError(
            f"The encoder's vector of the document that begins {text[:60]!r} is zero. Name another"
            " settings/embedding.model."
        )
    return (total_D / norm).astype(np.float16)


def pool(hidden_WLD: torch.Tensor, mask_WL: torch.Tensor, pooling: str) -> torch.Tensor:
    """One vector per window, (W, d): the mean over the tokens (special ones too, as in sentence-transformers), the
    first
    token (cls), or the last token."""
    if pooling == "cls":
        return hidden_WLD[:, 0]
    if pooling == "last":
        last_W = mask_WL.sum(1) - 1
        return hidden_WLD[torch.arange(len(hidden_WLD), device=hidden_WLD.device), last_W]
    weights = mask_WL.unsqueeze(-1).float()
    return (hidden_WLD * weights).sum(1) / weights.sum(1)


def _evenly(n: int, most: int | None) -> list[int]:
    """``most`` of n positions, evenly spaced, with the first and the last one."""
    if most is None or n <= most:
        return list(range(n))
    return [round(i * (n - 1) / max(most - 1, 1)) for i in range(most)]


def _special_tokens(tokenizer: Any) -> tuple[list[int], list[int]]:
    """The special tokens that the tokenizer puts before and after a text, such as [CLS] ... [SEP]."""
    inner = tokenizer("a", add_special_tokens=False)["input_ids"]
    whole = tokenizer("a")["input_ids"]
    start = next(i for i in range(len(whole)) if whole[i : i + len(inner)] == inner)
    return whole[:start], whole[start + len(inner) :]


def _json(files: ModelFiles, name: str) -> dict[str, Any]:
    path = files.folder / name if files.folder else _from_hub(files.name, name)
    return json.loads(path.read_text(encoding="utf-8")) if path and path.exists() else {}


def _from_hub(model: str, name: str) -> Path | None:
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError

    try:
        return Path(hf_hub_download(model, name))
    except EntryNotFoundError:
        return None


def _own_window(files: ModelFiles, config: Any, tokenizer: Any) -> int:
    limits = [
        _json(files, "sentence_bert_config.json").get("max_seq_length"),
        getattr(config, "max_position_embeddings", None),
        tokenizer.model_max_length,  # 1e30 where unknown
    ]
    return min(int(limit) for limit in limits if limit)


def _own_pooling(files: ModelFiles, config: Any) -> str:
    """The pooling in the model's sentence-transformers configuration; without one, last for decoders, mean for
    others."""
    stated = _json(files, "1_Pooling/config.json")
    modes = {
        "pooling_mode_lasttoken": "last",
        "pooling_mode_cls_token": "cls",
        "pooling_mode_mean_tokens": "mean",
    }
    named = {"lasttoken": "last", "cls": "cls", "mean": "mean"}
    if stated.get("pooling_mode") in named:
        return named[stated["pooling_mode"]]
    found = [name for key, name in modes.items() if stated.get(key)]
    if found:
        return found[0]
    decoder = any("CausalLM" in a for a in getattr(config, "architectures", None) or [])
    return "last" if decoder else "mean"

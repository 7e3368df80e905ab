"""The proxy language model of the probe [G5], cut at the reset depth into a frozen and a retrained part.

Each window runs alone, without padding and without special tokens, so its hidden states depend only on its tokens. A
GGUF is dequantised once and kept as safetensors in the user's cache. Loading these takes a tenth of the time. Training
the head is in training/.
"""

import copy
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers

from grip_assets.errors import GripError
from grip_assets.models.files import ModelFiles, content_hash, locate
from grip_assets.models.loading import from_pretrained, quiet, unpacked
from grip_assets.models.tokenizers import tokenize, tokenizer_files
from grip_assets.runtime import device
from grip_assets.runtime.executors import Log, silent

# Where the blocks and the final norm are, by family: Llama, Qwen, Mistral, SmolLM ...; GPT-2; GPT-NeoX, Pythia.
PLACES = (("layers", "norm"), ("h", "ln_f"), ("layers", "final_layer_norm"))


@dataclass(frozen=True)
class Boundary:
    """Hidden states of one window at the boundary, float32 (L, h), and the other arguments of the blocks above it."""

    hidden_LH: torch.Tensor
    rest: tuple = ()
    named: dict[str, Any] = field(default_factory=dict)


class _Reached(Exception):
    def __init__(self, boundary: Boundary):
        self.boundary = boundary


class _Catcher(torch.nn.Module):
    """Takes the place of a block. It has the block's attributes, and ends the forward pass by raising its arguments."""

    def __init__(self, block: torch.nn.Module):
        super().__init__()
        self.block = block

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("block"), name)

    def forward(self, hidden: torch.Tensor, *rest: Any, **named: Any) -> None:
        raise _Reached(Boundary(hidden[0], rest, named))


def load_proxy(
    name: str,
    root: Path,
    setting: str = "settings/adaptation.proxy",
    log: Log = silent,
) -> "Proxy":
    return proxy_of(converted(locate(name, setting), root, log), setting)


def proxy_of(files: ModelFiles, setting: str) -> "Proxy":
    """Load the model from files that ``converted`` returned."""
    device.one_thread()
    where = device.best()
    tokenizer = from_pretrained(transformers.AutoTokenizer, files, setting)
    model = from_pretrained(
        transformers.AutoModelForCausalLM, files, setting, dtype=torch.float32, use_safetensors=True
    )
    return Proxy(tokenizer, model.eval().to(where))


class Proxy:
    """A causal language model as a stack of blocks under a final norm.

    The probe never uses the model's head, but always a new matrix. So a head that is tied to the input embedding (as in
    SmolLM2 and most small models) does not change, and neither does the frozen part.
    """

    def __init__(self, tokenizer: Any, model: Any):
        self.tokenizer, self.model = tokenizer, model.requires_grad_(False)
        self.body = model.base_model
        self.blocks, self.norm = _stack(self.body)
        self.vocabulary = int(model.config.vocab_size)
        self.hidden = int(model.config.hidden_size)
        self.context = int(getattr(model.config, "max_position_embeddings", None) or 2048)

    @property
    def device(self) -> str:
        return str(self.model.device.type)

    def _ids(self, windows: list[list[int]]) -> torch.Tensor:
        return torch.tensor(windows, device=self.model.device)

    def tokenize(self, text: str) -> list[int]:
        return tokenize(self.tokenizer, text)

    @torch.no_grad()
    def loss(self, window: list[int]) -> float:
        """Loss of the model with its own head, in nats per predicted token. The window has two tokens or more."""
        ids = self._ids([window])
        logits_LV = self.model(input_ids=ids, use_cache=False).logits[0, :-1]
        return float(torch.nn.functional.cross_entropy(logits_LV.float(), ids[0, 1:]))

    @torch.no_grad()
    def states(self, windows: list[list[int]]) -> np.ndarray:
        """States that enter the head, float32 (B, L, h), for B windows of the same length."""
        return self.body(input_ids=self._ids(windows), use_cache=False).last_hidden_state.float().cpu().numpy()

    def boundary(self, window: list[int], depth: int) -> Boundary:
        """States that enter the last ``depth`` blocks; for depth 0 those that enter the head. GripError if the model
        has fewer blocks."""
        if depth > len(self.blocks):
            raise GripError(
                f"settings/adaptation.reset_depth is {depth}; the proxy has {len(self.blocks)} blocks. Lower it."
            )
        ids = self._ids([window])
        with torch.no_grad():
            if depth == 0:
                return Boundary(self.body(input_ids=ids, use_cache=False).last_hidden_state[0])
            return self._entering(depth, ids)

    def _entering(self, depth: int, ids: torch.Tensor) -> Boundary:
        """Run the blocks below the boundary and catch the arguments of the next one.

        So positions and masks are the model's own. The body is a copy that shares all weights, and the arguments travel
        in the exception, so threads do not disturb each other.
        """
        below = len(self.blocks) - depth
        body = copy.copy(self.body)
        name = next(n for n, module in self.body._modules.items() if module is self.blocks)
        stack = torch.nn.ModuleList([*list(self.blocks)[:below], _Catcher(self.blocks[below])])
        body._modules = {**self.body._modules, name: stack}
        try:
            body(input_ids=ids, use_cache=False)
        except _Reached as reached:
            return reached.boundary
        raise AssertionError("a forward pass calls every block")

    def retrained(self, depth: int, std: float, generator: torch.Generator) -> torch.nn.ModuleList:
        """Copies of the last ``depth`` blocks, reset: weights from N(0, std²), biases 0, norms 1.

        ``generator`` is of the processor, so the weights are the same on every device.
        """
        blocks = torch.nn.ModuleList(copy.deepcopy(block) for block in list(self.blocks)[len(self.blocks) - depth :])
        with torch.no_grad():
            for name, parameter in blocks.named_parameters():
                if parameter.dim() > 1:
                    parameter.copy_(torch.empty(parameter.shape).normal_(0, std, generator=generator))
                else:
                    parameter.fill_(0 if name.endswith("bias") else 1)
        return blocks.requires_grad_(True)

    def through(self, blocks: torch.nn.ModuleList, boundary: Boundary) -> torch.Tensor:
        """States that enter the head, (L, h): the boundary's states after ``blocks`` and the frozen final norm."""
        hidden = boundary.hidden_LH.unsqueeze(0)
        for block in blocks:
            out = block(hidden, *boundary.rest, **boundary.named)
            hidden = out[0] if isinstance(out, tuple) else out
        return self.norm(hidden)[0]


def _stack(body: Any) -> tuple[torch.nn.ModuleList, torch.nn.Module]:
    for blocks, norm in PLACES:
        if isinstance(getattr(body, blocks, None), torch.nn.ModuleList) and hasattr(body, norm):
            return getattr(body, blocks), getattr(body, norm)
    looked = ", ".join(f"{b} with {n}" for b, n in PLACES)
    raise GripError(
        f"settings/adaptation.proxy: no blocks were found in {type(body).__name__}. They were searched at: {looked}."
        " Name a model of another family."
    )


def converted(files: ModelFiles, root: Path, log: Log = silent) -> ModelFiles:
    """The files themselves or, for a GGUF, its safetensors copy, which is made once for all data folders of this
    user."""
    if not files.gguf_file:
        return files

    def unpack(target: Path) -> None:
        tokenizer = tokenizer_files(files, root, log)
        _unpack(files, target)
        shutil.copytree(tokenizer.source(), target, dirs_exist_ok=True)

    return unpacked(files, content_hash(files, root), "the weights", unpack, log)


def _unpack(files: ModelFiles, target: Path) -> None:
    with quiet():
        model = transformers.AutoModelForCausalLM.from_pretrained(
            files.source(), gguf_file=files.gguf_file, dtype=torch.float32
        )
        for owner in (model, model.config):
            for name in ("quantization_config", "hf_quantizer"):
                if hasattr(owner, name):
                    delattr(owner, name)
        model.is_quantized = False  # type: ignore[assignment]
        model.save_pretrained(target)

"""Picklable references to models, for jobs: where a model is and how to read it. ``open`` loads it, once per process.

Light: torch and transformers are imported only when something is opened.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from grip_assets.models.files import ModelFiles
from grip_assets.runtime import opened

if TYPE_CHECKING:
    from grip_assets.models.encoder import Encoder
    from grip_assets.models.proxy import Proxy


@dataclass(frozen=True)
class EncoderFiles:
    """An encoder. None means the model's own pooling, the model's own window, or all windows.

    ``at_most``: most tokens of a window, even if the model takes more. ``setting``: the setting that an error names.
    """

    files: ModelFiles
    pooling: str | None
    window: int | None
    max_windows: int | None
    dtype: str
    setting: str = "settings/embedding.model"
    at_most: int | None = None

    def open(self) -> "Encoder":
        return opened.get(self, self._load)

    def _load(self) -> "Encoder":
        from grip_assets.models.encoder import load_encoder  # torch

        own = load_encoder(self.files, self.pooling, self.window, self.max_windows, self.dtype, self.setting)
        if self.at_most is None or own.window <= self.at_most:
            return own
        return type(own)(own.tokenizer, own.model, own.pooling, self.at_most, own.max_windows)


@dataclass(frozen=True)
class ProxyFiles:
    """A language model whose files transformers can read. A GGUF must be converted before."""

    files: ModelFiles
    setting: str = "settings/adaptation.proxy"

    def open(self) -> "Proxy":
        return opened.get(self, self._load)

    def _load(self) -> "Proxy":
        from grip_assets.models.proxy import proxy_of  # torch

        return proxy_of(self.files, self.setting)

    def hidden(self) -> int:
        """The size of a hidden state."""
        import transformers  # heavy

        return int(transformers.AutoConfig.from_pretrained(self.files.source()).hidden_size)


@dataclass(frozen=True)
class TokenizerFiles:
    """A tokenizer. One in a GGUF must be unpacked before."""

    files: ModelFiles
    setting: str = "settings/corpus.tokenizer"

    def open(self) -> Any:
        return opened.get(self, self._load)

    def _load(self) -> Any:
        from grip_assets.models.tokenizers import tokenizer_of  # transformers

        return tokenizer_of(self.files, self.setting)

    def counter(self) -> Any:
        """The function that counts the tokens of texts; see ``tokenizers.counter_of``."""
        return opened.get(("counter", self), self._counter)

    def _counter(self) -> Any:
        from grip_assets.models.tokenizers import counter_of  # transformers

        return counter_of(self.open())

"""Opens tokenizers, of a model or from a ``tokenizer.json`` alone, and unpacks them from a GGUF.

Counting the tokens of many texts fast is in counting.py.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import transformers

from grip_assets.errors import GripError
from grip_assets.models.counting import tokens_counter
from grip_assets.models.files import (
    BESIDE_TOKENIZER,
    TOKENIZER,
    ModelFiles,
    content_hash,
    locate_tokenizer,
)
from grip_assets.models.loading import from_pretrained, quiet, unpacked
from grip_assets.runtime.executors import Log, silent

ENDS = ("<|endoftext|>", "<|end_of_text|>", "</s>", "<eos>", "<|end|>")  # usual names of the token that ends a text


def open_tokenizer(name: str, setting: str, root: Path, log: Log = silent) -> Any:
    """The tokenizer of the model ``name``, or of a ``tokenizer.json``. GripError names ``setting`` if it cannot be
    loaded."""
    return tokenizer_of(located(name, setting, root, log), setting)


def located(name: str, setting: str, root: Path, log: Log = silent) -> ModelFiles:
    """The files of a tokenizer, as transformers can read them. A tokenizer in a GGUF is unpacked first."""
    return tokenizer_files(locate_tokenizer(name, setting), root, log)


def tokenizer_of(files: ModelFiles, setting: str) -> Any:
    """The tokenizer of files that ``located`` found."""
    if files.tokenizer_file:
        return _tokenizer_alone(files, setting)
    return from_pretrained(transformers.AutoTokenizer, files, setting)


def _tokenizer_alone(files: ModelFiles, setting: str) -> Any:
    """A tokenizer from a ``tokenizer.json`` and the files beside it.

    If these name no token that ends a text, the only one of ``ENDS`` in its vocabulary is taken.
    """
    assert files.folder and files.tokenizer_file
    path = files.folder / files.tokenizer_file
    try:
        with quiet():
            if (files.folder / BESIDE_TOKENIZER[0]).is_file() and files.tokenizer_file == TOKENIZER:
                found = transformers.PreTrainedTokenizerFast.from_pretrained(str(files.folder), local_files_only=True)
            else:
                found = transformers.PreTrainedTokenizerFast(tokenizer_file=str(path))
    except Exception as error:  # the library raises Exception itself
        raise GripError(
            f"{setting} is '{files.name}', and {path} cannot be read as a tokenizer ({error}). Name another"
            " file or model."
        ) from None
    ends = [token for token in ENDS if token in found.get_vocab()]
    if found.eos_token is None and len(ends) == 1:
        found.eos_token = ends[0]
    return found


def load_tokenizer(name: str, setting: str, root: Path, log: Log = silent) -> Callable[[Sequence[str]], list[int]]:
    """A function that counts the tokens of texts. Nothing in a text is read as a special token."""
    return counter_of(open_tokenizer(name, setting, root, log))


def counter_of(tokenizer: Any) -> Callable[[Sequence[str]], list[int]]:
    """The same for a tokenizer that is already open."""
    inner = getattr(tokenizer, "backend_tokenizer", None)
    if inner is None:
        return lambda texts: [len(tokenize(tokenizer, text)) for text in texts]
    return tokens_counter(inner)


def tokenize(tokenizer: Any, text: Any) -> Any:
    """Token ids of a text, or of each text of a list. Nothing in a text is read as a special token."""
    return tokenizer(
        text, add_special_tokens=False, split_special_tokens=True, return_attention_mask=False, verbose=False
    )["input_ids"]


def tokenizer_files(files: ModelFiles, root: Path, log: Log = silent) -> ModelFiles:
    """The files themselves or, for a GGUF, its tokenizer, which is unpacked once for all data folders of this user."""
    if not files.gguf_file:
        return files

    def unpack(target: Path) -> None:
        with quiet():
            transformers.AutoTokenizer.from_pretrained(files.source(), gguf_file=files.gguf_file).save_pretrained(
                target
            )

    return unpacked(files, f"{content_hash(files, root)}-tokenizer", "the tokenizer", unpack, log)

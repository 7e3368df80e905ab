"""The device and the number of threads on which models run. Neither is part of a recipe.

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
    """CUDA if torch sees a GPU, otherwise the CPU."""
    import torch  # heavy

    return note(CUDA if torch.cuda.is_available() else CPU)


def must_be_there(device: str, setting: str) -> None:
    """GripError if ``setting`` names a device that this machine does not have."""
    if device != CUDA:
        return
    import torch  # heavy

    if not torch.cuda.is_available():
        raise GripError(
            f"{setting} is 'cuda', and torch {torch.__version__} sees no GPU. Set it to 'cpu', or install a build of"
            " torch for CUDA."
        )


def note(device: str) -> str:
    """Record that a model is put on ``device``, for all blocks of ``watched`` that run now. Returns the device."""
    for used in _watching:
        used.add(device)
    return device


@contextmanager
def watched() -> Iterator[set[str]]:
    """Yields a set. While the block runs, it collects the devices on which this process puts models."""
    used: set[str] = set()
    _watching.append(used)
    try:
        yield used
    finally:
        _watching[:] = [other for other in _watching if other is not used]


@contextmanager
def turn(device: str) -> Iterator[None]:
    """Wait for a turn to train: on a GPU one model of this process at a time, on the CPU one per thread."""
    if device == CUDA:
        with _gpu:
            yield
    else:
        yield


def one_thread() -> None:
    """Make torch compute each product on the calling thread.

    A product that is split over threads may sum in another order. Work is split by documents instead (threads.py).
    """
    import torch  # heavy

    torch.set_num_threads(1)

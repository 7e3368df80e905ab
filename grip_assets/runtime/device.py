"""The device and the number of threads on which models run. Neither is part of a recipe.

A number format is a setting (settings/embedding.dtype, settings/evaluation.dtype), since it changes results. A device
changes them within rounding only. The manifest of an artifact says where it was computed.

``GRIP_DEVICE`` names the device of a process: ``auto``, ``cpu`` or ``cuda``. The result of the processor is the
reference. On a GPU labels, neighbours and densities are the same to the last bit, since a GPU only leaves out what
cannot be the answer (method/on_device.py). Vectors, drops of the probe and trained models differ by rounding.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from grip_assets.errors import GripError, Unfinished
from grip_assets.runtime import variables

CPU, CUDA, AUTO = "cpu", "cuda", "auto"

_gpu = threading.Lock()
_watching: list[set[str]] = []


def best() -> str:
    """The device of this process: the one that ``GRIP_DEVICE`` names; by default CUDA if torch sees a GPU.

    It is recorded (``note``). Unfinished if ``GRIP_DEVICE`` is cuda and there is no GPU.
    """
    asked = variables.value("GRIP_DEVICE") or AUTO
    if asked == CPU:
        return note(CPU)
    why = _no_gpu()
    if why and asked == CUDA:
        raise Unfinished(
            f"GRIP_DEVICE is 'cuda', and {why}. Set it to auto or cpu, or install a build of torch for CUDA."
        )
    return note(CPU if why else CUDA)


def for_training(stated: str) -> str:
    """The device on which a model is trained: the one that ``GRIP_DEVICE`` names; with auto that of the setting."""
    asked = variables.value("GRIP_DEVICE") or AUTO
    return stated if asked == AUTO else asked


def must_be_there(device: str, setting: str) -> None:
    """GripError if ``device`` is not on this machine. ``setting``: what names it, unless GRIP_DEVICE does."""
    if device != CUDA or not (why := _no_gpu()):
        return
    if variables.value("GRIP_DEVICE") == CUDA:
        best()  # raises
    raise GripError(f"{setting} is 'cuda', and {why}. Set it to 'cpu', or install a build of torch for CUDA.")


def _no_gpu() -> str:
    """Why there is no GPU, as a part of a sentence; "" if there is one."""
    import torch  # heavy

    return "" if torch.cuda.is_available() else f"torch {torch.__version__} sees no GPU"


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

"""GRIP_DEVICE: which device a process uses, what is recorded, and what happens where there is none."""

import pytest
import torch

from grip_assets.errors import GripError, Unfinished
from grip_assets.method import screening
from grip_assets.runtime import device, variables


def gpu(monkeypatch, there):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: there)


@pytest.mark.parametrize(
    ("asked", "there", "best"),
    [(None, True, "cuda"), (None, False, "cpu"), ("auto", True, "cuda"), ("cpu", True, "cpu"), ("cuda", True, "cuda")],
)
def test_the_device_is_the_one_that_is_named_or_a_gpu_if_there_is_one(monkeypatch, asked, there, best):
    monkeypatch.delenv("GRIP_DEVICE", raising=False)
    if asked:
        monkeypatch.setenv("GRIP_DEVICE", asked)
    gpu(monkeypatch, there)
    with device.watched() as used:
        assert device.best() == best
    assert used == {best}, "the manifest says where it was computed"


def test_cuda_without_a_gpu_is_an_error_that_says_what_to_do(monkeypatch):
    monkeypatch.setenv("GRIP_DEVICE", "cuda")
    gpu(monkeypatch, False)
    for refused in (device.best, screening.fastest, lambda: device.must_be_there("cuda", "settings/mixing.device")):
        with pytest.raises(Unfinished, match=r"GRIP_DEVICE is 'cuda', and torch .* sees no GPU. Set it to auto or cpu"):
            refused()
    monkeypatch.setenv("GRIP_DEVICE", "auto")
    with pytest.raises(GripError, match=r"settings/mixing.device is 'cuda', and torch"):
        device.must_be_there("cuda", "settings/mixing.device")


def test_trainings_follow_the_variable_and_with_auto_their_setting(monkeypatch):
    for asked, stated, where in [("auto", "cpu", "cpu"), ("auto", "cuda", "cuda"), ("cpu", "cuda", "cpu"), ("cuda", "cpu", "cuda")]:  # fmt: skip
        monkeypatch.setenv("GRIP_DEVICE", asked)
        assert device.for_training(stated) == where


def test_searches_use_half_precision_on_a_gpu_and_the_measured_format_elsewhere(monkeypatch):
    monkeypatch.setenv("GRIP_SCREEN", "float32")
    screening.fastest_of_the_processor.cache_clear()
    gpu(monkeypatch, True)
    assert screening.fastest() == ("cuda/float16", {})
    monkeypatch.setenv("GRIP_DEVICE", "cpu")
    assert screening.fastest() == ("float32", {}) == screening.fastest_of_the_processor()
    screening.fastest_of_the_processor.cache_clear()


def test_a_device_that_is_none_is_named_with_an_example(monkeypatch):
    monkeypatch.setenv("GRIP_DEVICE", "tpu")
    with pytest.raises(GripError, match="GRIP_DEVICE is 'tpu': it must be auto, cpu or cuda"):
        variables.check()

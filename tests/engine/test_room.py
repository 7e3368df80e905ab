"""A stage that cannot fit on the disk is not begun, and a disk that fills up on the way leaves everything as it was."""

import os
import shutil
import subprocess
from collections import namedtuple
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from stub_stages import Stubs

from grip_assets.engine.make import Chain
from grip_assets.store.disk import DiskFull

Usage = namedtuple("Usage", "total used free")


def files(root) -> dict[str, bytes]:
    return {str(f.relative_to(root)): f.read_bytes() for f in sorted(root.rglob("*")) if f.is_file()}


def test_a_stage_that_needs_more_than_is_free_is_not_begun_and_says_what_to_do(tmp_path, monkeypatch):
    stubs, said = Stubs(tmp_path), list[str]()
    pool = stubs.make("pool").version
    before, computed = files(tmp_path), list(stubs.computed)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: Usage(10_000_000, 9_000_000, 1_000_000))
    cut = replace(stubs.stages["cut"], disk=lambda tables: 5_000_000 * tables["pool"]["rows"])
    chain = Chain(stubs.stages, stubs.store, said.append)
    with pytest.raises(
        DiskFull, match=r"too small for cut: about .* are needed, and 1.0 MB of 10.0 MB are free.*clean"
    ):
        chain.make(cut, stubs.settings, {"pool": pool})
    assert files(tmp_path) == before and stubs.computed == computed
    assert said and "of disk, 1.0 MB are free" in said[0]


def test_what_earlier_artifacts_took_is_logged_and_refuses_nothing(tmp_path, monkeypatch):
    stubs, said = Stubs(tmp_path), list[str]()
    stubs.run()
    stubs.set("clustering", k=7)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: Usage(10_000_000, 9_999_999, 1))
    Chain(stubs.stages, stubs.store, said.append).make(
        stubs.stages["cut"], stubs.settings, {"pool": stubs.versions["pool"]}
    )
    assert said and said[0].startswith("cut: about ") and said[0].endswith("1 bytes are free")


@pytest.mark.skipif(os.geteuid() != 0, reason="a small disk can only be mounted by root")
def test_a_disk_that_fills_up_in_a_stage_leaves_every_file_as_it_was(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", disk], capture_output=True).returncode:
        pytest.skip("no disk can be mounted here")
    try:
        stubs = Stubs(disk / "data")
        pool = stubs.make("pool").version
        before = files(disk)

        def much(work):
            numbers = np.random.default_rng(0).integers(0, 2**62, 1_000_000)  # 8 MB that no compression makes smaller
            work.draft.write("cut", pl.DataFrame({"n": numbers}))
            return {}

        cut = replace(stubs.stages["cut"], compute=much)
        with pytest.raises(DiskFull, match="is full.*the same command goes on"):
            Chain(stubs.stages, stubs.store, print).make(cut, stubs.settings, {"pool": pool})
        assert {name for name in files(disk)} == set(before) and files(disk) == before
        subprocess.run(["mount", "-o", "remount,size=40m", disk], check=True)
        made = Chain(stubs.stages, stubs.store, print).make(cut, stubs.settings, {"pool": pool})
        assert not made.reused and stubs.store.has("cut", made.version), "with room, the same call goes on"
    finally:
        subprocess.run(["umount", disk], check=True)

"""A run of small trainings that is killed five times, and what must be true at its end.

Each run is a process of its own. It kills itself when a table with the column ``victim`` is to be stored by the stage:
before that, or after.
"""

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from grip_assets.store.artifacts import ArtifactStore

DRIVER = """
import os, signal, sys
from pathlib import Path
from grip_assets.store import shards

root, stage, victim, when = sys.argv[1:]
shards.SHARD_SECONDS = 0  # each training is stored when it ends, as those are that take seconds
write = shards.Shards.write

def store(self, table):
    dies = victim in table.column_names and stage in self.folder.parts
    if not (dies and when == "before"):
        write(self, table)
    if dies:
        os.kill(os.getpid(), signal.SIGKILL)

shards.Shards.write = store
"""
KILLS = [("model", "after"), ("model", "before"), ("model", "after"), ("model", "after"), ("model", "before")]


def kept_units(store: ArtifactStore, stage: str) -> Counter:
    """How often each training of a stage is kept: keys of the shards that hold models."""
    files = (store.root / stage / ".shards").glob("*/*.parquet")
    with_models = [file for file in files if "model" in pq.read_schema(file).names]
    return Counter(key for file in with_models for key in pq.read_table(file, columns=["key"])["key"].to_pylist())


def is_killed_five_times(root: Path, stage: str, making: str, timeout: int) -> None:
    """Kill runs of ``making``, which makes the stage in the folder ``root`` (a variable of the code), then let one end.

    After each kill, just the trainings that were stored are kept, and no artifact of the stage is there.
    """

    def run(victim: str, when: str) -> Any:
        env = os.environ | {"PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path])}
        words = [sys.executable, "-c", DRIVER + making, str(root), stage, victim, when]
        return subprocess.run(words, env=env, capture_output=True, text=True, timeout=timeout)

    stored = 0
    for victim, when in KILLS:
        killed = run(victim, when)
        assert killed.returncode == -9, killed.stderr[-2000:]
        stored += when == "after"
        folder = ArtifactStore(root)
        assert len(kept_units(folder, stage)) == stored and not list(folder.root.glob(f"{stage}/[!.]*"))
    assert run("bits", "before").returncode == -9, "all models are there, and are being scored"
    assert run("none", "after").returncode == 0


def ends_the_same(resumed: Any, whole: Callable[[], Any], stage: str, tables: tuple[str, ...]) -> None:
    """Each training of the ``resumed`` folder is kept once, and its files are those of a run that was not killed."""
    kept = kept_units(resumed.store, stage)
    assert resumed.made.reused and kept == Counter(dict.fromkeys(kept, 1))
    unharmed = whole()
    assert kept_units(unharmed.store, stage) == kept
    for table in tables:
        one, other = (folder.store.folder(*folder.owner[table]) / table for folder in (unharmed, resumed))
        assert [f.read_bytes() for f in sorted(one.iterdir())] == [f.read_bytes() for f in sorted(other.iterdir())]

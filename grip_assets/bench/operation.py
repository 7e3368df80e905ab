"""recompute: the time of a run after a changed setting, and of a run without a change, against a full run.

All are timed as whole processes.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from grip_assets.bench import Result
from grip_assets.store.artifacts import data_root

CHANGES = {
    "beta": "selection.beta=0.5",
    "tau": "budget.tau=0.6",
    "alpha": "budget.alpha=1.5",
    "T": "budget.temperature=2",
}


def recompute(quick: bool) -> Iterator[Result]:
    """The quickstart on the default corpus. Quality: share of the time of the full run."""
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        if (data_root() / ".models").exists():  # the proxy as safetensors, which is made once per machine
            shutil.copytree(data_root() / ".models", home / "data" / ".models")
        sample = ["--set", "corpus.max_documents=60"] if quick else []
        full = _curate(home, "--profile", "quickstart", *sample)
        for name, change in list(CHANGES.items())[: 1 if quick else None]:
            seconds = _curate(home, "--set", change)
            note = f"{name} changed: share of a full run"
            yield Result("recompute", "a full run", full / seconds, seconds, full, seconds / full, note)
        seconds = _curate(home)
        yield Result(
            "recompute", "a full run", full / seconds, seconds, full, seconds / full, "nothing changed, whole process"
        )
        if quick:
            return
        several = _curate(home, GRIP_EXECUTOR="multiprocess")
        note = "nothing changed, one process per step: times one process"
        yield Result("recompute", "one process per step", several / seconds, seconds, several, several / seconds, note)


def _curate(home: Path, *words: str, **environment: str) -> float:
    places = {"GRIP_DATA": str(home / "data"), "DAGSTER_HOME": str(home / "home")}
    command = [str(Path(sys.executable).with_name("grip")), "curate", *words]
    started = time.perf_counter()
    done = subprocess.run(command, env=os.environ | places | environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr)
    return time.perf_counter() - started

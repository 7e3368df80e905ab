"""Start-up: what is reused loads nothing heavy, and a process a step does the same as one for all."""

import json
import os
import subprocess
import sys

import pytest

NOTHING_TO_DO = """
import json, os, sys
from grip_assets import operations
for changes in map(json.loads, sys.argv[1:]):
    with operations.open_instance() as instance:
        run = operations.curate(instance, changes)
    heavy = [m for m in ("torch", "transformers", "faiss", "numba", "matplotlib", "tree_sitter") if m in sys.modules]
    print(json.dumps([run.computed, heavy]))
sys.stdout.flush()
os._exit(0)
"""


def curate(*changes, **environment):
    """What the runs of one process have computed, and which heavy packages are loaded after each."""
    words = [sys.executable, "-c", NOTHING_TO_DO, *map(json.dumps, changes)]
    done = subprocess.run(words, capture_output=True, text=True, env=os.environ | environment)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("[")]


@pytest.mark.run
def test_a_run_with_nothing_to_do_loads_nothing_heavy_and_a_changed_exponent_no_model(lab):
    nothing, (computed, heavy) = curate({}, {"budget": {"tau": 0.7}})
    assert nothing == [[], []]
    assert computed == ["budgets", "subset", "knobs", "rounds", "stability"]
    assert not {"torch", "transformers"} & {*heavy}


@pytest.mark.slow
@pytest.mark.run
def test_one_process_a_step_computes_what_one_process_for_all_does(lab):
    ((computed, _),) = curate({"selection": {"beta": 0.9}}, GRIP_EXECUTOR="multiprocess")
    assert computed == ["subset", "knobs", "stability"]
    assert curate({}) == [[[], []]]

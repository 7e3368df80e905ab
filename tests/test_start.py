"""Start-up: what is reused loads nothing heavy, and a process a step does the same as one for all."""

import json
import os
import subprocess
import sys

import pytest

NOTHING_TO_DO = """
import json, os, sys
from grip_assets import operations
with operations.open_instance() as instance:
    run = operations.curate(instance, json.loads(sys.argv[1]))
heavy = [m for m in ("torch", "transformers", "faiss", "numba", "matplotlib", "tree_sitter") if m in sys.modules]
print(json.dumps([run.computed, heavy]))
sys.stdout.flush()
os._exit(0)
"""


def curate(changes=None, **environment):
    words = [sys.executable, "-c", NOTHING_TO_DO, json.dumps(changes or {})]
    done = subprocess.run(words, capture_output=True, text=True, env=os.environ | environment)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.run
def test_a_run_with_nothing_to_do_loads_neither_torch_nor_anything_compiled(lab):
    assert curate() == [[], []]


@pytest.mark.run
def test_a_changed_exponent_loads_no_model(lab):
    computed, heavy = curate({"budget": {"tau": 0.7}})
    assert computed == ["budgets", "subset", "knobs", "rounds", "stability"] and not {"torch", "transformers"} & set(
        heavy
    )


@pytest.mark.slow
@pytest.mark.run
def test_one_process_a_step_computes_what_one_process_for_all_does(lab):
    assert curate({"selection": {"beta": 0.9}}, GRIP_EXECUTOR="multiprocess")[0] == ["subset", "knobs", "stability"]
    assert curate()[0] == []

"""pass@1 [Chen et al. 2021]: does the program that the model writes pass the problem's test?

The program is run in another process, without this one's environment, in an empty folder, with limits on time and
memory. This is not a sandbox. It is off unless settings/evaluation.pass_at_1 is set: set it only on a machine that
holds nothing of value.
"""

import os
import secrets
import signal
import subprocess
import sys
import tempfile
from collections.abc import Collection
from contextlib import suppress
from typing import Any

import polars as pl
from tokenizers import Tokenizer

from grip_assets.sources.benchmarks import FILES, Problem, problems
from grip_assets.training.small import complete, encode

LONGEST = 256  # tokens
SECONDS = 5
LIMITS = f"""import resource as _r
for _what, _most in ((_r.RLIMIT_CPU, {SECONDS}), (_r.RLIMIT_AS, 1 << 30), (_r.RLIMIT_FSIZE, 1 << 20)):
    _r.setrlimit(_what, (_most, _most))
"""  # the process sets its own limits: with threads, nothing may run between fork and exec
STOPS = ("\nclass ", "\ndef ", "\n#", "\nif ", "\nprint(", "\n@", "\nimport ", "\nfrom ")


def solved(model: Any, tokenizer: Tokenizer, device: str, items: Collection[str]) -> pl.DataFrame:
    """A table (item_id, solved) of those ``items`` that are problems (``benchmark:id``).

    Greedy decoding, one attempt.
    """
    benchmarks = {item.partition(":")[0] for item in items} & FILES.keys()
    problem_of = {f"{name}:{problem.id}": problem for name in benchmarks for problem in problems(name)}
    rows = []
    for item in filter(problem_of.get, items):
        problem = problem_of[item]
        (prompt_L,) = encode(tokenizer, [problem.prompt])
        written = tokenizer.decode(complete(model, prompt_L, LONGEST, device))
        rows.append((item, passes(problem, first_function(written))))
    return pl.DataFrame(rows, {"item_id": pl.String, "solved": pl.Boolean}, orient="row")


def first_function(written: str) -> str:
    """The text up to the end of its first function."""
    return written[: min((at for stop in STOPS if (at := written.find(stop)) >= 0), default=len(written))]


def passes(problem: Problem, completion: str) -> bool:
    reached = secrets.token_hex(8)  # printed after the test, so a completion that exits early does not pass
    tested = f"{problem.test}\ncheck({problem.entry_point})\nprint('\\n{reached}')\n"
    program = f"{LIMITS}{problem.prompt}{completion}\n{tested}"
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryFile() as printed:
        process = subprocess.Popen(
            [sys.executable, "-I", "-S", "-"],
            stdin=subprocess.PIPE,
            stdout=printed,  # a file, so that the limit on files holds
            stderr=subprocess.DEVNULL,
            cwd=folder,
            env={},
            start_new_session=True,
        )
        try:
            process.communicate(program.encode(errors="replace"), SECONDS + 1)
        except subprocess.TimeoutExpired:
            return False
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # and what it started
            process.wait()
        printed.seek(0)
        return process.returncode == 0 and printed.read().endswith(f"\n{reached}\n".encode())

"""pass@1 [Chen et al. 2021]: does the program that the model writes pass the problem's test?

What a model writes is run: in a process of its own, without this one's environment, in an empty folder, with limits on
time and memory. That is no sandbox: it is off unless settings/evaluation.pass_at_1 is set, for machines that hold
nothing of value.
"""

import secrets
import subprocess
import sys
import tempfile
from typing import Any

import polars as pl
from tokenizers import Tokenizer

from grip_assets.models.small import complete, encode
from grip_assets.sources.benchmarks import Problem, problems

LONGEST = 256  # tokens
SECONDS = 5
LIMITS = f"""import resource as _r
for _what, _most in ((_r.RLIMIT_CPU, {SECONDS}), (_r.RLIMIT_AS, 1 << 30), (_r.RLIMIT_FSIZE, 1 << 20)):
    _r.setrlimit(_what, (_most, _most))
"""  # set by the process itself: between fork and exec nothing may run beside threads
STOPS = ("\nclass ", "\ndef ", "\n#", "\nif ", "\nprint(", "\n@", "\nimport ", "\nfrom ")


def solved(model: Any, tokenizer: Tokenizer, device: str, benchmark: str = "humaneval") -> pl.DataFrame:
    """(item_id, solved), greedy decoding, one attempt."""
    rows = []
    for problem in problems(benchmark):
        (prompt_L,) = encode(tokenizer, [problem.prompt])
        written = tokenizer.decode(complete(model, prompt_L, LONGEST, device))
        rows.append((f"{benchmark}:{problem.id}", passes(problem, first_function(written))))
    return pl.DataFrame(rows, {"item_id": pl.String, "solved": pl.Boolean}, orient="row")


def first_function(written: str) -> str:
    """The text up to where something else begins."""
    return written[: min((at for stop in STOPS if (at := written.find(stop)) >= 0), default=len(written))]


def passes(problem: Problem, completion: str) -> bool:
    reached = secrets.token_hex(8)  # a completion that ends the process has passed nothing
    tested = f"{problem.test}\ncheck({problem.entry_point})\nprint('\\n{reached}')\n"
    program = f"{LIMITS}{problem.prompt}{completion}\n{tested}"
    with tempfile.TemporaryDirectory() as folder:
        try:
            done = subprocess.run(
                [sys.executable, "-I", "-S", "-"],
                input=program.encode(errors="replace"),
                cwd=folder,
                env={},
                capture_output=True,
                timeout=SECONDS + 1,
            )
        except subprocess.TimeoutExpired:
            return False
    return done.returncode == 0 and done.stdout.decode(errors="replace").endswith(f"\n{reached}\n")

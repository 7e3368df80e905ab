"""Commands that a user may type next, after a run. They work as they are printed."""

import json
import shlex
from pathlib import Path
from typing import Any

import duckdb

from grip_assets.store.catalog import connect

# Settings that take seconds to recompute, for a draw and for a greedy selection; the value not in force is shown.
TURNED = {"draw": ("selection.beta", (0.6, 0.3)), "greedy": ("selection.rounds", (64, 32))}
LONGEST_NAME = 80


def next_steps(root: Path) -> list[str]:
    """Lines with a command and its purpose."""
    with connect(root) as connection:
        name, values = TURNED["greedy" if _now(connection, "selection.rule") == "greedy" else "draw"]
        now = _now(connection, name)
        document = connection.execute(
            "SELECT source, doc_id FROM subset JOIN corpus USING (doc_id, n_tokens)"
            " ORDER BY n_tokens DESC, doc_id LIMIT 1"
        ).fetchone()
    other = next(value for value in values if value != now)
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


def _now(connection: duckdb.DuckDBPyConnection, setting: str) -> Any:
    """The value in force."""
    query = 'SELECT value FROM settings WHERE "group" = ? AND name = ?'
    rows = connection.execute(query, setting.split(".")).fetchall()
    return json.loads(rows[0][0] if rows else "null")

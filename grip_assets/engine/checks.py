"""Runs the checks of a stage: one SQL file each, ``sql/checks/<stage>__<name>.sql``, whose rows are the violations.

A check runs on the finished draft of an artifact, before it is published. Its outcome is kept with the artifact, so a
reused artifact brings its checks along. A stage declares its checks in its own module (``declarations.Check``).
"""

from collections.abc import Mapping
from typing import Any

from grip_assets.engine.stage import Stage
from grip_assets.store.query import query


def run(
    stage: Stage, tables: Mapping[str, Any], may_lack: Mapping[str, Mapping[str, str]] = {}
) -> list[dict[str, Any]]:
    """Outcome of each check of ``stage``: its name, the number of violations and the first five of them.

    ``may_lack``: by table, the columns that an artifact may lack (``Column.added``).
    """
    outcomes = []
    for check in stage.checks:
        violations = query(f"checks/{stage.name}__{check.name}", tables, may_lack)
        outcomes.append(
            {
                "name": check.name,
                "violations": len(violations),
                "first": [str(r) for r in violations.head(5).rows(named=True)],
            }
        )
    return outcomes


def stopping(stage: Stage, outcomes: list[dict[str, Any]]) -> list[str]:
    """Names of the blocking checks that failed: the stages that follow must not run."""
    blocking = {check.name for check in stage.checks if check.blocking}
    return [o["name"] for o in outcomes if o["violations"] and o["name"] in blocking]

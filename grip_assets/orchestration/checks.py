"""Checks of a stage as Dagster shows them."""

from typing import Any

import dagster as dg

from grip_assets.engine.declarations import Check
from grip_assets.engine.stage import Stage


def specs(stage: Stage) -> list[dg.AssetCheckSpec]:
    return [
        dg.AssetCheckSpec(c.name, asset=stage.name, description=c.description, blocking=c.blocking)
        for c in stage.checks
    ]


def results(stage: Stage, manifest: dict[str, Any]) -> list[dg.AssetCheckResult]:
    """Check results for Dagster. A failed check is an error if it blocks, and a warning otherwise.

    Dagster requires a result of each check. If the stage is not used, or the artifact is older than a check, the check
    passes with a note that says so.
    """
    if "unused" in manifest:
        said = {"not used": manifest["unused"]}
        return [dg.AssetCheckResult(check_name=c.name, passed=True, metadata=said) for c in stage.checks]
    outcomes = {outcome["name"]: outcome for outcome in manifest["checks"]}
    return [_result(check, outcomes.get(check.name)) for check in stage.checks]


def _result(check: Check, outcome: dict[str, Any] | None) -> dg.AssetCheckResult:
    if outcome is None:
        said = {"not checked": "the artifact was made before there was this check"}
        return dg.AssetCheckResult(check_name=check.name, passed=True, metadata=said)
    return dg.AssetCheckResult(
        check_name=check.name,
        passed=not outcome["violations"],
        severity=dg.AssetCheckSeverity.ERROR if check.blocking else dg.AssetCheckSeverity.WARN,
        metadata={
            "violations": outcome["violations"],
            "first": dg.MetadataValue.md("\n".join(f"- `{row}`" for row in outcome["first"])),
        },
    )

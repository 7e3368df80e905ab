"""Checks of a stage as Dagster shows them."""

from typing import Any

import dagster as dg

from grip_assets.engine.stage import Stage


def specs(stage: Stage) -> list[dg.AssetCheckSpec]:
    return [
        dg.AssetCheckSpec(c.name, asset=stage.name, description=c.description, blocking=c.blocking)
        for c in stage.checks
    ]


def results(stage: Stage, manifest: dict[str, Any]) -> list[dg.AssetCheckResult]:
    """Check results for Dagster. A failed check is an error if it blocks, and a warning otherwise.

    Dagster requires a result of each check. If the stage is not used, each check passes with a note that says so.
    """
    if "unused" in manifest:
        said = {"not used": manifest["unused"]}
        return [dg.AssetCheckResult(check_name=c.name, passed=True, metadata=said) for c in stage.checks]
    blocking = {check.name: check.blocking for check in stage.checks}
    return [
        dg.AssetCheckResult(
            check_name=o["name"],
            passed=not o["violations"],
            severity=dg.AssetCheckSeverity.ERROR if blocking[o["name"]] else dg.AssetCheckSeverity.WARN,
            metadata={
                "violations": o["violations"],
                "first": dg.MetadataValue.md("\n".join(f"- `{r}`" for r in o["first"])),
            },
        )
        for o in manifest["checks"]
    ]

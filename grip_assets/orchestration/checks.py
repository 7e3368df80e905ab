"""Checks of a stage as Dagster shows them."""

from typing import Any

import dagster as dg

from grip_assets.engine.checks import of


def specs(asset: str) -> list[dg.AssetCheckSpec]:
    return [dg.AssetCheckSpec(c.name, asset=asset, description=c.description, blocking=c.blocking) for c in of(asset)]


def results(asset: str, outcomes: list[dict[str, Any]]) -> list[dg.AssetCheckResult]:
    """What was found, for Dagster: errors where blocking, warnings otherwise."""
    blocking = {check.name: check.blocking for check in of(asset)}
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
        for o in outcomes
    ]

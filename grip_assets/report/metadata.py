"""An artifact's manifest as Dagster metadata: what the UI shows of a materialization, and plots over time."""

import base64
import re
from pathlib import Path
from typing import Any

import dagster as dg

from grip_assets.assets.columns import schema
from grip_assets.recompute import Made
from grip_assets.store.artifacts import ArtifactStore

PICTURE_BYTES = 90_000  # larger metadata slows the event log down


def metadata(made: Made, store: ArtifactStore) -> dict[str, Any]:
    """Row count and schema of the main table, the stage's numbers, seconds, ``reused``, extremes, picture."""
    manifest = made.manifest
    main = manifest["tables"][manifest["stage"]]
    folder = store.folder(manifest["stage"], made.version)
    values: dict[str, Any] = {
        "reused": made.reused,
        "seconds": round(made.seconds, 3),
        "seconds_when_computed": round(manifest["seconds"], 3),
        "path": dg.MetadataValue.path(str(folder)),
        "dagster/row_count": main["rows"],
        "dagster/column_schema": schema(manifest["stage"], main["columns"]),
        **manifest["metrics"],
    }
    if manifest["extremes"]:
        values["extremes"] = dg.MetadataValue.md(markdown_table(manifest["extremes"]))
    if (folder / "picture.png").exists():
        values["picture"] = _picture(folder / "picture.png")
    return values


def markdown_table(rows: list[dict[str, Any]]) -> str:
    def cell(value: Any) -> str:
        text = f"{value:.4g}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else str(value)
        return re.sub(r"([\\`\[\]!|])", r"\\\1", text).replace("<", "&lt;").replace("\n", " ")

    if not rows:
        return "none"
    lines = [" | ".join(rows[0]), " | ".join("---" for _ in rows[0])]
    return "\n".join(f"| {line} |" for line in lines + [" | ".join(map(cell, row.values())) for row in rows])


def _picture(file: Path) -> dg.MetadataValue:
    data = file.read_bytes()
    if len(data) > PICTURE_BYTES:
        return dg.MetadataValue.path(str(file))
    return dg.MetadataValue.md(f"![picture](data:image/png;base64,{base64.b64encode(data).decode()})")

"""A look at a finished draft, before it is published: checks, the most extreme clusters, a small picture.

What is found is kept with the artifact, so that a reused one shows the same in the UI. Drawing belongs to the report,
which the engine does not know: whoever starts a run passes the function in.
"""

import json
from collections.abc import Callable, Mapping
from typing import Any

import polars as pl

from grip_assets.engine import checks
from grip_assets.engine.stage import Work
from grip_assets.store.query import has_query, query

Draw = Callable[[str, Mapping[str, Any]], bytes]
"""Draws the picture of a stage, by its name, from its tables; PNG."""


def inspect(work: Work, draw: Draw | None = None) -> dict[str, Any]:
    """Keys ``checks`` and ``extremes`` of a manifest; writes ``picture.png`` into the draft where the stage has one
    and ``draw`` is given."""
    stage = work.stage
    tables: dict[str, Any] = {**work.tables(), "settings": settings_frame(work)}
    outcomes = checks.run(stage, tables)
    extremes = query(f"extremes/{stage.name}", tables).to_dicts() if has_query(f"extremes/{stage.name}") else []
    if stage.picture and draw is not None:
        (work.draft.folder / "picture.png").write_bytes(draw(stage.name, tables))
    return {"checks": outcomes, "extremes": extremes}


def settings_frame(work: Work) -> pl.DataFrame:
    """Settings as the table ``settings`` (group, name, value as JSON)."""
    rows = [
        {"group": group, "name": name, "value": json.dumps(value)}
        for group, values in work.settings.items()
        for name, value in values.model_dump(mode="json").items()
    ]
    return pl.DataFrame(rows)

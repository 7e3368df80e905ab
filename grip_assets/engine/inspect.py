"""A look at a finished draft, before it is published: checks, the most extreme clusters, a small picture.

What is found is kept with the artifact, so that a reused one shows the same in the UI.
"""

import json
from collections.abc import Mapping
from typing import Any

import polars as pl

from grip_assets.engine import checks
from grip_assets.engine.stage import Stage, Work
from grip_assets.store.query import has_query, query

DRAWN = (
    "quality_scores",
    "budgets",
    "subset",
    "judge_report",
    "corpus_map",
    "knobs",
    "rounds",
    "stability",
    "sensitivity",
    "length_slopes",
    "length_by_beta",
    "probe_variance",
    "evaluation",
)


def inspect(work: Work, stages: Mapping[str, Stage]) -> dict[str, Any]:
    """Keys ``checks`` and ``extremes`` of a manifest; writes ``picture.png`` into the draft."""
    asset = work.stage.name
    tables: dict[str, Any] = {**work.tables(), "settings": settings_frame(work)}
    found = checks.run(asset, tables)
    extremes = query(f"extremes/{asset}", tables).to_dicts() if has_query(f"extremes/{asset}") else []
    if asset in DRAWN:
        from grip_assets.report.pictures import PICTURES  # matplotlib: not needed where nothing is drawn

        (work.draft.folder / "picture.png").write_bytes(PICTURES[asset](tables))
    return {"checks": found, "extremes": extremes}


def settings_frame(work: Work) -> pl.DataFrame:
    """Settings as the table ``settings`` (group, name, value as JSON)."""
    rows = [
        {"group": group, "name": name, "value": json.dumps(value)}
        for group, values in work.settings.items()
        for name, value in values.model_dump(mode="json").items()
    ]
    return pl.DataFrame(rows)

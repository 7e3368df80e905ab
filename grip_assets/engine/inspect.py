"""A look at a finished draft, before it is published: checks, the most extreme clusters, a small picture.

The findings are kept with the artifact, so a reused artifact shows the same in the UI. The engine does not know the
report, which draws: whoever starts a run passes the drawing function in.
"""

import json
from collections.abc import Callable, Mapping
from typing import Any

import polars as pl

from grip_assets.engine import checks
from grip_assets.engine.stage import Work
from grip_assets.store import cluster_names
from grip_assets.store.cluster_names import ClusterNames
from grip_assets.store.query import has_query, query

Draw = Callable[[str, Mapping[str, Any], ClusterNames], bytes]
"""Takes a stage's name, its tables and the names of its clusters, and returns its picture as PNG."""


def inspect(work: Work, draw: Draw | None = None) -> dict[str, Any]:
    """Returns the keys ``checks`` and ``extremes`` of a manifest.

    Also writes ``picture.png`` into the draft, if the stage declares a picture and ``draw`` is given.
    """
    stage = work.stage
    tables: dict[str, Any] = {
        **_left_out(work),
        **work.tables(),
        "settings": settings_frame(work),
        "metrics": metrics_frame(work),
    }
    may_lack = {table.name: table.added for other in work.stages.values() for table in other.tables}
    outcomes = checks.run(stage, tables, may_lack | {table.name: table.added for table in stage.tables})
    extremes = query(f"extremes/{stage.name}", tables).to_dicts() if has_query(f"extremes/{stage.name}") else []
    if stage.picture and draw is not None:
        names = cluster_names.of_inputs(work.store, work.inputs)
        (work.draft.folder / "picture.png").write_bytes(draw(stage.name, tables, names))
    return {"checks": outcomes, "extremes": extremes}


def _left_out(work: Work) -> dict[str, pl.DataFrame]:
    """The tables, without rows, of inputs that the settings leave out. A check may name them all the same."""
    left_out = (work.stages[name] for name in work.stage.inputs if name not in work.inputs)
    return {table.name: table.empty() for stage in left_out for table in stage.tables}


def metrics_frame(work: Work) -> pl.DataFrame:
    """The table ``metrics`` that checks can query: columns name and value, of the metrics that are numbers."""
    numbers = {name: float(v) for name, v in work.metrics.items() if isinstance(v, int | float)}
    return pl.DataFrame(list(numbers.items()), {"name": pl.String, "value": pl.Float64}, orient="row")


def settings_frame(work: Work) -> pl.DataFrame:
    """The table ``settings`` that checks can query: columns group, name, value (as JSON)."""
    rows = [
        {"group": group, "name": name, "value": json.dumps(value)}
        for group, values in work.settings.items()
        for name, value in values.model_dump(mode="json").items()
    ]
    return pl.DataFrame(rows)

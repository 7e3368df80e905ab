"""The evaluation costs hours, so it runs when it is asked for by name, and not with everything else.

"Materialize all" and "Materialize unsynced" of the UI launch Dagster's implicit job with every asset on the page, and
nothing in it says that the evaluation is meant. One asset of the evaluation, chosen alone, is meant.
"""

from collections.abc import Mapping
from typing import Any

import dagster as dg
from dagster._core.definitions.assets.job.asset_job import IMPLICIT_ASSET_JOB_NAME

from grip_assets.engine.stage import Stage
from grip_assets.errors import Unfinished
from grip_assets.orchestration import checks, event_log, events
from grip_assets.store.artifacts import ArtifactStore

TAG = "grip/evaluate"
ON_REQUEST = {"evaluation"}  # groups of assets
HOW = (
    "The evaluation costs hours, so it runs only when it is asked for: launch the job `evaluate` or"
    " `change_evaluation`, type `grip evaluate`, or materialize one asset of it alone."
)


def asked(context: dg.AssetExecutionContext, stage: Stage, stages: Mapping[str, Stage]) -> bool:
    """Whether this run means ``stage``. Unfinished where it means nothing at all: it would read as a success."""
    if stage.group not in ON_REQUEST or TAG in context.run.tags or context.run.job_name != IMPLICIT_ASSET_JOB_NAME:
        return True
    keys = context.job_def.asset_layer.selected_asset_keys
    chosen = {key.to_user_string() for key in keys if key.path[0] != "settings"}
    if chosen == {stage.name}:
        return True
    if all(name in stages and stages[name].group in ON_REQUEST for name in chosen):
        raise Unfinished(f"Nothing was computed. {HOW}")
    return False


def passed_over(context: dg.AssetExecutionContext, stage: Stage, store: ArtifactStore) -> events.Events:
    """The step ends, and the asset stays what it is."""
    context.log.info(f"{stage.name} was not asked for, and stays as it is. {HOW}")
    record = event_log.records(context.instance, [stage.name]).get(stage.name)
    if record is None or not store.has(stage.name, record.version):
        yield from events.passed(context, *context.op_execution_context.selected_output_names)
        return
    said: dict[str, Any] = {"reused": True, "changed": dg.MetadataValue.md(f"not asked for. {HOW}")}
    yield from events.observed(context, record.version, said)
    yield from checks.results(stage, store.manifest(stage.name, record.version))

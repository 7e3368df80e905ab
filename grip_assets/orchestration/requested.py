"""The evaluation takes hours, so it runs only when somebody asks for it by name.

"Materialize all" and "Materialize unsynced" in the UI launch Dagster's implicit job with every asset on the page. Such
a run does not ask for the evaluation. A run of the implicit job with one asset of the evaluation alone does.
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
    """Whether this run asks for ``stage``. Raises ``Unfinished`` if the run asks for nothing, since an empty run would
    look like a success."""
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
    """Events of a step whose stage was not asked for: the asset stays as it is."""
    context.log.info(f"{stage.name} was not asked for and stays as it is. {HOW}")
    record = event_log.records(context.instance, [stage.name]).get(stage.name)
    if record is None or not store.has(stage.name, record.version):
        yield from events.passed(context, *context.op_execution_context.selected_output_names)
        return
    said: dict[str, Any] = {"reused": True, "changed": dg.MetadataValue.md(f"not asked for. {HOW}")}
    yield from events.observed(context, record.version, said)
    yield from checks.results(stage, store.manifest(stage.name, record.version))

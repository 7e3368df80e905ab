"""The events of a step that changed nothing: an observation instead of a materialization.

Dagster turns every output of a step into a materialization. Among many of them, a user would not find the one that
changed something. So a step without changes yields its events itself: an observation of the asset, and the output that
lets the later steps run. Some classes used here are private to Dagster. Only this module uses them, and a test fails
when they move.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import dagster as dg
from dagster._core.events import DagsterEvent
from dagster._core.execution.plan.objects import TypeCheckData
from dagster._core.execution.plan.outputs import StepOutputData, StepOutputHandle

from grip_assets.orchestration import event_log

NOTHING: Any = dg.Nothing  # the type of an asset whose data stays on the disk and is not passed between steps
Events = Iterator[dg.MaterializeResult | dg.AssetObservation | dg.AssetCheckResult | DagsterEvent]


def synced(context: dg.AssetExecutionContext, look: event_log.Look) -> bool:
    """Whether the latest materialization was made by the current code from the current inputs.

    If not, a new materialization is needed even for the same artifact. Otherwise Dagster calls the asset unsynced.
    ``look``: contains the asset and its inputs.
    """
    key = context.asset_key
    made = look.provenance(key)
    inputs = {k: record.version for k in context.assets_def.asset_deps[key] if (record := look.record(k))}
    return (
        made is not None
        and made.code_version == context.assets_def.code_versions_by_key[key]
        and {k: version.value for k, version in made.input_data_versions.items()} == inputs
    )


def observed(context: dg.AssetExecutionContext, version: str, metadata: Mapping[str, Any]) -> Events:
    """Events that say that the asset still has this version."""
    tags = {event_log.DATA_VERSION: version}
    yield dg.AssetObservation(asset_key=context.asset_key, metadata=metadata, tags=tags)
    yield from passed(context, context.assets_def.get_output_name_for_asset_key(context.asset_key))


def passed(context: dg.AssetExecutionContext, *outputs: str) -> Iterator[DagsterEvent]:
    """Events that say that the step has these outputs, so that later steps may run."""
    step = context.get_step_execution_context()
    for name in outputs:
        step.observe_output(name)
        handle = StepOutputHandle(step.step.key, name)
        seen = TypeCheckData(success=True, label=name)
        yield DagsterEvent.step_output_event(step, StepOutputData(handle, type_check_data=seen))

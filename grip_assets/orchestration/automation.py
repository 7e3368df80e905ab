"""When a stage runs automatically: as long as it is unsynced.

The built-in condition ``data_version_changed`` is true for one tick only. It forgets a change that comes during a run,
or whose run fails. The event log remembers that an asset is unsynced. ``CachingStaleStatusResolver`` and the loading of
all records at once are private to Dagster. Only this module uses them, and a test fails when they move.
"""

import dagster as dg
from dagster._core.definitions.assets.graph.base_asset_graph import BaseAssetGraph
from dagster._core.definitions.data_version import CachingStaleStatusResolver, StaleStatus
from dagster._core.loader import LoadingContextForTest
from dagster._core.storage.event_log.base import AssetRecord

UNSYNCED = {StaleStatus.STALE, StaleStatus.MISSING}
GAVE_UP = {dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED}


class Unsynced(dg.AutomationCondition[dg.AssetKey]):
    """True while the UI calls the asset unsynced or missing."""

    @property
    def name(self) -> str:
        return "unsynced"

    def evaluate(self, context: dg.AutomationContext[dg.AssetKey]) -> dg.AutomationResult[dg.AssetKey]:
        view = context.asset_graph_view
        status = CachingStaleStatusResolver(view.instance, view.asset_graph, view).get_status(context.key)
        return _all_or_nothing(context, status in UNSYNCED)


class GaveUp(dg.AutomationCondition[dg.AssetKey]):
    """True if the last run of the asset failed or was cancelled, and no input has changed since.

    A broken stage waits for a person instead of failing again and again. A new setting or input starts it again.
    """

    @property
    def name(self) -> str:
        return "gave_up"

    def evaluate(self, context: dg.AutomationContext[dg.AssetKey]) -> dg.AutomationResult[dg.AssetKey]:
        instance = context.asset_graph_view.instance
        planned = instance.event_log_storage.get_latest_planned_materialization_info(context.key)
        run = instance.get_run_by_id(planned.run_id) if planned else None
        if planned is None or run is None or run.status not in GAVE_UP:
            return _all_or_nothing(context, False)
        parents = context.asset_graph_view.asset_graph.get(context.key).parent_keys
        inputs = [r for parent in parents if (r := instance.get_latest_data_version_record(parent))]
        # The failed run itself materialized some of the inputs. They are not news.
        news = [r for r in inputs if r.storage_id > planned.storage_id and r.run_id != run.run_id]
        return _all_or_nothing(context, not news)


def _all_or_nothing(context: dg.AutomationContext, true: bool) -> dg.AutomationResult:
    return dg.AutomationResult(context, context.candidate_subset if true else context.get_empty_subset())


will_run = dg.AutomationCondition.will_be_requested()
an_input_will_change = dg.AutomationCondition.any_deps_match(will_run)
an_input_is_missing = dg.AutomationCondition.any_deps_match(dg.AutomationCondition.missing() & ~will_run)
busy = dg.AutomationCondition.in_progress() | dg.AutomationCondition.any_deps_in_progress()

on_change = ((Unsynced() & ~GaveUp()) | an_input_will_change) & ~an_input_is_missing & ~busy


def unsynced_because(instance: dg.DagsterInstance, graph: BaseAssetGraph) -> dict[dg.AssetKey, list[str]]:
    """Why each asset is unsynced or missing, as the UI says it. Fresh assets are left out."""
    context = LoadingContextForTest(instance)
    AssetRecord.blocking_get_many(context, list(graph.toposorted_asset_keys))  # one query for all assets
    resolver = CachingStaleStatusResolver(instance, graph, context)
    found = {}
    for key in graph.toposorted_asset_keys:
        status = resolver.get_status(key)
        if status == StaleStatus.MISSING:
            found[key] = ["never materialized"]
        elif status == StaleStatus.STALE:
            found[key] = [
                f"{cause.dependency.asset_key.to_user_string()}: {cause.reason}" if cause.dependency else cause.reason
                for cause in resolver.get_stale_causes(key)
            ]
    return found

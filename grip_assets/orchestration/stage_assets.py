"""The factory that turns a stage into a Dagster asset, with versions, reuse and checks."""

import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from functools import cache, partial
from inspect import getfile
from pathlib import Path
from typing import Any

import dagster as dg

from grip_assets.engine.in_force import Record
from grip_assets.engine.inspect import inspect
from grip_assets.engine.make import Chain
from grip_assets.engine.stage import Settings, Stage, owners
from grip_assets.errors import GripError
from grip_assets.orchestration import checks, event_log, events, requested, unaffected
from grip_assets.orchestration.artifact_changes import causes, changes_since
from grip_assets.orchestration.automation import on_change
from grip_assets.orchestration.columns import column_lineage
from grip_assets.orchestration.data_folder import Data
from grip_assets.orchestration.metadata import metadata
from grip_assets.orchestration.refusal import refuse
from grip_assets.runtime import executors
from grip_assets.runtime.folders import docs_page
from grip_assets.settings import GROUPS
from grip_assets.store.cluster_names import NONE, ClusterNames
from grip_assets.store.query import SQL, has_query

warnings.filterwarnings("ignore", category=dg.BetaWarning)  # code references here, use_user_code_server in definitions

FRESH = {"subset": dg.FreshnessPolicy.time_window(timedelta(days=8), warn_window=timedelta(days=2))}

FIRST = {"taxonomy": {"dagster/priority": "1"}}  # what comes after it shows the names of clusters

PAGES = {
    "corpus": "pools",
    "quality_scores": "judge",
    "judge_report": "judge",
    "budgets": "knobs",
    "subset": "knobs",
    "mixture_check": "mixing",
}
PAGES_OF_GROUPS = {"evaluation": "evidence", "reports": "report", "mixing": "mixing", "attribution": "grasp"}


def stage_asset(stage: Stage, stages: Mapping[str, Stage]) -> dg.AssetsDefinition:
    """The asset of ``stage``. Its data version is the artifact's version, so the UI knows what is unsynced and why."""
    deps = unaffected.dependencies(stage)

    @dg.asset(
        name=stage.name,
        deps=deps,
        group_name=stage.group,
        kinds={"parquet", "duckdb"},
        op_tags=FIRST.get(stage.name),
        tags={"grip/cost": "expensive" if stage.expensive else "cheap"},
        owners=["team:grip"],
        description=stage.description,
        code_version=stage.code_version,
        dagster_type=events.NOTHING,
        metadata={"dagster/code_references": code_references(stage.compute, page_of(stage), stage.name)},
        automation_condition=None if stage.group == "evaluation" else on_change,  # see requested.py
        freshness_policy=FRESH.get(stage.name),
        check_specs=checks.specs(stage),
    )
    def _asset(context: dg.AssetExecutionContext, data: Data) -> Any:
        with with_refusal_first(context, data):
            asked = requested.asked(context, stage, stages)
        if not asked:
            yield from requested.passed_over(context, stage, data.store())
            return
        instance, store = context.instance, data.store()
        look = event_log.Look(instance, [context.asset_key, *deps, *map(event_log.settings_key, GROUPS)])
        records = look.records(dg.AssetKey(name) for name in (stage.name, *stage.inputs))
        settings = {group: look.settings(group) for group in GROUPS}
        before = records[stage.name].version if stage.name in records else None
        with with_refusal_first(context, data):
            look_at = partial(inspect, draw=draw_picture)
            chain = Chain(stages, store, context.log.info, context.run_id, look_at, executors.chosen())
            made = chain.make(stage, settings, _input_versions(stage, settings, records))
        because = causes(before, made.version, stage, stages, store) if before else ["made for the first time"]
        if "unused" not in made.manifest:
            data.tell(event_log.Told(stage.name, made.reused, because if before else []))
        said = {
            "changed": dg.MetadataValue.md("\n".join(f"- {cause}" for cause in because) or "nothing"),
            **(changes_since(stage, before, made.version, store) if before else {}),
            **metadata(made, stage, store),
            "dagster/column_lineage": column_lineage(stage, owners(stages)),
        }
        found = checks.results(stage, made.manifest)
        if made.version == before and _recent(stage, records[stage.name]) and events.synced(context, look):
            yield from events.observed(context, made.version, said)
            yield from found
        else:
            data.mark()
            version = dg.DataVersion(made.version)
            yield dg.MaterializeResult(data_version=version, metadata=said, check_results=found)
            unaffected.stay(context, stages, store)

    return _asset


def draw_picture(stage: str, tables: Mapping[str, Any], names: ClusterNames = NONE) -> bytes:
    """The picture of a stage that declares one."""
    from grip_assets.report import pictures  # matplotlib: not needed where nothing is drawn

    return pictures.of_stage(stage, tables, names)


@contextmanager
def with_refusal_first(context: dg.AssetExecutionContext, data: Data) -> Iterator[None]:
    """Turn a GripError into a Dagster failure, so that the UI shows its message first."""
    try:
        yield
    except GripError as error:
        raise refuse(context, data, error) from error


def page_of(stage: Stage) -> str:
    """The page of the docs that says most about a stage."""
    return PAGES.get(stage.name) or PAGES_OF_GROUPS.get(stage.group, "recompute")


def code_references(what: Any, page: str, query: str | None = None) -> dg.CodeReferencesMetadataValue:
    """Links to the code of a function or class, to its queries if it has any, and to its page of the docs."""
    code = getattr(what, "__code__", None)  # a class has none
    file, line = (code.co_filename, code.co_firstlineno) if code else (getfile(what), _line_of_class(what))
    found = [dg.LocalFileCodeReference(file_path=file, line_number=line)]
    queries = [f"{folder}/{query}" for folder in ("equations", "stages") if query]
    found += [
        dg.LocalFileCodeReference(file_path=str(SQL / f"{name}.sql"), line_number=1)
        for name in queries
        if has_query(name)
    ]
    if docs := docs_page(page):
        found.append(dg.LocalFileCodeReference(file_path=str(docs), line_number=1, label=f"docs/{page}.md"))
    return dg.CodeReferencesMetadataValue(code_references=list(found))


def _line_of_class(what: type) -> int:
    """The line where a class begins. ``inspect`` would parse the whole file, which takes a third of a second in all."""
    before, found, _ = _source(getfile(what)).partition(f"\nclass {what.__name__}(")
    return before.count("\n") + 2 if found else 1


@cache
def _source(file: str) -> str:
    return Path(file).read_text(encoding="utf-8")


def _recent(stage: Stage, made: Record) -> bool:
    """Whether the latest materialization is recent enough for the freshness policy of the stage."""
    return stage.name not in FRESH or time.time() - made.timestamp < timedelta(days=1).total_seconds()


def _input_versions(stage: Stage, settings: Settings, records: Mapping[str, Record]) -> dict[str, str]:
    needed = stage.inputs_under(settings)
    missing = [name for name in needed if name not in records]
    if missing:
        raise GripError(f"{stage.name} needs {', '.join(missing)}. Materialize {missing[0]} first, or run `curate`.")
    return {name: records[name].version for name in needed}

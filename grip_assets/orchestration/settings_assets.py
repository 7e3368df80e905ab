"""Hyperparameters as assets, one per settings group. The lineage then shows which assets a setting invalidates.

A run changes only the fields that it names. All other fields keep their values. So it is harmless to materialize a
group without configuration, and "Materialize all" never resets a tuned setting.
"""

import inspect
import json
import types
import typing
from functools import cache
from typing import Any
from urllib.parse import quote, urlencode

import dagster as dg
import yaml
from dagster._config import ConfigScalar, ConfigScalarKind, PostProcessingError
from pydantic import BaseModel

from grip_assets.errors import GripError
from grip_assets.orchestration import events, kept_partition
from grip_assets.orchestration.data_folder import Data
from grip_assets.orchestration.event_log import Look, settings_key
from grip_assets.orchestration.launch import LOCATION
from grip_assets.orchestration.past import for_pool, is_refused
from grip_assets.orchestration.stage_assets import code_references, with_refusal_first
from grip_assets.orchestration.unaffected import stay
from grip_assets.settings import (
    GROUPS,
    Clustering,
    Corpus,
    Group,
    applies_with,
    choices,
    group_type,
    nullable,
    pool_fields,
    trait,
    validate,
    version,
)
from grip_assets.stages import STAGES


def settings_asset(group: str) -> dg.AssetsDefinition:
    """The asset ``settings/<group>`` with a typed Launchpad form of its fields."""
    schema = group_type(group)

    @dg.asset(
        key=settings_key(group),
        group_name="settings",
        kinds={"json"},
        owners=["team:grip"],
        description=_table(schema),
        code_version="1",
        dagster_type=events.NOTHING,
        metadata={"dagster/code_references": code_references(schema, "knobs")},
        config_schema=fields(group),
    )
    def _asset(context: dg.AssetExecutionContext, data: Data) -> Any:
        look = Look(context.instance, [context.asset_key])
        before = look.settings(group)
        given = context.op_execution_context.op_config
        if given and is_refused(context.instance, context.run_id):
            given = {}
        if isinstance(before, Corpus):
            given = for_pool(context.instance, before, given)
        with with_refusal_first(context, data):
            if isinstance(before, Clustering):
                given = kept_partition.named(context.instance, given, data.store())
            after = validate(group, before.model_dump() | given)
        said: dict[str, Any] = {
            "values": after.model_dump(mode="json"),
            "changed": dg.MetadataValue.md(_changes(before, after)),
            "turn a knob": dg.MetadataValue.md(f"[Open the form with these values]({form_in_force(group, after)})"),
        }
        if after == before and events.synced(context, look):
            yield from events.observed(context, version(after), said)
        else:
            data.mark()
            yield dg.MaterializeResult(data_version=dg.DataVersion(version(after)), metadata=said)
            stay(context, STAGES, data.store())

    return _asset


@cache
def fields(group: str) -> dict[str, dg.Field]:
    """The Launchpad form of a group. A run names only the fields to change."""
    schema = group_type(group)
    return {name: _field(schema, name) for name in schema.model_fields}


def example(group: str) -> str:
    """A line of the form: the first number of the group (or its first field) at its default."""
    known = group_type(group).model_fields
    numbers = (name for name, field in known.items() if isinstance(field.get_default(), float))
    name = next(numbers, next(iter(known)))
    return f"{name}: {json.dumps(known[name].get_default())}"


def form_in_force(group: str, values: Group) -> str:
    """Address in the UI of the form of `change_<group>`, filled with the values in force.

    Fields that describe the pool are commented out. Otherwise a user who names another pool would keep them.
    """
    lines = [f"# settings/{group} in force: change what you want, and launch"]
    for name, value in values.model_dump(mode="json").items():
        written = yaml.safe_dump(value, default_flow_style=True, width=10_000, allow_unicode=True)
        line = f"{name}: {written.strip().removesuffix('...').strip()}"
        lines.append(f"# {line}" if group == "corpus" and name in pool_fields() else line)
    query = urlencode({"config": "\n".join(lines) + "\n"}, quote_via=quote, safe="/:, []")
    return f"/locations/{LOCATION}/jobs/change_{group}/playground/setup?{query}".replace(" ", "+")


def _field(schema: type[Group], name: str) -> dg.Field:
    """An optional field of the form. Left out, the value in force stays. It may be null if the setting allows that."""
    field = schema.model_fields[name]
    allowed = choices(field.annotation)
    kind: Any = dg.Enum(f"{schema.__name__}_{name}", [dg.EnumValue(c) for c in allowed]) if allowed else None
    items = typing.get_args(field.annotation)
    if items and isinstance(items[0], type) and issubclass(items[0], BaseModel):
        kind = dg.Permissive()  # validated as a whole when the step runs
    kind = kind or Checked(schema, name)
    if typing.get_origin(field.annotation) is list:
        kind = [kind]
    if nullable(field.annotation):
        kind = dg.Noneable(kind)
    return dg.Field(kind, is_required=False, description=_describe(schema, name))


class Checked(ConfigScalar):
    """A scalar that refuses a value out of range before the run starts.

    Dagster's own scalars check types and no ranges, and pydantic schemas are checked only when the step runs. Dagster
    calls ``post_process`` to let a type validate its value. The base class is private, and a test fails when it moves.
    """

    KINDS: typing.ClassVar = {
        int: ConfigScalarKind.INT,
        float: ConfigScalarKind.FLOAT,
        bool: ConfigScalarKind.BOOL,
        str: ConfigScalarKind.STRING,
    }

    def __init__(self, schema: type[Group], name: str):
        options = typing.get_args(schema.model_fields[name].annotation) or (schema.model_fields[name].annotation,)
        kind = next(o for o in options if o is not types.NoneType)
        said = bounds(schema, name).removeprefix("Range: ").rstrip(".")
        super().__init__(
            f"{schema.__name__}_{name}", given_name=f"{kind.__name__} {said}".strip(), scalar_kind=self.KINDS[kind]
        )
        self.group, self.name = schema.name, name
        self.one_of_several = typing.get_origin(schema.model_fields[name].annotation) is list

    def post_process(self, value: Any) -> Any:
        if self.one_of_several:  # the whole list is validated when the step runs
            return value
        try:
            validate(self.group, {self.name: value})
        except GripError as error:
            raise PostProcessingError(str(error)) from None
        return value


def _describe(schema: type[Group], name: str) -> str:
    field = schema.model_fields[name]
    symbol = trait(field, "symbol")
    return " ".join(
        filter(
            None,
            [
                field.description,
                when(schema, name),
                symbol and f"Symbol: {symbol}.",
                bounds(schema, name),
                default(schema, name),
            ],
        )
    )


def when(schema: type[Group], name: str) -> str:
    """``Applies with clustering.method=column.``; empty for a field that always applies."""
    said = applies_with(schema, name)
    return f"{said[0].upper()}{said[1:]}." if said else ""


def bounds(schema: type[Group], name: str) -> str:
    """The range of a numeric field in words."""
    words = {"gt": "above", "ge": "from", "lt": "below", "le": "to"}
    limits = [(w, getattr(m, k)) for m in schema.model_fields[name].metadata for k, w in words.items() if hasattr(m, k)]
    return f"Range: {' '.join(f'{word} {limit:g}' for word, limit in limits)}." if limits else ""


def default(schema: type[Group], name: str) -> str:
    return f"Default: {json.dumps(schema.model_fields[name].get_default())}."


def _table(schema: type[Group]) -> str:
    rows = [f"- `{name}`: {_describe(schema, name)}" for name in schema.model_fields]
    return f"{inspect.getdoc(schema)}\n\nName only the fields to change; the others keep their values.\n\n" + "\n".join(
        rows
    )


def _changes(before: Group, after: Group) -> str:
    old, new = before.model_dump(mode="json"), after.model_dump(mode="json")
    return (
        "\n".join(f"- `{n}`: {json.dumps(old[n])} → {json.dumps(new[n])}" for n in old if old[n] != new[n]) or "nothing"
    )


settings_assets = [settings_asset(group) for group in GROUPS]

"""The settings in force, where they come from, and which assets read them.

`grip settings` prints these rows with report/terminal/settings_table.py.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import dagster as dg

from grip_assets.errors import UsageMistake
from grip_assets.orchestration import event_log, past
from grip_assets.orchestration.settings_assets import bounds
from grip_assets.settings import GROUPS, Group, applies_with, choices, flat, nearest, trait
from grip_assets.settings.assignments import known_field
from grip_assets.settings.changes import read_profile
from grip_assets.stages import STAGES


def rows(
    instance: dg.DagsterInstance, names: Sequence[str] = (), profile: str | None = None, changed: bool = False
) -> list[dict[str, Any]]:
    """One row per setting: name, value in force, default, profile and its value, read_by, changed_at, changed_by (a
    run), symbol, range, choices, applies (now), applies_with (which settings; empty: with any), description.

    ``names``: groups or settings; empty: all. ``changed``: only settings that are not at their default.
    """
    wanted = {name for given in names for name in _meant(given)} or set(flat(_defaults()))
    profile = profile or past.last_tagged(instance, past.PROFILE)
    of_profile = read_profile(profile) if profile else {}
    when = _last_turned(instance)
    settings = event_log.settings_in_force(instance)
    return [
        _row(name, value, settings[name.partition(".")[0]], profile, of_profile, when)
        for name, value in flat(settings).items()
        if name in wanted and not (changed and value == flat(_defaults())[name])
    ]


def _defaults() -> dict[str, Any]:
    return {group: schema() for group, schema in GROUPS.items()}


def _row(
    name: str,
    value: Any,
    settings: Group,
    profile: str | None,
    of_profile: Mapping[str, Mapping[str, Any]],
    when: Mapping[str, past.Turn],
) -> dict[str, Any]:
    group, _, field = name.partition(".")
    schema, turn = GROUPS[group], when.get(name)
    known = schema.model_fields[field]
    return {
        "name": name,
        "value": value,
        "default": schema().model_dump(mode="json")[field],
        "profile": profile,
        "profile_value": of_profile.get(group, {}).get(field),
        "in_profile": field in of_profile.get(group, {}),
        "read_by": [s.name for s in STAGES.values() if group in s.reads and field in (s.reads[group] or [field])],
        "changed_at": turn.at if turn else None,
        "changed_by": turn.run_id if turn else None,
        "symbol": trait(known, "symbol"),
        "range": bounds(schema, field).removeprefix("Range: ").rstrip("."),
        "choices": list(choices(known.annotation)),
        "changes_results": trait(known, "hashed"),
        "applies": settings.applies(field),
        "applies_with": applies_with(schema, field),
        "description": known.description,
    }


def _meant(given: str) -> list[str]:
    """The settings that a name means: those of a group, or one field. ``UsageMistake`` if there is no such name."""
    group, dot, field = given.removeprefix("settings/").replace("/", ".").partition(".")
    if dot:
        known_field(group, field)
        return [f"{group}.{field}"]
    if group in GROUPS:
        return [f"{group}.{name}" for name in GROUPS[group].model_fields]
    elsewhere = [f"{g}.{group}" for g, schema in GROUPS.items() if group in schema.model_fields]
    if elsewhere:
        return elsewhere
    fields = {name: None for schema in GROUPS.values() for name in schema.model_fields}
    raise UsageMistake(f"There is no setting and no group '{given}'. {nearest(group, {**GROUPS, **fields})}")


def _last_turned(instance: dg.DagsterInstance) -> dict[str, past.Turn]:
    found: dict[str, past.Turn] = {}
    for turn in past.turns(instance):
        for field in turn.fields:
            found.setdefault(f"{turn.group}.{field}", turn)
    return found

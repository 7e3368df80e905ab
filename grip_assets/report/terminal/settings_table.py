"""`grip settings`: what is in force, where it comes from, and what reads it."""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from grip_assets.errors import UsageMistake
from grip_assets.operations import PROFILE
from grip_assets.orchestration import event_log, past
from grip_assets.orchestration.settings_assets import bounds
from grip_assets.settings import GROUPS, Group, applies_with, choices, flat, nearest, trait
from grip_assets.settings.assignments import known_field
from grip_assets.settings.changes import read_profile
from grip_assets.stages import STAGES

if TYPE_CHECKING:
    import dagster as dg

ABSENT = "-"


def rows(
    instance: "dg.DagsterInstance", names: Sequence[str] = (), profile: str | None = None, changed: bool = False
) -> list[dict[str, Any]]:
    """One row per setting: name, value in force, default, profile and its value, read_by, changed_at, changed_by (a
    run), symbol, range, choices, applies (now), applies_with (which settings; empty: with any), description.
    ``names``: groups or settings; all where none is named. ``changed``: only those that are not at their default."""
    wanted = {name for given in names for name in _meant(given)} or set(flat(_defaults()))
    profile = profile or past.last_tagged(instance, PROFILE)
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
    """The settings that a name stands for: a group, or one field."""
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


def _last_turned(instance: "dg.DagsterInstance") -> dict[str, past.Turn]:
    found: dict[str, past.Turn] = {}
    for turn in past.turns(instance):
        for field in turn.fields:
            found.setdefault(f"{turn.group}.{field}", turn)
    return found


def as_text(found: Sequence[Mapping[str, Any]], detailed: bool) -> str:
    if not found:
        return "Every setting is at its default."
    profile = next((row["profile"] for row in found if row["profile"]), None)
    width = max(len(row["name"]) for row in found)
    of_profile = f"{f'profile {profile}':<22} " if profile else ""
    lines = [f"{'setting':<{width}}  {'in force':<18} {'default':<18} {of_profile}{'changed':<26} read by"]
    for row in found:
        lines += [_line(row, width), *(_details(row) if detailed else [])]
    return "\n".join(lines)


def _line(row: Mapping[str, Any], width: int) -> str:
    of_profile = _short(row["profile_value"]) if row["in_profile"] else ABSENT
    when = ABSENT
    if row["changed_at"]:
        when = f"{datetime.fromtimestamp(row['changed_at']):%Y-%m-%d %H:%M} {(row['changed_by'] or 'undone')[:8]}"
    reads = ", ".join(row["read_by"]) if row["changes_results"] else "changes no result"
    if not row["applies"]:
        reads = f"not used: {row['applies_with']}"
    value, default = _short(row["value"]), _short(row["default"])
    mark = "*" if row["value"] != row["default"] else ""
    column = f"{of_profile:<22} " if row["profile"] else ""
    return f"{row['name']:<{width}}  {value + mark:<18} {default:<18} {column}{when:<26} {reads or 'reports'}"


def _details(row: Mapping[str, Any]) -> list[str]:
    allowed = " | ".join(row["choices"]) or row["range"]
    symbol = f"[{row['symbol']}] " if row["symbol"] else ""
    said = row["applies_with"]
    when = f" {said[0].upper()}{said[1:]}." if said else ""
    return [f"    {symbol}{row['description']}{when}{f' Takes: {allowed}.' if allowed else ''}"]


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 17 else text[:14] + "..."

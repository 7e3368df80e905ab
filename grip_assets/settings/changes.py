"""Changes of settings, by group: as a profile or a run config has them, merged, and what they change.

A profile without a ``base`` is a run config in a file: it works in the Launchpad as it is. assignments.py reads values
as they are typed (``group.field=value``). No Dagster here, so that a stage may ask for a profile.
"""

from collections.abc import Mapping
from typing import Any

from grip_assets.errors import UsageMistake
from grip_assets.profiles import OP, fields_of
from grip_assets.profiles import PROFILES as PROFILES
from grip_assets.profiles import profiles as profiles
from grip_assets.settings.fields import nearest
from grip_assets.settings.group import Group, applies_with
from grip_assets.settings.groups import GROUPS
from grip_assets.settings.validation import group_type, validate

Changes = dict[str, dict[str, Any]]


def run_config(changes: Changes) -> dict[str, Any]:
    """The run config of a job that makes these changes."""
    return {"ops": {f"{OP}{group}": {"config": values} for group, values in changes.items()}}


def of_run_config(config: Mapping[str, Any]) -> Changes:
    """The changes that a run config makes: the inverse of ``run_config``."""
    return {op.removeprefix(OP): body["config"] for op, body in config["ops"].items()}


def merge(*layers: Changes) -> Changes:
    """Later layers win, field by field."""
    merged: Changes = {}
    for layer in layers:
        for group, values in layer.items():
            merged.setdefault(group, {}).update(values)
    return merged


def changed(settings: Mapping[str, Group], changes: Changes) -> dict[str, Group]:
    """All groups with the changes made. Only groups that change are validated: the others were, when they were made.

    UsageMistake for a value that is refused, and for a group that there is not.
    """
    known = {group: settings[group_type(group).name].model_dump() for group in changes}
    return {**settings, **{group: validate(group, known[group] | values) for group, values in changes.items()}}


def without_effect(settings: Mapping[str, Group], changes: Changes) -> list[str]:
    """A sentence for each change of a field that does not apply under ``settings`` (those with the changes made)."""
    return [
        f"{group}.{name} changes nothing: it {applies_with(GROUPS[group], name)}."
        for group, values in changes.items()
        for name in values
        if not settings[group].applies(name)
    ]


def read_profile(name: str) -> Changes:
    """The fields that a profile sets, by group, with those of its base. UsageMistake where there is no such profile."""
    if name not in profiles():
        raise UsageMistake(f"There is no profile '{name}'. {nearest(name, dict.fromkeys(profiles()))}")
    return fields_of(name)

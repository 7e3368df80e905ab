"""Changes of settings, by group: read them from a profile or a run config, merge them, make them.

A profile without a ``base`` is a run config in a file, so it works in the Launchpad as it is. Typed values
(``group.field=value``) are read in assignments.py. No Dagster here, since stages read profiles too.
"""

from collections.abc import Mapping
from typing import Any

from grip_assets.errors import UsageMistake
from grip_assets.profiles import OP, fields_of
from grip_assets.profiles import PROFILES as PROFILES
from grip_assets.profiles import of_run_config as of_run_config
from grip_assets.profiles import profiles as profiles
from grip_assets.settings.fields import nearest
from grip_assets.settings.group import Group, applies_with
from grip_assets.settings.groups import GROUPS
from grip_assets.settings.validation import group_type, validate

Changes = dict[str, dict[str, Any]]


def run_config(changes: Changes) -> dict[str, Any]:
    """The run config of a job that makes these changes. The inverse is ``of_run_config`` in profiles.py."""
    return {"ops": {f"{OP}{group}": {"config": values} for group, values in changes.items()}}


def merge(*layers: Changes) -> Changes:
    """Later layers win, field by field."""
    merged: Changes = {}
    for layer in layers:
        for group, values in layer.items():
            merged.setdefault(group, {}).update(values)
    return merged


def changed(settings: Mapping[str, Group], changes: Changes) -> dict[str, Group]:
    """All groups, with the changes made. Only changed groups are validated; the others are valid already.

    UsageMistake for a value that is refused, and for an unknown group.
    """
    known = {group: settings[group_type(group).name].model_dump() for group in changes}
    return {**settings, **{group: validate(group, known[group] | values) for group, values in changes.items()}}


def without_effect(settings: Mapping[str, Group], changes: Changes) -> list[str]:
    """A sentence for each changed field that does not apply. ``settings`` are those after the changes."""
    return [
        f"{group}.{name} changes nothing: it {applies_with(GROUPS[group], name)}."
        for group, values in changes.items()
        for name in values
        if not settings[group].applies(name)
    ]


def read_profile(name: str) -> Changes:
    """The fields that a profile and its base set, by group. UsageMistake for an unknown profile."""
    if name not in profiles():
        raise UsageMistake(f"There is no profile '{name}'. {nearest(name, dict.fromkeys(profiles()))}")
    return fields_of(name)

"""Profiles: files of settings by name, next to this one. Read without Dagster, so that a stage may ask for one."""

from collections.abc import Mapping
from typing import Any

import yaml

from grip_assets.errors import UsageMistake
from grip_assets.profiles import PROFILES as PROFILES
from grip_assets.profiles import profiles as profiles
from grip_assets.settings import GROUPS, Group, applies_with, nearest

Changes = dict[str, dict[str, Any]]


def without_effect(settings: Mapping[str, Group], changes: Changes) -> list[str]:
    """A sentence for each change of a field that does not apply under ``settings`` (those with the changes made)."""
    return [
        f"{group}.{name} changes nothing: it {applies_with(GROUPS[group], name)}."
        for group, values in changes.items()
        for name in values
        if not settings[group].applies(name)
    ]


def read_profile(name: str) -> Changes:
    """Fields that a profile sets, by group. A profile is a run config, and works in the Launchpad as it is."""
    file = PROFILES / f"{name}.yaml"
    if name not in profiles():
        raise UsageMistake(f"There is no profile '{name}'. {nearest(name, dict.fromkeys(profiles()))}")
    ops = yaml.safe_load(file.read_text(encoding="utf-8"))["ops"]
    return {op.removeprefix("settings__"): body["config"] for op, body in ops.items()}

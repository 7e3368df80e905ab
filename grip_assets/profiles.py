"""Profiles as files: fields by group, read from settings/profiles/. Names are checked in settings/changes.py.

This module imports no settings, because settings ask it for the names of the profiles. The command line needs it to
be light.
"""

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import yaml

PROFILES = Path(__file__).parent / "settings" / "profiles"
STRATEGY = {"budget", "selection"}  # groups that a strategy of the evaluation takes from a profile
# And those that it may take: how the pool is parted, how clusters are probed, how a budget is learned, targets are met.
METHOD = {*STRATEGY, "clustering", "adaptation", "mixing", "attribution"}
IN_FORCE = "in_force"  # a strategy without a profile: your own settings
ROUNDS = "grip_rounds"  # the other one: the budget of grip, measured again with the model's own checkpoints
OP = "settings__"  # what Dagster calls the step of the asset settings/<group>, before the group's name


@cache
def profiles() -> tuple[str, ...]:
    """The names of all profiles. The folder is listed once: a plan asks for the names a hundred times."""
    return tuple(sorted(file.stem for file in PROFILES.glob("*.yaml")))


def of_run_config(config: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The fields that a run config sets, by group. The inverse is ``run_config`` in settings/changes.py."""
    return {op.removeprefix(OP): body["config"] for op, body in config["ops"].items()}


def fields_of(name: str) -> dict[str, dict[str, Any]]:
    """The fields that a profile sets, by group: those of its base, and its own over them."""
    content = _content(name)
    own = of_run_config(content)
    under = fields_of(content["base"]) if "base" in content else {}
    return {group: under.get(group, {}) | own.get(group, {}) for group in dict.fromkeys([*under, *own])}


def base_of(name: str) -> str | None:
    """The profile that this profile changes. None if it changes no other."""
    return _content(name).get("base")


@cache
def strategies() -> tuple[str, ...]:
    """The strategies of the evaluation: profiles that set only budget, selection and what is behind these (``METHOD``),
    the settings in force, and the closed loop."""
    return (*(name for name in profiles() if STRATEGY <= fields_of(name).keys() <= METHOD), IN_FORCE, ROUNDS)


@cache
def _content(name: str) -> dict[str, Any]:
    return yaml.safe_load((PROFILES / f"{name}.yaml").read_text(encoding="utf-8"))

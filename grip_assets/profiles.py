"""Profiles as files: fields by group, read from settings/profiles/. Names are checked in settings/changes.py.

It knows no settings, so that settings may ask which names there are, and it is light, for the command line.
"""

from functools import cache
from pathlib import Path
from typing import Any

import yaml

PROFILES = Path(__file__).parent / "settings" / "profiles"
METHOD = {"budget", "selection"}  # groups that a strategy of the evaluation takes from a profile
IN_FORCE = "in_force"  # a strategy that is no profile: your own settings
OP = "settings__"  # what Dagster calls the step of the asset settings/<group>, before the group's name


def profiles() -> list[str]:
    return sorted(file.stem for file in PROFILES.glob("*.yaml"))


def fields_of(name: str) -> dict[str, dict[str, Any]]:
    """The fields that a profile sets, by group: those of its base, and its own over them."""
    content = _content(name)
    own = {op.removeprefix(OP): body["config"] for op, body in content["ops"].items()}
    under = fields_of(content["base"]) if "base" in content else {}
    return {group: under.get(group, {}) | own.get(group, {}) for group in dict.fromkeys([*under, *own])}


def base_of(name: str) -> str | None:
    """The profile that this one changes; None where it stands for itself."""
    return _content(name).get("base")


@cache
def strategies() -> tuple[str, ...]:
    """What can be compared: profiles of budget and selection alone, and the settings in force."""
    return (*(name for name in profiles() if fields_of(name).keys() <= METHOD), IN_FORCE)


@cache
def _content(name: str) -> dict[str, Any]:
    return yaml.safe_load((PROFILES / f"{name}.yaml").read_text(encoding="utf-8"))

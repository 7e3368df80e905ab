"""Read ``group.field=value`` as a user types it. No Dagster here, since shell completion must start fast."""

import json
import re
import types
import typing
from collections.abc import Iterable
from typing import Any, Literal

import yaml

from grip_assets.errors import UsageMistake
from grip_assets.settings import GROUPS, choices, nearest, nullable
from grip_assets.settings.changes import Changes
from grip_assets.settings.sources import PoolSource, is_pool_file, read_pool_file

EXAMPLE = "budget.tau=0.7"


def read_assignments(assignments: Iterable[str]) -> Changes:
    """The changes by group. UsageMistake for a malformed assignment, an unknown field, or a field that is set twice."""
    changes: Changes = {}
    for assignment in assignments:
        group, name, value = _parts(assignment)
        fields = changes.setdefault(group, {})
        if name in fields:
            raise UsageMistake(f"{group}.{name} is given twice. Give it once.")
        fields[name] = read_value(group, name, value)
    return changes


def _parts(assignment: str) -> tuple[str, str, str]:
    target, equals, value = assignment.partition("=")
    group, dot, name = target.strip().partition(".")
    if not dot and (meant := [f"{g}.{group}" for g, schema in GROUPS.items() if group in schema.model_fields]):
        after = f"={value}" if equals else "=VALUE"
        raise UsageMistake(f"'{assignment}' names no group. Did you mean {' or '.join(f'{m}{after}' for m in meant)}?")
    if not (equals and dot):
        raise UsageMistake(f"'{assignment}' is not of the form group.field=value, for example {EXAMPLE}")
    known_field(group, name)
    return group, name, value


def known_field(group: str, name: str) -> None:
    """UsageMistake for an unknown setting; it names the nearest known one."""
    if group not in GROUPS:
        raise UsageMistake(f"There is no settings group '{group}'. {nearest(group, GROUPS)}")
    known = GROUPS[group].model_fields
    if name in known:
        return
    elsewhere = [f"{g}.{name}" for g, schema in GROUPS.items() if name in schema.model_fields]
    hint = f"Did you mean '{elsewhere[0]}'?" if elsewhere else nearest(name, known)
    raise UsageMistake(f"settings/{group} has no field '{name}'. {hint}")


def read_value(group: str, name: str, typed: str) -> Any:
    """The value that ``typed`` means for a field of this type.

    Text stays as typed, without quotes around it. Numbers, true and false, lists and null become values. The range is
    checked later, with the whole group.
    """
    annotation, typed = GROUPS[group].model_fields[name].annotation, typed.strip()
    if nullable(annotation) and typed in ("null", ""):
        return None
    kinds = [t for t in typing.get_args(annotation) if t is not types.NoneType]
    kind = annotation if not nullable(annotation) else kinds[0]
    if typing.get_origin(kind) is list:
        return _list(group, name, typed, typing.get_args(kind)[0])
    if kind is str or choices(kind):
        return _unquoted(typed)
    return _scalar(typed)


def _unquoted(typed: str) -> str:
    if len(typed) > 1 and typed[0] == typed[-1] == '"':
        try:
            text = json.loads(typed)
        except ValueError:
            return typed
        return text if isinstance(text, str) else typed
    return typed[1:-1] if len(typed) > 1 and typed[0] == typed[-1] == "'" else typed


def _list(group: str, name: str, typed: str, of: Any) -> list[Any]:
    """``[a, b]`` or ``a, b``. For sources also the name of a file that lists them."""
    if of is PoolSource and is_pool_file(typed):
        return read_pool_file(typed)
    inner = typed if typed.startswith("[") else f"[{typed}]"
    text = of is str or typing.get_origin(of) is Literal
    try:
        return yaml.load(inner, yaml.BaseLoader) if text else yaml.safe_load(inner)
    except yaml.YAMLError:
        raise UsageMistake(f"{group}.{name} is a list, and '{typed}' cannot be read as one. Write [a, b].") from None


def _scalar(typed: str) -> Any:
    """A number or a truth value. Anything else stays text, and validation refuses it later."""
    words = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}
    if typed.lower() in words:
        return words[typed.lower()]
    for read in (int, float):
        try:
            return read(typed)
        except ValueError:
            continue
    return int(typed.replace(",", "")) if re.fullmatch(r"\d{1,3}(,\d{3})+", typed) else typed


def complete(incomplete: str) -> list[str]:
    """Completions: names of settings that begin with ``incomplete`` or, after the equals sign, values of a choice."""
    target, equals, value = incomplete.partition("=")
    group, _, name = target.partition(".")
    if not equals:
        names = [f"{g}.{field}=" for g, schema in GROUPS.items() for field in schema.model_fields]
        return [known for known in names if known.startswith(incomplete)]
    if group not in GROUPS or name not in GROUPS[group].model_fields:
        return []
    annotation = GROUPS[group].model_fields[name].annotation
    allowed = choices(annotation) or (("true", "false") if annotation is bool else ())
    return [f"{target}={choice}" for choice in allowed if choice.startswith(value)]

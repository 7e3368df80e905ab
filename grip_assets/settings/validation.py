"""Make a settings group from plain values, or refuse them with a sentence that names the field, the fault and the
nearest known name."""

import json
from collections.abc import Mapping
from typing import Any

import pydantic

from grip_assets.errors import UsageMistake
from grip_assets.settings.fields import choices, nearest
from grip_assets.settings.group import Group
from grip_assets.settings.groups import GROUPS


def validate(group: str, values: Mapping[str, Any]) -> Group:
    """Settings of ``group`` from plain values.

    UsageMistake names ``settings/<group>.<field>``, the fault, and the nearest known name.
    """
    try:
        return group_type(group)(**values)
    except pydantic.ValidationError as error:
        raise UsageMistake("\n".join(_complaint(group, e) for e in error.errors())) from None


def group_type(group: str) -> type[Group]:
    if group not in GROUPS:
        raise UsageMistake(f"There is no settings group '{group}'. {nearest(group, GROUPS)}")
    return GROUPS[group]


def _complaint(group: str, error: Mapping[str, Any]) -> str:
    name = str(error["loc"][0])
    if len(error["loc"]) > 1 and isinstance(error["loc"][-1], str):  # a field of an item of a list
        place = ".".join(map(str, error["loc"]))
        return f"settings/{group}.{place} cannot be {error['input']!r}: {error['msg'].removeprefix('Value error, ')}."
    if error["type"] == "extra_forbidden":
        return f"settings/{group} has no field '{name}'. {nearest(name, GROUPS[group].model_fields)}"
    field = GROUPS[group].model_fields[name]
    if error["type"] == "literal_error":
        allowed = dict.fromkeys(choices(field.annotation))
        return f"settings/{group}.{name} cannot be {error['input']!r}. {nearest(str(error['input']), allowed)}"
    return (
        f"settings/{group}.{name} cannot be {error['input']!r}: {error['msg'].removeprefix('Value error, ')}."
        f" Meaning: {field.description} Default: {json.dumps(field.get_default())}."
    )


def flat(settings: Mapping[str, Group]) -> dict[str, Any]:
    """``group.field`` to value."""
    return {f"{g}.{n}": v for g, values in settings.items() for n, v in values.model_dump(mode="json").items()}

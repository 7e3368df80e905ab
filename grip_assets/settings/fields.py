"""One field of a settings group: its traits, the condition under which it applies, and how sizes are read.

The groups and their fields are in groups/. The base class of the groups is in group.py.
"""

import difflib
import json
import re
import types
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Literal

from pydantic import Field
from pydantic.fields import FieldInfo


@dataclass(frozen=True)
class Not:
    """In a condition: any value except this one, or except all of this list."""

    value: Any


@dataclass(frozen=True)
class Has:
    """In a condition: any list that has this value."""

    value: str


Condition = Mapping[str, Any]  # field of the same group -> its value, a list of values, Not or Has


def knob(
    default: Any,
    description: str,
    symbol: str = "",
    hashed: bool = True,
    hashed_as: Any = None,
    given: bool = False,
    when: Condition | list[Condition] | None = None,
    added: bool = False,
    part: str = "",
    **bounds: Any,
) -> Any:
    """A field of a settings group: a pydantic field with these traits.

    ``symbol``: its symbol in the paper.
    ``hashed=False``: the field changes how the work is done, not its result. It is in no version.
    ``hashed_as``: such a field that used to be in versions. This value now stands in them, whatever the field's value.
    ``given=True``: the field describes the user's data or hardware. Profiles never set it.
    ``when``: the field applies only if other fields of its group have these values, for example
    ``when={"method": "column", "seeds": [1, 2], "model": Not("column"), "sets": Has("mine")}``. All of these must hold.
    In a list of such conditions, one of them must hold. A condition on a field that does not apply itself never holds.
    A field that does not apply counts as its default, in every hash and in every computation.
    ``added=True``: the field is newer than existing data folders. At its default it is left out of every hash, so that
    older artifacts keep their names.
    ``part``: the name of a part of the group, whose fields are read together (see ``group.field_names``).
    """
    ways = [when] if isinstance(when, Mapping) else list(when or [])
    extra: dict[str, Any] = {
        "symbol": symbol,
        "hashed": hashed and hashed_as is None,
        "hashed_as": hashed_as,
        "given": given,
        "when": ways,
        "added": added,
        "part": part,
    }
    return Field(default, description=description, json_schema_extra=extra, **bounds)


def trait(field: FieldInfo, name: str) -> Any:
    """``symbol``, ``hashed``, ``hashed_as``, ``given``, ``when`` (a list of conditions; empty: always), ``added`` or
    ``part``."""
    return typing.cast("dict", field.json_schema_extra)[name]


def holds(value: Any, wanted: Any) -> bool:
    """Whether ``value`` meets ``wanted``: a value, a list of allowed values, a ``Not`` or a ``Has``."""
    if isinstance(wanted, Not):
        return not holds(value, wanted.value)
    if isinstance(wanted, Has):
        return wanted.value in value
    return value in wanted if isinstance(wanted, list) else value == wanted


def in_words(group: str, ways: list[Condition]) -> str:
    """For example ``applies with clustering.method=column``; "" for a field that always applies."""
    words = " or ".join(_condition_in_words(group, condition) for condition in ways)
    return f"applies {words}" if words else ""


def _condition_in_words(group: str, condition: Condition) -> str:
    """First the values that must be, then those that must not be."""
    wanted = [f"{group}.{n}={_values(v)}" for n, v in condition.items() if not isinstance(v, Not)]
    refused = [f"{group}.{n}={_values(v.value)}" for n, v in condition.items() if isinstance(v, Not)]
    words = [f"with {' and '.join(wanted)}"] * bool(wanted) + [f"unless {' or '.join(refused)}"] * bool(refused)
    return ", ".join(words)


def _values(wanted: Any) -> str:
    return "|".join(_value(v) for v in (wanted if isinstance(wanted, list) else [wanted]))


def _value(value: Any) -> str:
    if isinstance(value, Has):
        return f"[..., {value.value}, ...]"
    return value if isinstance(value, str) else json.dumps(value)


def conditions(ways: list[Condition]) -> Iterator[tuple[str, Any]]:
    """Each (field, value) that the conditions name."""
    for condition in ways:
        for name, wanted in condition.items():
            inner = wanted.value if isinstance(wanted, Not | Has) else wanted
            yield from ((name, value) for value in (inner if isinstance(inner, list) else [inner]))


SIZE = re.compile(r"([+-]?\d+(?:\.\d*)?|\.\d+)\s*(%|[kKMGBT]?)(B?)")
UNITS = {"": 1, "k": 10**3, "K": 10**3, "M": 10**6, "G": 10**9, "B": 10**9, "T": 10**12}


def size(value: str, annotation: Any, of_bytes: bool) -> Any:
    """The number that ``500M``, ``2B``, ``1.5T`` or ``10%`` stands for. Any other text is returned unchanged.

    ``of_bytes``: ``10MB`` is allowed too, and ``B`` means byte, not billion. ValueError for a share above 100%, or for
    a share where the field takes only whole numbers.
    """
    match = SIZE.fullmatch(value.strip())
    if match is None:
        return value
    number, unit, byte = match.groups()
    if unit == "%":
        if float not in (annotation, *typing.get_args(annotation)):
            raise ValueError("a share is not possible here, only a number such as 500, 20k or 2M")
        if float(number) > 100:
            raise ValueError("a share is at most 100%")
        return value if byte else float(number) / 100
    if of_bytes and unit == "B":
        unit = ""
    elif byte and not of_bytes:
        return value
    exact = Fraction(number) * UNITS[unit]
    whole = exact.denominator == 1 and (unit or "." not in number)
    return int(exact) if whole else float(exact)


def choices(annotation: Any) -> tuple[str, ...]:
    """The allowed strings of a field, or of each item of a list; empty if any string is allowed."""
    inner = typing.get_args(annotation)
    if typing.get_origin(annotation) is Literal:
        return inner
    return next((found for option in inner if (found := choices(option))), ())


def nearest(name: str, known: Mapping[str, Any]) -> str:
    """A sentence that suggests the known name nearest to a wrong one, or lists them all."""
    match = difflib.get_close_matches(name, known, n=1)
    return f"Did you mean '{match[0]}'?" if match else f"Choose one of: {', '.join(known)}."


def nullable(annotation: Any) -> bool:
    return types.NoneType in typing.get_args(annotation)

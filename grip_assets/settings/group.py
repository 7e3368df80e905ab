"""The base class of settings groups: it reads sizes, knows which fields apply, and hashes values.

The groups themselves are in groups/. Traits of a single field are in fields.py.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from functools import cache, cached_property
from typing import Any, ClassVar, Self

import pydantic
from pydantic import BaseModel, ConfigDict, field_validator

from grip_assets.settings.fields import Condition, holds, in_words, size, trait


class Group(BaseModel):
    """A settings group. Unknown names, values out of range, infinity and NaN are refused.

    A number may be written as a size: ``500M``, ``2B``, ``10%``. The value is then the number.

    ``name`` is the group's key: in ``GROUPS``, in ``group.field``, and in the asset ``settings/<name>``.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
    name: ClassVar[str]

    @field_validator("*", mode="before")
    @classmethod
    def sizes(cls, value: Any, info: pydantic.ValidationInfo) -> Any:
        field = cls.model_fields[str(info.field_name)]
        if not isinstance(value, str) or not _is_number(field.annotation):
            return value
        return size(value, field.annotation, str(info.field_name).endswith("bytes"))

    @classmethod
    def of(cls, settings: Mapping[str, "Group"]) -> Self:
        """This group among the settings of all groups."""
        found = settings[cls.name]
        assert isinstance(found, cls)
        return found

    def applies(self, name: str) -> bool:
        """Whether the field makes a difference, given the values of the fields that its ``when`` names."""
        ways = conditions_of(type(self))[name]
        return not ways or any(self._hold(condition) for condition in ways)

    def _hold(self, condition: Mapping[str, Any]) -> bool:
        return all(self.applies(name) and holds(getattr(self, name), wanted) for name, wanted in condition.items())

    def effective(self) -> Self:
        """The same settings, with each field that does not apply at its default.

        Every stage gets these settings, so a field that does not apply cannot change a result.
        """
        return self._effective

    @cached_property
    def _effective(self) -> Self:
        """A plan asks for the effective settings a thousand times."""
        fields = type(self).model_fields
        conditional = [name for name, ways in conditions_of(type(self)).items() if ways]
        unused = {name: fields[name].get_default() for name in conditional if not self.applies(name)}
        return self.model_copy(update=unused) if unused else self

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """pydantic's copy. It finds its effective settings itself, since its values may differ."""
        copied = super().model_copy(update=update, deep=deep)
        copied.__dict__.pop("_effective", None)
        return copied


@cache
def conditions_of(schema: type[Group]) -> dict[str, list[Condition]]:
    """The conditions (``when``) of each field. A run asks for them thousands of times."""
    return {name: trait(field, "when") for name, field in schema.model_fields.items()}


def _is_number(annotation: Any) -> bool:
    return bool({annotation, *getattr(annotation, "__args__", ())} & {int, float})


def effective(settings: Mapping[str, Group]) -> dict[str, Group]:
    """``Group.effective`` of all groups."""
    return {name: group.effective() for name, group in settings.items()}


def applies_with(schema: type[Group], name: str) -> str:
    """For example ``applies with clustering.method=column``; "" for a field that always applies."""
    return in_words(schema.name, trait(schema.model_fields[name], "when"))


def field_names(schema: type[Group], *parts: str, but: Iterable[str] = ()) -> tuple[str, ...]:
    """Names of the fields of the ``parts`` (default: of the whole group), without those named in ``but``.

    A stage declares with it which fields it reads: ``reads={"quality": field_names(Quality, but=["gold"])}``.
    """
    left_out = set(but)
    if unknown := left_out - schema.model_fields.keys():
        raise KeyError(f"settings/{schema.name} has no field {sorted(unknown)[0]}")
    known = schema.model_fields.items()
    return tuple(n for n, field in known if n not in left_out and (not parts or trait(field, "part") in parts))


def counted_values(settings: Group, only: Iterable[str] | None = None) -> dict[str, Any]:
    """JSON values of the fields ``only`` (default: all) that can change a result: ``hashed`` fields, after
    ``effective``."""
    known = type(settings).model_fields
    wanted = known.keys() if only is None else set(only)
    values = settings.effective().model_dump(mode="json")
    return {name: value for name, value in values.items() if name in wanted and trait(known[name], "hashed")}


def hashed_values(settings: Group, only: Iterable[str] | None = None, applying: bool = False) -> dict[str, Any]:
    """The values that go into a recipe or the name of a shard.

    These are the ``counted_values`` without fields that are ``added`` and at their default. A field with ``hashed_as``
    has that value. With ``applying``, fields that do not apply are left out too.
    """
    known = type(settings).model_fields
    fixed = {name: trait(known[name], "hashed_as") for name in (known if only is None else only)}
    values = counted_values(settings, only) | {name: value for name, value in fixed.items() if value is not None}
    return {
        name: value
        for name, value in values.items()
        if not (trait(known[name], "added") and value == _defaults(type(settings))[name])
        and (not applying or settings.applies(name))
    }


def default_of(field: pydantic.fields.FieldInfo) -> Any:
    """The default as a JSON value; None if the field has no fixed default."""
    return json.loads(json.dumps(field.get_default()))


@cache
def _defaults(schema: type[Group]) -> dict[str, Any]:
    """``default_of`` each field. Every recipe compares with them."""
    return {name: default_of(field) for name, field in schema.model_fields.items()}


def digest(value: Any) -> str:
    """The name of a JSON-able value: 16 hex digits of the SHA-256 of its canonical form."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]


def version(settings: Group) -> str:
    """Data version of a group: the digest of its hashed values."""
    return digest(hashed_values(settings))

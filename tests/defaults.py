"""Settings for tests that plant the artifacts of some stages."""

from grip_assets.settings import GROUPS, Group, validate


def without_near_copies(**changes: dict[str, object]) -> dict[str, Group]:
    """The default settings and ``changes`` by group. No near copies are looked for, since none are planted."""
    values = {"near_duplicates": {"threshold": 0}, **changes}
    return {group: validate(group, values.get(group, {})) for group in GROUPS}

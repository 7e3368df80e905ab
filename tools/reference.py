"""Generates documentation from the code: docs/reference.md, and the graph in the README.

The graph stands between ``<!-- graph -->`` and ``<!-- /graph -->``. ``make docs`` writes both. A test fails if one of
them is outdated.
"""

import json
import re
import textwrap
import types
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer.main

from grip_assets.engine.declarations import Table
from grip_assets.engine.stage import Stage
from grip_assets.orchestration.settings_assets import bounds, when
from grip_assets.runtime.variables import VARIABLES
from grip_assets.settings import GROUPS, Group, choices, trait
from grip_assets.stages import STAGES
from grip_assets.store.artifacts import REPOSITORY
from grip_assets.store.catalog import ARTIFACTS

WIDTH = 100
WHOLE_WORDS: dict[str, Any] = {"break_long_words": False, "break_on_hyphens": False}
README, REFERENCE = REPOSITORY / "README.md", REPOSITORY / "docs" / "reference.md"
KINDS = {"int": "whole", "float": "number", "str": "text", "bool": "true, false", "PoolSource": "sources"}


def settings_table() -> str:
    rows = ["| setting | symbol | default | range | effect |", "|---|---|---|---|---|"]
    for group, schema in GROUPS.items():
        readers = ", ".join(f"`{s.name}`" for s in STAGES.values() if group in s.reads)
        rows.append(f"| **`settings/{group}`** | | | | read by {readers} |")
        for name, field in schema.model_fields.items():
            marks = "" if trait(field, "hashed") else "*Changes no result.*"
            cells = [
                f"`{group}.{name}`",
                trait(field, "symbol"),
                f"`{json.dumps(field.get_default())}`",
                _range(schema, name),
            ]
            rows.append(
                "| "
                + " | ".join([*cells, " ".join(filter(None, [field.description, when(schema, name), marks]))]).replace(
                    "|P|", "\\|P\\|"
                )
                + " |"
            )
    return "\n".join(rows)


def _range(schema: type[Group], name: str) -> str:
    annotation = schema.model_fields[name].annotation
    if choices(annotation):
        return ", ".join(choices(annotation))
    kinds = [t for t in typing.get_args(annotation) or (annotation,) if t is not types.NoneType]
    limits = bounds(schema, name).removeprefix("Range: ").rstrip(".")
    return " ".join(filter(None, [KINDS[kinds[0].__name__], limits]))


def graph() -> str:
    """The chain as a Mermaid graph. Reports are left out, because they depend on most of it.

    A stage that reads the table that another one narrows (``Stage.narrows``) has an arrow from that one only. Stages
    that read the same settings share an arrow.
    """
    lines, named = ["```mermaid", "flowchart LR"], set()
    readers: dict[tuple[str, ...], list[str]] = {}
    for stage in (s for s in STAGES.values() if s.group in ("curation", "mixing", "attribution")):
        if stage.inputs:
            lines.append(f"  {' & '.join(_drawn(stage))} --> {stage.name}")
        readers.setdefault(tuple(stage.groups), []).append(stage.name)
    for groups, names in readers.items():
        nodes = [f"set_{g}([settings/{g}])" if g not in named else f"set_{g}" for g in groups]
        lines.append(f"  {' & '.join(nodes)} -.-> {' & '.join(names)}")
        named |= set(groups)
    return "\n".join([*lines, "```"])


def _drawn(stage: Stage) -> list[str]:
    by = stage.narrowed_by
    if by is None:
        return list(stage.inputs)
    return [by.name if name in by.inputs else name for name in stage.inputs if name != by.name]


def assets() -> Iterator[str]:
    from grip_assets.definitions import defs

    for group in dict.fromkeys(stage.group for stage in STAGES.values()):
        yield f"### Group `{group}`\n"
        for stage in (s for s in STAGES.values() if s.group == group):
            reads = [f"`settings/{g}`" for g in stage.groups]
            made_from = ", ".join([f"`{name}`" for name in stage.inputs] + reads)
            yield f"#### `{stage.name}`\n\n{stage.description}\n\nMade from {made_from}.\n"
            for table in stage.tables:
                yield from _table(table)
    for key in sorted(defs.resolve_asset_graph().get_all_asset_keys()):
        if key.path[0] not in {*STAGES, "settings"}:
            spec = defs.resolve_asset_graph().get(key)
            yield f"#### `{key.to_user_string()}`\n\n{spec.description}\n"


def _table(table: Table) -> Iterator[str]:
    yield f"Table `{table.name}`:\n\n| column | what it is |\n|---|---|"
    yield from (f"| `{column.name}` | {column.description.replace('|', chr(92) + '|')} |" for column in table.columns)
    yield ""


def automations() -> Iterator[str]:
    from grip_assets.definitions import defs

    repository = defs.get_repository_def()
    kinds: dict[str, list[Any]] = {
        "Jobs": [j for j in repository.get_all_jobs() if not j.name.startswith("__")],
        "Schedules": list(repository.schedule_defs),
        "Sensors": list(repository.sensor_defs),
    }
    for title, found in kinds.items():
        yield f"### {title}\n\n| name | what it does |\n|---|---|"
        yield from (
            f"| `{d.name}` | {_without_links_of_the_ui(d.description or '')} |"
            for d in sorted(found, key=lambda d: d.name)
        )
        yield ""


def commands() -> Iterator[str]:
    from grip_assets.cli import app

    for name, command in sorted(typer.main.get_command(app).commands.items()):  # type: ignore[attr-defined]
        arguments = [str(p.name).upper() for p in command.params if p.param_type_name == "argument"]
        usage = " ".join(["grip", name, *arguments])
        yield f"#### `{usage}`\n\n{' '.join((command.help or '').split())}\n"
        for option in (p for p in command.params if p.param_type_name == "option" and p.name != "help"):
            yield f"- `{option.opts[0]}`: {getattr(option, 'help', '')}"
        yield ""


def reference() -> str:
    variables = "\n".join(f"| `{n}` | {v.meaning} Default: {v.default}. |" for n, v in VARIABLES.items())
    views = "\n".join(
        [
            "| view | columns |",
            "|---|---|",
            "| `settings` | group, name, symbol, value (JSON): every value in force |",
            f"| `artifacts` | {', '.join(ARTIFACTS)}: everything that was ever computed |",
        ]
    )
    parts = [
        "# Reference\n\nMade from the code by `make docs`. [Back to the README](../README.md).",
        "## Settings\n\n" + settings_table(),
        "## Assets and tables\n\n" + "\n".join(assets()),
        "### Views\n\n" + views,
        "## Jobs, schedules and sensors\n\n" + "\n".join(automations()),
        "## Commands\n\n" + "\n".join(commands()),
        "## Environment variables\n\nFacts about the machine: they are in no version.",
        "| variable | what it is |\n|---|---|\n" + variables,
    ]
    return "\n".join(_wrapped("\n\n".join(part.strip() for part in parts))) + "\n"


def _wrapped(text: str) -> Iterator[str]:
    """The lines of ``text``, with prose wrapped at WIDTH. Rows of tables and headings stay as they are."""
    for line in text.splitlines():
        prose = len(line) > WIDTH and not line.startswith(("|", "#"))
        indent = "  " if line.startswith("- ") else ""
        yield from textwrap.wrap(line, WIDTH, subsequent_indent=indent, **WHOLE_WORDS) if prose else [line]


def filled(text: str) -> str:
    """``text`` with the current graph."""
    before, _, rest = text.partition("<!-- graph -->")
    _, end, after = rest.partition("<!-- /graph -->")
    return f"{before}<!-- graph -->\n{graph()}\n{end}{after}"


def _without_links_of_the_ui(text: str) -> str:
    """The text, with links that begin with a slash replaced by their words: they work only in the UI."""
    return re.sub(r"\[([^]]+)\]\(/[^)]*\)", r"\1", " ".join(text.split()))


def main(readme: Path = README, reference_page: Path = REFERENCE) -> None:
    readme.write_text(filled(readme.read_text(encoding="utf-8")), encoding="utf-8")
    reference_page.write_text(reference(), encoding="utf-8")


if __name__ == "__main__":
    main()

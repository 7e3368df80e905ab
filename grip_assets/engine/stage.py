"""A stage, its recipe, and the ``Work`` that its ``compute`` takes. No Dagster here.

A recipe names an artifact before it is computed: recipe = digest(stage, code version, versions of its inputs, the
settings it reads, facts about the outside world). Batch sizes, thread counts and the place of the data folder change
no recipe.

A few stages are named by their content instead. Their recipe is then an alias of that name. Two examples:
- ``corpus``: a file that was touched and has the same text changes nothing.
- ``quality_scores``: no recipe can foretell the answers of an outside judge, and a later run asks again for those that
  are missing.

If the settings do not need a stage, it is unused: its tables are empty, and its recipe depends only on its name and
code version.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from grip_assets.engine.declarations import Check, Table
from grip_assets.errors import Unfinished
from grip_assets.runtime.executors import Local
from grip_assets.settings import GROUPS, Group, counted_values, default_of, digest, effective, hashed_values
from grip_assets.store.artifacts import ArtifactStore, Draft

if TYPE_CHECKING:
    from grip_assets.engine.make import Chain

Settings = Mapping[str, Group]
Log = Callable[[str], None]
LOCAL = Local()


@dataclass(frozen=True)
class Stage:
    """One asset of the chain. Its module declares all of it: settings read, tables, checks, picture.

    ``code_version``: bump it when the stage's result changes for the same inputs. A golden test asks for that.
    ``tables``: the first is the main table. It usually has the stage's name.
    ``reads``: maps a settings group to the fields that the stage reads (None: all of them).
    ``facts``: what the result depends on beside settings and inputs, such as the content of model files or the pool.
    ``picture``: whether report/pictures.py draws a picture of this stage.
    ``expensive``: whether it reads the whole pool, runs a model on documents, asks a judge or makes other stages again.
    ``unused``: names the setting that makes the stage unnecessary ("settings/budget.replay is none"), or returns "".
    It sees the groups in ``reads`` and in ``unused_by``. A group that is only in ``unused_by`` is in no recipe.
    ``left_out``: maps an input, or a group in ``reads``, to a function like ``unused``. If that returns a reason, the
    stage is made as if it did not have this input or group: it is in no recipe, no manifest and no ``Work``. So a stage
    can gain an input or a group, and artifacts that were made before keep their names.
    ``narrows``: (a table of an input, a table of this stage with some of its rows). Stages that come after this one and
    read the first read the second in its place; see ``narrowed``, which sets their ``narrowed_by``.
    ``earlier``: the version of an earlier artifact of the stage that the settings name instead of a new one, or None.
    If that was made from the same inputs, it keeps its version. For other inputs ``compute`` makes a new artifact.
    ``compute``: fills the draft and returns metrics, numbers that are plotted over time. A stage that is
    ``named_by_content`` returns a ``Result``, which also has the content.
    ``disk``: bytes that the stage needs at least at its widest moment, from rows and bytes of the tables of its inputs.
    It is not begun with less. None: only what earlier artifacts took is known, and logged (engine/room.py).
    ``otherwise``: the reason that a plan gives if neither settings nor inputs explain why the stage is computed.
    """

    name: str
    code_version: str
    compute: Callable[["Work"], "dict[str, Any] | Result"]
    description: str
    tables: tuple[Table, ...]
    checks: tuple[Check, ...] = ()
    inputs: tuple[str, ...] = ()
    reads: Mapping[str, tuple[str, ...] | None] = field(default_factory=dict)
    facts: Callable[[Settings, Path], dict[str, Any]] = lambda settings, root: {}
    group: str = "curation"
    named_by_content: bool = False
    picture: bool = False
    expensive: bool = False
    unused: Callable[[Settings], str] = lambda settings: ""
    unused_by: tuple[str, ...] = ()
    left_out: Mapping[str, Callable[[Settings], str]] = field(default_factory=dict)
    narrows: tuple[str, str] | None = None
    narrowed_by: "Stage | None" = None
    earlier: Callable[[Settings, Path], str | None] = lambda settings, root: None
    otherwise: str = "code, model or files changed"
    disk: Callable[[Mapping[str, Mapping[str, Any]]], int] | None = None

    @property
    def table_names(self) -> tuple[str, ...]:
        return tuple(table.name for table in self.tables)

    @property
    def groups(self) -> tuple[str, ...]:
        """Settings groups that the stage depends on: those that it reads, and those that decide whether it is used."""
        return tuple(dict.fromkeys([*self.reads, *self.unused_by]))

    def table(self, name: str) -> Table:
        return next(table for table in self.tables if table.name == name)

    def schema(self, table: str) -> pl.Schema:
        return self.table(table).schema

    def why_unused(self, settings: Settings) -> str:
        """The reason why these settings do not need the stage; "" if they need it."""
        return self.unused(self._seen(settings))

    def _seen(self, settings: Settings) -> dict[str, Group]:
        return {group: settings[group].effective() for group in self.groups if group in settings}

    def _without(self, settings: Settings) -> set[str]:
        """Inputs and groups in ``reads`` that these settings leave out."""
        seen = self._seen(settings) if self.left_out else {}
        without = {name for name, why in self.left_out.items() if why(seen)}
        if self.narrowed_by and self.narrowed_by.why_unused(settings):
            without.add(self.narrowed_by.name)
        return without

    def inputs_under(self, settings: Settings) -> tuple[str, ...]:
        """The ``inputs`` that these settings need."""
        without = self._without(settings)
        return tuple(name for name in self.inputs if name not in without)

    def reads_under(self, settings: Settings) -> dict[str, tuple[str, ...] | None]:
        """The groups in ``reads`` that these settings need, with their fields."""
        without = self._without(settings)
        return {group: fields for group, fields in self.reads.items() if group not in without}

    def values(self, settings: Settings) -> dict[str, dict[str, Any]]:
        """The values that the stage reads, by group. A field that does not apply has its default."""
        return {group: counted_values(settings[group], fields) for group, fields in self.reads_under(settings).items()}

    def recipe(self, settings: Settings, inputs: Mapping[str, str], root: Path) -> str:
        """The recipe, 16 hex digits; or the version of ``earlier``, if that was made from the same inputs.

        An unused stage has the same recipe for all settings and inputs.
        """
        if self.why_unused(settings):
            return digest([self.name, self.code_version, "unused"])
        versions = {name: inputs[name] for name in self.inputs_under(settings)}
        earlier, store = self.earlier(effective(settings), root), ArtifactStore(root)
        if earlier and store.knows(self.name, earlier) and store.manifest(self.name, earlier)["inputs"] == versions:
            return earlier
        hashed = {group: hashed_values(settings[group], fields) for group, fields in self.reads_under(settings).items()}
        return digest([self.name, self.code_version, versions, hashed, self.facts(effective(settings), root)])


def narrowed(stages: Mapping[str, Stage]) -> dict[str, Stage]:
    """The same stages, in which those after a stage that ``narrows`` a table have it as an input.

    A stage that reads the wide table reads the narrow one, without a word in its module. If the settings do not need
    the narrowing stage, all others have the inputs and the recipes that they would have without it.
    """
    found: dict[str, Stage] = {}
    for stage in stages.values():
        by = next((other for other in found.values() if other.narrows and _owner(other, found) in stage.inputs), None)
        found[stage.name] = replace(stage, inputs=(*stage.inputs, by.name), narrowed_by=by) if by else stage
    return found


def _owner(narrowing: Stage, stages: Mapping[str, Stage]) -> str:
    """The stage whose table another one narrows."""
    assert narrowing.narrows is not None
    return next(name for name in narrowing.inputs if narrowing.narrows[0] in stages[name].table_names)


@dataclass(frozen=True)
class Result:
    """What ``compute`` returns beside the tables in the draft.

    ``content``: the text that is hashed into the artifact's name, for a stage named by its content.
    ``complete``: if true, the next run with this recipe reuses the artifact without running the stage.
    ``keeps``: further artifacts, as (stage, version). `grip clean` does not remove them as long as it keeps this one.
    """

    metrics: dict[str, Any]
    content: str | None = None
    complete: bool = True
    keeps: tuple[tuple[str, str], ...] = ()


class Work:
    """The argument of ``compute``: settings, input tables, a draft to fill, a log, an executor for jobs over shards.

    ``inputs`` maps each input stage that the settings need to the version that this stage reads. ``metrics``: what
    ``compute`` returned, for the checks that come after it.
    """

    def __init__(self, chain: "Chain", stage: Stage, settings: Settings, inputs: Mapping[str, str], draft: Draft):
        self.chain, self.stage, self.settings, self.inputs, self.draft = chain, stage, settings, inputs, draft
        self.stages, self.store, self.log, self.run_id = chain.stages, chain.store, chain.log, chain.run_id
        self.executor, self.owners = chain.executor, owners(chain.stages)
        self.metrics: dict[str, Any] = {}

    def make(self, stage: Stage, settings: Settings, inputs: Mapping[str, str]) -> "Made":
        """Make or reuse another artifact of the chain, with which this report compares."""
        return self.chain.made_for_a_report(self.stage.name).make(stage, settings, inputs)

    def files(self, table: str) -> str:
        """Glob of the Parquet files of a table, which belongs to an input or to the draft.

        Of a table that an input narrows, the files of the narrow one.
        """
        owner, table = self._narrow(table)
        if owner == self.stage.name:
            return self.draft.parquet(table)
        return self.store.parquet(owner, self.inputs[owner], table)

    def version_of(self, table: str) -> str:
        """The version of the artifact that ``files`` of a table of an input belong to."""
        return self.inputs[self._narrow(table)[0]]

    def _narrow(self, table: str) -> tuple[str, str]:
        """The stage and the table that are read where ``table`` is asked for."""
        by = self.stage.narrowed_by
        if by and by.narrows and by.narrows[0] == table and by.name in self.inputs:
            return by.name, by.narrows[1]
        return self.owners[table], table

    def frame(self, table: str) -> pl.DataFrame:
        return pl.read_parquet(self.files(table))

    def tables(self) -> dict[str, str]:
        """Globs of all tables of the inputs and of the draft, by name, for queries."""
        return {t: self._glob(t) for t, owner in self.owners.items() if owner in (self.stage.name, *self.inputs)}

    def _glob(self, table: str) -> str:
        """As ``files``, for readers that may leave the table unread."""
        owner, table = self._narrow(table)
        if owner == self.stage.name:
            return self.draft.parquet(table)
        return self.store.glob(owner, self.inputs[owner], table)

    def must_be_in_force(self) -> None:
        """Unfinished if an input was made with other settings than those in force.

        A report that changes one setting at a time calls this first: its inputs must have been made with the current
        settings. Inputs named by their content are skipped, since their name does not depend on settings.
        """
        for name, version in self.inputs.items():
            stage, manifest = self.stages[name], self.store.manifest(name, version)
            if not stage.named_by_content and not made_with(stage, manifest, self.settings, self.store.root):
                raise Unfinished(
                    f"{self.stage.name} compares the settings in force with others, and {name} was not made with those"
                    f" in force. Materialize {name} first, or run `curate`."
                )


@dataclass(frozen=True)
class Made:
    """An artifact after a run of its stage. ``seconds``: how long reusing or computing it took."""

    version: str
    reused: bool
    seconds: float
    manifest: dict[str, Any]


def owners(stages: Mapping[str, Stage]) -> dict[str, str]:
    """Table name to the name of the stage that makes it."""
    return {table: stage.name for stage in stages.values() for table in stage.table_names}


def known_version(stage: Stage, settings: Settings, recipe: str, store: ArtifactStore) -> str | None:
    """The version that a recipe leads to; None for a stage named by its content, if this recipe was never run."""
    if stage.named_by_content and not stage.why_unused(settings):
        return store.alias(stage.name, recipe)
    return recipe


def made_with(stage: Stage, manifest: Mapping[str, Any], settings: Settings, root: Path) -> bool:
    """Whether an artifact of the stage was made with these settings."""
    was_unused, is_unused = "unused" in manifest, bool(stage.why_unused(settings))
    if was_unused or is_unused:
        return was_unused == is_unused
    return not any(turned_since(stage, manifest, settings, root))


def turned_since(stage: Stage, manifest: Mapping[str, Any], settings: Settings, root: Path) -> Iterator[str]:
    """``setting_changes`` since an artifact of the stage was made; none where the settings name that very artifact."""
    if stage.earlier(settings, root) != manifest["version"]:
        yield from setting_changes(manifest["settings"], stage.values(settings))


def setting_changes(old: Mapping[str, Mapping[str, Any]], new: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """``group.field: old → new`` for each value of ``new`` that differs from ``old``.

    A field that is missing in ``old`` was introduced later, and counts as its default.
    """
    for group, values in new.items():
        for name, value in values.items():
            was = old.get(group, {}).get(name, _default(group, name))
            if was != value:
                yield f"{group}.{name}: {_shown(was)} → {_shown(value)}"


def _default(group: str, name: str) -> Any:
    field = GROUPS[group].model_fields.get(name) if group in GROUPS else None
    return default_of(field) if field else None


def _shown(value: Any) -> str:
    return "null" if value is None else repr(value)  # as it is written in --set and in profiles

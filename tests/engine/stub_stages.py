"""A chain of stub stages over a store in a temporary folder: what the engine computes and reuses, in milliseconds."""

from pathlib import Path

import polars as pl

from grip_assets.engine.declarations import Column, Table
from grip_assets.engine.inspect import inspect
from grip_assets.engine.make import Chain
from grip_assets.engine.plan import Step, plan
from grip_assets.engine.stage import Made, Result, Stage, Work
from grip_assets.settings import GROUPS, Group, Selection, digest, validate
from grip_assets.store.artifacts import ArtifactStore

NUMBER = (Column("n", pl.Int64, "A number."),)


class Stubs:
    """pool -> cut (clustering.k) -> weigh (budget.tau) -> pick (selection.beta), and pool -> sketch -> pick,
    which reads all the others.

    ``pool`` is named by its content, which is ``self.pool``; its facts are ``self.listing``. ``sketch`` is not used
    while selection.weight is uniform. ``self.computed`` has the name of each stage whose ``compute`` was run.
    """

    def __init__(self, root: Path):
        self.store, self.computed, self.log = ArtifactStore(root), list[str](), list[str]()
        self.pool, self.listing, self.complete = 1, "listed once", True
        self.settings: dict[str, Group] = {group: validate(group, {}) for group in GROUPS}
        self.versions: dict[str, str] = {}
        reads = {
            "pool": {},
            "cut": {"clustering": ("k",)},
            "weigh": {"budget": ("tau",)},
            "sketch": {},
            "pick": {"selection": ("beta",)},
        }
        inputs = {"cut": ("pool",), "weigh": ("cut",), "sketch": ("pool",), "pick": ("pool", "cut", "weigh", "sketch")}
        self.stages = {
            name: Stage(
                name=name,
                code_version="1",
                compute=self._compute,
                description="A stub.",
                tables=(Table(name, NUMBER),),
                inputs=inputs.get(name, ()),
                reads=fields,
                facts=lambda settings, root: {"listing": self.listing},
                named_by_content=name == "pool",
                unused=_sketch_unused if name == "sketch" else lambda settings: "",
                unused_by=("selection",) if name == "sketch" else (),
            )
            for name, fields in reads.items()
        }
        for name in self.stages.keys() - {"pool"}:
            object.__setattr__(self.stages[name], "facts", lambda settings, root: {})

    def _compute(self, work: Work) -> dict | Result:
        name = work.stage.name
        self.computed.append(name)
        rows = self.pool if name == "pool" else sum(len(work.frame(i)) for i in work.stage.inputs)
        work.draft.write(name, pl.DataFrame({"n": range(rows)}, schema={"n": pl.Int64}))
        return Result({"rows": rows}, digest(self.pool), self.complete) if name == "pool" else {"rows": rows}

    def set(self, group: str, **values) -> None:
        self.settings[group] = validate(group, self.settings[group].model_dump() | values)

    def make(self, name: str, **inputs: str) -> Made:
        """Make one stage from the versions in force, or from ``inputs``."""
        stage = self.stages[name]
        versions = {i: inputs.get(i, self.versions.get(i, "")) for i in stage.inputs}
        chain = Chain(self.stages, self.store, self.log.append, "run", inspect)
        return chain.make(stage, self.settings, versions)

    def run(self) -> list[str]:
        """Make all stages in order; those that were computed."""
        before = len(self.computed)
        for name in self.stages:
            self.versions[name] = self.make(name).version
        return self.computed[before:]

    def plan(self) -> dict[str, Step]:
        return {step.asset: step for step in plan(self.stages, self.settings, self.versions, self.store)}

    def rows(self, name: str) -> pl.DataFrame:
        return pl.read_parquet(self.store.parquet(name, self.versions[name], name))


def _sketch_unused(settings) -> str:
    return "settings/selection.weight is uniform" if Selection.of(settings).weight == "uniform" else ""

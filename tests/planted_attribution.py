"""A data folder in which the corpus and the clusters of a small pool are planted, for the stages of attribution."""

import planted_mixing
import polars as pl
from planted_mixing import text

from grip_assets.engine.inspect import inspect
from grip_assets.engine.make import Chain
from grip_assets.runtime.executors import Local
from grip_assets.settings import validate
from grip_assets.sources.documents import name_of
from grip_assets.stages import STAGES

CHAIN = ("attribution_targets",)
TINY = {"vocabulary": 320, "hidden": 16, "layers": 1, "heads": 1, "context": 16, "tokens": 3200, "batch_tokens": 160}


def held_out(n: int = 24) -> pl.DataFrame:
    """Documents of two languages in six projects, none of them in the pool."""
    texts = [text(5000 + i, 40) for i in range(n)]
    return pl.DataFrame(
        {
            "doc_id": [name_of(t) for t in texts],
            "text": texts,
            "language": [("python", "go")[i % 2] for i in range(n)],
            "source": [f"held {i}" for i in range(n)],
            "project": [f"project {i % 6}" for i in range(n)],
            "n_tokens": [len(t) // 4 for t in texts],
        }
    )


class Folder(planted_mixing.Folder):
    """A data folder in which corpus and clusters are planted, and documents are selected greedily."""

    def __init__(self, root, documents=None, held=None, **attribution):
        self.held_out = held_out() if held is None else held
        super().__init__(root, planted_mixing.pool() if documents is None else documents)
        self.settings["budget"] = validate("budget", {})
        self.settings["selection"] = validate("selection", {"rule": "greedy"})
        self.turn(**TINY | {"targets": ["held_out"], "passage": 100} | attribution)

    def _plant(self, name, inputs, table, **others):
        super()._plant(name, inputs, table, **({"held_out": self.held_out} if name == "corpus" else others))

    def turn(self, **attribution):
        now = self.settings["attribution"].model_dump()
        of_group = {name: value for name, value in attribution.items() if name in now}
        self.settings["attribution"] = validate("attribution", now | of_group)

    def make(self, *more, workers=1):
        """Makes attribution_targets and the stages ``more``; ``made`` is the last of them. ``workers``: threads, or an executor."""
        executor = Local(workers) if isinstance(workers, int) else workers
        self.chain = chain = Chain(STAGES, self.store, self.lines.append, "run", inspect, executor)
        inputs, self.owner = {"corpus": "planted", "clusters": "planted"}, {}
        for name in ("attribution_targets", *more):
            self.made = chain.make(STAGES[name], self.settings, inputs)
            inputs[name] = self.made.version
            self.owner |= {table: (name, self.made.version) for table in STAGES[name].table_names}
        return self

"""The data folder as a Dagster resource."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import dagster as dg

from grip_assets.engine.in_force import Record
from grip_assets.engine.stage import Settings, Stage
from grip_assets.orchestration import event_log
from grip_assets.store import catalog
from grip_assets.store.artifacts import ArtifactStore, data_root
from grip_assets.store.locks import locked


class Data(dg.ConfigurableResource):
    """Where artifacts, shards and the catalog are; unset, what ``GRIP_DATA`` says when a run starts."""

    root: str | None = None

    def store(self) -> ArtifactStore:
        return ArtifactStore(Path(self.root) if self.root else data_root())

    @contextmanager
    def alone(self) -> Iterator[None]:
        """No other process is in here: for what is read, added to and written again."""
        store = self.store()
        store.root.mkdir(parents=True, exist_ok=True)
        with locked(store.root / ".lock"):
            yield

    def show(
        self,
        instance: dg.DagsterInstance,
        stages: Mapping[str, Stage],
        made: Mapping[str, Record] | None = None,
        settings: Settings | None = None,
    ) -> None:
        """Write the catalog anew: what the event log says is in force, what this step ``made`` and the log does not
        have yet, and the same of other runs going on."""
        with self.alone():
            records, in_force = event_log.in_force(instance, stages)
            for stage, record in catalog.shown_in_force(self.store().root).items():
                known = records.get(stage)
                if (known is None or known.timestamp < record.timestamp) and instance.has_run(record.run_id):
                    records[stage] = record
            catalog.rebuild(self.store(), stages, {**in_force, **(settings or {})}, records | dict(made or {}))

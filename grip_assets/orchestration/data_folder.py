"""The data folder as a Dagster resource."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import dagster as dg
from pydantic import PrivateAttr

from grip_assets.engine.stage import Settings, Stage
from grip_assets.orchestration import event_log
from grip_assets.settings import trait
from grip_assets.stages import STAGES
from grip_assets.store import catalog
from grip_assets.store.artifacts import ArtifactStore, data_root
from grip_assets.store.locks import locked


class Data(dg.ConfigurableResource):
    """The folder of artifacts, shards and the catalog. ``root`` None: the folder in ``GRIP_DATA`` when a run starts."""

    root: str | None = None
    _told: list[event_log.Told] = PrivateAttr(default_factory=list)  # from the steps of this run

    def store(self) -> ArtifactStore:
        return ArtifactStore(Path(self.root) if self.root else data_root())

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Hold the lock of the data folder. Use it to read a record, change it and write it back."""
        store = self.store()
        store.root.mkdir(parents=True, exist_ok=True)
        with locked(store.root / ".lock"):
            yield

    def mark(self) -> None:
        """Mark the catalog as outdated, before something is put in force. It is rebuilt when the run ends."""
        catalog.mark_outdated(self.store().root)

    def show(self, instance: dg.DagsterInstance, stages: Mapping[str, Stage] = STAGES) -> None:
        """Rebuild the catalog from the assets and settings that the event log says are in force."""
        with self.alone():
            records, settings = event_log.in_force(instance, stages)
            in_force = {
                name: catalog.InForce(
                    record.version,
                    record.run_id,
                    record.timestamp,
                    bool(record.metadata.get("reused")),
                    stages[name].table_names,
                    {table.name: table.added for table in stages[name].tables},
                )
                for name, record in records.items()
            }
            catalog.rebuild(self.store(), in_force, settings_rows(settings))

    def tell(self, made: event_log.Told) -> None:
        """Keep what a stage did for the run's tags, which are written when the run ends."""
        self._told.append(made)

    @contextmanager
    def yield_for_execution(self, context: dg.InitResourceContext) -> Iterator["Data"]:
        """The resource during a run, or during one step if every step has its own process.

        Afterwards, also after a failure, the catalog and the run's tags are up to date.
        """
        self._told = []
        try:
            yield self
        finally:
            if context.instance is not None:
                self._settle(context.instance, context.run_id)

    def _settle(self, instance: dg.DagsterInstance, run_id: str | None) -> None:
        if run_id and self._told:
            with self.alone():
                event_log.tag_run(instance, run_id, self._told)
        if catalog.is_outdated(self.store().root):
            self.show(instance)


def settings_rows(settings: Settings) -> list[tuple[str, str, str | None, str]]:
    """Rows (group, name, symbol, value as JSON) of the view ``settings``."""
    return [
        (group, name, trait(field, "symbol"), json.dumps(values.model_dump(mode="json")[name]))
        for group, values in settings.items()
        for name, field in type(values).model_fields.items()
    ]

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
    _told: list[event_log.Told] = PrivateAttr(default_factory=list)  # by the steps of the run that is going on

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
        """Say that the catalog is outdated, before something is put in force; it is written anew when the run ends."""
        catalog.mark_outdated(self.store().root)

    def show(self, instance: dg.DagsterInstance, stages: Mapping[str, Stage] = STAGES) -> None:
        """Write the catalog anew: what the event log says is in force."""
        with self.alone():
            records, settings = event_log.in_force(instance, stages)
            in_force = {
                name: catalog.InForce(
                    record.version,
                    record.run_id,
                    record.timestamp,
                    bool(record.metadata.get("reused")),
                    stages[name].table_names,
                )
                for name, record in records.items()
            }
            catalog.rebuild(self.store(), in_force, settings_rows(settings))

    def tell(self, made: event_log.Told) -> None:
        """Have the run's tags say this when it ends."""
        self._told.append(made)

    @contextmanager
    def yield_for_execution(self, context: dg.InitResourceContext) -> Iterator["Data"]:
        """For a run, or where every step has a process of its own, for one step. However it ends, the catalog shows
        afterwards what it has put in force, and the run's tags say what it has made."""
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

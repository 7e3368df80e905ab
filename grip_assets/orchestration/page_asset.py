"""The asset report: one HTML page about all assets in force, at ``<data>/report/index.html``. No stage reads it.

The report is not a stage: it has no table, and only the latest page is kept. Its version is a digest of its contents.
"""

import time
from collections.abc import Mapping
from typing import Any

import dagster as dg

from grip_assets.engine.in_force import Record
from grip_assets.engine.stage import Settings
from grip_assets.orchestration import event_log, events
from grip_assets.orchestration.automation import on_change
from grip_assets.orchestration.data_folder import Data
from grip_assets.orchestration.metadata import headlines
from grip_assets.report.serve import address, port_of_the_ui
from grip_assets.settings import GROUPS
from grip_assets.stages import CURATED
from grip_assets.store import catalog
from grip_assets.store.artifacts import ArtifactStore

KEY = dg.AssetKey("report")
CODE_VERSION = "2"


@dg.asset(
    key=KEY,
    deps=[dg.AssetKey(name) for name in CURATED],
    group_name="reports",
    kinds={"html"},
    owners=["team:grip"],
    description="One HTML file that opens with no server and no network: map, clusters, the paper's figures from your"
    " data, learned weights, budget, stability, diversity, and any two of the latest runs side by side. Its link works"
    " while `make ui` runs; `grip report` opens the page at any time.",
    code_version=CODE_VERSION,
    dagster_type=events.NOTHING,
    automation_condition=on_change,
)
def report(context: dg.AssetExecutionContext, data: Data) -> Any:
    from grip_assets.report import attention
    from grip_assets.report.page.write import write  # plotly and jinja2: not needed to load the definitions

    store, stages = data.store(), [dg.AssetKey(name) for name in CURATED]
    look = event_log.Look(context.instance, [KEY, *stages, *map(event_log.settings_key, GROUPS)])
    records, settings = look.records(stages), {group: look.settings(group) for group in GROUPS}
    versions = {name: record.version for name, record in records.items()}
    data.show(context.instance)  # also where nothing changed: the file may have been damaged or removed
    started = time.monotonic()
    made = write(
        store,
        versions,
        settings,
        CODE_VERSION,
    )
    context.log.info(f"{made.path} ({made.bytes:,} bytes){' is current' if made.reused else ''}")
    with catalog.connect(store.root) as connection:
        found = attention.findings(connection, store) if "subset" in records else []
    said: dict[str, Any] = {
        "open": dg.MetadataValue.url(address(port_of_the_ui())),
        "in short": dg.MetadataValue.md(headlines(store, records)),
        "look_at_this": dg.MetadataValue.md(attention.as_markdown(found)),
        "path": dg.MetadataValue.path(str(made.path)),
        "reused": made.reused,
        "sections": made.sections,
        "bytes": made.bytes,
        **({} if made.reused else {"seconds": time.monotonic() - started}),
    }
    before = look.record(KEY)
    if before and before.version == made.digest and events.synced(context, look):
        yield from events.observed(context, made.digest, said)
    else:
        yield dg.MaterializeResult(data_version=dg.DataVersion(made.digest), metadata=said)


def is_current(store: ArtifactStore, records: Mapping[str, Record], settings: Settings) -> bool:
    """Whether the existing page shows the versions and settings in force."""
    from grip_assets.report.page.write import digest_of_page, named, page_path

    versions = {name: record.version for name, record in records.items()}
    return digest_of_page(page_path(store.root)) == named(store, versions, settings, CODE_VERSION)

"""An artifact's manifest as Dagster metadata, which the UI shows and plots over time."""

import base64
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import dagster as dg

from grip_assets.engine.in_force import Record
from grip_assets.engine.stage import Made, Stage
from grip_assets.orchestration.columns import schema
from grip_assets.store import cluster_names
from grip_assets.store.artifacts import ArtifactStore, main_table
from grip_assets.store.cluster_names import ClusterNames
from grip_assets.store.query import has_query, query

CLUSTER = ("cluster_id", "cluster")  # columns that hold the number of a cluster
SAMPLE_CHARS = 60
PICTURE_BYTES = 90_000  # larger metadata slows the event log down


def metadata(made: Made, stage: Stage, store: ArtifactStore) -> dict[str, Any]:
    """Metadata of a materialization: rows and schema of the main table, metrics, seconds, ``reused``, picture, ..."""
    manifest = made.manifest
    main = main_table(manifest)
    folder = store.folder(manifest["stage"], made.version)
    values: dict[str, Any] = {
        "reused": made.reused,
        "seconds": round(made.seconds, 3),
        "seconds_when_computed": round(manifest["seconds"], 3),
        **({"not used": manifest["unused"]} if "unused" in manifest else {}),
        "path": dg.MetadataValue.path(store.shown(folder)),
        "dagster/row_count": main["rows"],
        "dagster/column_schema": schema(stage, main["columns"]),
        **{name: rounded(value) for name, value in manifest["metrics"].items()},
    }
    if has_query(f"samples/{manifest['stage']}") and "unused" not in manifest:
        values["sample"] = dg.MetadataValue.md(sample(manifest["stage"], made.version, store))
    if manifest["extremes"]:
        names = cluster_names.of_artifact(store, manifest["stage"], made.version)
        values["extremes"] = dg.MetadataValue.md(markdown_table(labelled(manifest["extremes"], names)))
    store.bring_file(folder / "picture.png")
    if (folder / "picture.png").exists():
        values["picture"] = _picture(folder / "picture.png")
    return values


def rounded(value: Any) -> Any:
    """A float rounded to four digits, for the plots. Other values are returned unchanged."""
    return float(f"{value:.4g}") if isinstance(value, float) else value


def sample(stage: str, version: str, store: ArtifactStore) -> str:
    """A few documents as a Markdown table. Documents are hostile input: their text is shown without markup or links."""
    corpus = store.ancestors(stage, version)["corpus"]["version"]
    tables = {"corpus": store.parquet("corpus", corpus, "corpus"), stage: store.parquet(stage, version, stage)}
    rows = query(f"samples/{stage}", tables).to_dicts()
    rows = labelled(rows, cluster_names.of_artifact(store, stage, version))
    return markdown_table([{name: _short(value) for name, value in row.items()} for row in rows])


def labelled(rows: list[dict[str, Any]], names: ClusterNames) -> list[dict[str, Any]]:
    """The rows, with the labels of clusters in place of their numbers."""
    if not names:
        return rows
    return [{n: names.label(v) if n in CLUSTER and v is not None else v for n, v in row.items()} for row in rows]


def _short(value: Any) -> Any:
    """A text on one line, with printable characters only. Addresses are broken up, so that they do not become links."""
    if not isinstance(value, str):
        return value
    text = "".join(c if c.isprintable() else " " for c in value)
    text = " ".join(text.replace("://", ": //").replace("@", " @ ").replace("www.", "www .").split())
    return text if len(text) <= SAMPLE_CHARS else text[:SAMPLE_CHARS] + "…"


def headlines(store: ArtifactStore, records: Mapping[str, Record]) -> str:
    """A short Markdown list about the pool and the subset in force."""
    said = {n: store.manifest(n, records[n].version)["metrics"] for n in ("corpus", "clusters", "subset")}
    corpus, subset = said["corpus"], said["subset"]
    pool, chosen = corpus["tokens"], subset["tokens_selected"]
    lines = {
        "pool": f"{corpus['documents_kept']:,} documents, {pool:,} tokens",
        "subset": f"{subset['documents_selected']:,} documents, {chosen:,} tokens ({chosen / max(pool, 1):.1%})",
        "rejected": f"{corpus['documents_rejected']:,} documents",
        "clusters": f"{said['clusters']['clusters']:,}",
        "diversity": f"{subset['diversity_of_the_subset']:.3g} (pool {subset['diversity_of_the_corpus']:.3g}, random"
        f" subset {subset['diversity_of_a_random_subset']:.3g})",
    }
    return "\n".join(f"- {name}: {value}" for name, value in lines.items())


def markdown_table(rows: list[dict[str, Any]]) -> str:
    def cell(value: Any) -> str:
        text = f"{value:.4g}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else str(value)
        return re.sub(r"([\\`\[\]!|*_~])", r"\\\1", text).replace("<", "&lt;").replace("\n", " ")

    if not rows:
        return "none"
    lines = [" | ".join(rows[0]), " | ".join("---" for _ in rows[0])]
    return "\n".join(f"| {line} |" for line in lines + [" | ".join(map(cell, row.values())) for row in rows])


def _picture(file: Path) -> dg.MetadataValue:
    data = file.read_bytes()
    if len(data) > PICTURE_BYTES:
        return dg.MetadataValue.path(str(file))
    return dg.MetadataValue.md(f"![picture](data:image/png;base64,{base64.b64encode(data).decode()})")

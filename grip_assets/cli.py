"""The command line: the same operations as the UI, and nothing else."""

import json
import os
import sys
from datetime import datetime
from pathlib import Path
from typing import Annotated

import click
import typer

from grip_assets.errors import GripError

app = typer.Typer(
    help="GRIP picks, out of a pool too large to train on, the documents a language model learns most from.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
Profile = Annotated[str | None, typer.Option(help="Named settings; see grip_assets/profiles.")]
Corpus = Annotated[str | None, typer.Option(help="Folder, JSONL, Parquet, dataset folder or URL of the pool.")]
Set = Annotated[list[str] | None, typer.Option("--set", metavar="GROUP.FIELD=VALUE", help="Change one setting.")]


def main() -> None:
    try:
        code = app(standalone_mode=False) or 0
    except GripError as error:
        print(f"grip: {error}", file=sys.stderr)
        code = 1
    except click.ClickException as error:
        error.show()
        code = error.exit_code
    except (KeyboardInterrupt, click.Abort):
        print("grip: stopped; the same command goes on from here", file=sys.stderr)
        code = 130
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # DuckDB's bindings print a page of leak warnings at exit once torch is loaded; all is closed here


@app.command()
def curate(corpus: Corpus = None, profile: Profile = None, set: Set = None) -> None:
    """Curate the pool: change settings, compute what they touch, print what came out."""
    from grip_assets import operations
    from grip_assets.report.summary import summary
    from grip_assets.store.artifacts import data_root

    with operations.open_instance() as instance:
        run = operations.curate(instance, _changes(corpus, profile, set))
        print(summary(data_root(), run))


@app.command()
def plan(corpus: Corpus = None, profile: Profile = None, set: Set = None) -> None:
    """Say what would be computed and what reused, what that took last time, and what a paid judge would cost. Nothing
    is changed."""
    from grip_assets import operations
    from grip_assets.report.spending import spending
    from grip_assets.store.artifacts import ArtifactStore, data_root

    with operations.open_instance() as instance:
        changes = _changes(corpus, profile, set)
        steps = operations.plan(instance, changes)
        settings = operations.after(instance, changes)
    print(f"{'asset':<18} {'action':<8} {'last took':>9}  why")
    for step in steps:
        cost = f"{step.seconds:,.1f} s" if step.seconds is not None else "-"
        print(f"{step.asset:<18} {step.action:<8} {cost:>9}  {step.why}")
    known = sum(s.seconds or 0 for s in steps if s.action == "compute")
    n = sum(s.action == "compute" for s in steps)
    print(f"{n} of {len(steps)} assets to compute" + (f", about {known:,.0f} s going by the last time" if n else ""))
    for line in spending(settings, steps, ArtifactStore(data_root())):
        print(line)


@app.command()
def evaluate(
    assets: Annotated[
        list[str] | None, typer.Argument(help="Assets of the group evaluation; the ladder when left out.")
    ] = None,
    corpus: Corpus = None,
    profile: Profile = None,
    set: Set = None,
) -> None:
    """Train small models on what each strategy selects, and say whether the difference is there. Stopped, the same
    command goes on; a model that was trained is not trained again."""
    from grip_assets import operations
    from grip_assets.report.ladder import ladder
    from grip_assets.store.artifacts import data_root

    with operations.open_instance() as instance:
        run = operations.evaluate(instance, _changes(corpus, profile, set), assets or ["evaluation"])
        print(ladder(data_root(), run))


def _changes(corpus: str | None, profile: str | None, assignments: list[str] | None) -> dict:
    from grip_assets import operations
    from grip_assets.profiles import read_profile

    layers = [read_profile(profile)] if profile else []
    if corpus is not None:
        path = corpus if "://" in corpus else str(Path(corpus).expanduser().resolve())
        layers.append({"corpus": {"path": path, "format": None}})
    return operations.merge(*layers, operations.read_assignments(assignments or []))


@app.command()
def status(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Each asset: version, when and by which run, fresh or unsynced and why; and the settings in force."""
    from grip_assets import ledger, operations
    from grip_assets.settings import flat

    with operations.open_instance() as instance:
        found = operations.status(instance)
        settings = flat(ledger.settings_in_force(instance))
    if as_json:
        assets = [{**vars(a), "fresh": not a.because} for a in found]
        print(json.dumps({"assets": assets, "settings": settings}, indent=1))
        return
    print(f"{'asset':<22} {'version':<17} {'when':<17} {'run':<9} state")
    for a in found:
        when = datetime.fromtimestamp(a.materialized_at).strftime("%Y-%m-%d %H:%M") if a.materialized_at else "-"
        state = "unsynced: " + "; ".join(a.because) if a.because else "fresh"
        print(f"{a.asset:<22} {a.version or '-':<17} {when:<17} {(a.run_id or '-')[:8]:<9} {state}")
    print("\nsettings in force")
    for name, value in settings.items():
        print(f"  {name:<32} {json.dumps(value)}")


@app.command()
def history() -> None:
    """The subsets that were made in this data folder, the latest first, and what had changed from one to the next."""
    from grip_assets.assets import STAGES
    from grip_assets.report.changes import history as made
    from grip_assets.store.artifacts import ArtifactStore, data_root

    print(f"{'version':<17} {'computed':<17} {'documents':>9} {'tokens':>13}  changed since the one before")
    for row in made(ArtifactStore(data_root()), STAGES):
        when = datetime.fromtimestamp(row["computed_at"]).strftime("%Y-%m-%d %H:%M")
        changed = "; ".join(row["changed"])
        print(f"{row['version']:<17} {when:<17} {row['documents']:>9,} {row['tokens']:>13,}  {changed}")


@app.command()
def compare(
    left: Annotated[str, typer.Argument(help="Version of a subset, or its beginning.")],
    right: Annotated[str, typer.Argument(help="Version of another.")],
) -> None:
    """Any two subsets side by side: settings, budgets, documents in and out."""
    from grip_assets.report.compare import as_text
    from grip_assets.report.compare import compare as compared
    from grip_assets.store.artifacts import data_root

    print(as_text(compared(data_root(), left, right)))


@app.command()
def rollback(subset: Annotated[str, typer.Argument(help="Version of an earlier subset, or its beginning.")]) -> None:
    """Go back to the settings of an earlier subset. Nothing is computed again as long as its artifacts are there."""
    from grip_assets import operations
    from grip_assets.report.summary import summary
    from grip_assets.store.artifacts import data_root

    with operations.open_instance() as instance:
        run = operations.rollback(instance, subset)
        print(summary(data_root(), run))


@app.command()
def report(
    port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="Port on 127.0.0.1; by default a free one.")
    ] = None,
    no_open: Annotated[bool, typer.Option("--no-open", help="Open no browser.")] = False,
    path: Annotated[bool, typer.Option("--path", help="Print where the file is, and serve nothing.")] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Serve even if there is no report yet.")] = False,
) -> None:
    """Open the report in a browser, served on this machine only. For example: grip report --port 3001"""
    from grip_assets.report.page.write import page_path
    from grip_assets.report.serve import serve
    from grip_assets.store.artifacts import data_root

    page = page_path(data_root())
    if path:
        if not page.is_file():
            raise GripError(f"There is no report at {page}. Run `grip curate`.")
        print(page)
        return
    serve(page, port, not no_open, wait)


@app.command()
def explain(doc: Annotated[str, typer.Argument(help="Document id, or its source path in the pool.")]) -> None:
    """Say why a document is in or out of the subset."""
    from grip_assets.report.explain import explain as explained
    from grip_assets.store.artifacts import data_root

    print(explained(data_root(), doc))


@app.command()
def sql(
    query: Annotated[str, typer.Argument(help="SQL on the catalog; the tables are the assets' names.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object a row.")] = False,
) -> None:
    """Run a query on the catalog."""
    import duckdb

    from grip_assets.store.artifacts import data_root
    from grip_assets.store.catalog import connect

    with connect(data_root()) as connection:
        try:
            relation = connection.sql(query)
        except duckdb.Error as error:
            raise GripError(f"the query failed: {error}") from None
        if relation is None:
            return
        if as_json:
            for row in relation.pl().iter_rows(named=True):
                print(json.dumps(row, default=str))
        else:
            relation.show(max_rows=200, max_width=200)


@app.command()
def export(
    path: Annotated[Path, typer.Argument(help="File or folder to write.")],
    format: Annotated[
        str | None,
        typer.Option(
            help="parquet, jsonl, jsonl.gz, jsonl.zst, huggingface, mds or megatron; by default as PATH says."
        ),
    ] = None,
    tokenizer: Annotated[
        str | None, typer.Option(help="For megatron: a model's name or folder; by default settings/corpus.tokenizer.")
    ] = None,
    expand: Annotated[bool, typer.Option("--expand", help="A document is there as often as it is repeated.")] = False,
    shuffle: Annotated[int | None, typer.Option(metavar="SEED", help="In random order, not by cluster.")] = None,
) -> None:
    """Write the documents of the subset for a trainer, with a card of where they come from."""
    from grip_assets.export import export as write
    from grip_assets.store.artifacts import data_root

    rows = write(data_root(), path, format, tokenizer, expand, shuffle, lambda line: print(line, file=sys.stderr))
    print(f"{rows:,} documents written to {path}")


@app.command()
def bench(
    stage: Annotated[str | None, typer.Argument(help="One stage; all of them when left out.")] = None,
    quick: Annotated[bool, typer.Option(help="Smaller and fewer runs.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object a line.")] = False,
) -> None:
    """Measure stages against what a user would pick instead, on the same data, in turn."""
    from grip_assets.bench import BENCHES
    from grip_assets.bench import bench as results
    from grip_assets.settings import nearest

    if stage is not None and stage not in BENCHES:
        raise GripError(f"There is no bench '{stage}'. {nearest(stage, BENCHES)}")
    if not as_json:
        print(f"{'stage':<12} {'against':<26} {'ratio':>6} {'ours':>9} {'theirs':>9} {'peak':>9} {'quality':>9}")
    for name in [stage] if stage else BENCHES:
        for r in results(name, quick):
            peak = f"{r.peak_mb:,.0f} MB" if r.peak_mb is not None else "-"
            line = f"{r.stage:<12} {r.against:<26} {r.ratio:>6.2f} {r.ours_s:>7.2f} s {r.theirs_s:>7.2f} s {peak:>9}"
            print(json.dumps(vars(r)) if as_json else f"{line} {r.quality:>9.4f}  {r.note}", flush=True)

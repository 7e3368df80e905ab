"""The command line. It has the same operations as the UI."""

import json
import os
import sys
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from grip_assets.errors import GripError, UsageMistake
from grip_assets.profiles import profiles
from grip_assets.runtime import variables

if TYPE_CHECKING:
    from collections.abc import Mapping

    from grip_assets.settings import Group

PROFILES = profiles()
app = typer.Typer(
    help="GRIP picks, out of a pool too large to train on, the documents a language model learns most from.",
    pretty_exceptions_enable=False,
    epilog="Example: grip curate --corpus ~/code --profile quickstart",
)


def _settings(incomplete: str) -> list[str]:
    from grip_assets.settings.assignments import complete

    return complete(incomplete)


def _profiles(incomplete: str) -> list[str]:
    return [name for name in PROFILES if name.startswith(incomplete)]


Profile = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME", autocompletion=_profiles, help=f"Settings of a method, by name: {', '.join(PROFILES)}."
    ),
]
Corpus = Annotated[
    list[str] | None,
    typer.Option(
        metavar="PATH",
        help="Folder, file or URL of the pool, or a YAML file that lists its sources. It stays in force.",
    ),
]
Set = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="GROUP.FIELD=VALUE",
        autocompletion=_settings,
        help="Change one setting; may be given several times. It stays in force until it is changed again. Sizes may be"
        " written 10%, 500M, 2B. `grip settings` lists the names.",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def main() -> None:
    # With torch loaded, DuckDB's bindings print a page of leak warnings at a normal exit. Everything is closed here.
    code = run()
    if pool := sys.modules.get("grip_assets.runtime.executors.pool"):  # only if the work ran on a Ray cluster
        pool.shut_down()
    os._exit(code)


def run(words: list[str] | None = None) -> int:
    """Run a command and return its exit code. ``words``: by default those that were typed. Errors become sentences."""
    try:
        _print_what_the_terminal_cannot_show()
        code = app(words, standalone_mode=False, prog_name="grip") or 0
        _flush()
    except BrokenPipeError:  # `grip sql ... | head` has seen enough
        return 141
    except BaseException as error:
        return _said(error)
    return code


def _said(error: BaseException) -> int:
    """Print the error as a sentence on standard error, and return the exit code."""
    if isinstance(error, SystemExit):
        _flush()
        return error.code if isinstance(error.code, int) else 0
    if isinstance(error, KeyboardInterrupt) or type(error).__name__ == "Abort":
        return _print_error(str(error) or "stopped; the same command goes on from here", 130)
    if hasattr(error, "format_message"):  # some versions of typer raise click's class, others their own copy of it
        return _usage_mistake(error)
    if os.environ.get("GRIP_DEBUG"):
        import traceback

        traceback.print_exception(error)
    try:
        error = _in_a_sentence(error)
    except GripError as sentence:
        error = sentence
    if isinstance(error, GripError):
        return _print_error(str(error), 2 if isinstance(error, UsageMistake) else 1)
    message = (str(error).strip().splitlines() or ["no message"])[0]
    return _print_error(f"{type(error).__name__}: {message}. GRIP_DEBUG=1 prints where it came from.", 1)


def _in_a_sentence(error: BaseException) -> BaseException:
    """The error, in our words if it comes from the machine: a full disk, a missing table, no right to write."""
    from grip_assets.orchestration.home import home_folder, must_write
    from grip_assets.store import disk
    from grip_assets.store.artifacts import data_root

    if type(error).__name__ == "CatalogException" and "does not exist" in str(error):
        return GripError("A table that this needs is missing. Run `grip curate`; `grip status` lists the assets.")
    if isinstance(error, PermissionError) or "readonly database" in str(error):
        must_write()
    if isinstance(error, GripError) or not disk.is_full(error, [data_root(), home_folder()]):
        return error
    if isinstance(error, OSError) and error.filename is None and _cannot_print():
        return GripError("standard output cannot be written to: its disk is full, or it is /dev/full")
    return disk.full([data_root(), home_folder()])


def _cannot_print() -> bool:
    try:
        os.write(sys.stdout.fileno(), b"\n")  # a second flush would not try to write the failed buffer again
    except (OSError, ValueError, AttributeError):
        return True
    return False


def _as_utf8(typed: str) -> str:
    """The argument read as UTF-8, even where the locale (LC_ALL=C) has decoded it otherwise."""
    return os.fsencode(typed).decode(errors="replace")


def _usage_mistake(error: Any) -> int:
    context = getattr(error, "ctx", None)
    command = context.command_path if context else "grip"
    said = " ".join(str(error.format_message()).split())
    end = "" if said.endswith("?") else "."
    return _print_error(f"{said.rstrip('.')}{end} See: {command} --help", getattr(error, "exit_code", 2))


def _print_error(message: str, code: int) -> int:
    with suppress(OSError, ValueError):  # standard error may be closed
        print(f"grip: {message}", file=sys.stderr, flush=True)
    return code


def _print_what_the_terminal_cannot_show() -> None:
    """Print a question mark for each letter that the terminal cannot show, instead of failing."""
    for stream in (sys.stdout, sys.stderr):
        if stream is not None and hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")


def _flush() -> None:
    if sys.stdout is not None:
        sys.stdout.flush()


def _bring_catalog_up_to_date() -> None:
    from grip_assets.store.artifacts import data_root
    from grip_assets.store.catalog import is_outdated

    if is_outdated(data_root()):
        from grip_assets import operations  # Dagster: not needed to read a catalog that is current

        operations.bring_catalog_up_to_date()


def _print_json(value: Any) -> None:
    print(json.dumps(value, indent=1, default=str, ensure_ascii=False))


@app.callback(invoke_without_command=True)
def grip(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    if version:
        from importlib.metadata import version as installed

        print(f"grip {installed('grip-assets')}")
    elif context.invoked_subcommand is None:
        print(context.get_help())
    elif "--help" not in sys.argv:
        variables.check()


@app.command(epilog="Example: grip curate --corpus ~/code --set budget.total=10%")
def curate(corpus: Corpus = None, profile: Profile = None, set: Set = None, as_json: Json = False) -> None:
    """Curate the pool: change settings, compute the assets that depend on them, print a summary."""
    from grip_assets import operations
    from grip_assets.report.terminal import summary
    from grip_assets.store.artifacts import data_root

    changes = _changes(corpus, profile, set)
    with operations.open_instance() as instance:
        _warn_of_unused(operations.settings_after(instance, changes), set)
        run = operations.curate(instance, changes, _tags(profile))
        if as_json:
            _print_json(summary.as_data(data_root(), run))
        else:
            print(summary.summary(data_root(), run))


@app.command(epilog="Example: grip plan --set budget.tau=0.7")
def plan(
    corpus: Corpus = None,
    profile: Profile = None,
    set: Set = None,
    as_json: Json = False,
    documents: Annotated[
        str | None,
        typer.Option(metavar="N", help="Cost of a pool of so many documents (100e6), which need not exist."),
    ] = None,
    tokens_per_document: Annotated[float, typer.Option(min=1, help="With --documents.")] = 1_000,
    nodes: Annotated[int, typer.Option(min=1, help="Machines. With --documents.")] = 1,
    cores: Annotated[
        int | None, typer.Option(min=1, help="Cores of each machine; those of this one when left out.")
    ] = None,
    gpus: Annotated[int, typer.Option(min=0, help="GPUs of all machines together. With --documents.")] = 0,
    dollars_per_node_hour: Annotated[float | None, typer.Option(min=0, help="With --documents.")] = None,
    dollars_per_gpu_hour: Annotated[float | None, typer.Option(min=0, help="With --documents.")] = None,
    network_gbps: Annotated[
        float | None, typer.Option(min=0.001, help="Gigabits a second of each machine. With --documents.")
    ] = None,
    coefficients: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Output of the bench (chain curve or gpu). With --documents.")
    ] = None,
) -> None:
    """List what would be computed and what reused, with about the time and the disk space that it takes, the cost
    of a paid judge, and the models that would be trained. Nothing is changed.

    With --documents: time, disk, network, memory and money of a pool of any size on a cluster, stage by stage."""
    from grip_assets import operations
    from grip_assets.report.terminal import sources
    from grip_assets.report.terminal.forecast import as_text
    from grip_assets.report.terminal.spending import spending
    from grip_assets.report.terminal.trainings import trainings
    from grip_assets.settings import Corpus as Corpora
    from grip_assets.store.artifacts import ArtifactStore, data_root

    changes = _changes(corpus, profile, set)
    if documents is not None:
        prices = (dollars_per_node_hour, dollars_per_gpu_hour, network_gbps)
        _plan_at_scale(changes, (documents, tokens_per_document), (nodes, cores, gpus, *prices), coefficients, as_json)
        return
    with operations.open_instance() as instance:
        settings = operations.settings_after(instance, changes)
        _warn_of_unused(settings, set)
        steps, forecast = operations.forecast(instance, changes)
    judge = spending(settings, steps, ArtifactStore(data_root()), forecast.size)
    models = trainings(settings, steps, ArtifactStore(data_root()), forecast)
    if as_json:
        costs = [vars(cost) for cost in forecast.costs]
        pool = vars(forecast.size) if forecast.size else None
        total = {"seconds": forecast.seconds, "n_bytes": forecast.n_bytes, "free_bytes": forecast.free_bytes}
        _print_json({"steps": costs, "pool": pool, **total, "judge": judge, "trainings": models})
        return
    for line in [*sources.lines(Corpora.of(settings)), *as_text(forecast), *models, *judge]:
        print(line)


def _plan_at_scale(
    changes: dict,
    pool: tuple[str, float],
    machines: tuple[int, int | None, int, float | None, float | None, float | None],
    coefficients: Path | None,
    as_json: bool,
) -> None:
    """Print the cost of a pool that need not exist. ``pool``: documents, and tokens of each."""
    from grip_assets import operations
    from grip_assets.report.terminal.at_scale import as_text
    from grip_assets.runtime.threads import default_workers
    from grip_assets.stages import cost_model

    try:
        n = float(pool[0].replace("_", "").replace(",", ""))
    except ValueError:
        n = 0.0
    if not 1 <= n < float("inf"):
        raise UsageMistake(f"--documents is '{pool[0]}': it must be a number of at least 1, for example 100e6.")
    nodes, cores, gpus, node_hour, gpu_hour, gbps = machines
    cluster = cost_model.Machines(nodes, cores or default_workers(), gpus, node_hour, gpu_hour, gbps)
    with operations.open_instance() as instance:
        settings = operations.settings_after(instance, changes)
    model = cost_model.with_coefficients(coefficients)
    asked = cost_model.pool_of(settings, n, pool[1])
    costs = model.plan(asked, cluster)
    if as_json:
        _print_json({"pool": vars(asked), "machines": vars(cluster), "stages": [vars(cost) for cost in costs]})
        return
    for line in as_text(costs, asked, cluster, model):
        print(line)


@app.command(epilog="Example: grip evaluate evaluation --profile evaluate_cpu --set corpus.held_out=10%")
def evaluate(
    assets: Annotated[
        list[str] | None, typer.Argument(help="Assets of the group evaluation; the ladder when left out.")
    ] = None,
    corpus: Corpus = None,
    profile: Profile = None,
    set: Set = None,
    plan: Annotated[
        bool, typer.Option("--plan", help="Only say how many seeds a difference of 1% needs, and the time it takes.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Train small models on the subset of each strategy, and say which profile to use. After a stop, the same command
    continues. Trained models are reused."""
    from grip_assets import operations
    from grip_assets.report.terminal import recommended
    from grip_assets.report.terminal.ladder import ladder
    from grip_assets.stages.evaluation import forecast
    from grip_assets.store.artifacts import data_root

    changes = _changes(corpus, profile, set)
    with operations.open_instance() as instance:
        _warn_of_unused(operations.settings_after(instance, changes), set)
        if plan:
            planned = operations.forecast_of_evaluation(instance, changes)
            if as_json:
                _print_json(forecast.as_data(*planned))
            else:
                print("\n".join(forecast.as_lines(*planned)))
            return
        run = operations.evaluate(instance, changes, assets or ["evaluation"], _tags(profile))
        if as_json and "evaluation" in run.computed + run.reused:
            _print_json(recommended.as_data(data_root()))
        else:
            print(ladder(data_root(), run))


def _changes(corpus: list[str] | None, profile: list[str] | None, assignments: list[str] | None) -> dict:
    """The settings that a command names. The pool overrides the profile, and ``--set`` overrides both."""
    from grip_assets.settings.assignments import read_assignments
    from grip_assets.settings.changes import merge, read_profile
    from grip_assets.settings.sources import is_pool_file, read_pool_file

    for option, given in (("--corpus", corpus), ("--profile", profile)):
        if len(given or []) > 1:
            raise UsageMistake(f"{option} is given {len(given or [])} times ({', '.join(given or [])}). Give it once.")
    layers = [read_profile(name) for name in profile or []]
    alone = read_assignments(assignments or [])
    for path in corpus or []:
        for name in ("path", "sources"):
            if name in alone.get("corpus", {}):
                raise UsageMistake(f"--corpus and --set corpus.{name} name a pool each. Give one of them.")
        if is_pool_file(path):
            layers.append({"corpus": {"path": None, "sources": read_pool_file(path)}})
            continue
        layers.append({"corpus": {"path": path if "://" in path else str(Path(path).expanduser().resolve())}})
    return merge(*layers, alone)


def _warn_of_unused(settings: "Mapping[str, Group]", assignments: list[str] | None) -> None:
    """Print one line on standard error for each ``--set`` setting that has no effect."""
    from grip_assets.settings.assignments import read_assignments
    from grip_assets.settings.changes import without_effect

    for sentence in without_effect(settings, read_assignments(assignments or [])):
        print(f"grip: warning: {sentence}", file=sys.stderr)


def _tags(profile: list[str] | None) -> dict[str, str]:
    from grip_assets.orchestration.past import PROFILE

    return {PROFILE: profile[0]} if profile else {}


@app.command(epilog="Example: grip settings selection budget.tau")
def settings(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME]...", help="Groups or settings; all when left out.")
    ] = None,
    changed: Annotated[bool, typer.Option("--changed", help="Only settings that are not at their default.")] = False,
    profile: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", autocompletion=_profiles, help="Compare with this profile; by default the one set last."
        ),
    ] = None,
    undo: Annotated[bool, typer.Option("--undo", help="Take back the latest change of settings.")] = False,
    as_json: Json = False,
) -> None:
    """List the settings: value in force (*: not the default), default, value of the profile, when and by which run
    each was changed, and which assets read it."""
    from grip_assets import operations
    from grip_assets.orchestration import past, settings_rows
    from grip_assets.report.terminal import settings_table

    with operations.open_instance() as instance:
        if undo:
            undone = past.undo(instance)
            print("\n".join(f"taken back: the change {line}" for line in past.described(undone)))
            print("`grip curate` brings the subset up to date.")
            return
        found = settings_rows.rows(instance, names or [], profile, changed)
    if as_json:
        _print_json(found)
    else:
        print(settings_table.as_text(found, detailed=bool(names)))


@app.command(epilog="Example: grip status --json")
def status(as_json: Json = False) -> None:
    """List each asset with its version, time and run, and why it is unsynced; then the settings in force."""
    from grip_assets import operations
    from grip_assets.orchestration import event_log
    from grip_assets.report.terminal import sources
    from grip_assets.runtime.folders import data_address
    from grip_assets.settings import GROUPS, applies_with, flat
    from grip_assets.settings import Corpus as Corpora
    from grip_assets.store.artifacts import data_root

    with operations.open_instance() as instance:
        if not data_address() and not data_root().exists():
            raise GripError(
                f"There is no data folder {data_root()}: nothing was curated there. `grip curate` creates it."
            )
        found = operations.status(instance)
        groups = event_log.settings_in_force(instance)
    settings = flat(groups)
    if as_json:
        assets = [{**vars(a), "fresh": not a.because} for a in found]
        print(json.dumps({"assets": assets, "settings": settings}, indent=1))
        return
    print(f"{'asset':<22} {'version':<17} {'when':<17} {'run':<9} state")
    for a in found:
        when = _when(a.materialized_at) if a.materialized_at else "-"
        state = "unsynced: " + "; ".join(a.because) if a.because else "fresh"
        state = f"not used: {a.unused}" if a.unused and not a.because else state
        print(f"{a.asset:<22} {a.version or '-':<17} {when:<17} {(a.run_id or '-')[:8]:<9} {state}")
    for line in sources.lines(Corpora.of(groups)):
        print(line)
    print("\nsettings in force")
    for name, value in settings.items():
        group, _, field = name.partition(".")
        unused = "" if groups[group].applies(field) else f"  (not used: {applies_with(GROUPS[group], field)})"
        print(f"  {name:<32} {json.dumps(value)}{unused}")


def _when(seconds: float) -> str:
    return datetime.fromtimestamp(seconds).strftime("%Y-%m-%d %H:%M")


@app.command(epilog="Example: grip history --json")
def history(as_json: Json = False) -> None:
    """List the subsets that were in force, the latest first (*: in force now), with the run of each and the changes
    since the subset before it."""
    from grip_assets import operations
    from grip_assets.orchestration.artifact_changes import history as were_in_force
    from grip_assets.stages import STAGES
    from grip_assets.store.artifacts import ArtifactStore, data_root

    with operations.open_instance() as instance:
        rows = were_in_force(instance, ArtifactStore(data_root()), STAGES)
    if as_json:
        _print_json(rows)
        return
    head = f"  {'version':<17} {'in force since':<17} {'run':<9} {'documents':>9} {'tokens':>13}"
    print(f"{head}  changed since the one before")
    for row in rows:
        counts = [f"{row[name]:,}" if row[name] is not None else "-" for name in ("documents", "tokens")]
        said = ["back to an earlier one"] if row["rollback"] else []
        said += row["changed"] + (["(its folder was removed)"] if not row["there"] else [])
        line = f"{row['version']:<17} {_when(row['at']):<17} {row['run_id'][:8]:<9} {counts[0]:>9} {counts[1]:>13}"
        print(f"{'*' if row['in_force'] else ' '} {line}  {'; '.join(said)}".rstrip())


@app.command(epilog="Example: grip clean --keep 3 --yes")
def clean(
    keep: Annotated[
        int, typer.Option(min=0, help="How many of the latest subsets to keep, with all their inputs.")
    ] = 0,
    yes: Annotated[bool, typer.Option("--yes", help="Remove them. Without it they are only listed.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only list them, as without --yes.")] = False,
    as_json: Json = False,
) -> None:
    """List the artifacts that nothing in force needs, and remove them with --yes. Answers that were paid for always
    stay, and so do the settings of removed artifacts."""
    from grip_assets import operations
    from grip_assets.report.terminal.leftovers import as_data, as_text

    if yes and dry_run:
        raise UsageMistake("--yes removes and --dry-run only lists. Give one of them.")
    with operations.open_instance() as instance:
        found = operations.clean(instance, keep, yes)
    if as_json:
        _print_json({"removed": yes, "items": [as_data(item) for item in found]})
        return
    for line in as_text(found, yes):
        print(line)


@app.command(epilog="Example: grip compare 1eb1 fb52   (grip history lists the versions)")
def compare(
    left: Annotated[str, typer.Argument(help="Version of a subset, or its beginning.")],
    right: Annotated[str, typer.Argument(help="Version of another subset, or its beginning.")],
    as_json: Json = False,
) -> None:
    """Compare two subsets: settings, budgets, documents in and out."""
    from grip_assets.report.compare import as_text
    from grip_assets.report.compare import compare as compared
    from grip_assets.store.artifacts import data_root

    found = compared(data_root(), left, right)
    if as_json:
        _print_json(found)
    else:
        print(as_text(found))


@app.command(epilog="Example: grip rollback 1eb1   (grip history lists the versions)")
def rollback(
    subset: Annotated[str, typer.Argument(help="Version of an earlier subset, or its beginning.")],
    as_json: Json = False,
) -> None:
    """Go back to the settings of an earlier subset. Nothing is computed again as long as its artifacts are there."""
    from grip_assets import operations
    from grip_assets.report.compare import find
    from grip_assets.report.terminal import summary
    from grip_assets.store.artifacts import ArtifactStore, data_root

    store = ArtifactStore(data_root())
    with operations.open_instance() as instance:
        version = find(store, subset)["version"]
        run = operations.rollback(instance, version)
        made = summary.as_data(data_root(), run)
        if as_json:
            _print_json(made)
        else:
            print(summary.summary(data_root(), run))
    if made["subset"] != version:
        print(
            f"grip: the settings are those of {version}, but the subset is another one, {made['subset']}, because the"
            " pool, a model or the code has changed since.",
            file=sys.stderr,
        )


@app.command(epilog="Example: grip balance --lambdas 0,0.125,1.25")
def balance(
    lambdas: Annotated[
        str, typer.Option(metavar="LIST", help="Values of λ, in units of the mean κ, separated by commas.")
    ] = "0,0.05,0.125,0.5,1.25,5.6",
    as_json: Json = False,
) -> None:
    """Show how much balance is worth its price: fit GEM on the embeddings in force with several λ, and print how even
    the clusters are, how cohesive, and how many small groups survive. Nothing is put in force."""
    from grip_assets import operations
    from grip_assets.report.page.write import page_path
    from grip_assets.report.pictures import drawn_sweep
    from grip_assets.report.terminal.balance import as_text
    from grip_assets.store.artifacts import ArtifactStore, data_root
    from grip_assets.store.writing import put

    values = _numbers(lambdas)
    with operations.open_instance() as instance:
        found = operations.balance(instance, values, lambda line: print(line, file=sys.stderr))
    picture = page_path(data_root()).parent / "balance.png"
    with ArtifactStore(data_root()).scratch() as folder:
        (folder / picture.name).write_bytes(drawn_sweep(found.rows, found.k))
        picture.parent.mkdir(parents=True, exist_ok=True)
        put(folder / picture.name, picture)
    if as_json:
        _print_json({"k": found.k, "rows": found.rows.to_dicts(), "picture": str(picture)})
        return
    for line in as_text(found, str(picture)):
        print(line)


@app.command(epilog="Example: grip fidelity --target humaneval")
def fidelity(
    target: Annotated[
        str | None, typer.Option(metavar="NAME", help="One target; by default all of them together.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Say how well scores of subsets predict training: the chosen configuration, all others and the baselines, with
    intervals, the noise ceiling, and what each costs. Nothing is computed."""
    from grip_assets.report.terminal import attribution
    from grip_assets.settings import nearest
    from grip_assets.store.artifacts import data_root

    _bring_catalog_up_to_date()
    found, why_not = attribution.in_force(data_root())
    if found is None:
        raise GripError(why_not)
    targets = found.targets
    if target is not None and found.measured and target not in targets:
        raise UsageMistake(f"There is no target '{target}'. {nearest(target, dict.fromkeys(targets))}")
    if as_json:
        _print_json(attribution.as_data(found))
        return
    for line in attribution.fidelity(found, target):
        print(line)


def _numbers(written: str) -> list[float]:
    """Different numbers from 0 on, ascending."""
    try:
        values = sorted({float(word) for word in written.split(",")})
    except ValueError:
        raise UsageMistake(
            f"--lambdas is '{written}', which is no list of numbers. Write for example 0,0.125,1.25."
        ) from None
    if not all(0 <= value < float("inf") for value in values):
        raise UsageMistake(f"--lambdas is '{written}'. Each λ must be a finite number from 0 on.")
    return values


@app.command(epilog="Example: grip report --port 3001")
def report(
    port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="Port on 127.0.0.1; by default a free one.")
    ] = None,
    no_open: Annotated[bool, typer.Option("--no-open", help="Open no browser.")] = False,
    path: Annotated[bool, typer.Option("--path", help="Only print the path of the file.")] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Serve even if there is no report yet.")] = False,
) -> None:
    """Open the report in a browser, served on this machine only."""
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


@app.command(epilog="Example: grip explain src/main.py")
def explain(
    doc: Annotated[str, typer.Argument(help="Document id, or its source path in the pool.")], as_json: Json = False
) -> None:
    """Say why a document is in or out of the subset."""
    from grip_assets.report.terminal import explain as explained
    from grip_assets.store.artifacts import data_root

    doc = _as_utf8(doc)
    _bring_catalog_up_to_date()
    if as_json:
        _print_json(explained.as_data(data_root(), doc))
    else:
        print(explained.explain(data_root(), doc))


@app.command(epilog='Example: grip sql "SELECT source, n_tokens FROM subset JOIN corpus USING (doc_id) LIMIT 5"')
def sql(
    query: Annotated[str, typer.Argument(help="SQL on the catalog; the tables are the assets' names.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object per row.")] = False,
) -> None:
    """Run a query on the catalog."""
    import duckdb

    from grip_assets.store.artifacts import data_root
    from grip_assets.store.catalog import connect

    _bring_catalog_up_to_date()
    with connect(data_root()) as connection:
        try:
            relation = connection.sql(_as_utf8(query))
        except duckdb.Error as error:
            raise GripError(f"the query failed: {error}") from None
        if relation is None:
            return
        if as_json:
            for row in relation.pl().iter_rows(named=True):
                print(json.dumps(row, default=str))
        else:
            relation.show(max_rows=200, max_width=200)


@app.command(epilog="Example: grip export subset.parquet")
def export(
    path: Annotated[str, typer.Argument(help="File, folder or URL to write; - is standard output.")],
    format: Annotated[
        str | None,
        typer.Option(
            help="parquet, jsonl, jsonl.gz, jsonl.zst, huggingface, mds or megatron; by default by the ending of PATH."
        ),
    ] = None,
    tokenizer: Annotated[
        str | None,
        typer.Option(help="For megatron: a model's name, a folder or a tokenizer.json; by default corpus.tokenizer."),
    ] = None,
    expand: Annotated[bool, typer.Option("--expand", help="Write a document once for each of its repeats.")] = False,
    shuffle: Annotated[int | None, typer.Option(metavar="SEED", help="Random order instead of by cluster.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that was not made by an export.")] = False,
) -> None:
    """Write the documents of the subset for a trainer, with a card that says where they come from."""
    from grip_assets.export import export as write
    from grip_assets.store.artifacts import data_root

    _bring_catalog_up_to_date()
    rows = write(data_root(), path, format, tokenizer, expand, shuffle, lambda s: print(s, file=sys.stderr), force)
    into_stdout = path == "-" or path.startswith("/dev/")
    print(f"{rows:,} documents written to {path}", file=sys.stderr if into_stdout else sys.stdout)


@app.command(epilog="Example: grip bench geometry --quick")
def bench(
    stage: Annotated[str | None, typer.Argument(help="One stage; all of them when left out.")] = None,
    quick: Annotated[bool, typer.Option(help="Smaller and fewer runs.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object per line.")] = False,
) -> None:
    """Measure stages against the libraries that a user would use instead, in turn, on the same data."""
    from grip_assets.bench import BENCHES
    from grip_assets.bench import bench as results
    from grip_assets.settings import nearest

    if stage is not None and stage not in BENCHES:
        raise UsageMistake(f"There is no bench '{stage}'. {nearest(stage, BENCHES)}")
    if not as_json:
        print(f"{'stage':<12} {'against':<26} {'ratio':>6} {'ours':>9} {'theirs':>9} {'peak':>9} {'quality':>9}")
    for name in [stage] if stage else BENCHES:
        for r in results(name, quick):
            peak = f"{r.peak_mb:,.0f} MB" if r.peak_mb is not None else "-"
            line = f"{r.stage:<12} {r.against:<26} {r.ratio:>6.2f} {r.ours_s:>7.2f} s {r.theirs_s:>7.2f} s {peak:>9}"
            print(json.dumps(vars(r)) if as_json else f"{line} {r.quality:>9.4f}  {r.note}", flush=True)

"""The walls of the house: which room may import which, over the syntax of every module. docs/architecture.md draws them."""

import ast
from functools import cache
from pathlib import Path

from grip_assets import stages
from grip_assets.runtime.folders import PACKAGE

ROOT = PACKAGE.name

# (who, what they may not import, why). A name covers what is inside of it.
WALLS = [
    ("stages", "dagster orchestration definitions operations cli", "a stage is tested without Dagster"),
    ("stages engine store method models training judges llm sources settings", "report", "pages are for people"),
    ("stages.curation", "stages.reports stages.mixing stages.attribution stages.evaluation stages.claims", "earlier"),
    ("stages.reports stages.mixing stages.attribution", "stages.evaluation stages.claims", "earlier"),
    ("stages.evaluation", "stages.claims", "earlier"),
    ("store", "engine stages settings orchestration judges llm models training sources method", "files by name"),
    ("method", "models training stages store engine sources judges llm settings", "numbers in, numbers out"),
    ("settings", "stages engine orchestration", "settings know no stage"),
    ("runtime", "settings store engine stages method models", "the ground floor"),
    ("engine", "stages", "the engine is given its stages"),
    ("cli settings runtime store method models training judges llm sources engine stages report export bench",
     "dagster", "only orchestration, definitions and operations know Dagster"),
]  # fmt: skip
# Offences that are there today, and the area that ends them. This list only shrinks.
KNOWN = {}
# Holes that stay, with their reason.
ALLOWED = {("runtime.variables", "dagster"): "only Dagster's own parser knows which cron lines it takes"}

# What may be imported inside of a function: packages that take long to import, those that are not always installed, and
# modules of ours that import one of them at their top.
SLOW = set(
    [
        "torch",
        "transformers",
        "tokenizers",
        "numba",
        "matplotlib",
        "plotly",
        "sklearn",
        "scipy",
        "dagster",
        "polars",
        "duckdb",
        "pyarrow",
        "pygments",
        "fsspec",
        "huggingface_hub",
        "datasets",
        "openai",
        "httpx2",
        "aiolimiter",
        "charset_normalizer",
        "pathspec",
        "threadpoolctl",
    ]
)
OPTIONAL = set(
    [
        "data_selection",
        "joblib",
        "regex",
        "megatron",
        "faiss",
        "hnswlib",
        "datatrove",
        "dattri",
        "sentence_transformers",
        "tree_sitter",
        "detect_secrets",
        "license_expression",
        "datasketch",
        "fastwarc",
        "magika",
        "resiliparse",
        "trafilatura",
        "warcio",
        "phonenumbers",
        "py3langid",
        "tldextract",
        "ray",
        "backports",
        "bz2",
        "traceback",
        "importlib",
        "flash_kmeans",
        "cuvs",
    ]
)
SLOW_OR_OPTIONAL = SLOW | OPTIONAL
"""The commands are bodies of functions, so that `grip --help` imports none of the program: all may be imported there."""
WITHIN_COMMANDS = "cli"
"""Light imports inside of functions that are there today, and the area that ends them. This list only shrinks."""
LIGHT: dict[tuple[str, str], str] = {}


# Who imports torch as soon as it is imported. These modules are imported inside of functions only.
TORCH_AT_ONCE = set(
    [
        "bench.attribution",
        "bench.models",
        "method.on_device",
        "models.encoder",
        "models.proxy",
        "training.adaptation",
        "training.gradients",
        "training.projecting",
        "training.small",
    ]
)
# Who imports it inside of a function.
TORCH_INSIDE = set(
    [
        "bench.data",
        "bench.gpu",
        "method.partition.seeding",
        "method.screening",
        "runtime.device",
        "stages.attribution.sources.gradients",
        "training.closed_loop",
        "training.retraining",
    ]
)


def module_of(file: Path) -> str:
    parts = file.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = {module_of(file): file for file in sorted(PACKAGE.rglob("*.py"))}


@cache
def imports(module: str) -> list[tuple[str, bool, int]]:
    """(module, whether inside of a function, line) of all that a module imports. What only types need is left out."""
    found = []

    def visit(node: ast.AST, inside: bool) -> None:
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            return
        if isinstance(node, ast.Import):
            found.extend((alias.name, inside, node.lineno) for alias in node.names)
        if isinstance(node, ast.ImportFrom):
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                found.append((whole if whole in FILES else node.module, inside, node.lineno))
        inside = inside or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        for child in ast.iter_child_nodes(node):
            visit(child, inside)

    visit(ast.parse(FILES[module].read_text()), False)
    return found


def within(module: str, names: str) -> bool:
    short = module.removeprefix(ROOT + ".")
    return any(short == name or short.startswith(name + ".") for name in names.split())


def offences() -> dict[tuple[str, str], str]:
    return {
        (module.removeprefix(ROOT + "."), imported.removeprefix(ROOT + ".")): why
        for who, forbidden, why in WALLS
        for module in FILES
        if within(module, who)
        for imported, _, _ in imports(module)
        if within(imported, forbidden)
    }


def test_no_room_imports_what_its_wall_keeps_out():
    found = offences()
    assert {pair: why for pair, why in found.items() if pair not in KNOWN | ALLOWED} == {}
    assert (KNOWN | ALLOWED).keys() - found.keys() == set(), "these offences are gone: take them off the list"


def test_no_modules_import_each_other_in_a_circle():
    needs = {m: {name for name, inside, _ in imports(m) if name in FILES and not inside} for m in FILES}
    done: set[str] = set()

    def follow(module: str, path: list[str]) -> None:
        assert module not in path, f"a circle: {' -> '.join([*path[path.index(module) :], module])}"
        if module not in done:
            for other in sorted(needs[module]):
                follow(other, [*path, module])
            done.add(module)

    for module in FILES:
        follow(module, [])


def test_only_these_modules_import_torch_and_only_these_at_once():
    """So all code for devices is in few places, and loading the definitions does not load torch."""
    found: dict[bool, set[str]] = {False: set(), True: set()}
    for module in FILES:
        for name, inside, _ in imports(module):
            if name.partition(".")[0] == "torch":
                found[inside].add(module.removeprefix(ROOT + "."))
    assert found[False] == TORCH_AT_ONCE
    assert found[True] - TORCH_AT_ONCE == TORCH_INSIDE


@cache
def is_slow(module: str) -> bool:
    """Whether a module of ours imports something slow or optional as soon as it is imported."""
    tops = [name for name, inside, _ in imports(module) if not inside]
    return any(name.partition(".")[0] in SLOW_OR_OPTIONAL or (name in FILES and is_slow(name)) for name in tops)


def light_imports() -> set[tuple[str, str]]:
    return {
        (module.removeprefix(ROOT + "."), name.removeprefix(ROOT + "."))
        for module in FILES
        if not within(module, WITHIN_COMMANDS)
        for name, inside, _ in imports(module)
        if inside and name.partition(".")[0] not in SLOW_OR_OPTIONAL and not (name in FILES and is_slow(name))
    }


def test_what_is_imported_inside_of_functions_is_slow_or_optional():
    found = light_imports()
    assert found - LIGHT.keys() == set()
    assert LIGHT.keys() - found == set(), "these are gone: take them off the list"


def test_a_wall_sees_what_breaks_it(tmp_path, monkeypatch):
    (tmp_path / "breaks.py").write_text("def f():\n    from grip_assets.report.pictures import draw\n")
    monkeypatch.setitem(FILES, f"{ROOT}.stages.breaks", tmp_path / "breaks.py")
    assert ("stages.breaks", "report.pictures") in offences()


def test_no_stage_hides_the_package_of_its_name():
    """``stages.attribution`` is a package, and has a module attribution."""
    for folder in (PACKAGE / "stages").iterdir():
        if (folder / "__init__.py").exists():
            assert hasattr(getattr(stages, folder.name), "__path__"), folder.name


def test_texts_are_read_and_written_in_utf8_and_not_in_the_encoding_of_the_locale():
    """Under LC_ALL=C that is ASCII."""
    without = [
        f"{file.relative_to(PACKAGE)}:{call.lineno}"
        for file in sorted(PACKAGE.rglob("*.py"))
        for call in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(call, ast.Call)
        and getattr(call.func, "attr", "") in ("read_text", "write_text")
        and not any(keyword.arg == "encoding" for keyword in call.keywords)
    ]
    assert without == []

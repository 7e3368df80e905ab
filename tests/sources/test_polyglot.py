"""The polyglot pool: what goes in, where it lies, and that a second run makes only what is missing. No network here."""

import io
import tarfile
import zipfile
from pathlib import PurePosixPath

import pytest

from grip_assets.errors import GripError
from grip_assets.sources.documents import project_of
from grip_assets.sources.pool import list_files
from tools import polyglot
from tools.polyglot import PARTS, Part, build, counts, placed

CODE = b"x = 1\n"
FILES = {
    "package/index.js": CODE, "package/dist/index.min.js": CODE, "package/LICENSE": CODE, "package/src/deep/a.ts": CODE,
    "package/picture.png": CODE, "package/.eslintrc.js": CODE, "package/node_modules/b/index.js": CODE,
    "package/../../outside.js": CODE, "/absolute.js": CODE, "package/huge.js": b"x" * (polyglot.MAX_BYTES + 1),
}  # fmt: skip
READ = {"LICENSE", "dist/index.min.js", "index.js", "src/deep/a.ts"}
LODASH = Part("npm/lodash", "npm", "lodash", "1.0.0")
DJANGO = Part("pypi/django", "pypi", "django", "1.0")


def tarball(folder, part):
    file = folder / "package.tgz"
    with tarfile.open(file, "w:gz") as tar:
        for name, data in FILES.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
        link = tarfile.TarInfo("package/link.js")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
    return file


def wheel(folder, part):
    file = folder / "package.whl"
    with zipfile.ZipFile(file, "w") as zipped:
        zipped.writestr("django/db/models.py", CODE)
    return file


@pytest.fixture
def registry(monkeypatch):
    """Packages made here; the list of those that were asked for."""
    asked = []

    def download(part, folder):
        asked.append(part)
        return (tarball if part.registry == "npm" else wheel)(folder, part)

    monkeypatch.setattr(polyglot, "download", download)
    return asked


def silent(line):
    pass


def test_only_files_that_a_pool_reads_are_copied_and_none_outside(tmp_path, registry):
    build(tmp_path / "pool", [LODASH], silent)
    files = {p.relative_to(tmp_path / "pool" / "npm" / "lodash").as_posix() for p in tmp_path.rglob("*") if p.is_file()}
    assert files == READ | {polyglot.MARKER}


def test_a_second_run_gets_only_what_is_missing_or_has_another_version(tmp_path, registry):
    build(tmp_path, [LODASH], silent)
    build(tmp_path, [LODASH, DJANGO], silent)
    assert registry == [LODASH, DJANGO]
    build(tmp_path, [LODASH._replace(version="2.0.0"), DJANGO], silent)
    assert [p.version for p in registry] == ["1.0.0", "1.0", "2.0.0"]
    assert {e.name for e in list_files(str(tmp_path))} == {f"npm/lodash/{f}" for f in READ} | {"pypi/django/django/db/models.py"}  # fmt: skip


def test_a_part_whose_making_breaks_off_is_not_there_and_is_made_by_the_next_run(tmp_path, registry, monkeypatch):
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(polyglot, "publish", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        build(tmp_path, [DJANGO], silent)
    with pytest.raises(GripError, match="holds no files"):
        list_files(str(tmp_path))
    build(tmp_path, [DJANGO], silent)
    assert "pypi" in counts(tmp_path) and "python" in counts(tmp_path)


def test_folders_are_joined_to_the_name_of_a_project(tmp_path):
    jdk = Part("jdk", "debian", "source", "1", "src", joined=3, only=("java.base", "java.sql"))
    assert placed("src/java.base/java/util/List.java", jdk) == "java.base-java-util/List.java"
    assert placed("src/java.base/java/util/zip/Deflater.java", jdk) == "java.base-java-util/zip/Deflater.java"
    assert placed("src/java.base/module-info.java", jdk) == "java.base/module-info.java"
    assert placed("src/java.desktop/java/awt/Window.java", jdk) is None
    assert placed("demo/java.base/java/util/List.java", jdk) is None
    assert placed("src/java.base/../../List.java", jdk) is None


def test_a_package_that_cannot_be_had_is_named_with_the_newest_version(tmp_path, monkeypatch):
    monkeypatch.setitem(
        polyglot.GET, "npm", lambda p: ("bash", "-c", "echo 'npm error No matching version' >&2; exit 1")
    )
    monkeypatch.setitem(polyglot.NEWEST, "npm", (lambda p: ("echo", "4.18.1"), r"(\S+)"))
    with pytest.raises(
        GripError, match=r"npm lodash 1\.0\.0 cannot be downloaded .*No matching version.*newest.* is 4\.18\.1"
    ):
        build(tmp_path, [LODASH], silent)
    monkeypatch.setitem(polyglot.GET, "npm", lambda p: ("no-such-program",))
    with pytest.raises(GripError, match="no program 'no-such-program'"):
        build(tmp_path, [LODASH], silent)


def test_every_part_has_a_version_and_a_place_of_its_own():
    targets = [PurePosixPath(p.target) for p in PARTS]
    assert all(p.version for p in PARTS) and len(set(targets)) == len(targets)
    assert not any(a != b and a.is_relative_to(b) for a in targets for b in targets), "one would remove the other"
    assert project_of("go-std/net-http/client.go", 2) == "go-std/net-http" and project_of("npm/d3/d3.js", 2) == "npm/d3"

"""Licences of projects: recognised in whole texts, and passed on to the files below, whose own heads go first."""

import importlib.metadata
import os
import re
from pathlib import Path

import polars as pl
import pytest
from conftest import small

from grip_assets.engine.make import Chain
from grip_assets.settings import GROUPS, Corpus, validate
from grip_assets.sources import licences
from grip_assets.sources.licences import ProjectLicences, is_licence_file, of_file
from grip_assets.sources.listing import Entry
from grip_assets.sources.pool import open_pool
from grip_assets.stages import STAGES
from grip_assets.store.artifacts import ArtifactStore

APACHE = "Apache License\nVersion 2.0, January 2004\n\nTERMS AND CONDITIONS\n"
MIT = (
    "MIT License\n\nPermission is hereby granted, free of charge, to any person obtaining a copy of this software, "
    "provided that this notice shall be included in all copies.\n"
)
GPL = "GNU GENERAL PUBLIC LICENSE\nVersion 3, 29 June 2007\n\nEveryone is permitted to copy and distribute verbatim copies.\n"
POOL = {
    "a/LICENSE": APACHE,
    "a/src/plain.py": "x = 1\n",
    "a/src/own.py": "# SPDX-License-Identifier: MIT\nx = 2\n",
    "a/vendor/b/COPYING.txt": GPL
    + "under the terms of the GNU Lesser General Public License version 3, or any later version.",
    "a/vendor/b/in/z.c": "int z;\n",
    "c/none.py": "x = 3\n",
    "c/license.py": "LICENSE = 'a program'\n",
    "d/LICENCE.md": "All rights are ours.\n",
    "d/e.py": "x = 4\n",
    "f/LICENSE-APACHE": APACHE + "2",
    "f/LICENSE-MIT": MIT,
    "f/g.py": "x = 5\n",
}
SAID = {
    "a/LICENSE": ("Apache-2.0", "head"),
    "a/src/plain.py": ("Apache-2.0", "a/LICENSE"),
    "a/src/own.py": ("MIT", "head"),
    "a/vendor/b/COPYING.txt": ("GPL-3.0-only", "head"),
    "a/vendor/b/in/z.c": ("GPL-3.0-only", "a/vendor/b/COPYING.txt"),
    "c/none.py": (None, None),
    "c/license.py": (None, None),
    "d/LICENCE.md": (None, "d/LICENCE.md"),
    "d/e.py": (None, "d/LICENCE.md"),
    "f/g.py": ("Apache-2.0 AND MIT", "f/LICENSE-APACHE, f/LICENSE-MIT"),
}


@pytest.fixture
def corpus(tmp_path, models):
    """A function that makes the corpus of POOL with some settings: its version and its table."""
    for name, text in POOL.items():
        (tmp_path / "pool" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "pool" / name).write_text(text)

    def make(**changes):
        groups = small(models, tmp_path / "pool", corpus=changes)
        settings = {name: validate(name, groups.get(name, {})) for name in GROUPS}
        store = ArtifactStore(tmp_path / "data")
        made = Chain(STAGES, store, lambda line: None).make(STAGES["corpus"], settings, {})
        return made.version, pl.read_parquet(store.parquet("corpus", made.version, "corpus"))

    return make


def test_a_document_has_the_licence_of_its_head_else_of_the_nearest_file_above_it(corpus):
    _, table = corpus(licences=True, project_licences=True)
    found = {row["source"]: (row["licence"], row["licence_from"]) for row in table.iter_rows(named=True)}
    assert found == SAID, "LICENSE-MIT is of no known kind, so it is no document"


def test_licences_of_projects_are_only_looked_for_where_they_are_asked_for(corpus, monkeypatch):
    monkeypatch.setattr(licences, "_of_entry", lambda entry: pytest.fail(f"{entry.name} was opened"))
    plain, table = corpus()
    assert not {"licence", "licence_from"} & set(table.columns)
    assert corpus(project_licences=True)[0] == plain, "it applies with corpus.licences only"
    _, table = corpus(licences=True)
    assert "licence" in table.columns and "licence_from" not in table.columns
    assert table.filter(source="a/src/plain.py")["licence"].to_list() == [None]


def test_another_text_of_the_same_size_in_a_licence_file_makes_another_corpus(tmp_path, corpus):
    first, _ = corpus(licences=True, project_licences=True)
    file = tmp_path / "pool" / "a" / "LICENSE"
    before = file.stat()
    file.write_text(MIT[: len(APACHE)].ljust(len(APACHE), "."))
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns + 1))
    second, table = corpus(licences=True, project_licences=True)
    assert second != first
    assert table.filter(source="a/src/plain.py")["licence_from"].to_list() == ["a/LICENSE"]


def test_a_file_that_is_the_whole_pool_has_no_project(tmp_path):
    (tmp_path / "LICENSE").write_text(MIT)
    (tmp_path / "a.py").write_text("x = 1\n")
    settings = {"licences": True, "project_licences": True, "benchmarks": []}
    (alone,) = open_pool(Corpus(path=str(tmp_path / "a.py"), **settings)).read()
    assert (alone.licence, alone.licence_from) == (None, None)
    beside = {d.source: d.licence for d in open_pool(Corpus(path=str(tmp_path), **settings)).read()}
    assert beside == {"LICENSE": "MIT", "a.py": "MIT"}


def test_a_licence_file_that_cannot_be_read_is_one_that_is_not_recognised(tmp_path):
    (tmp_path / "zeros").write_bytes(b"\0" * 99)
    for path in (tmp_path / "nowhere", tmp_path / "zeros"):
        assert ProjectLicences([Entry("a/LICENSE", str(path), 1, "")]).of("a/b.py") == (None, "a/LICENSE")


def test_the_standard_library_has_the_licence_that_lies_in_it(tmp_path, monkeypatch):
    from grip_assets.sources.readers import environment

    for name in ("lib/LICENSE.txt", "lib/a.py", "site/LICENSE", "site/one/a.py", "site/two/LICENSE", "site/two/a.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(MIT)
    roots = {"stdlib": tmp_path / "lib", "site-packages": tmp_path / "site"}
    monkeypatch.setattr(environment, "roots", lambda: roots)
    found = {d.source: d.licence_from for d in open_pool(Corpus(licences=True, project_licences=True)).read()}
    assert (
        found["stdlib/a.py"] == "stdlib/LICENSE.txt" and found["site-packages/two/a.py"] == "site-packages/two/LICENSE"
    )
    assert found["site-packages/one/a.py"] is None, "a file beside packages is of no package"


@pytest.mark.parametrize("name", ["LICENSE", "a/licence.txt", "COPYING.LESSER", "License-MIT.md", "UNLICENSE"])
def test_names_of_licence_files(name):
    assert is_licence_file(name)


@pytest.mark.parametrize("name", ["license.py", "licenses/MIT.txt", "licensed.txt", "copyingly", "LICENSE.json"])
def test_names_of_other_files(name):
    assert not is_licence_file(name)


WHOLE = {  # whole texts, which name other licences too; as Debian has them
    "Apache-2.0": "Apache-2.0",
    "BSD": "BSD-3-Clause",
    "CC0-1.0": "CC0-1.0",
    "GPL-2": "GPL-2.0-only",
    "GPL-3": "GPL-3.0-only",
    "LGPL-2": "LGPL-2.0-only",
    "LGPL-2.1": "LGPL-2.1-only",
    "LGPL-3": "LGPL-3.0-only",
    "MPL-2.0": "MPL-2.0",
    "MPL-1.1": None,
    "GFDL-1.3": None,
    "Artistic": None,
}


@pytest.mark.parametrize(("name", "licence"), WHOLE.items())
def test_the_whole_text_of_a_licence_is_recognised(name, licence):
    file = Path("/usr/share/common-licenses") / name
    if not file.is_file():
        pytest.skip("Debian's licences are not on this machine")
    assert of_file(file.read_text(errors="replace")) == licence


def test_what_stands_before_a_gnu_licence_may_allow_later_versions_and_its_own_text_may_not():
    text = GPL + "If the Program says so or any later version, you may choose.\n"
    assert of_file(text) == "GPL-3.0-only"
    assert of_file("This is under version 3 of the GPL (at your option) or any later version.\n" + text) == (
        "GPL-3.0-or-later"
    )


def test_the_licence_of_an_installed_package_is_the_one_that_its_metadata_name():
    """The metadata are by the packages' authors. Only packages of one licence that is in the table, in one file."""
    known = {name for name, _ in licences.SENTENCES if name not in licences.GNU} | {"MIT-0"}
    said = {}
    for package in importlib.metadata.distributions():
        expression = package.metadata.get("License-Expression")
        files = [
            file for file in package.files or () if re.search("dist-info", str(file)) and is_licence_file(str(file))
        ]
        if expression in known and len(files) == 1:
            said[package.name] = (of_file(files[0].locate().read_text(errors="replace")), expression)
    wrong = {name: pair for name, pair in said.items() if pair[0] != pair[1]}
    assert len(said) > 20 and len(wrong) <= len(said) / 20, wrong

"""The section on cleaning of docs/pools.md: its example runs, its commands name settings that there are."""

import re

import pytest

from grip_assets.runtime.folders import PACKAGE
from grip_assets.settings import GROUPS, validate

PAGE = (PACKAGE.parent / "docs" / "pools.md").read_text()
SECTION = PAGE[PAGE.index("## What must not be in it") :].partition("\n## Sources")[0]


def test_the_example_cleans_a_text(capsys):
    (example,) = re.findall(r"```python\n(.*?)```", SECTION, re.DOTALL)
    exec(example, {})
    assert capsys.readouterr().out == "MIT\n# SPDX-License-Identifier: MIT\n# Write to <EMAIL>.\n\n"


@pytest.mark.parametrize(("group", "field"), re.findall(r"`(corpus|embedding)\.(\w+)`", SECTION))
def test_each_setting_that_the_page_names_is_one(group, field):
    assert field in GROUPS[group].model_fields


def test_the_command_of_the_page_is_accepted():
    values = {"personal_data": "mask", "secrets": "reject", "licences": True, "detect_languages": "all"}
    assert all(f"corpus.{name}={str(value).lower()}" in SECTION for name, value in values.items())
    assert validate("corpus", values | {"languages": ["python", "de", "en"]})

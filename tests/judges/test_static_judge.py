"""The static judge on pairs whose order is known, in every language it parses, and on hostile text."""

import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from grip_assets.judges.base import DIMENSIONS, Document
from grip_assets.judges.reading import GRAMMARS
from grip_assets.judges.static import StaticJudge, judge_document

GOOD = '''"""Rolling statistics over a window."""

from collections import deque


class RollingMean:
    """Mean of the last values, kept in constant time because the sum is updated and not computed again."""

    def __init__(self, size):
        if size < 1:
            raise ValueError("size must be at least 1")
        self.values = deque(maxlen=size)
        self.total = 0.0

    def push(self, value):
        """Add a value and return the mean of those in the window."""
        if len(self.values) == self.values.maxlen:
            self.total -= self.values[0]  # it is about to fall out
        self.values.append(value)
        self.total += value
        return self.total / len(self.values)


def smooth(series, size):
    """Rolling mean of a series, one value for each input."""
    window = RollingMean(size)
    return [window.push(value) for value in series if value is not None]
'''
FLAT = "".join(f"a{i} = b{i} + {i * 37}\nprint(a{i})\n" for i in range(40))
TABLE = "X = [\n" + "".join(f"    ({i * 31 % 977}, {i * 17 % 991}, 0x{i * 7919:x}),\n" for i in range(200)) + "]\n"
SNIPPETS = {
    "bash": 'greet() {\n  if [ -n "$1" ]; then\n    echo "hello $1"\n  fi\n}\ngreet world\n',
    "c": "int add(int a, int b) {\n  if (a > b) {\n    return a - b;\n  }\n  return a + b;\n}\n",
    "cpp": "template <typename T> class Box {\n public:\n  T get() const { return value; }\n private:\n  T value;\n};\n",
    "css": "body {\n  color: red;\n  margin: 0 auto;\n}\n.wide > a:hover {\n  width: 10px;\n}\n",
    "cuda": "__global__ void add(float *x, int n) {\n  int i = threadIdx.x;\n  if (i < n) { x[i] += 1.0f; }\n}\n",
    "go": "package main\n\nfunc add(a int, b int) int {\n\tif a > b {\n\t\treturn a\n\t}\n\treturn b\n}\n",
    "html": "<html><body><p>hello</p><ul><li>one</li></ul></body></html>\n",
    "java": "class A {\n  int add(int a, int b) {\n    if (a > b) { return a; }\n    return b;\n  }\n}\n",
    "javascript": "function add(a, b) {\n  if (a > b) {\n    return a;\n  }\n  return [a, b].map((x) => x + 1);\n}\n",
    "json": '{"a": [1, 2, {"b": null}], "c": "text"}\n',
    "python": "def add(a, b):\n    if a > b:\n        return a\n    return [x for x in (a, b)]\n",
    "ruby": "def add(a, b)\n  if a > b\n    a\n  else\n    b\n  end\nend\n",
    "rust": "fn add(a: i32, b: i32) -> i32 {\n    match a > b {\n        true => a,\n        false => b,\n    }\n}\n",
    "tsx": "function App(p: {n: number}) {\n  return <div>{p.n > 1 ? <b>x</b> : null}</div>;\n}\n",
    "typescript": "interface A { n: number }\nfunction f(a: A): number {\n  if (a.n > 1) { return a.n; }\n  return 0;\n}\n",
}


def scores(text, language="python"):
    verdict = judge_document(Document("d", text, language))
    assert verdict.status == "ok" and set(verdict.scores) == set(DIMENSIONS)
    assert all(0 <= s <= 10 for s in verdict.scores.values())
    return verdict.scores


@pytest.mark.parametrize("language", sorted(GRAMMARS))
def test_broken_syntax_scores_below_intact_syntax(language):
    text = SNIPPETS[language] * 3
    broken = (
        text.replace("(", "((", 2)
        .replace("{", "} {", 2)
        .replace("<", "<<", 2)
        .replace(")", "", 1)
        .replace(":", "::: @", 1)
    )
    broken = broken.replace("end\n", ") %\n", 2).replace(";", "; ) (", 2)
    verdict = judge_document(Document("d", text, language))
    assert verdict.parts["read_as"] == f"{language} (parser)"
    assert verdict.parts["syntax_integrity"]["parses"] == [0.0, 4.0]
    assert scores(broken, language)["syntax_integrity"] < verdict.scores["syntax_integrity"]


def test_structure_counts_for_architecture():
    assert scores(GOOD)["architecture"] > scores(FLAT)["architecture"] + 3


def test_explanations_count_for_educational_value():
    import re

    bare = re.sub(r"#.*|\"\"\".*?\"\"\"", "", GOOD)
    assert scores(GOOD)["educational_value"] > scores(bare)["educational_value"] + 1.5
    licence = "# Copyright 2020 A. Company. All rights reserved. Licensed under some licence.\n" * 12
    assert scores(licence + bare)["educational_value"] < scores(GOOD)["educational_value"]


def test_tables_prints_and_noise_have_no_depth():
    noise = "".join(random.Random(0).choices("ABCDEFGHabcdefgh0123456789+/", k=4000))
    assert scores(TABLE)["technical_depth"] < 1 < scores(GOOD)["technical_depth"]
    assert scores(FLAT)["technical_depth"] < scores(GOOD)["technical_depth"]
    assert max(scores(noise, "text").values()) < 6
    assert sum(scores(noise, "text").values()) < sum(scores(GOOD).values()) / 2


def test_minified_code_loses_its_readability():
    source = SNIPPETS["javascript"] * 20
    minified = "".join(f"function {c}(a,b){{return a>b?a:[a,b].map(c=>c+1)}}" for c in "defghijklmnopqrstuvw" * 3)
    good, bad = scores(source, "javascript"), scores(minified, "javascript")
    assert bad["syntax_integrity"] < good["syntax_integrity"] - 2


def test_what_a_text_was_read_as_is_said():
    said = lambda text, language: judge_document(Document("d", text, language)).parts["read_as"]  # noqa: E731
    assert said("sub f { my $x = shift; return $x; }", "perl") == "perl (lexer)"
    assert said("Some words about something.", None) == "prose (statistics)"
    assert said("Some words about something.", "klingon") == "prose (statistics)"
    assert judge_document(Document("d", "x = 1\n" * 100_000, "python")).parts["analysed_bytes"] == 200_000


@pytest.mark.parametrize(
    "text, language", [(GOOD, "python"), (TABLE, "python"), ("Why? Because it is so. " * 40, None)]
)
def test_the_parts_add_up_to_the_score(text, language):
    verdict = judge_document(Document("d", text, language))
    for name in DIMENSIONS:
        points = sum(p for _, p in verdict.parts[name].values())
        assert math.isclose(min(points, 10), verdict.scores[name], abs_tol=0.08)


def test_length_alone_does_not_decide():
    doubled = GOOD + GOOD.replace("RollingMean", "OtherMean").replace("smooth", "other")
    assert abs(sum(scores(doubled).values()) - sum(scores(GOOD).values())) / 4 < 0.7


@given(st.text(max_size=400), st.sampled_from([*GRAMMARS, "perl", "markdown", None]))
@settings(max_examples=150, deadline=None)
def test_no_text_makes_it_fail(text, language):
    assert scores(text, language) == scores(text, language)


@pytest.mark.parametrize(
    "text",
    ["(" * 100_000, "[" * 50_000 + "]" * 50_000, "x" * 1_000_000, "\x01\x02" * 10_000, "if x:\n " * 3000],
)
def test_hostile_text_is_judged_like_any_other(text):
    for language in ("python", "javascript", None):
        scores(text, language)


def test_verdicts_come_in_the_order_of_the_documents():
    documents = [Document(str(i), GOOD if i % 2 else TABLE, "python") for i in range(20)]
    verdicts = list(StaticJudge().judge(documents))
    assert [v.doc_id for v in verdicts] == [d.doc_id for d in documents]
    assert verdicts == [judge_document(d) for d in documents]

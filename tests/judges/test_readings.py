"""What static analysis counts in real files stays the same to the last count.

``readings.json`` has, for files of installed packages and the samples below, a hash of the text and one of the reading
that the first version of the parser's walk made of it. A file that is not installed here, or is another one, is passed
over. Written anew, after a wanted change only, by: python tests/judges/test_readings.py
"""

import hashlib
import json
import sysconfig
from pathlib import Path

from grip_assets.judges.reading import GRAMMARS, read
from grip_assets.sources.languages import language_of

GOLDEN = Path(__file__).with_name("readings.json")
INSTALLED = Path(sysconfig.get_path("purelib"))
EACH, LONGEST = 12, 20_000  # files of a language, bytes of a file
SAMPLES = {
    "go": 'package main\n\nimport "fmt"\n\n// Add adds.\nfunc Add(a, b int) int {\n\tif a > 3 {\n\t\treturn a + 42\n\t}\n\tfor i := 0; i < b; i++ {\n\t\tdefer fmt.Println("x", i)\n\t}\n\tswitch b {\n\tcase 1:\n\t\tgo Add(1, 2)\n\t}\n\treturn b\n}\n\ntype Point struct{ X, Y float64 }\n\nfunc (p *Point) Norm() float64 { return p.X*p.X + 3.5 }\n',
    "java": '/** A shape. */\nimport java.util.List;\n\npublic class Shape<T> extends Object {\n    private int n = 7;\n    /** Area. */\n    @Override\n    public double area(List<T> xs) throws Exception {\n        for (T x : xs) {\n            if (x == null) throw new RuntimeException("no " + n);\n        }\n        try { return Math.sqrt(n * 2.5); } catch (Exception e) { return 0; } finally { n++; }\n    }\n    enum Kind { A, B }\n}\n',
    "ruby": "require 'set'\n\n# Counts.\nclass Counter\n  def initialize(limit = 10)\n    @limit = limit\n  end\n\n  # Adds one.\n  def add(x)\n    raise ArgumentError, \"too many\" if x > 99\n    [1, 2, 3].each { |i| puts i * 7 }\n    x.nil? ? 0 : x + 1\n  rescue StandardError => e\n    puts e\n  ensure\n    yield x\n  end\nend\n",
    "rust": 'use std::collections::HashMap;\n\n/// A pair.\n#[derive(Debug)]\npub struct Pair<T> { a: T, b: T }\n\nimpl<T: Clone> Pair<T> {\n    // swaps\n    pub fn swap(&self) -> Pair<T> {\n        match 3 { 1 => panic!("one"), _ => {} }\n        let f = |x: i32| x + 42;\n        for i in 0..10 { println!("{}", f(i)); }\n        Pair { a: self.b.clone(), b: self.a.clone() }\n    }\n}\n',
    "tsx": 'import React from "react";\n\n// A button.\nexport function Button(props: { n: number }) {\n  const [x, set] = React.useState<number>(17);\n  if (props.n > 3) { throw new Error(`bad ${x}`); }\n  return <div className="b" onClick={() => set(x + 1)}>{props.n ? "yes" : "no"}</div>;\n}\n',
    "bash": '#!/bin/bash\n# greets\ngreet() {\n  local name="$1"\n  if [ -z "$name" ]; then echo "none" >&2; return 1; fi\n  for i in 1 2 3; do echo "$name $i"; done\n}\ngreet "$@" || exit 3\n',
    "typescript": "interface P<T> { x: T; }\n/* doubles */\nconst twice = (n: number): number => n * 2.5;\nclass A implements P<string> {\n  x = 'a';\n  async go(k?: number) { for (const i of [1, 12]) { await twice(i); } return k ?? 0; }\n}\nexport default A;\n",
    "python": 'import os\n\ndef broken(:\n    """Not closed\n    return [x for x in range(42) if x ** 2 > 7]\n\nclass A:\n    # why\n    def f(self):\n        """Says."""\n        try:\n            assert self, "no"\n        except ValueError as e:\n            raise RuntimeError(e) from None\n        return lambda y: y + 3\n',
}


def digest(text: str, language: str) -> str:
    """Every count, and the order in which things were seen first: ties are broken by it."""
    values = [list(v.items()) if isinstance(v, dict) else v for v in vars(read(text, language)).values()]
    return hashlib.sha256(repr(values).encode()).hexdigest()[:16]


def texts(names):
    """The text and language of each sample, and of each installed file that can be read."""
    for language, text in SAMPLES.items():
        yield f"sample {language}", text, language
    for name in names:
        path = INSTALLED / name
        if path.is_file():
            yield name, path.read_text(errors="replace"), language_of(path.name)


def named(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def test_real_files_are_read_as_by_the_first_version():
    golden = json.loads(GOLDEN.read_text())
    same = [(n, t, lang) for n, t, lang in texts(golden) if named(t) == golden[n][0]]
    assert {lang for _, _, lang in same} >= set(SAMPLES) and len(same) > 60
    assert [name for name, text, language in same if digest(text, language) != golden[name][1]] == []


def installed() -> list[str]:
    found: dict[str, list[str]] = {}
    for path in sorted(INSTALLED.rglob("*")):
        language = language_of(path.name)
        name = str(path.relative_to(INSTALLED))
        taken = found.setdefault(language, []) if language in GRAMMARS and "grip" not in name else None
        if taken is not None and len(taken) < EACH and path.is_file() and 500 < path.stat().st_size < LONGEST:
            taken.append(name)
    return [name for names in found.values() for name in names]


if __name__ == "__main__":
    golden = {name: [named(text), digest(text, language)] for name, text, language in texts(installed())}
    GOLDEN.write_text(json.dumps(golden, indent=0, sort_keys=True) + "\n")

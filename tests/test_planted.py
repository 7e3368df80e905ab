"""Planted truth: a pool whose useful, memorisable and worthless parts are known, and the evaluation that has to see it."""

import random

import polars as pl
import pytest
from conftest import Lab

NOUNS = [
    "order",
    "account",
    "stream",
    "packet",
    "filter",
    "vector",
    "matrix",
    "widget",
    "region",
    "branch",
    "ledger",
    "cursor",
    "bucket",
    "signal",
    "record",
]
VERBS = ["merge", "split", "rotate", "encode", "verify", "reduce", "expand", "rank", "shift", "trim"]
FIELDS = ["price", "weight", "size", "depth", "offset", "count", "level", "score", "index", "rate"]
LICENCE = [
    f"# {line}" for line in ("This table is generated. Do not edit it by hand.", "See the manual for its format.")
] + [f"ROW_{i} = ({i}, 'row {i} of the table', {i * i})" for i in range(60)]
TAIL = {
    "sql": "SELECT {a}, sum({b}) FROM {c} GROUP BY {a};\n",
    "css": ".{a} {{ margin: {n}px; color: #{n}{n}{n}; }}\n",
    "html": "<p class='{a}'>{b} {c}</p>\n",
    "sh": 'for {a} in $(ls {b}); do echo "${a} {n}"; done\n',
    "c": "int {a}_{b}(int {c}) {{ return {c} * {n}; }}\n",
    "md": "# {a}\n\nThe {b} of the {c} is {n}.\n",
}


def function(rng: random.Random) -> str:
    """A sentence of the grammar that the target uses."""
    noun, verb, one, other = rng.choice(NOUNS), rng.choice(VERBS), *rng.sample(FIELDS, 2)
    return (
        f"def {verb}_{noun}s({noun}s, least_{one}):\n"
        f'    """{verb.capitalize()} every {noun} whose {one} is at least the given one, because others have no {other}."""\n'
        f"    found = []\n    for {noun} in {noun}s:\n        if {noun}.{one} >= least_{one}:\n"
        f"            found.append({noun}.{other} {rng.choice('+-*')} {noun}.{one})\n    return found\n\n\n"
    )


def useful(rng: random.Random) -> str:
    return "".join(function(rng) for _ in range(rng.randint(3, 7)))


def memorisable(rng: random.Random) -> str:
    lines = list(LICENCE)
    lines[rng.randrange(2, len(lines))] = f"ROW_X = {rng.randrange(1000)}"
    return "\n".join(lines) + "\n"


def noise(rng: random.Random) -> str:
    letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789+/=()[]{}:;,"
    return "\n".join("".join(rng.choices(letters, k=70)) for _ in range(rng.randint(8, 20))) + "\n"


def write_planted(root):
    """(pool, target): 90 useful documents, 150 memorisable ones, 120 of noise, 48 of a long tail; the target is 60 more
    of the useful kind."""
    rng = random.Random(0)
    kinds = {"useful": (useful, 90), "memorisable": (memorisable, 150), "noise": (noise, 120)}
    for kind, (write, n) in kinds.items():
        (root / "pool" / kind).mkdir(parents=True)
        for i in range(n):
            (root / "pool" / kind / f"{i:03}.py").write_text(write(rng))
    for ending, line in TAIL.items():
        (root / "pool" / f"tail_{ending}").mkdir()
        for i in range(8):
            words = [
                dict(a=rng.choice(NOUNS), b=rng.choice(FIELDS), c=rng.choice(VERBS), n=rng.randint(1, 9))
                for _ in range(20)
            ]
            (root / "pool" / f"tail_{ending}" / f"{i}.{ending}").write_text("".join(line.format(**w) for w in words))
    (root / "target").mkdir()
    for i in range(60):
        (root / "target" / f"{i}.py").write_text(useful(rng))
    return root / "pool", root / "target"


@pytest.fixture(scope="session")
def planted(tmp_path_factory, models):
    root = tmp_path_factory.mktemp("planted")
    pool, target = write_planted(root)
    with pytest.MonkeyPatch.context() as patch:
        lab = Lab(root, patch)
        lab.operations.evaluate(
            lab.instance,
            {
                "corpus": {"path": str(pool), "tokenizer": str(models / "proxy"), "held_out": 0.1},
                "clustering": {"k": 12, "min_cluster_docs": 8, "iterations": 10, "seeds": 2},
                "probe": {"fraction": 0.25, "min_per_cluster": 8},
                "adaptation": {"proxy": str(models / "proxy"), "tokens_per_cluster": 1500, "window": 64, "learning_rate": 1e-2},
                "budget": {"total": 0.2},
                "evaluation": {
                    "strategies": ["random", "static", "loss_replay", "grip", "longest"],
                    "target": str(target),
                    "tokens": 60_000, "vocabulary": 512, "hidden": 64, "layers": 2, "heads": 2, "context": 64,
                    "batch_tokens": 512, "learning_rate": 5e-3, "documents": 60, "dtype": "float32",
                },
            },
            ["evaluation"],
        )  # fmt: skip
        yield lab


def kinds(lab) -> pl.DataFrame:
    """The kind of most documents of each cluster, its share of them, and the cluster's numbers."""
    return lab.sql("""
        SELECT cluster_id, arg_max(kind, n) AS kind, max(n) / sum(n) AS purity, any_value(quality) AS quality,
            any_value(delta) AS delta, any_value(r) AS r
        FROM (SELECT cluster_id, split_part(split_part(source, '/', 1), '_', 1) AS kind, count(*) AS n,
                  any_value(quality) AS quality, any_value(delta) AS delta, any_value(replay_multiplier) AS r
              FROM clusters JOIN corpus USING (doc_id) JOIN budgets USING (cluster_id) GROUP BY ALL)
        GROUP BY cluster_id ORDER BY kind""")

"""Settings of the search for near copies."""

from typing import Literal

from grip_assets.settings.fields import Not, knob
from grip_assets.settings.group import Group

FOUND = {"threshold": Not(0)}


class NearDuplicates(Group):
    """Documents that are nearly the same as another. One of them stands for all, and the others are left out: texts are
    compared by their shingles [Broder 1997], and only those that MinHash signatures find alike."""

    name = "near_duplicates"

    threshold: float = knob(
        0.8,
        "Least Jaccard similarity of two near copies: the share of their shingles that both have. 0: near copies are"
        " not looked for.",
        ge=0,
        le=1,
    )
    unit: Literal["words", "characters"] = knob(
        "words",
        "What a shingle is made of. words: neither white space nor punctuation nor the case of ASCII letters makes a"
        " difference; each Chinese or Japanese character is a word.",
        when=FOUND,
    )
    shingle: int = knob(
        5, "Words (or characters) of a shingle. Longer shingles let fewer changes pass.", when=FOUND, ge=1, le=64
    )
    permutations: int = knob(
        120,
        "Slots of a MinHash signature. More slots find near copies more surely, and take more room and time.",
        when=FOUND,
        ge=2,
        le=1024,
    )
    recall: float = knob(
        0.99,
        "Least probability that a pair at the threshold is found. The number of bands follows from it.",
        when={"threshold": Not(0), "bands": None},
        gt=0,
        lt=1,
    )
    bands: int | None = knob(
        None,
        "Bands that a signature is cut into. Two documents are compared if they agree in one whole band. null: as few"
        " as reach recall.",
        when=FOUND,
        ge=1,
    )
    representative: Literal["longest", "oldest_source", "best_score"] = knob(
        "longest",
        "Which document stands for its near copies. longest: that with the most bytes. oldest_source: that of the first"
        " source in the list. best_score: that with the highest number in the column score. Ties go to the longest.",
        when=FOUND,
    )
    score: str | None = knob(
        None,
        "Column of the pool with a number for each document; corpus.keep must name it.",
        given=True,
        when={"threshold": Not(0), "representative": "best_score"},
    )
    drop_background: bool = knob(
        False,
        "Whether documents of a source with the role keep are left out too, if they are near copies of held-out ones.",
        when=FOUND,
        added=True,
    )
    seed: int = knob(0, "Seed of the hash functions.", when=FOUND, ge=0)

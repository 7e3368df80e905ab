"""Settings of the classifier of documents without a vector."""

from grip_assets.settings.fields import knob
from grip_assets.settings.group import Group


class Student(Group):
    """How documents without a vector are labelled: by a classifier of texts, which learns from those with a vector. It
    is used with settings/embedding.sample."""

    name = "student"

    per_cluster: int = knob(
        400,
        "Most pseudo-labels per cluster: the documents with the highest influence, near copies counted once. A cluster"
        " with fewer gives all that it has.",
        gt=0,
    )
    confidence: float = knob(
        0.9,
        "Least confidence of a pseudo-label. If fewer than half of a cluster's documents have it, or than twice"
        " per_cluster, the most confident ones are considered instead.",
        ge=0,
        le=1,
    )
    prior_correction: bool = knob(
        True, "Correct for training on as many documents of a small cluster as of a large one."
    )
    held_out: float = knob(
        0.1, "Share of the embedded documents that the student never learns from. It is measured on these.", gt=0, lt=1
    )
    seed: int = knob(0, "Seed of the choice of held-out documents.", ge=0)

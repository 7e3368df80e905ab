"""Settings of the partition and of the spread of clusters."""

from typing import Literal

from pydantic import field_validator

from grip_assets.settings.fields import knob
from grip_assets.settings.group import Group

FITTED = {"keep": None}
BY_KMEANS = {"method": "kmeans", "keep": None}
BY_GEM = {"method": "gem", "keep": None}
BY_VECTORS = {"method": ["kmeans", "gem"], "keep": None}


class Clustering(Group):
    """How documents are grouped: a partition of the pool into clusters, and the spread of each [paper eq. 3]."""

    name = "clustering"

    method: Literal["kmeans", "gem", "column"] = knob(
        "kmeans",
        "Method. kmeans: spherical k-means on the embeddings. gem: a mixture of von Mises-Fisher distributions with a"
        " balance term. column: each value of a column of the pool is a cluster.",
        when=FITTED,
        added=True,
    )
    column: str = knob(
        "language",
        "Column to cluster by: language, source, pool, or a column that corpus.keep names. Rare values become one"
        " cluster, (other). Documents without a value become the cluster (missing).",
        given=True,
        when={"method": "column", "keep": None},
        added=True,
    )
    keep: str | None = knob(
        None,
        "An earlier partition to keep: its version, or in_force. Documents are assigned to it, and nothing is fitted."
        " null: a partition is fitted for every pool.",
        given=True,
        added=True,
    )
    k: int | None = knob(
        None,
        "Number of clusters, before small ones are dissolved. null: √N, but from 16 to 1,024.",
        "K",
        when=BY_VECTORS,
        gt=0,
    )
    iterations: int = knob(
        20, "Lloyd iterations of each start. The best start then goes on until nothing changes.", when=BY_KMEANS, gt=0
    )
    seeds: int = knob(
        3,
        "Number of starts. The one with the highest objective is kept: the mean cosine, or F for gem.",
        when=BY_VECTORS,
        gt=0,
    )
    min_cluster_docs: int = knob(
        50, "Clusters with fewer documents are dissolved: their documents go to other clusters.", ge=1
    )
    fit_sample: int = knob(262_144, "Most documents that the partition is fitted on.", when=FITTED, gt=0)
    seed: int = knob(0, "Seed of the sample and of the first start.", when=FITTED, ge=0)
    balance: float = knob(
        0.125,
        "Strength of the balance term: how much F loses when the masses of the clusters differ from their targets. 0:"
        " a plain mixture. Strong values merge topics that are lighter than 1/K.",
        "λ",
        when=BY_GEM,
        added=True,
        ge=0,
    )
    balance_scale: Literal["relative", "per_sample", "sum"] = knob(
        "relative",
        "Unit of balance. relative: times the mean κ of the start. per_sample: λ as it is in F, a mean over documents."
        " sum: λ of an F that is a sum over documents.",
        when=BY_GEM,
        added=True,
    )
    target_mass: list[float] = knob(
        [],
        "Mass that each cluster should have, one number for each; the largest is for the heaviest cluster of the start."
        " Empty: the same for all.",
        "u",
        when=BY_GEM,
        added=True,
    )
    estep: Literal["dual", "mirror", "l2"] = knob(
        "dual",
        "How the memberships are found. dual: exactly. mirror: a few steps of mirror ascent, as in the paper. l2: a few"
        " steps of another lower bound.",
        when=BY_GEM,
        added=True,
    )
    inner_steps: int = knob(
        5,
        "Steps in each iteration.",
        when={"method": "gem", "keep": None, "estep": ["mirror", "l2"]},
        added=True,
        gt=0,
    )
    kappa: Literal["shrunk", "tied", "free"] = knob(
        "shrunk",
        "Concentration of the clusters. shrunk: of each cluster, pulled towards that of the start. tied: one for all."
        " free: of each cluster; a cluster of one document then has the highest.",
        "κ",
        when=BY_GEM,
        added=True,
    )
    kappa_prior: float | None = knob(
        None,
        "Number of documents that the pull of kappa=shrunk counts for. null: 5, 20 from 50,000 documents on, 50 from 10"
        " million on.",
        "n_0",
        when={"method": "gem", "keep": None, "kappa": "shrunk"},
        added=True,
        ge=0,
    )
    temperature: float | None = knob(
        1.0,
        "Temperature of the memberships. Above 1 they are softer. null: a third of the median gap between the two best"
        " clusters of a document. The paper has 1.",
        "T",
        when=BY_GEM,
        added=True,
        gt=0,
    )
    center: bool = knob(
        False,
        "Whether the mean of all vectors is taken away first. With pca it always is.",
        when={"method": "gem", "keep": None, "pca": None},
        added=True,
    )
    pca: int | None = knob(
        None,
        "Number of principal axes on which the vectors are projected first. null: they are not.",
        when=BY_GEM,
        added=True,
        ge=2,
    )
    fit_iterations: int = knob(100, "Most iterations of each start.", when=BY_GEM, added=True, ge=2)
    tolerance: float = knob(
        1e-6, "A start ends when F rises by a smaller share of itself.", when=BY_GEM, added=True, ge=0
    )
    continuation: int = knob(
        10, "Number of first iterations in which λ rises to its value.", "t_0", when=BY_GEM, added=True, ge=0
    )
    sigma_center: Literal["unit", "mean"] = knob(
        "unit", "Centre for σ_k. unit: the centroid, which has length 1. mean: the mean of the members.", "μ_k"
    )

    @field_validator("keep")
    @classmethod
    def a_version(cls, value: str | None) -> str | None:
        return value.strip() or None if value is not None else None

    @field_validator("target_mass")
    @classmethod
    def masses(cls, value: list[float]) -> list[float]:
        if value and (min(value) <= 0 or len(value) < 2):
            raise ValueError("must be at least two numbers above 0, or empty")
        return value

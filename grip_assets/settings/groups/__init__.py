"""Every hyperparameter, in groups: symbol in the paper, unit, range, default, effect. One file for each group.

Only fields and their validation belong here. Traits of a field are in fields.py, the base class of the groups is in
group.py. orchestration/settings_assets.py makes each group a Dagster asset. Numbers such as A12 are decisions in
spec/grip.md.
"""

from grip_assets.settings.group import Group
from grip_assets.settings.groups.adaptation import Adaptation
from grip_assets.settings.groups.attribution import GRADIENTS, OF_A_MODEL, Attribution
from grip_assets.settings.groups.budget import Budget
from grip_assets.settings.groups.clustering import Clustering
from grip_assets.settings.groups.corpus import Corpus, pool_fields
from grip_assets.settings.groups.embedding import Embedding
from grip_assets.settings.groups.evaluation import Evaluation, target_name
from grip_assets.settings.groups.mixing import Mixing
from grip_assets.settings.groups.near_duplicates import NearDuplicates
from grip_assets.settings.groups.probe import Probe
from grip_assets.settings.groups.quality import Quality
from grip_assets.settings.groups.reports import Reports
from grip_assets.settings.groups.selection import Selection
from grip_assets.settings.groups.student import Student
from grip_assets.settings.groups.taxonomy import Taxonomy

__all__ = [
    "GRADIENTS",
    "GROUPS",
    "OF_A_MODEL",
    "Adaptation",
    "Attribution",
    "Budget",
    "Clustering",
    "Corpus",
    "Embedding",
    "Evaluation",
    "Mixing",
    "NearDuplicates",
    "Probe",
    "Quality",
    "Reports",
    "Selection",
    "Student",
    "Taxonomy",
    "pool_fields",
    "target_name",
]

GROUPS: dict[str, type[Group]] = {
    schema.name: schema
    for schema in (
        Corpus,
        NearDuplicates,
        Embedding,
        Clustering,
        Student,
        Taxonomy,
        Probe,
        Quality,
        Adaptation,
        Mixing,
        Attribution,
        Budget,
        Selection,
        Reports,
        Evaluation,
    )
}

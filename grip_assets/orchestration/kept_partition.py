"""settings/clustering.keep as a user gives it: ``in_force`` becomes the version in force when the setting is made.

A name that moved with every run would be no setting: the same settings would not give the same result.
"""

from collections.abc import Mapping
from typing import Any

import dagster as dg

from grip_assets.orchestration import event_log
from grip_assets.stages.curation.partition import resolved
from grip_assets.store.artifacts import ArtifactStore


def named(instance: dg.DagsterInstance, given: Mapping[str, Any], store: ArtifactStore) -> dict[str, Any]:
    """Changes of settings/clustering with the version that ``keep`` stands for. GripError where there is none."""
    if given.get("keep") is None:
        return dict(given)
    in_force = event_log.versions_in_force(instance, ["partition"]).get("partition")
    return dict(given) | {"keep": resolved(str(given["keep"]).strip() or None, in_force, store)}

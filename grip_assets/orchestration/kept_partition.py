"""settings/clustering.keep: the user's value ``in_force`` is replaced by the version that is in force now.

The setting stores a fixed version, so that the same settings always give the same result.
"""

from collections.abc import Mapping
from typing import Any

import dagster as dg

from grip_assets.orchestration import event_log
from grip_assets.stages.curation.partition import resolved
from grip_assets.store.artifacts import ArtifactStore


def named(instance: dg.DagsterInstance, given: Mapping[str, Any], store: ArtifactStore) -> dict[str, Any]:
    """Changes of settings/clustering, with ``keep`` replaced by a whole version. GripError if there is no such one."""
    if given.get("keep") is None:
        return dict(given)
    in_force = event_log.versions_in_force(instance, ["partition"]).get("partition")
    return dict(given) | {"keep": resolved(str(given["keep"]).strip() or None, in_force, store)}

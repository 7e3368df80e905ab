"""Plain values for two questions: which artifact of an asset is in force, and what did a run do. No Dagster here."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Record:
    """The latest materialization of an asset."""

    version: str
    run_id: str
    timestamp: float
    metadata: Mapping[str, Any]


@dataclass(frozen=True)
class Run:
    """What a run did with each stage: names in pipeline order. The settings do not need the ``unused`` ones."""

    run_id: str
    computed: list[str]
    reused: list[str]
    unused: list[str] = field(default_factory=list)

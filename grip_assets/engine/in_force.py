"""What is in force and what a run did, as plain values that know no Dagster."""

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
    """``computed``, ``reused`` and ``unused`` (the settings do not need them): stages, in pipeline order."""

    run_id: str
    computed: list[str]
    reused: list[str]
    unused: list[str] = field(default_factory=list)

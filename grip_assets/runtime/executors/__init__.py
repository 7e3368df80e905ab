"""Executors run jobs. A job is a picklable value, so it can run in this process or in another, with the same result.

Functions that share memory with their caller are not jobs: see runtime/threads.py.
"""

from grip_assets.runtime import variables
from grip_assets.runtime.executors.base import Advance, Executor, Job, Log, Opens, Stops, silent, uncounted
from grip_assets.runtime.executors.local import Local
from grip_assets.runtime.executors.todo import ToDo

__all__ = ["Advance", "Executor", "Job", "Local", "Log", "Opens", "Stops", "ToDo", "chosen", "silent", "uncounted"]


def chosen() -> Executor:
    """The executor of ``GRIP_EXECUTOR``: a Ray cluster, or the threads of this process. It is in no version."""
    if variables.value("GRIP_EXECUTOR") != "ray":
        return Local()
    from grip_assets.runtime.executors.ray import Ray  # only where it is asked for

    return Ray(variables.value("GRIP_RAY_ADDRESS"))

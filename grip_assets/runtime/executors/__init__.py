"""Executors run jobs. A job is a picklable value, so it can run in this process or in another, with the same result.

Functions that share memory with their caller are not jobs: see runtime/threads.py.
"""

from grip_assets.runtime.executors.base import Advance, Executor, Job, Log, Opens, Stops, silent, uncounted
from grip_assets.runtime.executors.local import Local
from grip_assets.runtime.executors.todo import ToDo

__all__ = ["Advance", "Executor", "Job", "Local", "Log", "Opens", "Stops", "ToDo", "silent", "uncounted"]

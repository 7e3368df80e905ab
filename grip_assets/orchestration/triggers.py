"""Schedules, and sensors that watch a folder. Each is off until somebody turns it on.

A sensor requests a run when its folder has changed and then stayed the same between two looks. So it waits for the end
of a copy. It requests one run for each state of the folder. After a failed or cancelled run it waits for a person, or
for the next change.
"""

import hashlib
import json
import re
from pathlib import Path
from typing import Any

import dagster as dg

from grip_assets.engine.stage import known_version
from grip_assets.errors import GripError
from grip_assets.models.files import locate
from grip_assets.orchestration import event_log
from grip_assets.orchestration.data_folder import Data
from grip_assets.runtime import variables
from grip_assets.runtime.notices import warn_once
from grip_assets.settings import Adaptation
from grip_assets.settings.changes import read_profile, run_config
from grip_assets.stages import STAGES
from grip_assets.stages.curation.needed import no_drops

CRON = {"nightly": "0 3 * * *", "weekly": "0 4 * * 0"}
GOING_ON = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
]


def schedules(job: Any) -> list[dg.ScheduleDefinition]:
    """The schedules ``nightly`` and ``weekly``.

    ``GRIP_NIGHTLY`` sets another cron line. ``GRIP_NIGHTLY_PROFILE`` names a profile whose settings the run sets first
    (unset: the settings in force). The weekly schedule has the same two variables. ``GRIP_TIMEZONE`` is the time zone
    of both. A schedule with a wrong variable is left out, and a log line says so.
    """
    found = []
    for name, usual in CRON.items():
        at, profile = f"GRIP_{name.upper()}", f"GRIP_{name.upper()}_PROFILE"
        try:
            line, zone = variables.value(at) or usual, variables.value("GRIP_TIMEZONE")
            config = run_config(read_profile(chosen)) if (chosen := variables.value(profile)) else {}
        except GripError as error:
            warn_once(f"The schedule {name} is left out: {error}")
            continue
        found.append(
            dg.ScheduleDefinition(
                name=name,
                job=job,
                cron_schedule=line,
                run_config=config,
                execution_timezone=zone,
                description=f"Curate again. Cron line, profile and time zone: {at}, {profile}, GRIP_TIMEZONE.",
            )
        )
    return found


def interval() -> int:
    """Seconds between two looks, which is also how long a folder must stay unchanged."""
    if wrong := variables.problem("GRIP_WATCH_SECONDS"):
        warn_once(f"Sensors look every 30 seconds: {wrong}")
        return 30
    return variables.value("GRIP_WATCH_SECONDS") or 30


def new_documents(job: Any) -> dg.SensorDefinition:
    """Watches the pool of settings/corpus and curates when its listing has changed."""

    @dg.sensor(name="new_documents", job=job, minimum_interval_seconds=interval(), description=new_documents.__doc__)
    def _sensor(context: dg.SensorEvaluationContext, data: Data) -> dg.SensorResult | dg.SkipReason:
        settings = event_log.settings_in_force(context.instance)
        made = event_log.records(context.instance, ["corpus"]).get("corpus")
        if made is None:
            return dg.SkipReason("Nothing was curated yet. Launch the job curate once.")
        store, stage = data.store(), STAGES["corpus"]
        try:
            recipe = stage.recipe(settings, {}, store.root)
        except GripError as error:
            return dg.SkipReason(str(error))
        if known_version(stage, settings, recipe, store) == made.version:
            return dg.SkipReason("The pool has not changed.")
        return _when_quiet(context, f"{recipe}/{made.run_id}", "The pool has changed")

    return _sensor


def new_checkpoint(job: Any) -> dg.SensorDefinition:
    """Watches the folder in settings/adaptation.checkpoints: its newest checkpoint becomes the proxy, and the drops and
    the budget are computed again [paper: the loop over rounds t]."""

    @dg.sensor(name="new_checkpoint", job=job, minimum_interval_seconds=interval(), description=new_checkpoint.__doc__)
    def _sensor(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        now = event_log.settings_in_force(context.instance)
        settings = Adaptation.of(now)
        if settings.checkpoints is None:
            return dg.SkipReason("settings/adaptation.checkpoints is not set: name the folder of your checkpoints.")
        if why := no_drops(now):
            return dg.SkipReason(f"No budget follows a proxy: {why}. Set it to loss.")
        newest = newest_checkpoint(Path(settings.checkpoints).expanduser())
        if newest is None:
            return dg.SkipReason(
                f"{settings.checkpoints} has no checkpoint (a folder with safetensors and config.json)."
            )
        if str(newest) == settings.proxy:
            return dg.SkipReason(f"{newest.name} is the proxy already.")
        change = {"proxy": str(newest)}  # the form of the job change_adaptation
        return _when_quiet(context, f"{newest}/{_listing(newest)}", f"{newest.name} is new", change)

    return _sensor


def newest_checkpoint(folder: Path) -> Path | None:
    """The checkpoint with the largest last number in its name, or None. Among equals, the last name.

    A folder is a checkpoint as soon as it has all weight files that its index lists.
    """
    found = [path for path in folder.glob("[!.]*") if _complete(path)]
    return max(found, key=lambda path: (_step(path.name), path.name), default=None)


def _step(name: str) -> int:
    numbers = re.findall(r"\d+", name)
    return int(numbers[-1]) if numbers else -1


def _complete(path: Path) -> bool:
    try:
        locate(str(path))
        index = path / "model.safetensors.index.json"
        parts = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()) if index.exists() else set()
    except (GripError, OSError, ValueError, KeyError):
        return False
    return all((path / part).exists() for part in parts)


def _listing(checkpoint: Path) -> str:
    """A digest of names, sizes and times of the files. It changes while the checkpoint is being written."""
    files = sorted(checkpoint.rglob("*")) if checkpoint.is_dir() else [checkpoint]
    stats = [(str(f.relative_to(checkpoint)), (s := f.stat()).st_size, s.st_mtime_ns) for f in files if f.is_file()]
    return hashlib.sha256(repr(stats).encode()).hexdigest()[:16]


def _when_quiet(
    context: dg.SensorEvaluationContext, state: str, what: str, config: dict[str, Any] | None = None
) -> dg.SensorResult | dg.SkipReason:
    """Request one run for ``state`` if the last look saw the same state and no run is in progress."""
    if any(context.instance.get_runs(dg.RunsFilter(statuses=GOING_ON), limit=1)):
        return dg.SensorResult(skip_reason=f"{what}, and a run is going on.", cursor=state)
    if context.cursor != state:
        return dg.SensorResult(skip_reason=f"{what}; a run follows when it has stayed so.", cursor=state)
    return dg.SensorResult([dg.RunRequest(run_key=state, run_config=config or {})], cursor=state)

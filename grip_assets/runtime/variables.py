"""The environment variables: facts about the machine, which are in no version of an artifact.

All of them are described and read here, and nowhere else. A command checks all of them before it does anything
(``check``). The code location leaves out parts that a wrong variable would break.
"""

import difflib
import os
import re
import zoneinfo
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from grip_assets.errors import GripError, Unfinished, UsageMistake
from grip_assets.profiles import profiles
from grip_assets.runtime.notices import warn_once

UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}
LEAST_MEMORY = 10**6
NOT_STORES = ("file", "ftp", "git", "github", "hf", "http", "https", "local", "zip")  # nothing can be stored there


class Unreadable(UsageMistake, Unfinished):
    """A variable that cannot be read. No setting of a run is to blame for it."""


@dataclass(frozen=True)
class Variable:
    """``read``: turns the text into a value, or raises ValueError. ``must_be``: the allowed values in words.
    ``used_by``: ``run`` (every computation), ``schedules``, ``judge``, or ``others`` (a library reads and checks it).
    """

    meaning: str
    default: str
    example: str
    read: Callable[[str], Any] = str
    must_be: str = ""
    used_by: str = "run"


def above_zero(kind: Callable[[str], Any]) -> Callable[[str], Any]:
    def read(text: str) -> Any:
        value = kind(text)
        if not 0 < value < float("inf"):
            raise ValueError
        return value

    return read


def workers(text: str) -> int | None:
    return None if text.lower() == "auto" else above_zero(int)(text)


def memory(text: str) -> int | float:
    """Bytes, or a share of the machine's memory as a float of at most 1."""
    if share := re.fullmatch(r"(\d+(?:\.\d+)?)\s*%", text):
        if not 0 < float(share[1]) <= 100:
            raise ValueError
        return float(share[1]) / 100
    size = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]?)I?B?", text.upper())
    if not size or float(size[1]) * UNITS[size[2]] < LEAST_MEMORY:
        raise ValueError
    return int(float(size[1]) * UNITS[size[2]])


def size(text: str) -> int:
    """A number of bytes."""
    found = memory(text)
    if isinstance(found, float):
        raise ValueError
    return found


def port(text: str) -> int:
    if not 0 < int(text) < 65536:
        raise ValueError
    return int(text)


def share(text: str) -> float:
    if not 0 < float(text) <= 1:
        raise ValueError
    return float(text)


def ray_address(text: str) -> str:
    """``auto``, or host:port. Ray's client (ray://) is refused: the driver must see the nodes' folders anyway."""
    host, _, number = text.rpartition(":")
    if text != "auto" and not (re.fullmatch(r"[\w.\-\[\]:]+", host) and port(number)):
        raise ValueError
    return text


def one_of(*choices: str) -> Callable[[str], str]:
    def read(text: str) -> str:
        if text not in choices:
            raise ValueError
        return text

    return read


def folder(text: str) -> Path:
    path = Path(text).expanduser()
    if path.is_file() or set(text) & {"?", "\\"}:  # SQLite addresses end at the one, DuckDB takes the other for /
        raise ValueError
    return path


def data_place(text: str) -> Path | str:
    """A folder; or an address of an object store, as text without a slash at its end.

    A key in an address is refused, since addresses are logged.
    """
    if "://" not in text:
        return folder(text)
    scheme, _, rest = text.partition("://")
    if scheme in NOT_STORES or not re.fullmatch(r"[a-z][a-z0-9+.\-]*", scheme):
        raise ValueError
    if not re.fullmatch(r"/*[\w.\-]+(/[\w.=\-]+)*/*", rest):
        raise ValueError
    return text.rstrip("/")


def cron(text: str) -> str:
    import dagster as dg  # slow to import, and only Dagster's own parser knows which lines it takes

    try:
        dg.ScheduleDefinition(name="read", job_name="read", cron_schedule=text)
    except dg.DagsterInvalidDefinitionError as error:
        raise ValueError from error
    return text


def zone(text: str) -> str:
    try:
        zoneinfo.ZoneInfo(text)
    except (zoneinfo.ZoneInfoNotFoundError, OSError) as error:
        raise ValueError from error
    return text


def profile(text: str) -> str:
    return one_of(*profiles())(text)


WHOLE: dict[str, Any] = {"read": above_zero(int), "must_be": "a whole number above 0"}
NUMBER: dict[str, Any] = {"read": above_zero(float), "must_be": "a number above 0"}
FOLDER: dict[str, Any] = {"read": folder, "must_be": "a folder, with no ? and no \\ in its name"}
CRON: dict[str, Any] = {"read": cron, "must_be": "a cron line", "used_by": "schedules"}
PROFILE: dict[str, Any] = {"read": profile, "must_be": "the name of a profile", "used_by": "schedules"}
JUDGE: dict[str, Any] = {"used_by": "judge"}
OTHERS: dict[str, Any] = {"used_by": "others"}

VARIABLES = {
    "GRIP_DATA": Variable(
        "Folder of artifacts and catalog. Relative to the repository in a checkout, else to the working directory."
        " Or an address of an object store (docs/cluster.md).",
        "`data`",
        "/data/grip",
        data_place,
        "a folder with no ? and no \\ in its name, or an address such as s3://bucket/folder, without a key in it",
    ),
    "GRIP_DATA_CACHE": Variable(
        "Folder of the copies of tables on this machine, if `GRIP_DATA` is an object store.",
        "`stores` in `GRIP_CACHE`, or in `grip` in `XDG_CACHE_HOME` or `~/.cache`",
        "/data/grip-cache",
        **FOLDER,
    ),
    "GRIP_DATA_CACHE_SIZE": Variable(
        "Size of these copies. What was used longest ago goes first, and nothing that is in use.",
        "`50GB`",
        "200GB",
        size,
        "a size of at least 1MB",
    ),
    "DAGSTER_HOME": Variable(
        "Folder of Dagster's instance. Relative as `GRIP_DATA` is.",
        "`.dagster` in the data folder; in a checkout without `GRIP_DATA` its `dagster_home`",
        "/data/grip-home",
        **FOLDER,
    ),
    "GRIP_CACHE": Variable(
        "Folder of models that were unpacked, for all data folders.",
        "`grip` in `XDG_CACHE_HOME` or `~/.cache`; where that cannot be written, a temporary folder",
        "/data/cache",
        **FOLDER,
    ),
    "GRIP_REPORT_PORT": Variable(
        "Port at which `grip report` and the UI's link serve the page.", "3001", "8080", port, "a port from 1 to 65535"
    ),
    "GRIP_WORKERS": Variable(
        "Threads; on a Ray cluster the most workers.",
        "`auto`, the cores",
        "4",
        workers,
        "a whole number above 0, or auto",
    ),
    "GRIP_MEMORY": Variable(
        "Memory that a computation may use: a size, or a share of the memory of the machine or container.",
        "`50%`",
        "4GB",
        memory,
        "a size of at least 1MB, or a share such as 80%",
    ),
    "GRIP_EXECUTOR": Variable(
        "`in_process`: one process for all steps. `multiprocess`: one process per step, forked from a loaded server."
        " `ray`: one process for all steps, whose jobs run on a Ray cluster.",
        "`in_process`",
        "multiprocess",
        one_of("in_process", "multiprocess", "ray"),
        "in_process, multiprocess or ray",
    ),
    "GRIP_RAY_ADDRESS": Variable(
        "The Ray cluster of `GRIP_EXECUTOR=ray`. This machine must be a node of it.",
        "none: one on this machine, for the run",
        "10.0.0.5:6379",
        ray_address,
        "the address of a head node as host:port, or auto",
    ),
    "GRIP_RAY_GPU_SHARE": Variable(
        "Share of a GPU for each worker of a Ray cluster that can use one.",
        "0.5",
        "1",
        share,
        "a number above 0 and at most 1",
    ),
    "GRIP_DEVICE": Variable(
        "Device of models, of searches and of trainings: `cpu`, `cuda`, or `auto`: a GPU if PyTorch finds one, and for"
        " trainings their own setting `device`.",
        "`auto`",
        "cpu",
        one_of("auto", "cpu", "cuda"),
        "auto, cpu or cuda",
    ),
    "GRIP_SCREEN": Variable(
        "Number format in which exact searches on the processor screen candidates, `int8` or `float32`.",
        "measured",
        "float32",
        one_of("int8", "float32"),
        "int8 or float32",
    ),
    "GRIP_NIGHTLY": Variable("Cron line of the schedule `nightly`.", "`0 3 * * *`", "'30 1 * * *'", **CRON),
    "GRIP_NIGHTLY_PROFILE": Variable(
        "Profile whose settings `nightly` sets first.", "none: the settings in force", "paper", **PROFILE
    ),
    "GRIP_WEEKLY": Variable("Cron line of the schedule `weekly`.", "`0 4 * * 0`", "'0 4 * * 6'", **CRON),
    "GRIP_WEEKLY_PROFILE": Variable("Profile whose settings `weekly` sets first.", "none", "paper", **PROFILE),
    "GRIP_TIMEZONE": Variable(
        "Time zone of the schedules.", "UTC", "Europe/Berlin", zone, "a name of a time zone", "schedules"
    ),
    "GRIP_WATCH_SECONDS": Variable(
        "Seconds between two looks of a sensor. A folder must not have changed for as long.",
        "30",
        "60",
        **WHOLE,
        used_by="schedules",
    ),
    "GRIP_POSTGRES": Variable(
        "Address of the server, with dagster_home/postgres.yaml.",
        "none",
        "postgresql+psycopg2://user:password@host:5432/database",
        **OTHERS,
    ),
    "OPENAI_API_KEY": Variable("Key of the judge's endpoint; read and written nowhere.", "none", "sk-...", **OTHERS),
    "OPENAI_BASE_URL": Variable(
        "Address of the judge's endpoint.", "that of OpenAI", "http://127.0.0.1:8000/v1", **OTHERS
    ),
    "GRIP_JUDGE_CONCURRENCY": Variable("Most requests at the same time.", "32", "8", **WHOLE, **JUDGE),
    "GRIP_JUDGE_REQUESTS_PER_MINUTE": Variable("Most requests per minute.", "no limit", "500", **NUMBER, **JUDGE),
    "GRIP_JUDGE_TOKENS_PER_MINUTE": Variable("Most tokens per minute.", "no limit", "200000", **NUMBER, **JUDGE),
    "GRIP_JUDGE_TIMEOUT": Variable("Most seconds for a request.", "120", "600", **NUMBER, **JUDGE),
    "GRIP_JUDGE_ATTEMPTS": Variable("Most attempts per document in a run.", "8", "3", **WHOLE, **JUDGE),
    "GRIP_JUDGE_BACKOFF": Variable("First wait after a failure, in seconds.", "0.5", "2", **NUMBER, **JUDGE),
    "GRIP_JUDGE_PATIENCE": Variable(
        "If the endpoint answers nothing for so many seconds, the run stops.", "300", "60", **NUMBER, **JUDGE
    ),
    "GRIP_JUDGE_POLL": Variable("Seconds between two looks at a batch job.", "30", "120", **NUMBER, **JUDGE),
    "GRIP_JUDGE_STORE": Variable(
        "File of answers, if several data folders should share one.",
        "one in each data folder",
        "/data/answers.sqlite",
        lambda text: Path(text).expanduser(),
        used_by="judge",
    ),
    "GRIP_DEBUG": Variable("`1` prints the traceback of an error.", "not set", "1", **OTHERS),
    "HF_HUB_OFFLINE": Variable("`1` forbids downloads from the hub.", "not set", "1", **OTHERS),
}


def value(name: str) -> Any:
    """The value of the variable; None if it is not set or empty. Raises Unreadable if it cannot be read."""
    variable, text = VARIABLES[name], os.environ.get(name, "").strip()
    if not text:
        return None
    try:
        return variable.read(text)
    except (ValueError, OverflowError):
        shown = re.sub("//[^/]*@", "//...@", text)  # a key in an address reaches no log
        raise Unreadable(
            f"{name} is '{shown}': it must be {variable.must_be}, for example {name}={variable.example}."
        ) from None


def problem(name: str) -> str:
    """The fault of the variable, as a sentence; "" if it has none."""
    try:
        value(name)
    except GripError as error:
        return str(error)
    return ""


def check(used_by: Iterable[str] = ("run", "schedules", "judge")) -> None:
    """Raises Unreadable that lists all variables that cannot be read. Warns of a name that is nearly one of ours."""
    wrong = [fault for name, v in VARIABLES.items() if v.used_by in used_by and (fault := problem(name))]
    if wrong:
        raise Unreadable("\n".join(wrong))
    for name in sorted(n for n in os.environ if n.startswith("GRIP_") and n not in VARIABLES):
        if near := difflib.get_close_matches(name, VARIABLES, 1, 0.85):
            warn_once(f"{name} is set, and nothing reads it. Did you mean {near[0]}?")

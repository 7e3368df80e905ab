"""The names of the profiles. What they hold is read by settings/changes.py; this is light, for the command line."""

from pathlib import Path

PROFILES = Path(__file__).parent / "settings" / "profiles"


def profiles() -> list[str]:
    return sorted(file.stem for file in PROFILES.glob("*.yaml"))

"""A path as it is stored in settings."""

import os
from pathlib import Path


def whole(path: str) -> str:
    """The absolute path. Links are not followed, since the name of the link may say what the file is."""
    return os.path.abspath(Path(path).expanduser())  # noqa: PTH100  (Path.resolve would follow links)

"""Lines for whoever looks at a command or a log: something is not as it should be, and the work goes on."""

import logging

_said: set[str] = set()


def warn_once(text: str) -> None:
    """A line on the terminal of a command and in the log of a server; the same one only once a process."""
    if text not in _said:
        _said.add(text)
        logging.getLogger("grip_assets").warning(text)

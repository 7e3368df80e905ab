"""Warnings on the terminal or in the log: something is not as it should be, but the work goes on."""

import logging

_said: set[str] = set()


def warn_once(text: str) -> None:
    """Log a warning. The same text is logged only once per process."""
    if text not in _said:
        _said.add(text)
        logging.getLogger("grip_assets").warning(text)

"""The one exception that users are meant to read."""


class GripError(Exception):
    """Bad input or settings. The message names the file or setting, what is wrong, and what to do next."""


class Capped(GripError):
    """A cap on calls or money is reached. What was paid for is kept."""

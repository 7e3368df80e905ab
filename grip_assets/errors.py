"""The exceptions that users are meant to read."""


class GripError(Exception):
    """Bad input or settings. The message names the file or setting, what is wrong, and what to do next.

    A stage that raises it refuses the settings of its run: those that the run changed go back to what they were.
    """


class UsageMistake(GripError):
    """A command that cannot be understood: an unknown setting or profile, an option given twice."""


class Unfinished(GripError):
    """Work stopped for a reason that no setting is to blame for. What was done is kept, the settings of the run stay
    in force, and the same command goes on."""


class Capped(Unfinished):
    """A cap on calls or money is reached. What was paid for is kept."""

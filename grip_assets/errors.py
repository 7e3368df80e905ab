"""The exceptions whose messages are written for users."""


class GripError(Exception):
    """Bad input or settings. The message names the file or setting, what is wrong, and what to do next.

    If a stage raises it, the settings that the run changed go back to their earlier values.
    """


class UsageMistake(GripError):
    """A command that cannot be understood, such as an unknown setting or an option that is typed twice."""


class Unfinished(GripError):
    """Work stopped, and no setting is the reason. Finished work is kept, the run's settings stay in force, and the
    same command continues."""


class Capped(Unfinished):
    """A cap on calls or money is reached. Answers that were paid for are kept."""

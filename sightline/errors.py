"""Errors that tell a user's mistake from a bug.

Whoever runs a command catches `SightlineError`, prints its message and exits with its `exit_code`; any other exception is a
bug and keeps its traceback. A message says what, where, got, expected, and the next step.
"""


def first_line(error: Exception) -> str:
    """What a library's error says first, for a message of ours: at most 300 characters, or its kind where it says nothing."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]


class SightlineError(Exception):
    """The command or its input is wrong: exit code 2."""

    exit_code = 2


class AnswerIsNo(SightlineError):
    """The work was done and its answer is no (findings, no candidate valid): exit code 1. What was written is kept."""

    exit_code = 1


class NotAvailableError(SightlineError):
    """An engine cannot run here, or not this model: a library, a provider, arithmetic or a file is not there."""


class MissingExtraError(NotAvailableError):
    """An optional library is not installed."""

    def __init__(self, library: str, extra: str) -> None:
        super().__init__(f"{library} is not installed: install the extra {extra}: pip install 'sightline[{extra}]'")

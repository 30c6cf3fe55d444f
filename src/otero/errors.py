"""Errors answer two questions: whose fault is it, and does retrying help.

    OteroError
    ├── BadInput        the caller's fault; the same request fails again
    │   ├── BadConfig   a configuration file; carries file, line and path
    │   ├── BadQuery    a query text; carries the position in it
    │   └── ExecutionError  a query that was understood and has no answer on this data
    ├── NotFound        nothing is there under that name
    ├── Conflict        it is there already, or somebody else holds it
    ├── LimitExceeded   a bound that protects the server; ask for less, or raise the setting that it names
    ├── Cancelled       the caller went away or asked to stop
    ├── TimedOut        it took longer than it may
    ├── Unavailable     our fault or the environment's; retry after `retry_after_s`
    └── Bug             ours; a report is welcome

`api/problem.py` alone maps them to the status and body of each HTTP dialect.
"""

from dataclasses import dataclass


class OteroError(Exception):
    """Root of every error that Otero raises on purpose. Its text is fit to be shown to the caller."""


class BadInput(OteroError):
    """The caller's fault; the same request fails again."""


class NotFound(OteroError):
    """Nothing is there under that name."""


class Conflict(OteroError):
    """It is there already, or somebody else holds it."""


class LimitExceeded(OteroError):
    """A bound that protects the server was reached; the text names the setting."""


class Cancelled(OteroError):
    """The caller went away or asked to stop."""


class TimedOut(OteroError):
    """It took longer than it may."""


class Unavailable(OteroError):
    """Cannot be done now; the same request may succeed after `retry_after_s` seconds."""

    def __init__(self, message: str, *, retry_after_s: float = 5.0) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class Bug(OteroError):
    """Otero's own fault."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One fault of a configuration file. Line and column count from 1; 0 means unknown."""

    message: str
    file: str = ""
    line: int = 0
    column: int = 0
    path: str = ""

    def __str__(self) -> str:
        place = self.file
        if self.line:
            place = f"{place}:{self.line}" if place else f"line {self.line}"
        return ": ".join(part for part in (place, self.path, self.message) if part)


class BadConfig(BadInput):
    """A configuration that cannot be used, with every fault that was found."""

    def __init__(self, *problems: Problem) -> None:
        super().__init__("\n".join(map(str, problems)))
        self.problems = problems


class BadField(ValueError):
    """A value that a configuration Struct refuses; `at` is the key below that Struct, when one key is at fault.

    A ValueError, so that msgspec takes it from `__post_init__`; the decoder of `source` makes it a `Problem`.
    """

    def __init__(self, message: str, at: str = "") -> None:
        super().__init__(message)
        self.at = at


class BadQuery(BadInput):
    """A query text that cannot be used. `start` and `end` are offsets in characters, `line` and `column` count from 1."""

    def __init__(self, message: str, *, line: int = 0, column: int = 0, start: int = 0, end: int = 0) -> None:
        super().__init__(message)
        self.line = line
        self.column = column
        self.start = start
        self.end = end


class ExecutionError(BadInput):
    """A query that was understood and has no answer on this data, such as a many-to-many match."""

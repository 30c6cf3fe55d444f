"""Where a line of an exposition goes wrong, in words."""

import re

from otero.wire.exposition_series import BLANKS, LABEL_NAME, NAME, QUOTED, shown

_NAME = re.compile(BLANKS + NAME)
_OPEN = re.compile(BLANKS + rb"\{" + BLANKS)
_CLOSE = re.compile(rb"\}")
_LABEL = re.compile(rb"(?:" + LABEL_NAME + rb"|" + QUOTED + rb")" + BLANKS, re.DOTALL)
_EQUAL = re.compile(rb"=" + BLANKS)
_VALUE = re.compile(QUOTED + BLANKS, re.DOTALL)
_COMMA = re.compile(rb"," + BLANKS)
_PAIRS = re.compile(
    rb"(?:(?:"
    + LABEL_NAME
    + rb"|"
    + QUOTED
    + rb")"
    + BLANKS
    + rb"="
    + BLANKS
    + QUOTED
    + BLANKS
    + rb","
    + BLANKS
    + rb")*+",
    re.DOTALL,
)
_NUMBER = re.compile(BLANKS + rb"[^{ \t\n]++")


def line_number(body: bytes, offset: int) -> int:
    """The line, counted from 1, in which this byte stands; the end of the body belongs to its last line."""
    return body.count(b"\n", 0, max(min(offset, len(body) - 1), 0)) + 1


def explain(line: bytes, *, openmetrics: bool) -> str:
    """What was expected and what was found in a line that is no sample and no comment. Linear in its length."""
    at = 0

    def found(pattern: re.Pattern[bytes]) -> bool:
        nonlocal at
        if (match := pattern.match(line, at)) is None:
            return False
        at = match.end()
        return True

    def expected(what: str) -> str:
        rest = line[at:].rstrip(b"\n") if line[at:] != b"\n" else line[at:]
        return f"expected {what}, found {shown(rest) if rest else 'the end of the data'} in {shown(line)}"

    named = found(_NAME)
    if found(_OPEN):
        found(_PAIRS)
        while not found(_CLOSE):
            if not found(_LABEL):
                return expected("a label name or }")
            if found(_EQUAL):
                if not found(_VALUE):
                    return expected("a quoted label value")
                if not found(_COMMA) and openmetrics and not _CLOSE.match(line, at):
                    return expected("a comma or }")
            elif named or not (found(_COMMA) or _CLOSE.match(line, at)):
                return expected("= after a label name")
    elif not named:
        return expected("a metric name, a comment or # EOF" if openmetrics else "a metric name or a comment")
    if not found(_NUMBER):
        return expected("a value after the series")
    what = "a timestamp, an exemplar" if openmetrics else "a timestamp in milliseconds"
    return expected(f"{what} or the end of the line" + (", and single blanks only" if openmetrics else ""))

"""Functions that the templates of Prometheus and of Alertmanager have in common."""

import math
import re
from collections.abc import Mapping
from typing import Any

import re2

from otero.gotemplate.formatting import sprintf
from otero.gotemplate.functions import Function
from otero.gotemplate.times import Duration
from otero.gotemplate.values import FunctionError, SafeHtml, type_name

_SMALL = ("m", "u", "n", "p", "f", "a", "z", "y")


# -- numbers ------------------------------------------------------------------------------------------------------------


def number(value: Any) -> float:
    """A number of a number, of a text or of a duration (seconds). Raises FunctionError."""
    if isinstance(value, Duration):
        return value.ns / 1e9
    if isinstance(value, str):
        try:
            if "_" in value or value != value.strip():
                raise ValueError
            return float(value)
        except ValueError:
            quoted = sprintf("%q", (value,))
            raise FunctionError(f"strconv.ParseFloat: parsing {quoted}: invalid syntax") from None
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(value)
    raise FunctionError(f"can't convert {type_name(value)} to float")


def short(value: float, unit: str = "") -> str:
    """Go's %.4g and a unit."""
    return sprintf("%.4g", (value,)) + unit


def shrunk(value: float) -> str:
    """A number below one with the prefix of a small unit: `1.5m`."""
    unit = ""
    for smaller in _SMALL:
        if abs(value) >= 1:
            break
        unit, value = smaller, value * 1000
    return short(value, unit)


def humanize_duration(given: Any) -> str:
    """Seconds as `1d 2h 3m 4s`, with small units below one."""
    value = number(given)
    if not math.isfinite(value):
        return short(value)
    if value == 0:
        return short(value, "s")
    if abs(value) < 1:
        return shrunk(value) + "s"
    sign, value = ("-", -value) if value < 0 else ("", value)
    minutes, seconds = divmod(int(value), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{sign}{days}d {hours}h {minutes}m {seconds}s"
    if hours:
        return f"{sign}{hours}h {minutes}m {seconds}s"
    return f"{sign}{minutes}m {seconds}s" if minutes else sign + short(value, "s")


# -- texts --------------------------------------------------------------------------------------------------------------


def _regex(pattern: str) -> Any:
    options = re2.Options()
    options.log_errors = False
    try:
        return re2.compile(pattern, options)
    except re2.error as error:
        raise FunctionError(f"error parsing regexp {pattern!r}: {error}") from None


def _replaced(pattern: str, replacement: str, text: str) -> str:
    """`$1`, `${1}`, `$name` and `$$` in the replacement, as Go's Regexp.Expand reads them."""
    regex = _regex(pattern)
    parts = re.split(r"\$(?:(\$)|\{(\w+)\}|(\w+))", replacement)

    def expanded(found: Any) -> str:
        out = [parts[0]]
        for at in range(1, len(parts), 4):
            dollar, braced, bare, literal = parts[at : at + 4]
            out.append("$" if dollar else _group(found, braced or bare))
            out.append(literal)
        return "".join(out)

    return regex.sub(expanded, text)


def _group(found: Any, name: str) -> str:
    try:
        return found.group(int(name) if name.isdigit() else name) or ""
    except (IndexError, KeyError, re2.error):
        return ""


FUNCTIONS: Mapping[str, Function] = {
    "toUpper": Function(str.upper, ("string",)),
    "toLower": Function(str.lower, ("string",)),
    "match": Function(lambda pattern, text: _regex(pattern).search(text) is not None, ("string", "string")),
    "reReplaceAll": Function(_replaced, ("string", "string", "string")),
    "safeHtml": Function(SafeHtml, ("string",)),
    "humanizeDuration": Function(humanize_duration, ("any",)),
}

"""time.Time and time.Duration as templates see them: layouts, methods, printed forms.

Layouts: https://pkg.go.dev/time#pkg-constants
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from functools import lru_cache, partial
from typing import Any, ClassVar

from otero.gotemplate.values import FunctionError

_SECOND = 1_000_000_000
_MILLISECOND = 1_000_000
_UNITS = (("h", 3600 * _SECOND), ("m", 60 * _SECOND), ("s", _SECOND))
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_CYCLE_YEARS = 400
CYCLE_DAYS = 146_097
"""After so many years the calendar repeats itself."""
_ZERO_SECONDS = -62_135_596_800
"""Year 1."""

LAYOUT = re.compile(
    r"January|Jan|Monday|Mon|MST|2006|Z07:00:00|Z07:00|Z0700|Z07|-07:00:00|-07:00|-0700|-07|002|__2"
    r"|01|02|03|04|05|06|15|PM|pm|_2|[.,]0+(?![0-9])|[.,]9+(?![0-9])|1|2|3|4|5"
)
"""The elements of a layout; a fraction counts only after seconds."""

MONTHS = ("January", "February", "March", "April", "May", "June", "July", "August", "September", "October",
          "November", "December")  # fmt: skip
DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")


@dataclass(frozen=True, slots=True, order=True)
class Duration:
    """Nanoseconds."""

    ns: int

    type_name: ClassVar[str] = "time.Duration"
    methods: ClassVar[Mapping[str, Callable[..., Any]]] = {}

    def __str__(self) -> str:
        """As Go prints it: `1h2m3.5s`, `1.5µs`, `0s`."""
        ns, sign = abs(self.ns), "-" if self.ns < 0 else ""
        if ns == 0:
            return "0s"
        if ns < _SECOND:
            for unit, size in (("ns", 1), ("µs", 1000), ("ms", _MILLISECOND)):
                if ns < size * 1000:
                    return f"{sign}{_decimal(ns, size)}{unit}"
        hours, rest = divmod(ns, 3600 * _SECOND)
        minutes, rest = divmod(rest, 60 * _SECOND)
        text = f"{_decimal(rest, _SECOND)}s"
        if hours or minutes:
            text = f"{minutes}m{text}"
        return f"{sign}{hours}h{text}" if hours else f"{sign}{text}"


def parse_duration(text: str) -> Duration:
    """`time.ParseDuration`: `1h30m`, `-1.5s`, `300ms`. Raises FunctionError."""
    sizes = {"ns": 1, "us": 1000, "µs": 1000, "μs": 1000, "ms": _MILLISECOND, **dict(_UNITS)}
    found = re.fullmatch(r"([-+]?)((?:(?:\d+\.?\d*|\.\d+)(?:ns|us|µs|μs|ms|s|m|h))+|0)", text)
    if not found:
        raise FunctionError(f'time: invalid duration "{text}"')
    total = 0
    for number, unit in re.findall(r"(\d+\.?\d*|\.\d+)(ns|us|µs|μs|ms|s|m|h)", found[2]):
        whole, _, fraction = number.partition(".")
        total += int(whole or 0) * sizes[unit]
        if fraction:
            total += int(fraction) * sizes[unit] // 10 ** len(fraction)
    return Duration(-total if found[1] == "-" else total)


@dataclass(frozen=True, slots=True)
class Time:
    """A moment in nanoseconds since 1970, and the zone in which it prints."""

    ns: int
    zone: tzinfo = UTC

    type_name: ClassVar[str] = "time.Time"
    methods: ClassVar[Mapping[str, Callable[..., Any]]] = {}

    @property
    def is_zero(self) -> bool:
        """Whether this is Go's zero time, January 1 of year 1."""
        return self.ns == _ZERO_SECONDS * _SECOND

    def local(self) -> datetime:
        """The calendar's view in the zone, to the microsecond. Raises FunctionError outside the years 1 to 9999."""
        try:
            return (_EPOCH + timedelta(microseconds=self.ns // 1000)).astimezone(self.zone)
        except OverflowError:
            raise FunctionError("time: outside of the years 1 to 9999") from None

    def format(self, layout: str) -> str:
        """The moment as a Go layout writes it."""
        if self.ns < _ZERO_SECONDS * _SECOND:
            return self._format_year_0(layout)
        moment = self.local()
        nanoseconds = self.ns % _SECOND
        return "".join(
            [part if isinstance(part, str) else part(moment, nanoseconds) for part in _parts(layout)]
        )

    def _format_year_0(self, layout: str) -> str:
        """Year 0, in which a text without a year is read: Python's calendar shows it as its like, the year 400."""
        like = Time(self.ns + CYCLE_DAYS * 86400 * _SECOND, self.zone)
        if like.local().year != _CYCLE_YEARS:
            raise FunctionError("time: outside of the years 0 to 9999")
        return like.format(re.sub("2006", "0000", layout))

    def __str__(self) -> str:
        return self.format("2006-01-02 15:04:05.999999999 -0700 MST")

    def add_date(self, years: int, months: int, days: int) -> "Time":
        """The moment so many years, months and days later. Raises FunctionError outside the years 1 to 9999."""
        moment = self.local()
        month = moment.month - 1 + months
        try:
            first = moment.replace(year=moment.year + years + month // 12, month=month % 12 + 1, day=1)
            moved = first + timedelta(days=moment.day - 1 + days)
        except (ValueError, OverflowError):
            raise FunctionError("time: outside of the years 1 to 9999") from None
        return Time(self.ns + round((moved - moment).total_seconds()) * _SECOND, self.zone)


class Month(int):
    """time.Month: a number that prints as its name."""

    type_name = "time.Month"

    def __str__(self) -> str:
        return MONTHS[int(self) - 1]

    methods: ClassVar[Mapping[str, Callable[..., Any]]] = {"String": str}


class Weekday(int):
    """time.Weekday: Sunday is 0; prints as its name."""

    type_name = "time.Weekday"

    def __str__(self) -> str:
        return DAYS[int(self) - 1]

    methods: ClassVar[Mapping[str, Callable[..., Any]]] = {"String": str}


def system_zone() -> tzinfo:
    """The zone of this machine, Go's `Local`."""
    return datetime.now(UTC).astimezone().tzinfo or UTC


_Part = Callable[[datetime, int], str]
"""The text of an element of a layout: of a moment and its nanoseconds within the second."""

_ELEMENTS: Mapping[str, _Part] = {
    "2006": lambda t, _: f"{t.year:04d}",
    "06": lambda t, _: f"{t.year % 100:02d}",
    "January": lambda t, _: MONTHS[t.month - 1],
    "Jan": lambda t, _: MONTHS[t.month - 1][:3],
    "01": lambda t, _: f"{t.month:02d}",
    "1": lambda t, _: str(t.month),
    "Monday": lambda t, _: DAYS[t.weekday()],
    "Mon": lambda t, _: DAYS[t.weekday()][:3],
    "02": lambda t, _: f"{t.day:02d}",
    "2": lambda t, _: str(t.day),
    "_2": lambda t, _: f"{t.day:2d}",
    "002": lambda t, _: f"{t.timetuple().tm_yday:03d}",
    "__2": lambda t, _: f"{t.timetuple().tm_yday:3d}",
    "15": lambda t, _: f"{t.hour:02d}",
    "03": lambda t, _: f"{t.hour % 12 or 12:02d}",
    "3": lambda t, _: str(t.hour % 12 or 12),
    "04": lambda t, _: f"{t.minute:02d}",
    "4": lambda t, _: str(t.minute),
    "05": lambda t, _: f"{t.second:02d}",
    "5": lambda t, _: str(t.second),
    "PM": lambda t, _: "AM" if t.hour < 12 else "PM",
    "pm": lambda t, _: "am" if t.hour < 12 else "pm",
}


@lru_cache(maxsize=256)
def _parts(layout: str) -> tuple[str | _Part, ...]:
    """A layout as texts that stand for themselves and elements."""
    parts: list[str | _Part] = []
    at = 0
    for found in LAYOUT.finditer(layout):
        element = found[0]
        if element[0] in ".," and not layout[: found.start()].endswith("5"):
            continue  # a fraction follows seconds; elsewhere it is plain text
        parts.append(layout[at : found.start()])
        if element[0] in ".,":
            parts.append(partial(_fraction, element))
        else:
            parts.append(_ELEMENTS.get(element) or partial(_zone_part, element))
        at = found.end()
    return (*parts, layout[at:])


def _fraction(element: str, _moment: datetime, nanoseconds: int) -> str:
    digits = f"{nanoseconds:09d}"[: len(element) - 1]
    if element[1] == "9":
        digits = digits.rstrip("0")
    return element[0] + digits if digits else ""


def _zone_part(part: str, moment: datetime, _nanoseconds: int) -> str:
    offset = round((moment.utcoffset() or timedelta()).total_seconds())
    sign, span = "-" if offset < 0 else "+", abs(offset)
    hours, minutes, seconds = span // 3600, span // 60 % 60, span % 60
    if part == "MST":
        name = moment.tzname() or "UTC"
        if isinstance(moment.tzinfo, timezone) and not offset:
            name = "UTC"
        return name if name.isalpha() else f"{sign}{hours:02d}" + (f"{minutes:02d}" if minutes else "")
    if part[0] == "Z":
        if not offset:
            return "Z"
        part = part[1:]
    colon = ":" if ":" in part else ""
    text = f"{sign}{hours:02d}"
    if len(part.lstrip("-").replace(":", "")) >= 4:
        text += f"{colon}{minutes:02d}"
    if part.count(":") == 2:
        text += f":{seconds:02d}"
    return text


def _decimal(value: int, unit: int) -> str:
    whole, rest = divmod(value, unit)
    if not rest:
        return str(whole)
    return f"{whole}.{str(rest).zfill(len(str(unit)) - 1).rstrip('0')}"


def _truncated(value: int, unit: int) -> int:
    return -(-value // unit) if value < 0 else value // unit


def _rounded(value: int, unit: int) -> int:
    if unit <= 0:
        return value
    rounded = (abs(value) + unit // 2) // unit * unit
    return -rounded if value < 0 else rounded


def _as_text(value: Any) -> str:
    if not isinstance(value, str):
        raise FunctionError("expected a string")
    return value


def _as_duration(value: Any) -> Duration:
    if isinstance(value, Duration):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return Duration(value)
    raise FunctionError("expected a time.Duration")


def _as_time(value: Any) -> Time:
    if not isinstance(value, Time):
        raise FunctionError("expected a time.Time")
    return value


ZERO_TIME = Time(_ZERO_SECONDS * _SECOND)
"""Go's zero time, January 1 of year 1."""

Duration.methods = {
    "Seconds": lambda span: span.ns / _SECOND,
    "Minutes": lambda span: span.ns / (60 * _SECOND),
    "Hours": lambda span: span.ns / (3600 * _SECOND),
    "Milliseconds": lambda span: _truncated(span.ns, _MILLISECOND),
    "Microseconds": lambda span: _truncated(span.ns, 1000),
    "Nanoseconds": lambda span: span.ns,
    "String": str,
    "Abs": lambda span: Duration(abs(span.ns)),
    "Round": lambda span, to: Duration(_rounded(span.ns, _as_duration(to).ns)),
    "Truncate": lambda span, to: Duration(
        _truncated(span.ns, n) * n if (n := _as_duration(to).ns) > 0 else span.ns
    ),
}

Time.methods = {
    "Format": lambda time, layout: time.format(_as_text(layout)),
    "String": str,
    "Unix": lambda time: time.ns // _SECOND,
    "UnixMilli": lambda time: time.ns // _MILLISECOND,
    "UnixNano": lambda time: time.ns,
    "UTC": lambda time: Time(time.ns),
    "Local": lambda time: Time(time.ns, system_zone()),
    "Year": lambda time: time.local().year,
    "Month": lambda time: Month(time.local().month),
    "Day": lambda time: time.local().day,
    "Hour": lambda time: time.local().hour,
    "Minute": lambda time: time.local().minute,
    "Second": lambda time: time.local().second,
    "Nanosecond": lambda time: time.ns % _SECOND,
    "Weekday": lambda time: Weekday(time.local().isoweekday() % 7),
    "YearDay": lambda time: time.local().timetuple().tm_yday,
    "IsZero": lambda time: time.is_zero,
    "Add": lambda time, span: Time(time.ns + _as_duration(span).ns, time.zone),
    "AddDate": lambda time, years, months, days: time.add_date(years, months, days),
    "Sub": lambda time, other: Duration(time.ns - _as_time(other).ns),
    "Before": lambda time, other: time.ns < _as_time(other).ns,
    "After": lambda time, other: time.ns > _as_time(other).ns,
    "Equal": lambda time, other: time.ns == _as_time(other).ns,
}

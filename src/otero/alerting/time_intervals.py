"""Time intervals of alertmanager.yml: when a route is muted or active, by the calendar and the clock of a time zone.

The rule of each part is Alertmanager's (its package timeinterval): a moment is in an interval when it is in one range of
each part that is given; parts that are left out do not matter, and one that is an empty list is never met. Without a
location the clock is UTC's.
"""

import calendar
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from typing import ClassVar, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec

from otero.errors import BadField

_WEEKDAYS = ("sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday")
_MONTHS = tuple(name.lower() for name in calendar.month_name)  # the first is empty
_NUMBER = re.compile(r"[+-]?[0-9]{1,9}", re.ASCII)
_TIME = re.compile(r"(?:[01][0-9]|2[0-3]):[0-5][0-9]|24:00", re.ASCII)


@dataclass(frozen=True, slots=True)
class Range:
    """From `begin` to `end`, both included. Written `3`, or `3:5`."""

    begin: int
    end: int

    _names: ClassVar[Mapping[str, int]] = {}
    _what: ClassVar[str] = "number"

    @classmethod
    def parse(cls, value: object) -> Self:
        text = str(value).lower()
        parts = text.split(":")
        if len(parts) > 2:
            raise BadField(f'cannot read the range "{text}"; write one {cls._what}, or two as first:last')
        first, last = cls._member(parts[0]), cls._member(parts[-1])
        cls._check(first, last, text)
        return cls(first, last)

    @classmethod
    def _member(cls, text: str) -> int:
        if text in cls._names:
            return cls._names[text]
        if _NUMBER.fullmatch(text) is None:
            raise BadField(f'"{text}" is not a {cls._what}')
        return int(text)

    @classmethod
    def _check(cls, first: int, last: int, text: str) -> None:
        if first > last:
            raise BadField(f'the range "{text}" ends before it begins')

    def __contains__(self, number: int) -> bool:
        return self.begin <= number <= self.end

    def __str__(self) -> str:
        names = {number: name for name, number in self._names.items()}
        first, last = (names.get(number, str(number)) for number in (self.begin, self.end))
        return first if first == last else f"{first}:{last}"


class Weekdays(Range):
    """Days of the week by name; the week begins on Sunday."""

    __slots__ = ()
    _names = {name: number for number, name in enumerate(_WEEKDAYS)}  # noqa: RUF012
    _what = "weekday"

    @classmethod
    def _member(cls, text: str) -> int:
        if text not in cls._names:
            raise BadField(f'"{text}" is not a weekday; use {", ".join(_WEEKDAYS)}')
        return cls._names[text]

    @classmethod
    def _check(cls, first: int, last: int, text: str) -> None:
        if first > last:
            raise BadField(
                f'the range "{text}" ends before it begins: a week begins on sunday; write two ranges,'
                f' "{_WEEKDAYS[first]}:saturday" and "sunday:{_WEEKDAYS[last]}"'
            )


class DaysOfMonth(Range):
    """Days of the month from 1; negative ones count from its end, -1 being the last day."""

    __slots__ = ()
    _what = "day of the month"

    @classmethod
    def _check(cls, first: int, last: int, text: str) -> None:
        for day in (first, last):
            if day == 0 or not -31 <= day <= 31:
                raise BadField(f'{day} in "{text}" is not a valid day of the month: it is out of range')
        if first < 0 < last:
            raise BadField("end day must be negative if start day is negative")
        shortest = 28  # a range that is empty in the shortest month only is well
        if (shortest + first if first < 0 else first) > (shortest + last if last < 0 else last):
            raise BadField(f"end day {last} is always before start day {first}")

    def contains(self, day: int, days_in_month: int) -> bool:
        """Whether it holds a day of a month of that many days; an end beyond the month is the month's end."""
        first, last = (
            number + days_in_month + 1 if number < 0 else number for number in (self.begin, self.end)
        )
        return first <= day <= last


class Months(Range):
    """Months by name or number, January being 1."""

    __slots__ = ()
    _names = {name: number for number, name in enumerate(_MONTHS) if name}  # noqa: RUF012
    _what = "month"


class Years(Range):
    """Years by number."""

    __slots__ = ()
    _what = "year"


class Location(str):
    """A time zone by its name in the IANA database; `Local` is this machine's."""

    __slots__ = ()

    @classmethod
    def parse(cls, value: object) -> Self:
        location = cls(value)
        try:
            location.zone()
        except (ZoneInfoNotFoundError, ValueError, OSError):
            raise BadField(
                f'unknown time zone {location[:80]}; use a name such as "Europe/Berlin" or "UTC"'
            ) from None
        return location

    def zone(self) -> tzinfo | None:
        """None is this machine's, as the standard library has it."""
        if self == "Local":
            return None
        return UTC if self in ("", "UTC") else ZoneInfo(self)


class TimeRange(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """From a minute of the day on, until before another: `08:00` to `17:00`; `24:00` ends the day."""

    start_time: str = ""
    end_time: str = ""

    def __post_init__(self) -> None:
        if not self.start_time or not self.end_time:
            raise BadField("both start and end times must be provided")
        for key in ("start_time", "end_time"):
            text: str = getattr(self, key)
            if _TIME.fullmatch(text) is None:
                raise BadField(f'"{text}" is not a time of the day; write it as "08:00" or "24:00"', key)
        if self.begin >= self.end:
            raise BadField(
                f"start time {self.start_time} must be before end time {self.end_time}; for a night, write two"
                f' ranges, "{self.start_time}" to "24:00" and "00:00" to "{self.end_time}"'
            )

    @property
    def begin(self) -> int:
        """In minutes after midnight, as `end`."""
        return _minutes(self.start_time)

    @property
    def end(self) -> int:
        return _minutes(self.end_time)


def _minutes(text: str) -> int:
    return int(text[:2]) * 60 + int(text[3:])


class TimeInterval(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The moments at which all given parts are met. None is a part that was not given."""

    times: tuple[TimeRange, ...] | None = None
    weekdays: tuple[Weekdays, ...] | None = None
    days_of_month: tuple[DaysOfMonth, ...] | None = None
    months: tuple[Months, ...] | None = None
    years: tuple[Years, ...] | None = None
    location: Location | None = None

    def contains(self, time_ms: int) -> bool:
        """Whether it holds this moment, by the wall clock of its location."""
        at = datetime.fromtimestamp(time_ms // 1000, UTC if self.location is None else self.location.zone())
        if self.times is not None:
            minute = at.hour * 60 + at.minute
            if not any(span.begin <= minute < span.end for span in self.times):
                return False
        if self.days_of_month is not None:
            length = calendar.monthrange(at.year, at.month)[1]
            if not any(days.contains(at.day, length) for days in self.days_of_month):
                return False
        if self.months is not None and not any(at.month in months for months in self.months):
            return False
        if self.weekdays is not None and not any(at.isoweekday() % 7 in days for days in self.weekdays):
            return False
        return self.years is None or any(at.year in years for years in self.years)


class NamedIntervals(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An entry of `time_intervals` or `mute_time_intervals`: intervals under the name by which routes know them."""

    name: str = ""
    time_intervals: tuple[TimeInterval, ...] = ()

    def __post_init__(self) -> None:
        if not self.name:
            raise BadField("missing name in time interval", "name")

    def contains(self, time_ms: int) -> bool:
        """Whether one of them holds this moment."""
        return any(interval.contains(time_ms) for interval in self.time_intervals)

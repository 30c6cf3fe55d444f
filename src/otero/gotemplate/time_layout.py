"""time.Parse: a text into a moment, by a layout.

Rules: https://pkg.go.dev/time#Parse
"""

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta, timezone, tzinfo

from otero.gotemplate.formatting import quoted
from otero.gotemplate.times import CYCLE_DAYS, DAYS, LAYOUT, MONTHS, Time
from otero.gotemplate.values import FunctionError

_SECOND = 1_000_000_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_NAMES: Mapping[str, tuple[str, ...]] = {
    "January": MONTHS,
    "Jan": tuple(name[:3] for name in MONTHS),
    "Monday": DAYS,
    "Mon": tuple(name[:3] for name in DAYS),
}
_NUMBERS: Mapping[str, tuple[str, str, int, int]] = {
    # what it is, how it looks, and its bounds
    "2006": ("year", r"\d{4}", 0, 9999),
    "06": ("year", r"\d\d", 0, 99),
    "01": ("month", r"\d\d", 1, 12),
    "1": ("month", r"\d\d?", 1, 12),
    "02": ("day", r"\d\d", 0, 99),
    "2": ("day", r"\d\d?", 0, 99),
    "_2": ("day", r" ?\d\d?", 0, 99),
    "002": ("day of the year", r"\d{3}", 1, 366),
    "__2": ("day of the year", r" {0,2}\d{1,3}", 1, 366),
    "15": ("hour", r"\d\d?", 0, 23),
    "03": ("hour", r"\d\d", 0, 12),
    "3": ("hour", r"\d\d?", 0, 12),
    "04": ("minute", r"\d\d", 0, 59),
    "4": ("minute", r"\d\d?", 0, 59),
    "05": ("second", r"\d\d", 0, 59),
    "5": ("second", r"\d\d?", 0, 59),
}
_OFFSETS: Mapping[str, str] = {
    "07": r"([-+])(\d\d)",
    "0700": r"([-+])(\d\d)(\d\d)",
    "07:00": r"([-+])(\d\d):(\d\d)",
    "07:00:00": r"([-+])(\d\d):(\d\d):(\d\d)",
}
_ABBREVIATION = r"GMT[-+]\d\d?|[A-Z]{3,4}T?(?![A-Z])|[-+]\d\d"
_CENTURY_ENDS = 69
"""From this one on, years of two digits are of the last century."""
_MAX_OFFSET_HOURS, _MAX_OFFSET_MINUTES = 24, 60


def parse_time(layout: str, text: str) -> Time:
    """The moment that a text names, in UTC unless it says otherwise. Raises FunctionError."""
    return _Reader(layout, text).run()


class _Reader:
    def __init__(self, layout: str, text: str) -> None:
        self._layout, self._text = layout, text
        self._rest = text
        self._numbers: dict[str, int] = {}
        self._nanoseconds = 0
        self._half = ""
        self._zone: tzinfo | None = None
        self._is_named = False

    def _wrong(self, part: str, why: str = "") -> FunctionError:
        """The error at what is not read yet."""
        reason = why or f" cannot parse {quoted(self._rest)} as {quoted(part)}"
        return FunctionError(f"parsing time {quoted(self._text)} as {quoted(self._layout)}:{reason}")

    def run(self) -> Time:
        at = 0
        for found in LAYOUT.finditer(self._layout):
            part = found[0]
            if part[0] in ".," and not self._layout[: found.start()].endswith("5"):
                continue  # a fraction follows seconds; elsewhere it is plain text
            self._literal(self._layout[at : found.start()])
            at = found.end()
            self._element(part, self._layout[at:])
        self._literal(self._layout[at:])
        if self._rest:
            raise self._wrong("", f" extra text: {quoted(self._rest)}")
        return self._moment()

    def _literal(self, text: str) -> None:
        """Text that stands for itself; a run of blanks for any run of blanks."""
        for piece in re.findall(r" +|[^ ]+", text):
            if piece[0] == " ":
                if self._rest and self._rest[0] != " ":
                    raise self._wrong(text)
                self._rest = self._rest.lstrip(" ")
            elif not self._rest.startswith(piece):
                raise self._wrong(text)
            else:
                self._rest = self._rest[len(piece) :]

    def _take(self, pattern: str, part: str) -> re.Match[str]:
        found = re.compile(pattern, re.ASCII).match(self._rest)
        if found is None:
            raise self._wrong(part)
        self._rest = self._rest[found.end() :]
        return found

    def _element(self, part: str, following: str) -> None:
        if part in _NUMBERS:
            self._number(part, following)
        elif part in _NAMES:
            names = _NAMES[part]
            found = next(
                (at for at, name in enumerate(names) if self._rest.lower().startswith(name.lower())), None
            )
            if found is None:
                raise self._wrong(part)
            self._rest = self._rest[len(names[found]) :]
            if names in (MONTHS, _NAMES["Jan"]):
                self._numbers["month"] = found + 1
        elif part in ("PM", "pm"):
            self._half = self._take("[AP]M" if part == "PM" else "[ap]m", part)[0].upper()
        elif part[0] in ".,":
            self._fraction(part)
        elif part == "MST":
            self._abbreviation()
        else:
            self._offset(part)

    def _number(self, part: str, following: str) -> None:
        name, pattern, low, high = _NUMBERS[part]
        before = self._rest
        value = int(self._take(pattern, part)[0])
        if not low <= value <= high:
            self._rest = before
            raise self._wrong(part, f" {name} out of range")
        self._numbers[name] = value if part != "06" else value + (1900 if value >= _CENTURY_ENDS else 2000)
        # A fraction of seconds is read where the text has one, whether the layout has it or not.
        if (
            name == "second"
            and re.match(r"[.,]\d", self._rest)
            and not re.match(r"[.,](0+|9+)(?!\d)", following)
        ):
            self._keep_fraction(self._take(r"[.,]\d+", part)[0])

    def _fraction(self, part: str) -> None:
        if part[1] == "9":
            if re.match(r"[.,]\d", self._rest):
                self._keep_fraction(self._take(r"[.,]\d{1,9}", part)[0])
            return
        self._keep_fraction(self._take(rf"[.,]\d{{{len(part) - 1}}}", part)[0])

    def _keep_fraction(self, text: str) -> None:
        self._nanoseconds = int(text[1:10].ljust(9, "0"))

    def _offset(self, part: str) -> None:
        if part[0] == "Z" and self._rest.startswith("Z"):
            self._rest, self._zone = self._rest[1:], UTC
            return
        found = self._take(_OFFSETS[part.lstrip("Z-")], part)
        hours, minutes, seconds = (*map(int, found.groups()[1:]), 0, 0)[:3]
        if hours > _MAX_OFFSET_HOURS or minutes > _MAX_OFFSET_MINUTES or seconds > _MAX_OFFSET_MINUTES:
            raise self._wrong(part, " time zone offset out of range")
        self._zone = _fixed((hours * 3600 + minutes * 60 + seconds) * (-1 if found[1] == "-" else 1))

    def _abbreviation(self) -> None:
        """An abbreviation is a name in which the moment, read as UTC, prints; only `GMT-3` and the like move what prints."""
        if self._rest.startswith("UTC"):
            self._rest, self._zone = self._rest[3:], UTC
            return
        name = self._take(_ABBREVIATION, "MST")[0]
        if self._zone is None:
            hours = int(name[3:]) if name.startswith("GMT") and len(name) > len("GMT") else 0
            self._zone, self._is_named = timezone(timedelta(hours=hours), name), True

    def _moment(self) -> Time:
        numbers = self._numbers
        year = numbers.get("year", 0)
        hour = numbers.get("hour", 0)
        if self._half == "PM" and hour < 12:
            hour += 12
        elif self._half == "AM" and hour == 12:
            hour = 0
        zone = self._zone or UTC
        try:
            # Year 0, which Go has and Python has not, is a leap year 400 years before year 400.
            day = datetime(year or 400, numbers.get("month", 1), numbers.get("day", 1), tzinfo=UTC)
        except ValueError:
            raise self._wrong("", " day out of range") from None
        if "day of the year" in numbers:
            by_year = datetime(year or 400, 1, 1, tzinfo=UTC) + timedelta(days=numbers["day of the year"] - 1)
            if by_year.year != (year or 400):
                raise self._wrong("", " day-of-year out of range")
            if numbers.get("month", by_year.month) != by_year.month:
                raise self._wrong("", " day-of-year does not match month")
            if numbers.get("day", by_year.day) != by_year.day:
                raise self._wrong("", " day-of-year does not match day")
            day = by_year
        days = (day - _EPOCH).days - (0 if year else CYCLE_DAYS)
        seconds = days * 86400 + hour * 3600 + numbers.get("minute", 0) * 60 + numbers.get("second", 0)
        offset = timedelta() if self._is_named else zone.utcoffset(None) or timedelta()
        return Time((seconds - round(offset.total_seconds())) * _SECOND + self._nanoseconds, zone)


def _fixed(offset_s: int) -> tzinfo:
    return timezone(timedelta(seconds=offset_s)) if offset_s else UTC

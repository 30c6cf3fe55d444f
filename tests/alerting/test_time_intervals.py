"""Time intervals: read as Alertmanager reads them, and checked against sets of every allowed day and minute."""

import calendar
import shutil
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from otero.alerting.time_intervals import NamedIntervals, TimeInterval
from otero.errors import BadConfig
from otero.source import Reader, parse_yaml

WEEKDAYS = ["sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday"]
MONTHS = [name.lower() for name in calendar.month_name][1:]
ZONES = ["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu", "Pacific/Apia"]


def read(text: str) -> TimeInterval:
    return Reader().require(parse_yaml(text), TimeInterval)


def at(text: str, zone: str = "UTC") -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).timestamp() * 1000)


@pytest.mark.parametrize(
    ("interval", "inside", "outside"),
    [
        (
            "times: [{start_time: '09:00', end_time: '17:00'}]",
            ["2024-05-01T09:00", "2024-05-01T16:59:59"],
            ["2024-05-01T17:00", "2024-05-01T08:59:59"],
        ),
        ("times: [{start_time: '22:00', end_time: '24:00'}]", ["2024-05-01T23:59:59"], ["2024-05-02T00:00"]),
        (
            "weekdays: ['monday:friday', Sunday]",
            ["2024-05-03T12:00", "2024-05-05T12:00"],
            ["2024-05-04T12:00"],
        ),
        ("days_of_month: ['1:5', '-3:-1']", ["2024-02-27T00:00", "2024-02-05T00:00"], ["2024-02-26T00:00"]),
        ("days_of_month: ['31']", ["2024-03-31T00:00"], ["2024-04-30T00:00", "2024-02-29T00:00"]),
        ("days_of_month: ['29:31']", ["2024-02-29T00:00"], ["2023-02-28T00:00", "2024-02-28T00:00"]),
        ("days_of_month: ['-31:-28']", ["2024-03-01T00:00", "2024-02-02T00:00"], ["2024-02-03T00:00"]),
        ("months: ['2:march', december]", ["2024-02-01T00:00", "2024-12-31T23:59"], ["2024-04-01T00:00"]),
        ("years: ['2020:2022', 2030]", ["2021-06-01T00:00", "2030-01-01T00:00"], ["2023-01-01T00:00"]),
        ("{}", ["2024-05-01T00:00"], []),
        ("weekdays: []", [], ["2024-05-01T00:00"]),
        ("weekdays:", ["2024-05-01T00:00"], []),
        (
            "{months: ['may'], weekdays: ['monday']}",
            ["2024-05-06T00:00"],
            ["2024-05-07T00:00", "2024-06-03T00:00"],
        ),
    ],
)
def test_what_an_interval_holds(interval: str, inside: list[str], outside: list[str]) -> None:
    parsed = read(interval)
    assert [moment for moment in inside if not parsed.contains(at(moment))] == []
    assert [moment for moment in outside if parsed.contains(at(moment))] == []


def test_the_clock_is_the_locations_through_summer_time() -> None:
    office = read("{times: [{start_time: '09:00', end_time: '17:00'}], location: Europe/Berlin}")
    assert office.contains(at("2024-01-10T08:00")), "nine in winter is eight in UTC"
    assert not office.contains(at("2024-07-10T15:00")), "seventeen in summer is fifteen in UTC"
    assert office.contains(at("2024-07-10T07:00"))
    # On 31 March 2024 the hour from two to three does not exist; on 27 October it is there twice.
    night = read("{times: [{start_time: '02:00', end_time: '03:00'}], location: Europe/Berlin}")
    minutes = [at("2024-03-30T23:00") + minute * 60_000 for minute in range(1440)]
    assert sum(map(night.contains, minutes)) == 0
    minutes = [at("2024-10-26T22:00") + minute * 60_000 for minute in range(1500)]
    assert sum(map(night.contains, minutes)) == 120


def test_the_last_day_of_a_month_in_which_the_clocks_change() -> None:
    last = read("{days_of_month: ['-1'], location: Europe/Berlin}")
    assert last.contains(at("2024-03-31T12:00"))
    assert not last.contains(at("2024-03-30T12:00"))


@pytest.mark.parametrize(
    ("interval", "problem"),
    [
        ("times: [{start_time: '09:00'}]", "times[0]: both start and end times must be provided"),
        ("times: [{start_time: '9:00', end_time: '17:00'}]", 'times[0].start_time: "9:00" is not a time'),
        ("times: [{start_time: '09:00', end_time: '24:01'}]", 'times[0].end_time: "24:01" is not a time'),
        ("times: [{start_time: '22:00', end_time: '06:00'}]", 'write two ranges, "22:00" to "24:00"'),
        ("times: [{start_time: '09:00', end_time: '09:00'}]", "must be before"),
        ("weekdays: ['friday:monday']", 'write two ranges, "friday:saturday" and "sunday:monday"'),
        ("weekdays: ['mon']", 'weekdays[0]: "mon" is not a weekday; use sunday'),
        ("weekdays: ['1']", "is not a weekday"),
        ("weekdays: ['monday:tuesday:friday']", "cannot read the range"),
        ("days_of_month: ['0']", "0 in"),
        ("days_of_month: ['32']", "out of range"),
        ("days_of_month: ['-3:3']", "end day must be negative"),
        ("days_of_month: ['5:3']", "end day 3 is always before start day 5"),
        ("days_of_month: ['25:-5']", "always before"),
        ("days_of_month: ['x']", "is not a day of the month"),
        ("months: ['december:january']", "ends before it begins"),
        ("months: ['foo']", 'months[0]: "foo" is not a month'),
        ("years: ['2024:2020']", "ends before it begins"),
        ("years: ['1_0']", "is not a year"),
        ("location: Mars/Base", "unknown time zone Mars/Base"),
        ("location: ../etc/passwd", "unknown time zone"),
        ("location: America", "unknown time zone"),
        ("hours: []", 'unknown field "hours"'),
    ],
)
def test_what_is_refused(interval: str, problem: str) -> None:
    with pytest.raises(BadConfig) as refused:
        read(interval)
    assert problem in str(refused.value)


def test_a_named_interval_holds_what_one_of_its_parts_holds() -> None:
    named = Reader().require(
        parse_yaml("{name: away, time_intervals: [{weekdays: [monday]}, {months: [may]}]}"), NamedIntervals
    )
    assert named.contains(at("2024-05-01T00:00"))
    assert named.contains(at("2024-06-03T00:00"))
    assert not named.contains(at("2024-06-04T00:00"))
    with pytest.raises(BadConfig, match="missing name"):
        Reader().require(parse_yaml("time_intervals: []"), NamedIntervals)


def span(low: int, high: int) -> st.SearchStrategy[tuple[int, int]]:
    return st.tuples(st.integers(low, high), st.integers(low, high)).map(lambda pair: (min(pair), max(pair)))


DAYS = span(1, 31) | span(-31, -1) | st.tuples(st.integers(1, 10), st.integers(-18, -1))
PARTS = st.fixed_dictionaries(
    {},
    optional={
        "times": st.lists(span(0, 1440).filter(lambda pair: pair[0] < pair[1]), max_size=2),
        "weekdays": st.lists(span(0, 6), max_size=2),
        "days_of_month": st.lists(DAYS, max_size=2),
        "months": st.lists(span(1, 12), max_size=2),
        "years": st.lists(span(2019, 2026), max_size=2),
        "location": st.sampled_from(ZONES),
    },
)


def as_yaml(parts: dict[str, Any]) -> dict[str, Any]:
    """The configuration that says the same."""

    def clock(minute: int) -> str:
        return f"{minute // 60:02d}:{minute % 60:02d}"

    out: dict[str, Any] = {}
    for key, value in parts.items():
        match key:
            case "times":
                out[key] = [{"start_time": clock(low), "end_time": clock(high)} for low, high in value]
            case "weekdays":
                out[key] = [f"{WEEKDAYS[low]}:{WEEKDAYS[high]}" for low, high in value]
            case "months":
                out[key] = [f"{low}:{MONTHS[high - 1]}" for low, high in value]
            case "location":
                out[key] = value
            case _:
                out[key] = [f"{low}:{high}" for low, high in value]
    return out


def obviously_in(parts: dict[str, Any], time_ms: int) -> bool:
    """By listing every allowed minute, day, month and year one by one."""
    now = datetime.fromtimestamp(time_ms // 1000, UTC).astimezone(ZoneInfo(parts.get("location", "UTC")))
    if "times" in parts:
        minutes = {minute for low, high in parts["times"] for minute in range(low, high)}
        if now.hour * 60 + now.minute not in minutes:
            return False
    if "weekdays" in parts:
        days = {WEEKDAYS[day] for low, high in parts["weekdays"] for day in range(low, high + 1)}
        if now.strftime("%A").lower() not in days:
            return False
    if "days_of_month" in parts:
        month = [day for day in calendar.Calendar().itermonthdays(now.year, now.month) if day]
        allowed: set[int] = set()
        for low, high in parts["days_of_month"]:
            first = month[low] if -len(month) <= low < 0 else 1 if low < 0 else low
            last = month[high] if -len(month) <= high < 0 else max(high, 0)
            allowed |= {day for day in month if first <= day <= last}
        if now.day not in allowed:
            return False
    if "months" in parts and now.month not in {
        m for low, high in parts["months"] for m in range(low, high + 1)
    }:
        return False
    return "years" not in parts or now.year in {
        y for low, high in parts["years"] for y in range(low, high + 1)
    }


@given(PARTS, st.datetimes(datetime(2019, 1, 1), datetime(2026, 12, 31)), st.integers(0, 59_999))  # noqa: DTZ001
def test_intervals_hold_what_lists_of_every_day_hold(
    parts: dict[str, Any], moment: datetime, ms: int
) -> None:
    interval = read(yaml.safe_dump(as_yaml(parts)))
    start = int(moment.replace(tzinfo=UTC).timestamp()) * 1000 + ms
    for hours in range(0, 24 * 40, 7):
        time_ms = start + int(timedelta(hours=hours).total_seconds()) * 1000
        assert interval.contains(time_ms) == obviously_in(parts, time_ms), datetime.fromtimestamp(
            time_ms / 1000, UTC
        )


@pytest.mark.parametrize(
    "interval",
    [
        "{weekdays: ['friday:monday']}",
        "{weekdays: ['Monday:FRIDAY']}",
        "{weekdays: ['mon']}",
        "{days_of_month: ['-3:3']}",
        "{days_of_month: ['25:-5']}",
        "{days_of_month: ['1:-1']}",
        "{days_of_month: ['+5']}",
        "{days_of_month: ['31:-31']}",
        "{months: ['13']}",
        "{months: ['may:4']}",
        "{years: ['0']}",
        "{years: [2020]}",
        "{times: [{start_time: 09:00, end_time: '17:00'}]}",
        "{times: [{start_time: '9:00', end_time: '17:00'}]}",
        "{times: [{start_time: '00:00', end_time: '24:00'}]}",
        "{times: [{start_time: '24:00', end_time: '24:00'}]}",
        "{times: []}",
        "{location: 'Europe/Berlin'}",
        "{location: 'europe/berlin'}",
        "{location: ''}",
        "{location: Local}",
        "{location: /etc/localtime}",
    ],
)
def test_amtool_judges_alike(interval: str, tmp_path: Path) -> None:
    amtool = shutil.which("amtool")
    if amtool is None:
        pytest.skip("amtool is not installed: apt-get install prometheus-alertmanager")
    file = tmp_path / "alertmanager.yml"
    file.write_text(
        "route: {receiver: a}\nreceivers: [{name: a}]\n"
        f"time_intervals: [{{name: x, time_intervals: [{interval}]}}]\n"
    )
    judged = subprocess.run([amtool, "check-config", file], capture_output=True, check=False, timeout=30)
    try:
        read(interval)
        ours = True
    except BadConfig:
        ours = False
    assert ours == (judged.returncode == 0), judged.stdout.decode()

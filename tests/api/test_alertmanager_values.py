"""Times of Alertmanager's API, both ways, and what a request may say."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from otero.api.alertmanager.json_values import read_time
from otero.model.times import rfc3339_ms

ZONES = st.integers(-14 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))


@pytest.mark.parametrize(
    ("text", "time_ms"),
    [
        ("2024-02-29T10:00:00.123Z", 1_709_200_800_123),
        ("2024-02-29T10:00:00.123999999Z", 1_709_200_800_123),
        ("2024-02-29t10:00:00z", 1_709_200_800_000),
        ("2024-02-29 10:00:00", 1_709_200_800_000),
        ("2024-02-29T12:00:00+02:00", 1_709_200_800_000),
        ("2024-02-29T04:30:00-0530", 1_709_200_800_000),
        ("0001-01-01T00:00:00.000Z", 0),
        ("1969-12-31T23:59:59Z", 0),
        ("", 0),
    ],
)
def test_times_that_senders_write(text: str, time_ms: int) -> None:
    assert read_time(text) == time_ms


@pytest.mark.parametrize(
    "text",
    ["now", "2024-02-30T00:00:00Z", "2024-02-29", "2024-02-29T25:00:00Z", "1709200800", "2024-02-29T10:00Z"],
)
def test_times_that_are_none(text: str) -> None:
    with pytest.raises(ValueError, match="is not a time"):
        read_time(text)


@given(st.integers(1, 253_402_300_799_999))
@example(999)
def test_what_is_shown_reads_back(time_ms: int) -> None:
    assert read_time(rfc3339_ms(time_ms)) == time_ms


@given(st.datetimes(datetime(1971, 1, 1), datetime(2200, 1, 1), timezones=ZONES))  # noqa: DTZ001
def test_times_of_any_zone(moment: datetime) -> None:
    whole = int((moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1))
    assert read_time(moment.isoformat()) == whole


def test_no_time_is_the_year_one() -> None:
    assert rfc3339_ms(0) == "0001-01-01T00:00:00.000Z"

import pytest

from otero.model.times import rfc3339, rfc3339_ms, span, when

NOON = 1_795_348_981_000


def test_times_as_go_writes_them() -> None:
    assert rfc3339(NOON) == "2026-11-22T12:03:01Z"
    assert rfc3339(NOON + 500) == "2026-11-22T12:03:01.5Z"
    assert rfc3339(NOON + 20) == "2026-11-22T12:03:01.02Z"
    assert rfc3339(0) == "0001-01-01T00:00:00Z"


def test_times_with_three_digits_of_a_second() -> None:
    assert rfc3339_ms(NOON) == "2026-11-22T12:03:01.000Z"
    assert rfc3339_ms(NOON + 20) == "2026-11-22T12:03:01.020Z"
    assert rfc3339_ms(0) == "0001-01-01T00:00:00.000Z"


@pytest.mark.parametrize(
    ("ms", "text"), [(0, "0s"), (1500, "1s500ms"), (59_999, "59s999ms"), (60_999, "1m"), (5_400_000, "1h30m")]
)
def test_spans_are_whole_seconds_beyond_a_minute(ms: int, text: str) -> None:
    assert span(ms) == text


def test_when_for_people() -> None:
    assert when(NOON + 999) == "2026-11-22 12:03:01 UTC"

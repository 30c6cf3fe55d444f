import logging

import pytest

from otero_sdk.logs.json_lines import EXEMPT, FIELDS
from otero_sdk.logs.rate_limit import RateLimit


def record(line: int = 1) -> logging.LogRecord:
    return logging.LogRecord("shop", logging.INFO, "/srv/cart.py", line, "x", None, None)


def test_so_many_a_second_and_site() -> None:
    now = [0.0]
    limit = RateLimit(3, lambda: now[0])
    assert [limit.filter(record()) for _ in range(5)] == [True, True, True, False, False]
    assert limit.filter(record(line=2))
    now[0] = 0.34
    let_through = record()
    assert limit.filter(let_through)
    assert let_through.__dict__[FIELDS] == {"suppressed": 2}
    assert not limit.filter(record())
    now[0] = 100.0
    assert [limit.filter(record()) for _ in range(4)] == [True, True, True, False]


def test_less_than_one_a_second() -> None:
    now = [0.0]
    limit = RateLimit(1 / 60, lambda: now[0])
    assert [limit.filter(record()) for _ in range(2)] == [True, False]
    now[0] = 59.0
    assert not limit.filter(record())
    now[0] = 61.0
    assert limit.filter(record())


def test_exempt_records_pass() -> None:
    limit = RateLimit(1, lambda: 0.0)
    for _ in range(5):
        exempt = record()
        exempt.__dict__[EXEMPT] = True
        assert limit.filter(exempt)


def test_a_limit_has_to_be_one() -> None:
    with pytest.raises(ValueError, match="more than 0"):
        RateLimit(0)

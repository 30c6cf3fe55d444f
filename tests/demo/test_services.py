"""What the services keep, on each of the databases that they can have."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy.exc import OperationalError

from otero.demo.faults import BAD_VERSION, GOOD_VERSION, SLOW_QUERY_S
from otero.demo.services.order_table import LOCK_WAIT_S, OrderTable
from otero.demo.services.orders import price
from otero.demo.services.sessions import LocalSessions, RedisSessions, Sessions


@pytest.fixture(params=["sqlite", "postgresql"])
def table(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[OrderTable]:
    url = f"sqlite:///{tmp_path / 'orders.db'}"
    if request.param == "postgresql":
        url = request.getfixturevalue("postgres")
    table = OrderTable(url)
    yield table
    table.engine.dispose()


@pytest.fixture(params=["local", "redis"])
def sessions(request: pytest.FixtureRequest) -> Iterator[Sessions]:
    if request.param == "local":
        yield LocalSessions()
        return
    sessions = RedisSessions(request.getfixturevalue("redis"))
    yield sessions
    sessions.client.close()


def test_an_order_is_paid_once_and_by_its_buyer(table: OrderTable) -> None:
    lamp = table.product("lamp")
    assert lamp is not None
    number = table.order("ada", "lamp", 2, 78.0)
    [order] = table.of_buyer("ada")
    assert (order.number, order.product, order.quantity, order.total, order.paid) == (
        number,
        "lamp",
        2,
        78.0,
        0,
    )
    assert table.pay("grace", number) is None
    assert table.pay("ada", number) == 78.0
    assert table.pay("ada", number) is None
    after = table.product("lamp")
    assert after is not None
    assert after.stock == lamp.stock - 2
    assert table.product("unicorn") is None


def test_who_holds_the_lock_keeps_everybody_out_until_let_go(table: OrderTable) -> None:
    stop = threading.Event()
    holder = threading.Thread(target=table.hold_lock, args=(stop,))
    holder.start()
    try:
        with pytest.raises(OperationalError, match="lock"):
            _ask_for(table, 30)
        start_s = time.monotonic()
        with pytest.raises(OperationalError):
            table.order("ada", "lamp", 1, 39.0)
        assert time.monotonic() - start_s < LOCK_WAIT_S + 10
    finally:
        stop.set()
        holder.join(30)
    table.ask()
    assert table.order("ada", "lamp", 1, 39.0) > 0


def _ask_for(table: OrderTable, seconds: float) -> None:
    deadline_s = time.monotonic() + seconds
    while time.monotonic() < deadline_s:
        table.ask()


def test_a_slow_query_is_slow(table: OrderTable) -> None:
    table.slow = True
    start_s = time.monotonic()
    table.of_buyer("ada")
    assert time.monotonic() - start_s >= SLOW_QUERY_S
    table.slow = False


def test_a_session_ends_once(sessions: Sessions) -> None:
    token, other = sessions.open("ada"), sessions.open("grace")
    assert (sessions.user(token), sessions.user(other), sessions.user("x")) == ("ada", "grace", None)
    assert sessions.close(token)
    assert not sessions.close(token)
    assert (sessions.user(token), sessions.user(other)) == (None, "grace")


def test_the_bad_version_has_a_bug_that_the_good_one_has_not() -> None:
    assert price(39.0, 2, GOOD_VERSION) == 78.0
    assert price(39.0, 1, BAD_VERSION) == 39.0
    with pytest.raises(TypeError):
        price(39.0, 2, BAD_VERSION)

"""The small mutable state: made, upgraded, refused when newer, copied while in use."""

import sqlite3
import threading
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from otero.errors import Conflict, Unavailable
from otero.storage.alerts import AlertTable
from otero.storage.notification_log import NotificationLogTable
from otero.storage.push_groups import PushGroupTable, StoredFamily
from otero.storage.silences import SilenceTable
from otero.storage.state import FILE, State

LABELS = {"job": "j", "path": "a/b", "none": ""}


def test_a_new_state_and_the_one_before(tmp_path: Path) -> None:
    first = State.beside(tmp_path)
    table = PushGroupTable(first)
    assert table.load() == []
    table.write(LABELS, [StoredFamily("m", 1 << 62, b"\0\xff"), StoredFamily("n", 2, b"n")], [])
    table.write(dict(reversed(LABELS.items())), [StoredFamily("m", 3, b"new")], ["n", "never"])
    first.close()
    second = State.beside(tmp_path)
    assert second.schema == first.schema
    [(labels, families)] = PushGroupTable(second).load()
    assert labels == LABELS
    assert families == [StoredFamily("m", 3, b"new")]
    PushGroupTable(second).delete(LABELS)
    PushGroupTable(second).delete(LABELS)
    with second.begin() as connection:
        assert connection.scalar(sa.text("SELECT count(*) FROM push_families")) == 0
    second.close()


def test_a_state_of_a_later_release_is_refused_untouched(tmp_path: Path) -> None:
    state = State.beside(tmp_path)
    with state.begin() as connection:
        connection.execute(sa.text("UPDATE state_version SET version_num = '9999'"))
    state.close()
    before = (tmp_path / FILE).read_bytes()
    with pytest.raises(Conflict, match=r"9999.*written by a later"):
        State.beside(tmp_path)
    assert (tmp_path / FILE).read_bytes() == before


def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(b"something else" * 100)
    with pytest.raises(Unavailable, match="not a database"):
        State.beside(tmp_path)


def test_a_failed_transaction_leaves_nothing(tmp_path: Path) -> None:
    state = State.beside(tmp_path)
    insert = sa.text("INSERT INTO push_groups (labels) VALUES ('{}')")
    with pytest.raises(IntegrityError), state.begin() as connection:
        connection.execute(sa.text(f"{insert}, ('{{}}')"))
    with state.begin() as connection:
        assert connection.scalar(sa.text("SELECT count(*) FROM push_groups")) == 0
    state.close()


def test_a_copy_is_whole_while_others_write(tmp_path: Path) -> None:
    state = State.beside(tmp_path)
    table = PushGroupTable(state)
    done = threading.Event()

    def write() -> None:
        for number in range(30):
            table.write({"job": str(number)}, [StoredFamily("m", number, b"m")], [])
        done.set()

    writer = threading.Thread(target=write)
    writer.start()
    copies = 0
    while not done.is_set() or not copies:
        path = tmp_path / f"copy-{copies}"
        state.copy_to(path)
        with sqlite3.connect(path) as copy:
            assert copy.execute("PRAGMA integrity_check").fetchone() == ("ok",)
            groups = copy.execute("SELECT count(*) FROM push_groups").fetchone()
            assert copy.execute("SELECT count(*) FROM push_families").fetchone() == groups
        copy.close()
        copies += 1
    writer.join()
    assert len(table.load()) == 30
    state.close()


def test_a_state_from_before_alerting_is_brought_up_to_date(tmp_path: Path) -> None:
    state = State.beside(tmp_path)
    PushGroupTable(state).write(LABELS, [StoredFamily("m", 1, b"m")], [])
    with state.begin() as connection:
        for table in ("alerts", "silences", "notification_log"):
            connection.execute(sa.text(f"DROP TABLE {table}"))
        connection.execute(sa.text("UPDATE state_version SET version_num = '0001'"))
    state.close()
    again = State.beside(tmp_path)
    assert len(PushGroupTable(again).load()) == 1
    assert AlertTable(again).load() == {}
    assert SilenceTable(again).load() == []
    assert NotificationLogTable(again).load() == {}
    again.close()

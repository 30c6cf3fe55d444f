import io
import json
import logging
import sys
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otero_sdk import correlation
from otero_sdk.logs.access import AccessLog
from otero_sdk.logs.json_lines import FIELDS, JsonLines, stderr_handler
from otero_sdk.logs.redaction import Redaction

LINES = JsonLines("orders", redact=["iban"])


def record(message: str = "hello", *args: object, exc_info: Any = None, **extra: object) -> logging.LogRecord:
    made = logging.LogRecord("shop.cart", logging.INFO, "/srv/cart.py", 42, message, args, exc_info, "add")
    made.__dict__.update(extra)
    return made


def line(made: logging.LogRecord) -> dict[str, Any]:
    text = LINES.format(made)
    assert "\n" not in text
    text.encode()
    return json.loads(text, parse_constant=lambda constant: pytest.fail(f"{constant} is not JSON"))


def test_the_fields_of_a_line() -> None:
    made = record("added %s", "lamp", user_id=7, tags=["a", "b"])
    made.created = 1732485045.0000021
    found = line(made)
    assert found == {
        "timestamp": "2024-11-24T21:50:45.000002Z",
        "level": "INFO",
        "logger": "shop.cart",
        "message": "added lamp",
        "module": "cart",
        "function": "add",
        "line": 42,
        "service": "orders",
        "user_id": 7,
        "tags": ["a", "b"],
    }
    with correlation.use("abc"):
        assert line(record())["correlation_id"] == "abc"


def test_the_timestamp_is_the_records() -> None:
    for created in (0.0, 1.5, 1732485045.999999, 1732485046.0):
        made = record()
        made.created = created
        assert datetime.fromisoformat(line(made)["timestamp"]).timestamp() == pytest.approx(created, abs=2e-6)


def test_exceptions_and_stacks() -> None:
    try:
        raise KeyError("lamp")
    except KeyError:
        found = line(record(exc_info=sys.exc_info()))
    assert found["exception"].startswith("Traceback")
    assert found["exception"].endswith("KeyError: 'lamp'")


def test_trace_ids() -> None:
    lines = JsonLines("orders", trace_ids=lambda: ("a" * 32, "b" * 16))
    found = json.loads(lines.format(record()))
    assert (found["trace_id"], found["span_id"]) == ("a" * 32, "b" * 16)


@pytest.mark.parametrize(
    "name",
    [
        *(
            "password",
            "DB_PASSWORD",
            "userPassword",
            "api_key",
            "apiKey",
            "X-Api-Key",
            "access_token",
            "cookie",
        ),
        *("Authorization", "client_secret", "session-id", "jwt", "private_key", "IBAN", "customer_iban"),
    ],
)
def test_secrets_are_redacted_at_any_depth(name: str) -> None:
    found = line(record(**{name: "s3cret"}, request={"headers": [{name: "s3cret"}]}, safe="kept"))
    assert found[name] == "***"
    assert found["request"] == {"headers": [{name: "***"}]}
    assert found["safe"] == "kept"


@pytest.mark.parametrize("name", ["token_count", "tokens", "monkey", "author", "key", "compass", "passenger"])
def test_what_only_looks_like_a_secret_is_kept(name: str) -> None:
    assert not Redaction().is_secret(name)


class Unprintable:
    def __str__(self) -> str:
        raise RuntimeError("no")

    __repr__ = __str__


class Hostile(dict):
    def items(self) -> Any:
        raise RuntimeError("no")


def test_nothing_that_is_logged_raises() -> None:
    loop: list[Any] = []
    loop.append(loop)
    deep: Any = "x"
    for _ in range(10_000):
        deep = [deep]
    found = line(
        record(
            "%s",
            Unprintable(),
            nan=float("nan"),
            infinite=float("inf"),
            loop=loop,
            deep=deep,
            keys={(1, 2): "pair", None: 0, Unprintable(): 1},
            raw=b"\xff\x00abc",
            unprintable=Unprintable(),
            hostile=Hostile(a=1),
            half="\ud800",
            when=datetime(2024, 1, 2, tzinfo=UTC),
            some={1},
        )
    )
    assert found["nan"] == "nan"
    assert found["raw"] == "\\xff\x00abc"
    assert found["unprintable"] == "<unprintable Unprintable>"
    assert found["when"] == "2024-01-02 00:00:00+00:00"
    assert found["half"] == "\ud800"
    assert line(record("%d items", "many"))["message"].startswith("%d items")
    assert line(record("%s %s", "one"))["message"].startswith("%s %s")


anything = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters())
    | st.binary()
    | st.complex_numbers(),
    lambda inner: (
        st.lists(inner) | st.dictionaries(st.text() | st.integers() | st.booleans(), inner) | st.tuples(inner)
    ),
    max_leaves=10,
)


@given(st.text(), anything)
def test_any_value_becomes_one_line_of_json(name: str, value: object) -> None:
    line(record("x", **{FIELDS: {name: value}}))
    line(record(f"{value!r}"))


def test_a_field_never_replaces_one_of_ours() -> None:
    found = line(record(**{FIELDS: {"service": "evil", "level": "x", "message": "y"}}))
    assert (found["service"], found["extra_service"], found["extra_level"]) == ("orders", "evil", "x")


@pytest.mark.parametrize(
    "path", ["/orders/7", '/a"b\\c', "/päth", "/\x00\u2028", "/\ud800", "/" + "x" * 5000]
)
@pytest.mark.parametrize("status", [200, 503])
def test_the_quick_way_of_access_lines_writes_what_the_record_would(
    path: str, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = io.StringIO()
    monkeypatch.setattr(sys, "stderr", written)
    handler = stderr_handler(JsonLines("orders", constant={"version": 'a"1'}))
    root = logging.getLogger()
    monkeypatch.setattr(logging.getLogger("otero_sdk.access"), "level", logging.INFO)
    logging.getLogger("otero_sdk.access")._cache.clear()
    access = AccessLog(handler)
    lines = []
    for handlers in ([handler], [handler, logging.NullHandler()]):
        monkeypatch.setattr(root, "handlers", handlers)
        with correlation.use("abc"):
            access.write("GET", path, "/orders/<int:id>", status, 0.0123456, ("a" * 32, "b" * 16))
        lines.append(json.loads(written.getvalue()))
        assert written.getvalue().count("\n") == 1
        written.seek(0)
        written.truncate()
    for found in lines:
        found.pop("timestamp")
    logging.getLogger("otero_sdk.access")._cache.clear()
    assert lines[0] == lines[1]
    assert lines[0]["level"] == ("ERROR" if status == 503 else "INFO")
    assert lines[0]["duration_ms"] == 12.346
    assert lines[0]["endpoint"] == "/orders/<int:id>"

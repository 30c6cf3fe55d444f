"""The waterfall of `otero trace`."""

from typing import Any

from otero.cli.trace import duration_text, lines_of, waterfall

MS = 1_000_000


def span(number: int, parent: int, start_ms: float, end_ms: float, **fields: Any) -> dict[str, Any]:
    return (
        {
            "traceId": "ab" * 16,
            "spanId": f"{number:016x}",
            "name": f"op {number}",
            "startTimeUnixNano": str(int(start_ms * MS)),
            "endTimeUnixNano": str(int(end_ms * MS)),
        }
        | ({"parentSpanId": f"{parent:016x}"} if parent else {})
        | fields
    )


def trace(*spans: dict[str, Any], service: str = "shop") -> dict[str, Any]:
    attributes = [{"key": "service.name", "value": {"stringValue": service}}]
    return {
        "resourceSpans": [{"resource": {"attributes": attributes}, "scopeSpans": [{"spans": list(spans)}]}]
    }


def drawn(found: dict[str, Any], width: int = 60) -> list[str]:
    return [line.plain.rstrip() for line in waterfall(lines_of(found), width)]


def test_children_stand_under_their_parents_with_bars_where_they_ran() -> None:
    found = trace(
        span(3, 1, 50, 100, status={"code": 2, "message": "no such table"}),
        span(1, 0, 0, 100, kind=2),
        span(2, 1, 0, 50, kind=3),
        span(4, 2, 25, 50),
    )
    assert drawn(found) == [
        "4 spans, 100 ms, shop, 1 error",
        "shop op 1 [server]   ━━━━━━━━━━━━━━━━━━━━━━━━━━    100 ms",
        "  shop op 2 [client] ━━━━━━━━━━━━━                  50 ms",
        "    shop op 4              ━━━━━━                   25 ms",
        "  shop op 3                       ━━━━━━━━━━━━━     50 ms  ERROR no such table",
    ]


def test_a_span_whose_parent_is_missing_and_a_ring_are_shown_too() -> None:
    found = trace(span(1, 9, 0, 1), span(2, 3, 0, 1), span(3, 2, 0, 1), span(4, 4, 0, 1), span(5, 0, 0, 0))
    lines = lines_of(found)
    assert sorted(line.name for line in lines) == ["op 1", "op 2", "op 3", "op 4", "op 5"]
    assert [line.name for line in lines if line.orphan] == ["op 1"]


def test_what_could_steer_the_terminal_is_not_printed() -> None:
    shown = drawn(
        trace(span(1, 0, 0, 1, name="\x1b[2J[red]", status={"code": 2, "message": "\x07"}), service="a\nb")
    )
    assert "�[2J[red]" in shown[1]
    assert not any(char in line for line in shown for char in "\x1b\x07\n")


def test_a_deep_and_a_wide_trace_are_drawn() -> None:
    deep = trace(*(span(number, number - 1, number, 5000) for number in range(1, 3000)))
    assert len(drawn(deep)) == 3000
    assert max(map(len, drawn(deep, 80))) <= 100


def test_durations() -> None:
    shown = [duration_text(ns) for ns in (0, 999, 1_500, 999_600, 12_345_678, 1_200_000_000, 59_000_000_000)]
    assert shown == ["0 ns", "999 ns", "1.5 µs", "1 ms", "12.3 ms", "1.2 s", "59 s"]
    assert [duration_text(s * 10**9) for s in (60, 125, 7_260)] == ["1m 0s", "2m 5s", "2h 1m"]

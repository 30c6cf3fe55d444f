"""`otero trace`: one trace as a waterfall in the terminal."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from rich.console import Console
from rich.text import Text

from otero.cli.client import Client

_KINDS = ("", "", "server", "client", "producer", "consumer")
_ERROR = 2
_MAX_NAME = 60
_MAX_DEPTH = 40
"""Deeper spans are drawn at this depth."""


@dataclass(frozen=True, slots=True)
class SpanLine:
    """One span as a line shows it; times in nanoseconds."""

    depth: int
    service: str
    name: str
    kind: int
    start_ns: int
    end_ns: int
    error: str | None
    """The status message of an error, "" when it has none; None when there is no error."""
    orphan: bool
    """Whether it names a parent that the trace does not hold."""


def trace(trace_id: str, client: Client, format_: str) -> None:
    """Print a trace: as a tree of bars, or as OTLP's JSON."""
    answer = client.get(f"/api/otero/v1/traces/{quote(trace_id, safe='')}")
    if format_ == "json":
        print(json.dumps(answer, ensure_ascii=False))
        return
    console = Console(soft_wrap=True)
    for line in waterfall(lines_of(answer), console.width):
        console.print(line)


def lines_of(trace: dict[str, Any]) -> list[SpanLine]:
    """The spans of a trace (OTLP's JSON) in the order of a tree: children under their parent, by start time."""
    spans: list[tuple[str, dict[str, Any]]] = []
    for resource in trace["resourceSpans"]:
        attributes = resource.get("resource", {}).get("attributes", ())
        service = next(
            (a["value"].get("stringValue", "") for a in attributes if a["key"] == "service.name"), ""
        )
        spans += (
            (service, span) for scope in resource.get("scopeSpans", ()) for span in scope.get("spans", ())
        )
    spans.sort(key=lambda pair: int(pair[1].get("startTimeUnixNano", 0)))
    known = {span.get("spanId", "") for _, span in spans}
    children: dict[str, list[int]] = {}
    roots: list[int] = []
    for number, (_, span) in enumerate(spans):
        parent: str = span.get("parentSpanId", "")
        if parent in known and parent != span.get("spanId"):
            children.setdefault(parent, []).append(number)
        else:
            roots.append(number)
    out: list[SpanLine] = []
    drawn: set[int] = set()

    def walk(begin: int) -> Iterator[tuple[int, int]]:
        waiting = [(begin, 0)]
        while waiting:
            number, depth = waiting.pop()
            if number in drawn:
                continue
            drawn.add(number)
            yield number, depth
            below = children.get(spans[number][1].get("spanId", ""), ())
            waiting += ((child, depth + 1) for child in reversed(below))

    # What hangs together in a ring has no root; it is drawn from its first span on.
    for begin in (*roots, *range(len(spans))):
        for number, depth in walk(begin):
            service, span = spans[number]
            status = span.get("status", {})
            start_ns = int(span.get("startTimeUnixNano", 0))
            out.append(
                SpanLine(
                    depth,
                    service,
                    span.get("name", ""),
                    int(span.get("kind", 0)),
                    start_ns,
                    max(int(span.get("endTimeUnixNano", 0)), start_ns),
                    status.get("message", "") if status.get("code") == _ERROR else None,
                    bool(span.get("parentSpanId")) and span["parentSpanId"] not in known,
                )
            )
    return out


def waterfall(spans: list[SpanLine], width: int) -> list[Text]:
    """A headline, then a line for each span: service and name, indented; a bar where it lies in time; its duration."""
    start_ns = min(span.start_ns for span in spans)
    total_ns = max(max(span.end_ns for span in spans) - start_ns, 1)
    services = sorted({_printable(span.service) for span in spans if span.service})
    errors = sum(span.error is not None for span in spans)
    head = Text(
        f"{len(spans)} span{'s' * (len(spans) != 1)}, {duration_text(total_ns)}, {', '.join(services)}"
    )
    if errors:
        head.append(f", {errors} error{'s' * (errors != 1)}", style="bold red")
    labels = [_label(span) for span in spans]
    left = min(max(label.cell_len for label in labels), max(width // 2, 20))
    bar = max(width - left - 14, 10)
    lines = [head]
    for span, label in zip(spans, labels, strict=True):
        begin = int((span.start_ns - start_ns) * bar / total_ns)
        begin = min(begin, bar - 1)
        size = max(round((span.end_ns - span.start_ns) * bar / total_ns), 1)
        size = min(size, bar - begin)
        color = "red" if span.error is not None else "cyan"
        line = label.copy()
        line.truncate(left, overflow="ellipsis", pad=True)
        line.append(" " * (begin + 1))
        line.append("━" * size, style=color)
        line.append(" " * (bar - begin - size + 1))
        line.append(f"{duration_text(span.end_ns - span.start_ns):>9}")
        if span.error is not None:
            line.append(f"  ERROR {_printable(span.error)}".rstrip(), style="bold red")
        lines.append(line)
    return lines


def _label(span: SpanLine) -> Text:
    label = Text("  " * min(span.depth, _MAX_DEPTH))
    if span.orphan:
        label.append("… ", style="dim")
    label.append(_printable(span.service) or "(no service)", style="bold")
    label.append(f" {_printable(span.name)[:_MAX_NAME]}")
    if 0 < span.kind < len(_KINDS) and _KINDS[span.kind]:
        label.append(f" [{_KINDS[span.kind]}]", style="dim")
    return label


def _printable(text: str) -> str:
    """Without what could steer the terminal."""
    return "".join(char if char.isprintable() else "�" for char in text)


def duration_text(nanoseconds: int) -> str:
    """Such as `850 ns`, `12.3 µs`, `4.56 ms`, `1.20 s`, `2m 5s`."""
    if nanoseconds < 1000:
        return f"{nanoseconds} ns"
    for size, unit in ((1_000, "µs"), (1_000_000, "ms"), (1_000_000_000, "s")):
        value = nanoseconds / size
        if value < (60 if unit == "s" else 999.5):
            return f"{value:.3g} {unit}" if value < 999.5 else f"{value:.0f} {unit}"
    minutes, seconds = divmod(round(nanoseconds / 1e9), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h {minutes}m" if hours else f"{minutes}m {seconds}s"

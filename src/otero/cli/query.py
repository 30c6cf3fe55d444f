"""`otero query`: PromQL from the terminal."""

import csv
import io
import json
import math
import sys
import time
from datetime import UTC, datetime
from typing import Any, Literal

from rich.console import Console
from rich.table import Table
from rich.text import Text

from otero.cli.client import Client
from otero.cli.plot import plot, sparkline
from otero.errors import BadInput
from otero.fields import Duration

Format = Literal["table", "json", "csv"]
_MAX_PLOTTED = 12
_DEFAULT_POINTS = 120


def query(
    expr: str,
    client: Client,
    *,
    time_: str | None = None,
    start: str | None = None,
    end: str | None = None,
    step: str | None = None,
    format_: Format = "table",
) -> None:
    """Ask `client` and print the answer to stdout; warnings go to stderr."""
    if start is None and (end is not None or step is not None):
        raise BadInput("--end and --step belong to a range: give --start too, such as --start -1h")
    if start is None:
        params = {"query": expr} | ({"time": moment(time_)} if time_ else {})
        envelope = client.prometheus("/api/v1/query", params)
    else:
        start_s, end_s = moment(start), moment(end or "now")
        step = step or str(max(round((float(end_s) - float(start_s)) / _DEFAULT_POINTS, 3), 0.001))
        envelope = client.prometheus(
            "/api/v1/query_range", {"query": expr, "start": start_s, "end": end_s, "step": step}
        )
    for kind in ("warnings", "infos"):
        for text in envelope.get(kind, ()):
            print(f"{kind.removesuffix('s')}: {text}", file=sys.stderr)
    data = envelope["data"]
    match format_:
        case "json":
            print(json.dumps(data, ensure_ascii=False))
        case "csv":
            sys.stdout.write(_csv(data))
        case "table":
            _print_table(data, start is not None)


def moment(text: str) -> str:
    """Unix seconds of a time given as Unix seconds, RFC 3339, `now` or a span before now (`-1h`, `now-15m`)."""
    relative = text.removeprefix("now")
    if relative == "":
        return f"{time.time():.3f}"
    if relative.startswith("-") and not _is_number(relative):
        try:
            return f"{time.time() - Duration.parse(relative[1:]) / 1000:.3f}"
        except ValueError as error:
            raise BadInput(f"cannot read the time {text!r}: {error}") from None
    if _is_number(text):
        return text
    try:
        parsed = datetime.fromisoformat(text)
    except ValueError:
        raise BadInput(
            f"cannot read the time {text!r}: give Unix seconds, RFC 3339, now, or a span before now such as -1h"
        ) from None
    return f"{(parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)).timestamp():.3f}"


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def series_name(labels: dict[str, str]) -> str:
    """A label set as PromQL writes it."""
    name = labels.get("__name__", "")
    inside = ", ".join(
        f"{key}={json.dumps(value, ensure_ascii=False)}" for key, value in labels.items() if key != "__name__"
    )
    return f"{name}{{{inside}}}" if inside or not name else name


def _utc(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


Value = str | dict[str, Any]
"""A float as text, or a native histogram as the API gives it."""


def _points(data: dict[str, Any]) -> list[tuple[dict[str, str], list[tuple[float, Value]]]]:
    if data["resultType"] in ("scalar", "string"):
        return [({}, [tuple(data["result"])])]
    out: list[tuple[dict[str, str], list[tuple[float, Value]]]] = []
    for row in data["result"]:
        single = [row[name] for name in ("value", "histogram") if name in row]
        points = single + row.get("values", []) + row.get("histograms", [])
        out.append((row["metric"], sorted(map(tuple, points), key=lambda point: point[0])))
    return out


def value_text(value: Value) -> str:
    """A value for people: a histogram as `{count:3, sum:7.5, (1,2]:3}`."""
    if isinstance(value, str):
        return value
    parts = [f"count:{value['count']}", f"sum:{value['sum']}"]
    for bounds, lower, upper, count in value.get("buckets", ()):
        opening, closing = "([(["[bounds], "]))]"[bounds]
        parts.append(f"{opening}{lower},{upper}{closing}:{count}")
    return "{" + ", ".join(parts) + "}"


def _plotted(value: Value) -> float:
    return float(value if isinstance(value, str) else value["count"])


def _csv(data: dict[str, Any]) -> str:
    rows = _points(data)
    names = sorted({name for labels, _ in rows for name in labels})
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([*names, "time", "value"])
    for labels, points in rows:
        own = [labels.get(name, "") for name in names]
        writer.writerows([*own, _utc(at), value_text(value)] for at, value in points)
    return out.getvalue()


def _print_table(data: dict[str, Any], is_range: bool) -> None:
    console = Console(soft_wrap=True)
    rows = _points(data)
    if not rows:
        console.print("no series match", style="dim")
        return
    if not is_range:
        table = Table(box=None, pad_edge=False)
        table.add_column("series", overflow="fold")
        table.add_column("time")
        table.add_column("value", justify="right", overflow="fold")
        for labels, points in rows:
            for at, value in points:
                table.add_row(Text(series_name(labels) if labels else ""), _utc(at), Text(value_text(value)))
        console.print(table)
        return
    grid = sorted({at for _, points in rows for at, _ in points})
    lines: list[list[float]] = []
    for _, points in rows:
        by_time = {at: _plotted(value) for at, value in points}
        lines.append([by_time.get(at, math.nan) for at in grid])
    if len(rows) <= _MAX_PLOTTED:
        for line in plot(lines, width=max(min(console.width - 14, 100), 20)):
            console.print(line, markup=False, highlight=False)
        console.print(f"{_utc(grid[0])} … {_utc(grid[-1])}", style="dim", highlight=False)
    table = Table(box=None, pad_edge=False)
    for column in ("series", "", "min", "max", "last"):
        table.add_column(column, overflow="fold" if column == "series" else "ellipsis")
    for (labels, points), line in zip(rows, lines, strict=True):
        finite = [value for value in line if math.isfinite(value)]
        last = next((value for value in reversed(line) if not math.isnan(value)), math.nan)
        low, high = (min(finite), max(finite)) if finite else (math.nan, math.nan)
        table.add_row(
            Text(_line_name(labels, points)), sparkline(line, 32), f"{low:.6g}", f"{high:.6g}", f"{last:.6g}"
        )
    console.print(table)


def _line_name(labels: dict[str, str], points: list[tuple[float, Value]]) -> str:
    """What a line shows: a series, or how many observations its histograms have."""
    name = series_name(labels)
    return f"{name} (count)" if any(not isinstance(value, str) for _, value in points) else name
